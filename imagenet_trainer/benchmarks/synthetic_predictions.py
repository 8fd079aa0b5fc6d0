"""Predictions without a network, to measure drawing and reports with, and for examples.

Output that shows them must label them as synthetic. Those of `synthetic_predictions` have the size
of ImageNet's validation set, 50,000 images of 1,000 classes, and errors like those of real
networks: classes that are close in WordNet's tree are confused. `many_predictions` makes those of
any number of classes, without the probabilities of all classes.
"""

import numpy as np

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.predictions import TOP, Collector, Predictions
from imagenet_trainer.metrics.taxonomy import taxonomy_of

_IMAGES = 50  # of each class


def synthetic_predictions(skill: float) -> Predictions:
    """Return the predictions of an epoch, with the images sorted by class.

    `skill` is between 0 (a few favourite classes are predicted for every image) and 1 (rank-1
    accuracy near 70 %). The same images are difficult in every epoch. One image in 500 has a
    wrong label: it shows the second nearest class.
    """
    classes = known_synsets()
    taxonomy = taxonomy_of(list(classes))
    assert taxonomy is not None
    count = len(classes)
    always = np.random.default_rng(0)  # for what all epochs share
    near = -0.45 * taxonomy.distances.astype(np.float32) + 0.6 * always.gumbel(size=(count, count))
    near = (near + near.T) / 2
    favour = 1.2 * always.normal(size=count)
    clear = always.normal(3.4, 1.1, count)  # how much each class stands out
    growth = np.float32(skill**0.5)
    collector = Collector(np.arange(count * _IMAGES), count)
    for label in range(count):
        random = np.random.default_rng([0, label])
        hard = random.gumbel(size=(_IMAGES, count)).astype(np.float32)
        labels = np.full(_IMAGES, label)
        logits = 1.6 * growth * near[label] + (1.2 - growth) * favour + 1.1 * hard
        seen = labels.copy()
        seen[random.random(_IMAGES) < 1 / 500] = np.argsort(near[label])[-3]
        logits[np.arange(_IMAGES), seen] = (
            logits.max(axis=1) - 2.5 + growth * (clear[label] + 1.5 * random.normal(size=_IMAGES))
        )
        odds = np.exp(1.7 * (logits - logits.max(axis=1, keepdims=True)))
        probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        positions = label * _IMAGES + np.arange(_IMAGES)
        collector.add(positions, probabilities, labels)
    return collector.complete()


def many_predictions(images: int, classes: int) -> Predictions:
    """Return predictions whose memory does not grow with images x classes.

    Each class is confused with up to 200 others; half of the images are classified correctly.
    """
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, images)
    neighbours = random.integers(0, classes, (classes, 40))
    first = neighbours[labels, random.integers(0, 40, images)]
    top = (first[:, None] + 997 * np.arange(TOP)) % classes
    rank = np.minimum(random.geometric(0.5, images) - 1, classes - 1)
    seen = np.flatnonzero(rank < TOP)
    top[seen, rank[seen]] = labels[seen]
    odds = np.sort(random.random((images, TOP), np.float32) ** 4, axis=1)[:, ::-1] / TOP
    true = np.full(images, 1e-4, np.float32)
    true[seen] = odds[seen, rank[seen]]
    return Predictions(
        np.arange(images), labels, top, np.ascontiguousarray(odds), true, rank, classes, "synthetic"
    )

"""The images that a report shows: predictions in, positions of images out."""

from typing import List, NamedTuple, Sequence

import numpy as np

from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import ConfusedPair

SUSPECT_PROBABILITY = 0.5
"""The least probability of another class for an image to count as a possible label error."""


class PairExamples(NamedTuple):
    """Positions of images of a that are predicted as b, and of images of b predicted as a."""

    a_as_b: List[int]
    b_as_a: List[int]


def worst_images(predictions: Predictions, count: int) -> np.ndarray:
    """Positions of the rank-1 errors with the highest loss, highest first: int64 (<= count,)."""
    wrong = np.flatnonzero(predictions.rank > 0)
    # The loss falls with the probability of the label.
    order = np.argsort(predictions.true[wrong], kind="stable")
    return wrong[order[:count]]


def label_suspects(predictions: Predictions, count: int) -> np.ndarray:
    """Positions of misclassified images that look like label errors: int64 (<= count,).

    By the rule of confident learning (Northcutt, Jiang and Chuang 2021, "Confident learning:
    estimating uncertainty in dataset labels"): the first prediction is not the label, and its
    probability is at least the mean probability of that class on the images labelled with it. It
    must also be at least SUSPECT_PROBABILITY, since a network that is unsure of everything is no
    evidence against a label. Ordered by the probability of the first prediction less that of the
    label.
    """
    first, confidence = predictions.top[:, 0], predictions.probabilities[:, 0]
    classes = predictions.classes
    images = np.bincount(predictions.labels, minlength=classes)
    total = np.bincount(predictions.labels, predictions.true, minlength=classes)
    mean = np.where(images > 0, total / np.maximum(images, 1), np.inf)
    confident = confidence >= np.maximum(mean[first], SUSPECT_PROBABILITY)
    suspects = np.flatnonzero((predictions.rank > 0) & confident)
    margin = confidence[suspects] - predictions.true[suspects]
    return suspects[np.argsort(-margin, kind="stable")[:count]]


def pair_examples(
    predictions: Predictions, pairs: Sequence[ConfusedPair], count: int
) -> List[PairExamples]:
    """For each pair and direction, the positions of `count` images, most confident first."""

    def most_confident(label: int, predicted: int) -> List[int]:
        images = np.flatnonzero(
            (predictions.labels == label) & (predictions.top[:, 0] == predicted)
        )
        order = np.argsort(-predictions.probabilities[images, 0], kind="stable")
        return images[order[:count]].tolist()

    return [
        PairExamples(most_confident(pair.a, pair.b), most_confident(pair.b, pair.a))
        for pair in pairs
    ]

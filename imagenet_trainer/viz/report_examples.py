"""Which images a report shows: predictions in, places of images out."""

from typing import List, NamedTuple, Sequence

import numpy as np

from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import ConfusedPair

SURE = 0.5
"""The least probability of another class with which an image is shown as a label error."""


class PairExamples(NamedTuple):
    """Places of images of a that were taken for b, and the other way round."""

    a_as_b: List[int]
    b_as_a: List[int]


def worst_images(predictions: Predictions, count: int) -> np.ndarray:
    """Places of the rank-1 errors with the highest loss, highest first: int64 (<= count,)."""
    wrong = np.flatnonzero(predictions.rank > 0)
    order = np.argsort(predictions.true[wrong], kind="stable")  # the loss falls with it
    return wrong[order[:count]]


def label_suspects(predictions: Predictions, count: int) -> np.ndarray:
    """Places of misclassified images that look like label errors: int64 (<= count,).

    By the rule of confident learning (Northcutt, Jiang and Chuang 2021, "Confident learning:
    estimating uncertainty in dataset labels"): the first class is another than the label, and its
    probability is at least the mean probability that the network gives that class on the images
    labelled with it; and here it is at least SURE too, for a network that is sure of nothing knows
    no label errors. Ordered by the probability of the first class less that of the label.
    """
    first, sure = predictions.top[:, 0], predictions.probabilities[:, 0]
    images = np.bincount(predictions.labels, minlength=predictions.classes)
    mass = np.bincount(predictions.labels, predictions.true, minlength=predictions.classes)
    usual = np.where(images > 0, mass / np.maximum(images, 1), np.inf)
    found = np.flatnonzero((predictions.rank > 0) & (sure >= np.maximum(usual[first], SURE)))
    margin = sure[found] - predictions.true[found]
    return found[np.argsort(-margin, kind="stable")[:count]]


def pair_examples(
    predictions: Predictions, pairs: Sequence[ConfusedPair], count: int
) -> List[PairExamples]:
    """For each pair and direction, places of so many images, the surest errors first."""

    def surest(label: int, predicted: int) -> List[int]:
        found = np.flatnonzero((predictions.labels == label) & (predictions.top[:, 0] == predicted))
        order = np.argsort(-predictions.probabilities[found, 0], kind="stable")
        return found[order[:count]].tolist()

    return [PairExamples(surest(pair.a, pair.b), surest(pair.b, pair.a)) for pair in pairs]

"""Accuracy without the images whose labels a person has marked, and with corrected labels."""

from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from imagenet_trainer.data.dataset import Classes
from imagenet_trainer.data.review import AMBIGUOUS, OK, WRONG, Review
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.confidence import wilson
from imagenet_trainer.metrics.evaluation import shown_ranks
from imagenet_trainer.metrics.predictions import Predictions


class ReviewedPredictions:
    """Predictions with the verdicts of a list on their labels.

    Parameters
    ----------
    reviews
        the rows of the list; those without a verdict change nothing.
    predictions, classes
        of the network, and the classes that the labels number.
    named
        returns key and file of each image; called if a row has no key.

    Attributes
    ----------
    marked, corrected
        bool (n,): images with a wrong or ambiguous label; those of them whose right class is known.
    missing
        number of rows about images that the predictions do not have, as a list about a whole
        training set has for one fold.

    Raises InputError, which begins with file and line, for another label or class, and if no image
    of the list is among the predictions.

    """

    def __init__(
        self, reviews: Sequence[Review], predictions: Predictions, classes: Classes,
        named: Callable[[], Iterable[Tuple[int, str]]],
    ) -> None:  # fmt: skip
        self.predictions = predictions
        self._reviews = [one for one in reviews if one.verdict]
        self._labels = predictions.labels.copy()  # corrected
        self.marked, self.corrected = np.zeros((2, len(predictions)), bool)
        self.missing = 0
        ids = {id_: label for label, (id_, _) in enumerate(classes)}
        numbers = {str(label): label for label in range(len(classes))}
        keys: Dict[str, int] = {}
        if any(one.key < 0 for one in self._reviews):
            for key, name in named():
                keys[name] = _SEVERAL if name in keys else key
        places = _places(predictions.keys)
        for one in self._reviews:
            place = self._place(one, places, keys)
            if place < 0:
                self.missing += 1
                continue
            labels, label = numbers if one.has_numbers else ids, int(predictions.labels[place])
            if labels.get(one.given) != label:
                raise InputError(
                    f"{one.where}: the image with key {predictions.keys[place]} has the class "
                    f"{classes[label][0]} here, not {one.given}; review images of this dataset"
                )
            self.marked[place] = one.verdict in (WRONG, AMBIGUOUS)
            self.corrected[place] = one.verdict == WRONG and bool(one.proposed)
            if self.corrected[place]:
                if one.proposed not in labels:
                    raise InputError(f"{one.where}: {one.proposed} is not a class of the network")
                self._labels[place] = labels[one.proposed]
        if self._reviews and self.missing == len(self._reviews):
            raise InputError(
                f"{self._reviews[0].where}: none of the images of the list is among those that are "
                "evaluated; choose its dataset with --data-val"
            )

    def _place(self, one: Review, places: Mapping[int, int], keys: Mapping[str, int]) -> int:
        """The place of an image among the predictions; -1 if they do not have it."""
        found = self.predictions.keys
        if one.image >= 0:  # of the report, about the same dataset
            if one.image >= len(found) or found[one.image] != one.key:
                raise InputError(
                    f"{one.where}: image {one.image} is not the one with key {one.key} here; "
                    "review a report on the same dataset"
                )
            return one.image
        key = one.key if one.key >= 0 else keys.get(one.file, -1)
        place = _SEVERAL if key == _SEVERAL else places.get(key, -1)
        if place == _SEVERAL:
            what = f"the key {one.key}" if one.key >= 0 else f"the key or the name of {one.file}"
            raise InputError(f"{one.where}: several images have {what}")
        return place

    def accuracy(self, kept: np.ndarray, k: int) -> List[float]:
        """Share of the kept images, bool (n,), with their label among the first k; its interval."""
        hits = (self.predictions.top[kept, :k] == self._labels[kept, None]).any(axis=1).sum()
        if not kept.any():
            return [np.nan] * 3
        return [hits / kept.sum(), *map(float, wilson(hits, np.array(kept.sum())))]

    def lines(self, top_k: Sequence[int] = ()) -> Iterator[str]:
        """The results as text."""
        count = {
            verdict: sum(one.verdict == verdict for one in self._reviews)
            for verdict in (WRONG, AMBIGUOUS, OK)
        }
        yield (
            f"reviewed: {count[WRONG]} with a wrong label, {int(self.corrected.sum())} of them "
            f"with the right class; {count[AMBIGUOUS]} ambiguous"
            + (f"; {count[OK]} right" if count[OK] else "")
            + (f"; {self.missing} are not among these images" if self.missing else "")
        )
        titles = {
            "without them": ~self.marked,
            "with the right classes, without the others": ~self.marked | self.corrected,
        }
        for title, kept in titles.items():
            shares = [
                "rank-{} {:.2f} % ({:.2f} to {:.2f})".format(
                    name[4:], *(100 * value for value in self.accuracy(kept, int(name[4:])))
                )
                for name in shown_ranks(self.predictions.classes, top_k)
            ]
            yield f"{title}: {'  '.join(shares)}  {int(kept.sum()):,} images"


_SEVERAL = -2


def _places(keys: np.ndarray) -> Dict[int, int]:
    """The place of each key, int64 (n,); _SEVERAL for one that occurs more than once."""
    found: Dict[int, int] = {}
    for place, key in enumerate(keys.tolist()):
        found[key] = _SEVERAL if key in found else place
    return found

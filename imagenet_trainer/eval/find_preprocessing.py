"""`evaluate --find-preprocessing`: which preprocessing a network was trained with.

Some images, evenly spaced in the dataset, are classified with the usual settings. The search is
staged, because the product of all settings would take hundreds of passes: first the order and the
scale of the colours, which matter most, then with the best of these the size, then the filter of
the resize. All settings see the same images, so they are compared by McNemar's exact paired test.
"""

from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.config.values import INTERPOLATIONS
from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.errors import InputError, NonFiniteError
from imagenet_trainer.eval.evaluator import open_validation_set, truth_of
from imagenet_trainer.eval.network import (
    Log,
    as_flags,
    check_softmax,
    devices_of,
    engine_for,
    own_parameters,
    read_network,
    set_checkpoint,
)
from imagenet_trainer.eval.sample import Sample
from imagenet_trainer.metrics.confidence import mcnemar, wilson
from imagenet_trainer.metrics.counts import log_loss, ranks
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.run import Run

RAW = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
# Mean and standard deviation of red, green, blue; what they do to the values 0 to 255.
SCALES: Dict[str, Tuple[Tuple[float, ...], Tuple[float, ...]]] = {
    "0 to 255": RAW,
    "0 to 255, mean subtracted": ((123.68, 116.779, 103.939), RAW[1]),
    "0 to 1, mean and deviation": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "-1 to 1": ((127.5,) * 3, (127.5,) * 3),
    "0 to 1": (RAW[0], (255.0,) * 3),
}
_SIDES = (224, 240, 256, 288, 299, 320, 384)  # of crops, for networks that take several
_LEAST_SIDE = 160  # of a crop for which other sides are tried
_MARGINS = (256 / 224, 1.0, 1 / 0.95)  # short side of the resized image, in sides of the crop
_LEVEL = 0.05


@dataclass(frozen=True)
class Trial:
    """A preprocessing, and what it gave for each image."""

    how: Preprocessing
    hits: np.ndarray  # bool (n,)
    loss: float  # mean over the images; infinite where a probability is undefined

    def worse(self, best: "Trial", trials: int) -> float:
        """P-value of the difference to the best of so many trials, times their number."""
        only_best = int((best.hits & ~self.hits).sum())
        only_this = int((self.hits & ~best.hits).sum())
        p = float(mcnemar(np.array(only_best), np.array(only_this)))
        return min(1.0, p * max(1, trials - 1))


class Search:
    """Tries preprocessings of one checkpoint on some images of a dataset."""

    def __init__(self, settings: EvaluateSettings, run: Run, epoch: int, log: Log) -> None:
        self.known = run.preprocessing(epoch)
        # Any mean: it is replaced.
        wanted = settings
        if self.known is None and settings.rgb_mean is None:
            wanted = replace(settings, rgb_mean=RAW[0])
        self._symbol, self._checkpoint = read_network(run, epoch, wanted)
        check_softmax(self._symbol, "--find-preprocessing", run)
        self.start, self._run = self._checkpoint.known_preprocessing, run
        self._check(self.start)
        self._batch = settings.batch_size
        self._devices = devices_of(settings, few=True)
        self.dataset, _ = open_validation_set(settings, run, self._checkpoint)
        if self.dataset.note:
            log(self.dataset.note)
        self._truth, _ = truth_of(settings, self.dataset, log)
        self.sample = Sample(self.dataset, settings.find_images)
        if not self.images:
            raise InputError(
                f"--find-images {len(self.sample)}: none of these images has a right class; give "
                "more, or other --labels"
            )
        self._tried: Dict[Preprocessing, Trial] = {}

    @property
    def images(self) -> int:
        """How many images of the sample count: those with a right class."""
        right = self._truth.right
        if right is None:
            return len(self.sample)
        return int(np.count_nonzero(right[self.sample.positions].getnnz(axis=1)))

    @property
    def chance(self) -> float:
        """Accuracy of a random choice."""
        return 1 / self._truth.competing(len(self.dataset.classes))

    def accepts(self, how: Preprocessing) -> bool:
        """Whether the network takes images of this shape, and its crop fits."""
        try:
            self._check(how)
        except InputError:
            return False
        return True

    def _check(self, how: Preprocessing) -> None:
        """InputError if the parameters or the crop do not fit images of this shape."""
        own_parameters(self._symbol, self._run, replace(self._checkpoint, preprocessing=how))
        EvalTransform(how.image_shape, how.val_resize)

    def trial(self, how: Preprocessing) -> Trial:
        """Classify the images with a preprocessing."""
        if how not in self._tried:
            self._tried[how] = self._classified(how)
        return self._tried[how]

    def _classified(self, how: Preprocessing) -> Trial:
        images = self.sample.images(how)
        checkpoint = replace(self._checkpoint, preprocessing=how)
        batch = min(self._batch, len(images))
        engine = engine_for(self._symbol, checkpoint, self._devices, batch)
        set_checkpoint(engine, self._symbol, self._run, checkpoint)
        try:
            judged = self.sample.judged(engine, images, self._truth)
        except NonFiniteError:
            return Trial(how, np.zeros(self.images, bool), np.inf)
        hits = ranks(judged.probabilities, judged.labels) < 1
        return Trial(how, hits, float(log_loss(judged.probabilities, judged.labels).mean()))


def colours(start: Preprocessing) -> Iterator[Preprocessing]:
    """The usual orders and scales of colours, after those of `start`."""
    scales = [(start.rgb_mean, start.rgb_std), *SCALES.values()]
    for bgr in (start.bgr, not start.bgr):
        for mean, std in scales:
            yield replace(start, bgr=bgr, rgb_mean=mean, rgb_std=std)


def sizes(start: Preprocessing) -> Iterator[Preprocessing]:
    """The usual sizes of crop and image, after those of `start`."""
    yield start
    _, high, wide = start.image_shape
    longest = max(high, wide)
    same = EvalTransform(start.image_shape, start.val_resize).short_side  # also where it is 0
    for short_side in (round(longest * margin) for margin in _MARGINS):
        if short_side != same:
            yield replace(start, val_resize=short_side)
    if high == wide >= _LEAST_SIDE:
        for side in _SIDES:
            if side != high:
                resized = round(side * _MARGINS[0])
                yield replace(start, image_shape=(3, side, side), val_resize=resized)


def filters(start: Preprocessing) -> Iterator[Preprocessing]:
    """All filters, that of `start` first."""
    yield start
    yield from (replace(start, val_interp=name) for name in INTERPOLATIONS)


def find_preprocessing(
    settings: EvaluateSettings, run: Run, epoch: int, log: Log
) -> Optional[Preprocessing]:
    """Print the accuracy of the usual settings, and which fits; None if none does.

    A setting replaces that of the checkpoint only where it is better beyond chance.
    """
    search = Search(settings, run, epoch, log)
    images = search.images
    print(f"{images} of {len(search.dataset)} images, rank-1 by chance {100 * search.chance:.2f} %")
    found, others = search.start, []  # type: Preprocessing, List[Trial]
    for stage in (colours, sizes, filters):
        tried = [search.trial(how) for how in dict.fromkeys(stage(found)) if search.accepts(how)]
        tried.sort(key=lambda one: (-one.hits.sum(), one.loss))
        best, equal = tried[0], _indistinct(tried)
        names = _differing([one.how for one in tried])
        print("\n".join(_table(tried, names)), flush=True)
        if wilson(best.hits.sum(), np.array(images))[0] <= search.chance:
            print(
                "none fits: no setting is above chance; the classes may be in another order "
                "(--classes FILE), or the parameters those of another network"
            )
            return None
        # An unknown start has no claim on the first place.
        has_claim = search.known is not None or stage is not colours
        keeps = has_claim and found in [one.how for one in equal]
        found = found if keeps else best.how
        others += [one for one in equal if one.how != found]
    print(f"fits: {_flags(found, search.start)}")
    if others:
        print(
            f"not told apart from it by {images} images: "
            + "; ".join(_difference(one.how, found) for one in others)
            + "; more --find-images tell more"
        )
    if found == search.known:
        print("these are the settings of the checkpoint: no other one is better beyond chance")
    return found


def _flags(how: Preprocessing, start: Preprocessing) -> str:
    """The flags for a preprocessing; those at a default only where they replace another value."""
    usual = Preprocessing(how.image_shape, how.rgb_mean, how.rgb_std, how.val_resize)
    values, defaults, before = vars(how), vars(usual), vars(start)
    optional = [name for name in ("bgr", "val_interp") if values[name] == defaults[name]]
    return as_flags(
        how, [name for name in values if name not in optional or values[name] != before[name]]
    )


def _indistinct(tried: Sequence[Trial]) -> List[Trial]:
    """The best trial, and those that are not worse beyond chance."""
    best = tried[0]
    return [one for one in tried if one is best or one.worse(best, len(tried)) >= _LEVEL]


def _differing(all_: Sequence[Preprocessing]) -> List[str]:
    """The fields in which some settings differ."""
    return [name for name in vars(all_[0]) if len({getattr(one, name) for one in all_}) > 1]


def _difference(how: Preprocessing, other: Preprocessing) -> str:
    names = [name for name in vars(how) if getattr(how, name) != getattr(other, name)]
    return as_flags(how, names)


def _table(tried: Sequence[Trial], names: Sequence[str]) -> Iterator[str]:
    """A line for each trial: what differs, rank-1 with its interval, loss, difference to the best.

    `names` are the fields to show.
    """
    titles = [as_flags(one.how, names) for one in tried]
    width = max(map(len, titles))
    yield f"{'':<{width}}    rank-1   95 % interval      loss  worse than the best"
    for title, one in zip(titles, tried):
        hits, images = int(one.hits.sum()), len(one.hits)
        low, high = wilson(np.array(hits), np.array(images))
        p = one.worse(tried[0], len(tried))
        verdict = "" if one is tried[0] else f"p {p:.2g}" if p < _LEVEL else "not told apart"
        yield (
            f"{title:<{width}}  {100 * hits / images:6.2f} %  {100 * low:6.2f} to "
            f"{100 * high:6.2f} %  {one.loss:8.4f}  {verdict}"
        ).rstrip()

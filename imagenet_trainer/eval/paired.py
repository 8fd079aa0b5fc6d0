"""Compares two networks on the same images: accuracy, significance, classes."""

import hashlib
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings, flags
from imagenet_trainer.config.scoring import ViewSettings
from imagenet_trainer.config.values import epoch_number
from imagenet_trainer.data.dataset import Classes
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.evaluator import EpochResult
from imagenet_trainer.metrics.confidence import (
    false_discovery_limit,
    mcnemar,
    median_interval,
    paired_difference,
)
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.trained import open_run

PRINTED = 10
"""Better classes, and worse classes, that are printed."""

_LONGEST = 40  # letters of flags in the name of a file
Side = Tuple[Run, EpochResult]


class Candidate(NamedTuple):
    """A value of --compare."""

    run: Run
    epoch: Optional[int]  # None for the newest
    own: ViewSettings  # its own flags, such as preprocessing
    text: str = ""  # these flags as they were given


def parse_checkpoints(values: Sequence[str], default: Callable[[], Run]) -> List[Candidate]:
    """The runs, epochs and flags in the values of --compare.

    A value is an epoch of the default run (a number or `best`), a PREFIX, or PREFIX,EPOCH. Flags
    for it alone may follow: `"PREFIX,5 --bgr 1 --rgb-mean 0,0,0"`.
    """
    sides = []
    for value in values:
        checkpoint, dashes, flags_ = value.partition(" --")
        prefix, comma, epoch = checkpoint.strip().rpartition(",")
        if not comma:
            prefix, epoch = ("", epoch) if _is_epoch(epoch) else (epoch, "")
        if epoch and not _is_epoch(epoch):
            raise InputError(
                f"--compare {value}: {epoch!r} is not an epoch; give an epoch, PREFIX or "
                "PREFIX,EPOCH"
            )
        with attributed_to(f"--compare {value}"):
            try:
                words = shlex.split(dashes + flags_)
            except ValueError as error:
                raise InputError(str(error)) from error
            own = flags.parse_or_raise(ViewSettings, words)
        run = open_run(prefix) if prefix else default()
        number = epoch_number(epoch) if epoch else None
        sides.append(Candidate(run, number, own, flags_.strip()))
    return sides


def own_settings(settings: EvaluateSettings, own: ViewSettings) -> EvaluateSettings:
    """The settings of the command with those of one network."""
    given = [one.name for one in fields(own) if flags.is_set(own, one.name)]
    return replace(settings, **{name: getattr(own, name) for name in given})


def _is_epoch(value: str) -> bool:
    return value == "best" or value.isdecimal()


def with_classes_of(one: EpochResult, classes: Classes) -> EpochResult:
    """A result whose labels are those of other classes, if the ids are the same; else unchanged."""
    position = {id_: label for label, (id_, _) in enumerate(classes)}
    label_of = [position.get(id_, -1) for id_, _ in one.classes]
    if sorted(label_of) != list(range(len(label_of))) or label_of == sorted(label_of):
        return one
    new, before = np.array(label_of), one.predictions
    moved = replace(before, labels=new[before.labels], top=new[before.top])
    precision = None if one.precision is None else one.precision[np.argsort(new)]
    return one._replace(predictions=moved, classes=classes, precision=precision)


def different_labels(one: EpochResult, other: EpochResult) -> str:
    """Why a picture or a page cannot have the images of both networks; "" if it can."""
    same = one.predictions.classes == other.predictions.classes
    if same and np.array_equal(one.predictions.labels, other.predictions.labels):
        return ""
    if one.has_several:
        return (
            "some images have several right classes, and each network has its most probable one as "
            "the label"
        )
    return _OTHER_NAMES


_OTHER_NAMES = (
    "the two networks name their classes differently; name those of one with --classes, in quotes "
    "after its PREFIX"
)


def paired_comparison(first: Side, second: Side) -> Dict[str, Any]:
    """The content of comparison-....json. InputError unless both have the same images."""
    (run_a, a), (run_b, b) = first, second
    one, other = a.predictions, b.predictions
    # The label of an image with several right classes is the most probable of them.
    same = a.has_several or _same_classes(one.labels, other.labels)
    if not (np.array_equal(one.keys, other.keys) and same):
        raise InputError(
            f"--compare: {run_a.prefix} and {run_b.prefix} were evaluated on different images; "
            "choose a shard for both with --data-val"
        )
    if (a.precision is None) != (b.precision is None):
        raise InputError(
            "--compare: only one of the networks is for images with several classes; count all "
            "labels of a record for both with --multi-label"
        )
    correct_a, correct_b = one.rank < 1, other.rank < 1
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    images = len(one)
    result: Dict[str, Any] = {
        "a": {"prefix": run_a.prefix, "epoch": a.epoch, "set": a.name},
        "b": {"prefix": run_b.prefix, "epoch": b.epoch, "set": b.name},
        "images": images,
        "both_right": int((correct_a & correct_b).sum()),
        "only_a_right": only_a,
        "only_b_right": only_b,
        "rank1": [a.metrics["rank1"], b.metrics["rank1"]],
        "difference": (only_b - only_a) / max(images, 1),
        "interval": list(paired_difference(only_a, only_b, images)),
        "mcnemar_p": float(mcnemar(np.array(only_a), np.array(only_b))),
    }
    rows = result["classes"] = []
    if a.precision is None or b.precision is None:
        rows = result["classes"] = class_changes(one, other, a.classes)
    else:  # a label is only one of the right classes, so hits say nothing of its class
        if [id_ for id_, _ in a.classes] != [id_ for id_, _ in b.classes]:
            raise InputError(f"--compare: {_OTHER_NAMES}")
        result["average_precision"] = precision_changes(a.precision, b.precision, a.classes)
    limit = false_discovery_limit(np.array([row["p"] for row in rows]))
    for row in rows:
        row["sure"] = row["p"] <= limit
    return result


def _same_classes(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether labels int64 (n,) and (n,) divide images alike; networks may number classes apart."""
    if len(one) != len(other):
        return False
    pairs = np.unique(np.stack([one, other]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


def class_changes(
    one: Predictions, other: Predictions, classes: Sequence[Tuple[str, str]]
) -> List[Dict[str, Any]]:
    """Each class with images: hits of both networks and McNemar's p; the largest gain first."""

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(one.labels[chosen], minlength=one.classes)

    correct_a, correct_b = one.rank < 1, other.rank < 1
    images = np.bincount(one.labels, minlength=one.classes)
    hits_a, hits_b = count(correct_a), count(correct_b)
    p = mcnemar(count(correct_a & ~correct_b), count(correct_b & ~correct_a))
    with np.errstate(invalid="ignore"):
        gained = (hits_b - hits_a) / images
    order = [label for label in np.argsort(-gained, kind="stable") if images[label]]
    return [
        {
            "class": int(label), "id": classes[label][0], "name": classes[label][1],
            "pictures": int(images[label]), "right_a": int(hits_a[label]),
            "right_b": int(hits_b[label]), "p": float(p[label]),
        }
        for label in order
    ]  # fmt: skip


def precision_changes(one: np.ndarray, other: np.ndarray, classes: Classes) -> Dict[str, Any]:
    """The average precision of two networks, float64 (classes,), nan for classes without images.

    The networks are paired by class: the median of the differences has Thompson's interval, and
    McNemar's test of the classes that are better and worse is the sign test.
    """
    known = np.flatnonzero(np.isfinite(one) & np.isfinite(other))
    gained = other[known] - one[known]
    better, worse = int((gained > 0).sum()), int((gained < 0).sum())
    return {
        "mean": [float(side[known].mean()) for side in (one, other)],
        "better": better,
        "worse": worse,
        "sign_test_p": float(mcnemar(np.array(worse), np.array(better))),
        "median_difference": float(np.median(gained)),
        "interval": [None if np.isnan(bound) else bound for bound in median_interval(gained)],
        "classes": [
            {"class": int(label), "id": classes[label][0], "name": classes[label][1],
             "a": float(one[label]), "b": float(other[label])}
            for label in known[np.argsort(-gained, kind="stable")]
        ],
    }  # fmt: skip


def comparison_path(result: Dict[str, Any], run: Run, own_flags: str = "") -> Path:
    """The path of a comparison, in the folder of the first run.

    `own_flags` are those of the second network alone; the set of the first one tells its own.
    """
    a, b = result["a"], result["b"]
    other = [_as_name(b["prefix"])] if a["prefix"] != b["prefix"] else []
    flags_ = _as_name(own_flags)
    if len(flags_) > _LONGEST:
        flags_ = f"{flags_[:_LONGEST]}-{hashlib.sha256(own_flags.encode()).hexdigest()[:6]}"
    other += [f"{b['epoch']:04d}", flags_, a["set"]]
    return run.comparison_path(a["epoch"], "-".join(filter(None, other)))


def _as_name(text: str) -> str:
    """A text as part of the name of a file."""
    return re.sub(r"[^\w.]+", "_", text).strip("_")


def comparison_text(result: Dict[str, Any]) -> str:
    """A comparison as text."""
    low, high = (100 * bound for bound in result["interval"])
    lines = [
        f"rank-1: {100 * result['difference']:+.2f} points, 95 % interval {low:+.2f} to "
        f"{high:+.2f}",
        f"only the first is correct: {result['only_a_right']}, only the second: "
        f"{result['only_b_right']}; McNemar's exact p {result['mcnemar_p']:.2g}: "
        + _verdict(result["mcnemar_p"]),
    ]
    found = result.get("average_precision")
    return "\n".join([*lines, *(_precision_lines(found) if found else _class_lines(result))])


def _verdict(p: float) -> str:
    return "significant" if p < 0.05 else "not significant"


def _precision_lines(found: Dict[str, Any]) -> Iterator[str]:
    """The mean average precision of two networks, and the classes that changed."""
    one, other = (100 * mean for mean in found["mean"])
    low, high = found["interval"]
    interval = "" if low is None else f", 95 % interval {100 * low:+.2f} to {100 * high:+.2f}"
    yield f"mean average precision: {one:.2f} % -> {other:.2f} %, {other - one:+.2f} points"
    yield (
        f"classes: {found['better']} better, {found['worse']} worse, median "
        f"{100 * found['median_difference']:+.2f} points{interval}; sign test's exact p "
        f"{found['sign_test_p']:.2g}: {_verdict(found['sign_test_p'])}"
    )
    texts = [
        (row["b"] - row["a"],
         f"{_title(row)}: average precision {100 * row['a']:.2f} % -> {100 * row['b']:.2f} %")
        for row in found["classes"]
    ]  # fmt: skip
    yield from _group("better", [text for gain, text in texts if gain > 0])
    yield from _group("worse", [text for gain, text in texts[::-1] if gain < 0])


def _class_lines(result: Dict[str, Any]) -> Iterator[str]:
    """The classes of which the second network classifies more or fewer images correctly."""
    rows = result["classes"]
    better = [row for row in rows if row["right_b"] > row["right_a"]]
    worse = [row for row in rows[::-1] if row["right_b"] < row["right_a"]]
    significant = [sum(row["sure"] for row in group) for group in (better, worse)]
    yield (
        f"classes: {len(better)} better, {len(worse)} worse, "
        f"{len(rows) - len(better) - len(worse)} equal; significant (false discovery rate 5 %): "
        f"{significant[0]} better, {significant[1]} worse"
    )
    for heading, group in (("better", better), ("worse", worse)):
        yield from _group(heading, [
            f"{_title(row)}: {row['right_a']} -> {row['right_b']} of {row['pictures']}, p "
            f"{row['p']:.2g}{' *' * row['sure']}"
            for row in group
        ])  # fmt: skip


def _group(heading: str, texts: Sequence[str]) -> Iterator[str]:
    """A heading and the first lines below it; nothing without lines."""
    if texts:
        yield f"{heading}:"
        yield from (f"  {text}" for text in texts[:PRINTED])
    if len(texts) > PRINTED:
        yield f"  ... and {len(texts) - PRINTED} more"


def _title(row: Dict[str, Any]) -> str:
    return row["id"] if row["id"] == row["name"] else f"{row['id']} {row['name']}"

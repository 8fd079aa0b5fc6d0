"""Two networks on the same images: is one better, how sure is that, and in which classes."""

import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config.values import epoch_number
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.evaluator import EpochResult
from imagenet_trainer.metrics.confidence import false_discovery_limit, mcnemar, paired_difference
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.runs.run import Run

TOLD = 10
"""Classes that got better, and that got worse, that are printed."""

Side = Tuple[Run, EpochResult]


def opponents(words: Sequence[str], default: Callable[[], Run]) -> List[Tuple[Run, Optional[int]]]:
    """The runs and epochs that --compare names; no epoch means the newest.

    A word is an epoch of the default run, a run's PREFIX, or PREFIX,EPOCH; `best` is an epoch.
    """
    sides: List[Tuple[Run, Optional[int]]] = []
    for word in words:
        prefix, comma, epoch = word.rpartition(",")
        if not comma:
            prefix, epoch = ("", word) if _is_epoch(word) else (word, "")
        if epoch and not _is_epoch(epoch):
            raise InputError(
                f"--compare {word}: {epoch!r} is no epoch; give an epoch, PREFIX or PREFIX,EPOCH"
            )
        sides.append((Run(prefix) if prefix else default(), epoch_number(epoch) if epoch else None))
    return sides


def _is_epoch(word: str) -> bool:
    return word == "best" or word.isdigit()


def compared(first: Side, second: Side) -> Dict[str, Any]:
    """What comparison-....json holds. InputError unless both answered the same images."""
    (run_a, a), (run_b, b) = first, second
    one, other = a.predictions, b.predictions
    if not (np.array_equal(one.keys, other.keys) and np.array_equal(one.labels, other.labels)):
        raise InputError(
            f"--compare: {run_a.prefix} and {run_b.prefix} answered different images; name some "
            "for both with --data-val"
        )
    right_a, right_b = one.rank < 1, other.rank < 1
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    images = len(one)
    result: Dict[str, Any] = {
        "a": {"prefix": run_a.prefix, "epoch": a.epoch, "set": a.name},
        "b": {"prefix": run_b.prefix, "epoch": b.epoch, "set": b.name},
        "images": images,
        "both_right": int((right_a & right_b).sum()),
        "only_a_right": only_a,
        "only_b_right": only_b,
        "rank1": [a.metrics["rank1"], b.metrics["rank1"]],
        "difference": (only_b - only_a) / max(images, 1),
        "interval": list(paired_difference(only_a, only_b, images)),
        "mcnemar_p": float(mcnemar(np.array(only_a), np.array(only_b))),
        "classes": class_changes(one, other, a.classes),
    }
    limit = false_discovery_limit(np.array([row["p"] for row in result["classes"]]))
    for row in result["classes"]:
        row["sure"] = row["p"] <= limit
    return result


def class_changes(
    one: Predictions, other: Predictions, classes: Sequence[Tuple[str, str]]
) -> List[Dict[str, Any]]:
    """Each class with images: right predictions of both, and McNemar's p; the most gained first."""

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(one.labels[chosen], minlength=one.classes)

    right_a, right_b = one.rank < 1, other.rank < 1
    images = np.bincount(one.labels, minlength=one.classes)
    hits_a, hits_b = count(right_a), count(right_b)
    p = mcnemar(count(right_a & ~right_b), count(right_b & ~right_a))
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


def paths_of(result: Dict[str, Any], run: Run) -> Path:
    """Where a comparison is kept: in the first one's folder."""
    a, b = result["a"], result["b"]
    other = f"{b['epoch']:04d}"
    if a["prefix"] != b["prefix"]:
        other = re.sub(r"[^\w.]+", "_", b["prefix"]).strip("_") + "-" + other
    return run.comparison_path(a["epoch"], other + (a["set"] and "-" + a["set"]))


def told(result: Dict[str, Any]) -> str:
    """The comparison for people."""
    low, high = (100 * bound for bound in result["interval"])
    rows = result["classes"]
    better = [row for row in rows if row["right_b"] > row["right_a"]]
    worse = [row for row in rows[::-1] if row["right_b"] < row["right_a"]]
    sure = [sum(row["sure"] for row in group) for group in (better, worse)]
    lines = [
        f"rank-1: {100 * result['difference']:+.2f} points, 95 % interval {low:+.2f} to "
        f"{high:+.2f}",
        f"only the first is right: {result['only_a_right']}, only the second: "
        f"{result['only_b_right']}; McNemar's exact p {result['mcnemar_p']:.2g}: "
        + ("a difference" if result["mcnemar_p"] < 0.05 else "may be chance"),
        f"classes: {len(better)} better, {len(worse)} worse, "
        f"{len(rows) - len(better) - len(worse)} the same; more than chance (false discovery rate "
        f"5 %): {sure[0]} better, {sure[1]} worse",
    ]
    for title, group in (("better", better), ("worse", worse)):
        if group:
            lines.append(f"{title}:")
            lines += [_class_line(row) for row in group[:TOLD]]
            if len(group) > TOLD:
                lines.append(f"  ... and {len(group) - TOLD} more")
    return "\n".join(lines)


def _class_line(row: Dict[str, Any]) -> str:
    title = row["id"] if row["id"] == row["name"] else f"{row['id']} {row['name']}"
    return (
        f"  {title}: {row['right_a']} -> {row['right_b']} of {row['pictures']}, p {row['p']:.2g}"
        + (" *" if row["sure"] else "")
    )

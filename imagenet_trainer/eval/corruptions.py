"""`evaluate --corruptions`: accuracy on corrupted images, and the mean corruption error."""

from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.classes import IMAGENET_CLASSES, Classes, default_classes
from imagenet_trainer.data.corruptions import (
    ALEXNET_ERRORS,
    KINDS,
    LEAST_SIDE,
    STRENGTHS,
    check_library,
    corrupted,
)
from imagenet_trainer.data.views import Views
from imagenet_trainer.engines import Engine
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.evaluator import open_validation_set, truth_of
from imagenet_trainer.eval.network import Log, check_softmax, devices_of, open_network
from imagenet_trainer.eval.results import EvaluationInput, describe
from imagenet_trainer.eval.sample import Sample
from imagenet_trainer.eval.truth import Truth
from imagenet_trainer.metrics.confidence import resampled_mean
from imagenet_trainer.metrics.counts import ranks
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_csv
from imagenet_trainer.system.progress_bar import progress

Hits = Dict[Tuple[str, int], np.ndarray]  # bool (n,) for each kind and strength


def evaluate_corruptions(
    settings: EvaluateSettings, run: Run, epoch: int, log: Log
) -> Tuple[np.ndarray, Hits, str]:
    """Classify some images unchanged and in all corruptions; print a table.

    Also returns what is evaluated, for the name of the file: '' for the run's own images, prepared
    and counted as in its training.
    """
    with attributed_to("--corruptions"):
        check_library()
    engine, symbol, checkpoint = open_network(
        run, epoch, devices_of(settings), settings.batch_size, settings, log
    )
    check_softmax(symbol, "--corruptions", run)
    how = checkpoint.known_preprocessing
    if min(how.image_shape[1:]) < LEAST_SIDE:
        raise InputError(
            f"--corruptions: are defined for images of {LEAST_SIDE} pixels or more, and the "
            f"network takes {how.image_shape[1]} x {how.image_shape[2]}"
        )
    dataset, _ = open_validation_set(settings, run, checkpoint)
    if dataset.note:
        log(dataset.note)
    truth, scoring = truth_of(settings, dataset, log)
    used = EvaluationInput(dataset, how, Views(), scoring)
    usual = EvaluationInput(dataset, run.preprocessing(epoch) or how, Views())
    sample = Sample(dataset, settings.corruption_images or len(dataset))
    images = sample.images(how)
    clean = _hits(engine, images, sample, truth)
    if not len(clean):
        raise InputError(
            f"--corruption-images {len(sample)}: none of these images has a right class; give "
            "more, or other --labels"
        )
    hits: Hits = {}
    with progress("corruptions", len(KINDS) * len(STRENGTHS) * len(sample)) as advance:
        for kind in KINDS:
            for strength in STRENGTHS:
                changed = np.empty_like(images)
                for number, key in enumerate(sample.keys.tolist()):
                    changed[number] = corrupted(images[number], kind, strength, key)
                    advance(1)
                hits[kind, strength] = _hits(engine, changed, sample, truth)
    print("\n".join(table(clean, hits, dataset.classes)))
    return clean, hits, describe(used, usual, not settings.data_val)


def write_corruptions(run: Run, epoch: int, name: str, clean: np.ndarray, hits: Hits) -> Path:
    """Write the table as CSV to the folder of the results; return its path.

    `name` is what `evaluate_corruptions` returns.
    """
    path = run.results / f"corruptions-{epoch:04d}{name and '-' + name}.csv"
    write_csv(path, ("kind", "strength", "images", "rank1"), (
        (kind, strength, len(one), f"{one.mean():.6f}")
        for (kind, strength), one in {("none", 0): clean, **hits}.items()
    ))  # fmt: skip
    print(f"written: {path}")
    return path


def _hits(engine: Engine, images: np.ndarray, sample: Sample, truth: Truth) -> np.ndarray:
    """Which images are classified correctly, bool (n,); of those that count."""
    judged = sample.judged(engine, images, truth)
    return ranks(judged.probabilities, judged.labels) < 1


def table(clean: np.ndarray, hits: Hits, classes: Classes) -> Iterator[str]:
    """Rank-1 by kind and strength, and the corruption errors where AlexNet's are known."""
    imagenet = [one for one, _ in default_classes(IMAGENET_CLASSES)]
    relative = [one for one, _ in classes] == imagenet
    title = "".join(f"{strength:>8}" for strength in STRENGTHS)
    yield f"{'rank-1 in %':<18}{title}{'mean':>8}" + (f"{'CE':>8}" if relative else "")
    yield f"{'without':<18}{'':40}{100 * clean.mean():8.2f}"
    errors = np.stack(
        [1 - np.mean([hits[kind, strength] for strength in STRENGTHS], axis=0) for kind in KINDS]
    )  # kinds, images
    for kind, error in zip(KINDS, errors):
        shares = "".join(f"{100 * hits[kind, strength].mean():8.2f}" for strength in STRENGTHS)
        ratio = f"{100 * error.mean() / ALEXNET_ERRORS[kind]:8.1f}" if relative else ""
        yield f"{kind:<18}{shares}{100 * (1 - error.mean()):8.2f}{ratio}"
    low, high = interval(1 - errors)
    yield (
        f"mean rank-1: {100 * (1 - errors.mean()):.2f} %, 95 % interval {100 * low:.2f} to "
        f"{100 * high:.2f} %, {len(clean)} images"
    )
    if relative:
        weights = 1 / np.array(list(ALEXNET_ERRORS.values()))
        low, high = interval(errors, weights)
        value = 100 * (errors.mean(axis=1) * weights).mean()
        yield (
            f"mean corruption error: {value:.1f}, 95 % interval {100 * low:.1f} to {100 * high:.1f}"
        )


def interval(values: np.ndarray, weights: Optional[np.ndarray] = None) -> Tuple[float, float]:
    """Bootstrap interval, over the images, of the mean of values (kinds, images) with weights."""
    weights = np.ones(len(values)) if weights is None else weights
    return resampled_mean((values * weights[:, None]).mean(axis=0))

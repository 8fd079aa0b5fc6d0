"""`evaluate --corruptions`: accuracy in the 15 corruptions of ImageNet-C, in five strengths.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", arXiv:1903.12261, as in the maintained version of the authors' code,
`imagecorruptions-imaug`. That draws from NumPy's global generator, so this is for one thread.
"""

import hashlib
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.classes import IMAGENET_CLASSES, Classes, default_classes
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
from imagenet_trainer.system.wheels import pip_install

Hits = Dict[Tuple[str, int], np.ndarray]  # bool (n,) for each kind and strength


# Kinds in the paper's order, with AlexNet's error on each, the mean over the strengths.
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640,
    "defocus_blur": 0.819880, "glass_blur": 0.826268, "motion_blur": 0.785948,
    "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572, "fog": 0.819324,
    "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056,
    "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip
KINDS = tuple(ALEXNET_ERRORS)
STRENGTHS = (1, 2, 3, 4, 5)
LEAST_SIDE = 32  # pixels
_OWN_SEED = ("impulse_noise", "glass_blur")  # do not draw from NumPy's global generator


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


# --- the corruptions ---------------------------------------------------------------------------


def check_library() -> None:
    """InputError unless the library is installed."""
    try:
        import imagecorruptions
    except ImportError as error:
        raise InputError(
            f"needs {error.name}; {pip_install('corruptions')} && "
            "pip install --no-deps 'imagecorruptions-imaug>=1.1.5,<2'"
        ) from error
    del imagecorruptions


def corrupted(image: np.ndarray, kind: str, strength: int, key: int) -> np.ndarray:
    """A corrupted image, uint8 (height, width, 3) RGB like the image.

    The random choices follow from the `key` of the image, the kind and the strength alone. Takes
    sides of LEAST_SIDE pixels or more.
    """
    from imagecorruptions import corrupt

    # The 0 stands for a seed that nobody chose; without it stored results would not be repeated.
    digest = hashlib.sha256(f"0 {key} {kind} {strength}".encode()).digest()
    own = int.from_bytes(digest[:4], "little")
    seeded = {"seed": own} if kind in _OWN_SEED else {}
    before = np.random.get_state()  # noqa: NPY002 (what the library draws from)
    try:
        np.random.seed(own)  # noqa: NPY002
        return corrupt(image, severity=strength, corruption_name=kind, **seeded)
    finally:
        np.random.set_state(before)  # noqa: NPY002

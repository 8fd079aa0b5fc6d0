"""The 15 corruptions of ImageNet-C in five strengths.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", arXiv:1903.12261, as in the maintained version of the authors' code,
`imagecorruptions-imaug`. That draws from NumPy's global generator, so this is for one thread.
"""

import hashlib

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.wheels import pip_install

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

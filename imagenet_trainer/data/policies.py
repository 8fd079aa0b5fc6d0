"""Augmentation policies: random operations on an image after its crop and its mirror.

`trivial`: TrivialAugment, Wide (Mueller and Hutter 2021, arXiv:2103.10158): one operation, of a
random magnitude. `rand`: RandAugment (Cubuk et al. 2019, arXiv:1909.13719): two operations, of a
fixed magnitude. Operations and magnitudes are torchvision's. `three`: the grey image, the solarised
one or a blurred one, of 3-Augment (Touvron et al. 2022, "DeiT III", arXiv:2204.07118).

The choices for a batch are drawn at once, as pure functions of (seed, epoch, image); OpenCV
executes them on uint8 RGB images (height, width, 3), in place. Pixels from outside an image have
the value `fill`.
"""

from typing import Any, Callable, Dict, List, Tuple, Union

import cv2
import numpy as np

from imagenet_trainer.data import philox
from imagenet_trainer.data.images.opencv import call, warp

# A name in OPERATIONS, and its magnitude; of a plug-in, a function and its random numbers.
Operation = Tuple[Union[str, Callable[[np.ndarray, Any, int], None]], Any]

POLICIES = ("trivial", "rand", "three")
# First block of draws, far above those of the other augmentation and of mixup.
_BLOCK = 1 << 17
_BINS = 31  # magnitudes of an operation; --rand-augment-magnitude counts them from 0
_LUMA = np.array([19595, 38470, 7471]) / 65536  # ITU-R BT.601, as Pillow rounds it
_IDENTITY = np.arange(256, dtype=np.float64)


# --- the operations ------------------------------------------------------------------------------


def _warp(image: np.ndarray, matrix: Any, fill: int) -> None:
    """Set each pixel to that at matrix (2, 3) times (x, y, 1), bilinearly."""
    warp(image.copy(), np.asarray(matrix, np.float64), image, fill)


def _shear_x(image: np.ndarray, slope: float, fill: int) -> None:
    _warp(image, [[1, slope, 0], [0, 1, 0]], fill)


def _shear_y(image: np.ndarray, slope: float, fill: int) -> None:
    _warp(image, [[1, 0, 0], [slope, 1, 0]], fill)


def _translate_x(image: np.ndarray, pixels: float, fill: int) -> None:
    _warp(image, [[1, 0, -int(pixels)], [0, 1, 0]], fill)


def _translate_y(image: np.ndarray, pixels: float, fill: int) -> None:
    _warp(image, [[1, 0, 0], [0, 1, -int(pixels)]], fill)


def _rotate(image: np.ndarray, degrees: float, fill: int) -> None:
    """Counter-clockwise about the centre."""
    centre = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    _warp(image, cv2.getRotationMatrix2D(centre, -degrees, 1), fill)


def _mapped(image: np.ndarray, table: np.ndarray) -> None:
    """Replace every value by table (256,) or (256, 3) of it, rounded down and clipped."""
    lut = np.clip(table, 0, 255).astype(np.uint8).reshape(1, 256, -1)
    call(cv2.LUT, image, lut, dst=image)


def _brightness(image: np.ndarray, change: float, fill: int) -> None:
    _mapped(image, _IDENTITY * (1 + change))


def _contrast(image: np.ndarray, change: float, fill: int) -> None:
    """Away from the mean of the image's grey values."""
    mean = int(np.dot(_LUMA, call(cv2.mean, image)[:3]) + 0.5)
    _mapped(image, mean + (1 + change) * (_IDENTITY - mean))


def _colour(image: np.ndarray, change: float, fill: int) -> None:
    """Away from the grey of each pixel."""
    matrix = (1 + change) * np.eye(3) - change * _LUMA
    call(cv2.transform, image, matrix, dst=image)


_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # Pillow's SMOOTH


def _sharpness(image: np.ndarray, change: float, fill: int) -> None:
    """Away from the smoothed image; the outermost pixels stay."""
    smooth = call(cv2.filter2D, image, -1, _SMOOTH)
    inner = image[1:-1, 1:-1]
    if inner.size:
        inner[:] = call(cv2.addWeighted, inner, 1 + change, smooth[1:-1, 1:-1], -change, 0)


def _posterize(image: np.ndarray, bits: float, fill: int) -> None:
    """Keep the highest bits of every value."""
    _mapped(image, np.arange(256) & ~(2 ** (8 - int(bits)) - 1))


def _solarize(image: np.ndarray, threshold: float, fill: int) -> None:
    """Invert the values from a threshold on."""
    _mapped(image, np.where(threshold > _IDENTITY, _IDENTITY, 255 - _IDENTITY))


def _histograms(image: np.ndarray) -> np.ndarray:
    """Of red, green and blue: int64 (256, 3)."""
    channels = [call(cv2.calcHist, [image], [c], None, [256], [0, 256]).ravel() for c in range(3)]
    return np.stack(channels, axis=1).astype(np.int64)


def _autocontrast(image: np.ndarray, unused: float, fill: int) -> None:
    """Stretch each channel to 0 ... 255."""
    counts = _histograms(image) > 0
    low, high = counts.argmax(axis=0), 255 - counts[::-1].argmax(axis=0)
    scale = np.where(high > low, 255 / np.maximum(high - low, 1), 1.0)
    offset = np.where(high > low, -low * scale, 0.0)
    _mapped(image, _IDENTITY[:, None] * scale + offset)


def _equalize(image: np.ndarray, unused: float, fill: int) -> None:
    """Make the histogram of each channel flat, as Pillow does."""
    counts = _histograms(image)
    last = counts[255 - (counts[::-1] > 0).argmax(axis=0), range(3)]
    step = (counts.sum(axis=0) - last) // 255
    below = np.cumsum(counts, axis=0) - counts
    flat = (step // 2 + below) // np.maximum(step, 1)
    _mapped(image, np.where(step > 0, flat, np.arange(256)[:, None]))


def _grey(image: np.ndarray, unused: float, fill: int) -> None:
    call(cv2.transform, image, np.tile(_LUMA, (3, 1)), dst=image)


def _blur(image: np.ndarray, deviation: float, fill: int) -> None:
    """A Gaussian of this standard deviation in pixels."""
    image[:] = call(cv2.GaussianBlur, image, (0, 0), deviation)


def _nothing(image: np.ndarray, unused: float, fill: int) -> None:
    """Identity."""


OPERATIONS: Dict[str, Callable[[np.ndarray, float, int], None]] = {
    "identity": _nothing, "shear x": _shear_x, "shear y": _shear_y,
    "translate x": _translate_x, "translate y": _translate_y, "rotate": _rotate,
    "brightness": _brightness, "colour": _colour, "contrast": _contrast, "sharpness": _sharpness,
    "posterize": _posterize, "solarize": _solarize, "autocontrast": _autocontrast,
    "equalize": _equalize, "grey": _grey, "blur": _blur,
}  # fmt: skip
_CHOICES = tuple(OPERATIONS)[:14]  # of TrivialAugment and RandAugment
_SIGNED = _CHOICES[1:10]


def execute(operations: Tuple[Operation, ...], image: np.ndarray, fill: int) -> None:
    """Execute operations on an image, in place; ValueError if OpenCV cannot."""
    for operation, magnitude in operations:
        execute_one = OPERATIONS[operation] if isinstance(operation, str) else operation
        execute_one(image, magnitude, fill)


# --- the choices ---------------------------------------------------------------------------------


def magnitudes(policy: str, size: Tuple[int, int]) -> Dict[str, np.ndarray]:
    """The magnitudes of each operation that has some, from none to strong: (31,) each.

    `size` is the height and width of the images, in whose shares RandAugment translates.
    """
    wide = policy == "trivial"
    shift = [32.0, 32.0] if wide else [150 / 331 * size[1], 150 / 331 * size[0]]
    slope, colour = (0.99, 0.99) if wide else (0.3, 0.9)
    largest = {
        "shear x": slope, "shear y": slope, "translate x": shift[0], "translate y": shift[1],
        "rotate": 135.0 if wide else 30.0, "brightness": colour, "colour": colour,
        "contrast": colour, "sharpness": colour,
    }  # fmt: skip
    share = np.linspace(0, 1, _BINS)
    tables = {name: value * share for name, value in largest.items()}
    tables["posterize"] = 8 - np.round((6 if wide else 4) * share)
    tables["solarize"] = 255 * (1 - share)
    return tables


class Policy:
    """Draws the operations of images.

    Parameters
    ----------
    name
        trivial, rand or three.
    magnitude
        of RandAugment, 0 to 30.
    size
        height and width of the images that the operations will get.
    seed
        of the run.

    """

    def __init__(self, name: str, magnitude: int, size: Tuple[int, int], seed: int):
        self._name, self._magnitude, self._seed = name, magnitude, seed
        self._tables = magnitudes(name, size)

    def draw(self, images: np.ndarray, epochs: np.ndarray) -> List[Tuple[Operation, ...]]:
        """The operations for images (n,) in epochs (n,), in their order."""
        draws = philox.uniform(self._seed, epochs, images, 6, _BLOCK).tolist()
        if self._name == "three":
            return [(self._of_three(*one[:2]),) for one in draws]
        if self._name == "trivial":
            return [(self._operation(one[0], one[1], int(one[2] * _BINS)),) for one in draws]
        fixed = self._magnitude
        return [
            (self._operation(one[0], one[1], fixed), self._operation(one[3], one[4], fixed))
            for one in draws
        ]

    @staticmethod
    def _of_three(choice: float, strength: float) -> Operation:
        operations = ("grey", 0.0), ("solarize", 128.0), ("blur", 0.1 + 1.9 * strength)
        return operations[int(3 * choice)]

    def _operation(self, choice: float, sign: float, bin_: int) -> Operation:
        name = _CHOICES[int(len(_CHOICES) * choice)]
        table = self._tables.get(name)
        magnitude = 0.0 if table is None else float(table[bin_])
        return name, -magnitude if name in _SIGNED and sign < 0.5 else magnitude

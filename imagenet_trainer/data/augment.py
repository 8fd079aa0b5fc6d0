"""Augmentation of training images, and the preprocessing of evaluation.

The random numbers of a training batch are drawn at once, from the counter-based generator, and
applied image by image: one geometric operation (crop and resize, or one affine warp), a mirror,
one 3 x 4 colour matrix. Evaluation resizes the short side and crops the centre. Images are uint8
RGB (height, width, 3) throughout.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, TypeVar, Union

import cv2
import numpy as np

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data import philox
from imagenet_trainer.data.erasing import draw_erased
from imagenet_trainer.data.images import opencv
from imagenet_trainer.data.philox import between
from imagenet_trainer.data.plugin_policy import PluginPolicy
from imagenet_trainer.data.policies import POLICIES, Operation, Policy
from imagenet_trainer.data.transforms import (
    BILINEAR,
    Size,
    Steps,
    Window,
    centred,
    execute,
    full_window,
    short_side_steps,
    size_of,
    unchanged,
    warp_of,
)
from imagenet_trainer.errors import ArgumentError

S = TypeVar("S", bound=AugmentSettings)

CROP_TRIES = 10
# Every setting has its own columns of the draws, so that none changes the draws of another.
_MIRROR, _LEFT, _TOP, _ANGLE, _SHEAR, _SCALE = range(6)
_BRIGHTNESS, _CONTRAST, _SATURATION, _H, _S, _L = range(6, 12)
_LIGHTING = slice(12, 16)
_AREA = slice(16, 16 + CROP_TRIES)
_ASPECT = slice(_AREA.stop, _AREA.stop + CROP_TRIES)
_SHIFT = slice(_ASPECT.stop, _ASPECT.stop + 3)
_DRAWS = _SHIFT.stop

# ITU-R BT.601: red, green, blue to YIQ. Greys have neither I nor Q.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_MID_GREY = 128.0
# Principal components of ImageNet's colours (0-255), one in a column, and their deviations
# (Krizhevsky et al. 2012, section 4.1; the numbers that all implementations use).
_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_DEVIATIONS = np.array([55.46, 4.794, 1.148])

# OpenCV 4.10 and later convert to RGB while decoding. EXIF rotation is ignored, as is usual for
# ImageNet.
_DECODES_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")
_FLAGS = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
_HALF = cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION  # BGR


def decode(
    data: Any, remarks: Optional[List[str]] = None, trusted: bool = False, half: bool = False
) -> np.ndarray:
    """An encoded image (bytes or another buffer) as uint8 RGB (height, width, 3).

    `remarks` and `trusted` as in `opencv.imdecode`. `half`: a JPEG at half its size, rounded up.
    Raises ValueError if it is not an image, or is cut short.
    """
    try:
        image = opencv.imdecode(data, _HALF if half else _FLAGS, remarks, trusted)
    except ValueError as error:
        raise ValueError(str(error) or "not an image that OpenCV can decode") from error
    return image if _DECODES_RGB and not half else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


class Transform(ABC):
    """What a loader does with an image: random choices, steps by its size, their execution."""

    size: Size
    decode_scale = False  # whether JPEGs may be decoded at half their size

    @abstractmethod
    def draw(self, images: np.ndarray, epochs: np.ndarray) -> Any:
        """The random choices for a batch of images, given as integers (n,) and (n,)."""

    @abstractmethod
    def steps(self, size: Size, drawn: Any, i: int) -> Steps:
        """The steps for image i of a drawn batch, given its height and width."""

    def execute(self, steps: Steps, image: np.ndarray, out: np.ndarray) -> None:
        """Execute the steps of an image, uint8 (height, width, 3) RGB, into `out` (*size, 3)."""
        execute(steps, image, out)

    def apply(self, image: np.ndarray, drawn: Any, i: int, out: np.ndarray) -> None:
        """Transform image i of a drawn batch into `out`; arguments as of the other functions."""
        self.execute(self.steps(size_of(image), drawn, i), image, out)


class Drawn(NamedTuple):
    """The random choices for a batch of n images. Lists, because they are read one by one."""

    mirror: List[bool]
    left: List[float]  # position of the crop in the free space, from 0 to below 1
    top: List[float]
    widths: List[List[float]]  # (n, tries), in units of the square root of the image's area
    heights: List[List[float]]
    warps: Optional[np.ndarray]  # float64 (n, 2, 2), output to image; None: no warp
    colours: Optional[np.ndarray]  # float64 (n, 3, 4); None: colours are unchanged
    operations: Optional[List[Tuple[Operation, ...]]] = None  # of --auto-augment
    erased: Optional[List[Optional[Window]]] = None  # of --random-erasing


class TrainTransform(Transform):
    """Random geometry and colour of training images.

    `draw` is a pure function of (seed, epoch, image); `steps` of that and the image's size.

    Parameters
    ----------
    settings
        described by the help of the flags of the same names.
    image_shape
        3, height, width of the result.
    seed
        0 to 2^63 - 1.

    Raises
    ------
    ArgumentError
        a minimum is above its maximum.

    """

    def __init__(self, settings: AugmentSettings, image_shape: Sequence[int], seed: int):
        for name in ("random_area", "random_aspect_ratio", "random_scale"):
            low, high = getattr(settings, f"min_{name}"), getattr(settings, f"max_{name}")
            if low > high:
                advice = "swap the two"
                if name == "random_aspect_ratio" and high < 1:
                    advice = f"MXNet's scripts mean {1 - high:g} to {1 + high:g} by it: give both"
                raise ArgumentError(
                    f"min_{name}", f"{low:g}", f"is above the largest, {high:g}; {advice}"
                )
        self.settings = effective(settings)
        self.decode_scale = settings.decode_scale
        self.size = (image_shape[1], image_shape[2])
        self.seed = seed
        self._warps = (
            settings.max_random_rotate_angle > 0
            or settings.max_random_shear_ratio > 0
            or (settings.min_random_scale, settings.max_random_scale) != (1, 1)
        )
        self._policy: Union[Policy, PluginPolicy, None] = None
        if settings.auto_augment not in ("none", *POLICIES):
            self._policy = PluginPolicy(settings.auto_augment, seed)
        elif settings.auto_augment != "none":
            magnitude = settings.rand_augment_magnitude
            self._policy = Policy(settings.auto_augment, magnitude, self.size, seed)

    def draw(self, images: np.ndarray, epochs: np.ndarray) -> Drawn:
        """The random choices for images (n,) in epochs (n,), both integers."""
        settings = self.settings
        draws = philox.uniform(self.seed, epochs, images, _DRAWS)
        area = between(settings.min_random_area, settings.max_random_area, draws[:, _AREA])
        logarithm = between(
            math.log(settings.min_random_aspect_ratio),
            math.log(settings.max_random_aspect_ratio),
            draws[:, _ASPECT],
        )
        aspect = np.exp(logarithm)
        return Drawn(
            mirror=(settings.random_mirror & (draws[:, _MIRROR] < 0.5)).tolist(),
            left=draws[:, _LEFT].tolist(),
            top=draws[:, _TOP].tolist(),
            widths=np.sqrt(area * aspect).tolist(),
            heights=np.sqrt(area / aspect).tolist(),
            warps=self._draw_warps(draws) if self._warps else None,
            colours=_colour_matrices(settings, draws),
            operations=self._policy.draw(images, epochs) if self._policy else None,
            erased=draw_erased(settings.random_erasing, self.size, self.seed, images, epochs)
            if settings.random_erasing
            else None,
        )

    def steps(self, size: Size, drawn: Drawn, i: int) -> Steps:
        """The steps for image i of a drawn batch, given its height and width."""
        settings, warps, colours = self.settings, drawn.warps, drawn.colours
        if settings.random_resized_crop:
            window = self._area_window(size, drawn, i)
            if warps is None:
                cut, resized, window = window, self.size, full_window(self.size)
            else:
                cut, resized = full_window(size), size
        else:
            cut, resized, *_ = _at_least(size, self.size)
            window = self._exact_window(resized, drawn, i)
        operations = drawn.operations
        return Steps(
            cut,
            resized,
            window,
            None if warps is None else warp_of(window, self.size, warps[i]),
            drawn.mirror[i],
            None if colours is None else colours[i],
            settings.fill_value,
            settings.train_interp,
            () if operations is None else operations[i],
            None if drawn.erased is None else drawn.erased[i],
        )

    def _draw_warps(self, draws: np.ndarray) -> np.ndarray:
        """Inverses of zoom x rotation x shear: output offsets to image offsets, (n, 2, 2)."""
        settings = self.settings
        largest = math.radians(settings.max_random_rotate_angle)
        angle = between(-largest, largest, draws[:, _ANGLE])
        slope = settings.max_random_shear_ratio
        shear = between(-slope, slope, draws[:, _SHEAR])
        scale = between(settings.min_random_scale, settings.max_random_scale, draws[:, _SCALE])
        cosine, sine = np.cos(angle), np.sin(angle)
        inverse = np.array([[cosine + shear * sine, sine - shear * cosine], [-sine, cosine]])
        return np.moveaxis(inverse / scale, -1, 0)

    def _area_window(self, size: Size, drawn: Drawn, i: int) -> Window:
        """Random area and aspect (Szegedy et al., "Going deeper with convolutions", 2014)."""
        pad = self.settings.pad_size
        height, width = size[0] + 2 * pad, size[1] + 2 * pad
        side = math.sqrt(width * height)
        for relative_width, relative_height in zip(drawn.widths[i], drawn.heights[i]):
            wide, high = round(relative_width * side), round(relative_height * side)
            if 0 < wide <= width and 0 < high <= height:
                left = int(drawn.left[i] * (width - wide + 1))
                top = int(drawn.top[i] * (height - high + 1))
                return left - pad, top - pad, wide, high
        # The largest centre crop with an allowed aspect ratio.
        wide = min(width, max(1, round(height * self.settings.max_random_aspect_ratio)))
        high = min(height, max(1, round(width / self.settings.min_random_aspect_ratio)))
        return (width - wide) // 2 - pad, (height - high) // 2 - pad, wide, high

    def _exact_window(self, size: Size, drawn: Drawn, i: int) -> Window:
        """A crop of the target's size, centred or at a random position in the padded image."""
        high, wide = self.size
        free_x, free_y = size[1] - wide, size[0] - high
        if not self.settings.random_crop:
            return free_x // 2, free_y // 2, wide, high
        pad = self.settings.pad_size
        left = int(drawn.left[i] * (free_x + 2 * pad + 1))
        top = int(drawn.top[i] * (free_y + 2 * pad + 1))
        return left - pad, top - pad, wide, high


class EvalTransform(Transform):
    """Resize the short side to `val_resize`, then crop the centre: single-crop evaluation.

    Parameters
    ----------
    image_shape
        3, height, width of the crop.
    val_resize
        short side in pixels; 0: the crop's longer side times 256 / 224, or that side itself up to
        64 pixels.
    val_interp
        interpolation of the resize: one of config.values.INTERPOLATIONS. The Pillow ones give the
        pixels of torchvision's Resize and CenterCrop on images of Pillow.

    Raises
    ------
    ArgumentError
        the crop does not fit.

    """

    def __init__(self, image_shape: Sequence[int], val_resize: int = 0, val_interp: str = BILINEAR):
        self.interpolation = val_interp
        self.size = self.crop = (image_shape[1], image_shape[2])
        side = max(self.crop)
        self.short_side = val_resize or (side if side <= 64 else round(side * 256 / 224))
        if self.short_side < side:
            raise ArgumentError(
                "val_resize",
                val_resize,
                f"is below the crop's side {side}; use {side} or more, or 0",
            )

    def draw(self, images: np.ndarray, epochs: np.ndarray) -> None:
        """Nothing is drawn: evaluation is deterministic."""

    def steps(self, size: Size, drawn: None, i: int) -> Steps:
        """The steps for any image of this height and width."""
        resize = short_side_steps(size, self.short_side)
        window = centred(resize.size, self.crop, self.interpolation)
        return resize._replace(window=window, interpolation=self.interpolation)


def effective(settings: S) -> S:
    """The settings with the jitter .4 and PCA noise .1 of `use_imagenet_data_augmentation`.

    A setting other than 0 is kept.
    """
    if not settings.use_imagenet_data_augmentation:
        return settings
    usual = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "pca_noise": 0.1}
    missing: Dict[str, Any] = {
        name: value for name, value in usual.items() if not getattr(settings, name)
    }
    return dataclasses.replace(settings, **missing)


def _colour_matrices(settings: AugmentSettings, draws: np.ndarray) -> Optional[np.ndarray]:
    """The matrices applied to the colours (red, green, blue, 1) of n images, float64 (n, 3, 4).

    In this order: brightness scales; contrast scales about mid-grey (the image's own mean would
    need another pass); saturation scales about the grey of equal luma; hue rotates about the axis
    of greys in YIQ; lightness, channel shift and PCA lighting add. None if all settings are 0.
    """
    names = (
        "brightness", "contrast", "saturation", "pca_noise", "max_random_h", "max_random_s",
        "max_random_l", "max_random_channel_shift",
    )  # fmt: skip
    if not any(getattr(settings, name) for name in names):
        return None

    def symmetric(largest: float, column: int) -> np.ndarray:
        return between(-largest, largest, draws[:, column, None, None])

    contrast = 1 + symmetric(settings.contrast, _CONTRAST)
    gain = contrast * (1 + symmetric(settings.brightness, _BRIGHTNESS))
    saturation = 1 + symmetric(settings.saturation, _SATURATION)
    saturation = saturation * (1 + symmetric(settings.max_random_s / 255, _S))
    hue = symmetric(math.radians(settings.max_random_h), _H)
    in_yiq = np.zeros((len(draws), 3, 3))
    in_yiq[:, 0, 0] = 1
    in_yiq[:, 1:, 1:] = saturation * np.block(
        [[np.cos(hue), -np.sin(hue)], [np.sin(hue), np.cos(hue)]]
    )
    # Saturation and hue do not change greys, so contrast's offset passes through unchanged.
    offset = (1 - contrast) * _MID_GREY + symmetric(settings.max_random_l, _L)
    shift = settings.max_random_channel_shift
    shifts = between(-shift, shift, draws[:, _SHIFT])[:, :, None]
    noise = settings.pca_noise * philox.normal(draws[:, _LIGHTING])[:, :3]
    lighting = (noise * _DEVIATIONS) @ _COMPONENTS.T
    linear = gain * (np.linalg.inv(_YIQ) @ in_yiq @ _YIQ)
    return np.concatenate([linear, offset + shifts + lighting[:, :, None]], axis=2)


def _at_least(size: Size, crop: Size) -> Steps:
    """An image of this size, enlarged if the crop does not fit in it."""
    if size[0] >= crop[0] and size[1] >= crop[1]:
        return unchanged(size)
    return short_side_steps(size, max(crop))

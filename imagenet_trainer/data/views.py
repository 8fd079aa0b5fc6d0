"""Views of an image: one crop or ten, with or without mirrors, whose predictions are averaged."""

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.transforms import (
    BILINEAR,
    Size,
    Steps,
    centred,
    short_side_steps,
    short_side_to,
    size_of,
)


@dataclass(frozen=True)
class Views:
    """The crops of an image that are passed to a network.

    Ten crops are the four corners and the centre, each also mirrored left to right; the
    probabilities of all are averaged (Krizhevsky, Sutskever and Hinton 2012, section 4.1).
    """

    crops: int = 1  # 1: the centre; 10
    flip: bool = False  # also mirrored

    @property
    def positions(self) -> int:
        """Number of positions at which an image is cropped."""
        return 5 if self.crops == 10 else 1

    @property
    def mirrored(self) -> bool:
        """Whether each crop is also mirrored."""
        return self.flip or self.crops == 10


CENTRE = Views()
"""The usual single crop."""


class ViewTransform(EvalTransform):
    """Evaluation's resize, then the crops of `Views` one below the other.

    `size` is (positions x height, width), so the views of an image are one image for a loader; the
    first `height` rows are the centre crop. Parameters and errors as in `EvalTransform`.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        val_resize: int = 0,
        views: Views = CENTRE,
        val_interp: str = BILINEAR,
    ):
        super().__init__(image_shape, val_resize, val_interp)
        self.views = views
        self.size = (views.positions * self.crop[0], self.crop[1])

    def steps(self, size: Size, drawn: None, i: int) -> Steps:
        """The resize, and the centre crop; no crop where there are further views."""
        if self.views.positions > 1:
            steps = short_side_steps(size, self.short_side)
            return steps._replace(interpolation=self.interpolation)
        return super().steps(size, drawn, i)

    def execute(self, steps: Steps, image: np.ndarray, out: np.ndarray) -> None:
        """Write the views of the image, uint8 (height, width, 3) RGB, to `out` (*size, 3)."""
        image = short_side_to(image, self.short_side, self.interpolation)
        high, wide = self.crop
        bottom, right = image.shape[0] - high, image.shape[1] - wide
        corners = ((0, 0), (0, right), (bottom, 0), (bottom, right))
        middle_left, middle_top, _, _ = centred(size_of(image), self.crop, self.interpolation)
        corners_and_centre = ((middle_top, middle_left), *corners)[: self.views.positions]
        for number, (top, left) in enumerate(corners_and_centre):
            crop = image[top : top + high, left : left + wide]
            out[number * high : (number + 1) * high] = crop

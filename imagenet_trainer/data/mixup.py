"""Mixup and CutMix: the images of a batch are mixed in pairs, by shares that are pure functions.

Zhang, Cisse, Dauphin and Lopez-Paz 2017, "mixup: Beyond Empirical Risk Minimization",
arXiv:1710.09412: share * image + (1 - share) * partner, the share from Beta(alpha, alpha), and
the same for the labels. In the paper a batch is mixed with a shuffled copy of itself by one share.
Here every image has its own share, and its partner is its neighbour: position i of the batch is
mixed with position i XOR 1. So a worker with an even part needs no image of another worker, two
images are mixed as soon as both are ready, and since the batch is shuffled the pairs are random.

CutMix (Yun et al. 2019, arXiv:1905.04899) copies a rectangle of the partner instead. Its area
without what is outside the image is 1 - share, where the share is drawn from Beta(alpha, alpha)
and then set to the area that is left.
"""

from typing import List, NamedTuple, Optional, Tuple

import cv2
import numpy as np

from imagenet_trainer.config import MixSettings
from imagenet_trainer.data import philox
from imagenet_trainer.data.transforms import Window

# The first blocks of draws, far above those of augmentation.
_BLOCK, _CUT_BLOCK = 1 << 16, (1 << 16) + 1


class Mixture(NamedTuple):
    """What was drawn for a batch of n images."""

    shares: np.ndarray  # of each image in its own result, float32 (n,) in [0, 1]
    cuts: Optional[List[Optional[Window]]] = None  # with CutMix; None: this image is blended


class Mixup:
    """Shares of images, and mixing.

    Parameters
    ----------
    alpha
        of mixup; 0: every image is cut. With a small alpha most images are hardly mixed; with 1 all
        shares are equally likely.
    seed
        of the run.
    cutmix
        alpha of CutMix; 0: every image is blended.
    switch
        share of the images that are cut, if there are both.

    """

    def __init__(self, alpha: float, seed: int, cutmix: float = 0.0, switch: float = 0.5):
        self.alpha, self.seed, self.cutmix = alpha, seed, cutmix
        self.switch = (switch if alpha else 1.0) if cutmix else 0.0

    def draw(self, images: np.ndarray, epochs: np.ndarray, size: Tuple[int, int]) -> Mixture:
        """The mixture for images (n,) of a height and width, in epochs (n,)."""
        shares = self.shares(images, epochs) if self.alpha else np.ones(len(images), np.float32)
        if not self.cutmix:
            return Mixture(shares)
        cuts: List[Optional[Window]] = [None] * len(images)
        draws = philox.uniform(self.seed, epochs, images, 4, first_block=_CUT_BLOCK)
        sides = np.sqrt(1 - _shares(self.cutmix, draws[:, 1]))
        high, wide = size
        for i in np.flatnonzero(draws[:, 0] < self.switch).tolist():
            left, right = _cut(wide, float(sides[i]), float(draws[i, 2]))
            top, bottom = _cut(high, float(sides[i]), float(draws[i, 3]))
            cuts[i] = left, top, right - left, bottom - top
            shares[i] = 1 - (right - left) * (bottom - top) / (wide * high)
        return Mixture(shares, cuts)

    def shares(self, images: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """The shares that images (n,) in epochs (n,) have in the result: float32 (n,) in [0, 1]."""
        drawn = philox.uniform(self.seed, epochs, images, 1, first_block=_BLOCK)[:, 0]
        return _shares(self.alpha, drawn).astype(np.float32)

    @staticmethod
    def mix(
        images: np.ndarray, shares: np.ndarray, cuts: Optional[List[Optional[Window]]] = None
    ) -> None:
        """Mix whole pairs in place: uint8 (n, height, width, 3), n even, and float32 (n,)."""
        cuts = cuts or [None] * len(images)
        for i in range(0, len(images), 2):
            one = images[i].copy()
            _mix_one(images[i], images[i + 1], float(shares[i]), cuts[i])
            _mix_one(images[i + 1], one, float(shares[i + 1]), cuts[i + 1])


def _mix_one(image: np.ndarray, other: np.ndarray, share: float, cut: Optional[Window]) -> None:
    if cut is None:
        cv2.addWeighted(image, share, other, 1 - share, 0, dst=image)
        return
    left, top, wide, high = cut
    here = slice(top, top + high), slice(left, left + wide)
    image[here] = other[here]


def _shares(alpha: float, drawn: np.ndarray) -> np.ndarray:
    """Values of Beta(alpha, alpha) for uniform draws in [0, 1): float64 of the same shape."""
    # A tenth of a second, which trainings without mixing do not spend.
    from scipy.special import betaincinv

    return betaincinv(alpha, alpha, drawn)


def _cut(side: int, share: float, place: float) -> Tuple[int, int]:
    """Bounds of a share of a side around a place in [0, 1), without what is outside."""
    half, centre = int(side * share) // 2, int(side * place)
    return max(0, centre - half), min(side, centre + half)


def mixing_of(settings: MixSettings, seed: int) -> Optional[Mixup]:
    """How a training with this seed mixes its images; None if it does not."""
    if not (settings.mixup or settings.cutmix):
        return None
    return Mixup(settings.mixup, seed, settings.cutmix, settings.mixup_cutmix_switch)


def partners(labels: np.ndarray) -> np.ndarray:
    """The values at positions i XOR 1, (n, ...), n even."""
    return labels.reshape(-1, 2, *labels.shape[1:])[:, ::-1].reshape(labels.shape)


Mixed = Tuple[np.ndarray, np.ndarray]  # the partners' labels as in Batch, shares float32 (n,)

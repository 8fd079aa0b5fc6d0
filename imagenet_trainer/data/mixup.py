"""Mixup: the images of a batch are mixed in pairs, by shares that are pure functions of the image.

Zhang, Cisse, Dauphin and Lopez-Paz 2017, "mixup: Beyond Empirical Risk Minimization",
arXiv:1710.09412: share * image + (1 - share) * partner, the share from Beta(alpha, alpha), and
the same for the labels. In the paper a batch is mixed with a shuffled copy of itself by one share.
Here every image has its own share, and its partner is its neighbour: position i of the batch is
mixed with position i XOR 1. So a worker with an even part needs no image of another worker, two
images are mixed as soon as both are ready, and since the batch is shuffled the pairs are random.
"""

from typing import Tuple

import cv2
import numpy as np
from scipy.special import betaincinv

from imagenet_trainer.data import philox

# The first block of draws, far above those of augmentation.
_BLOCK = 1 << 16


class Mixup:
    """Shares of images, and mixing.

    Parameters
    ----------
    alpha
        above 0. With a small alpha most images are hardly mixed; with 1 all shares are equally
        likely.
    seed
        of the run.

    """

    def __init__(self, alpha: float, seed: int):
        self.alpha, self.seed = alpha, seed

    def shares(self, images: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """The shares that images (n,) in epochs (n,) have in the result: float32 (n,) in [0, 1]."""
        drawn = philox.uniform(self.seed, epochs, images, 1, first_block=_BLOCK)[:, 0]
        return betaincinv(self.alpha, self.alpha, drawn).astype(np.float32)

    @staticmethod
    def mix(images: np.ndarray, shares: np.ndarray) -> None:
        """Mix whole pairs in place: uint8 (n, height, width, 3), n even, and float32 (n,)."""
        for i in range(0, len(images), 2):
            one, other = images[i].copy(), images[i + 1]
            share, other_share = float(shares[i]), float(shares[i + 1])
            cv2.addWeighted(one, share, other, 1 - share, 0, dst=images[i])
            cv2.addWeighted(other, other_share, one, 1 - other_share, 0, dst=images[i + 1])


def partners(labels: np.ndarray) -> np.ndarray:
    """The values at positions i XOR 1, (n,), n even."""
    return labels.reshape(-1, 2)[:, ::-1].reshape(-1)


Mixed = Tuple[np.ndarray, np.ndarray]  # the partners' labels int64 (n,), shares float32 (n,)

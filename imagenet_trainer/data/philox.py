"""Random numbers without state: a function of (seed, epoch, image, draw).

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011), the generator of Random123, in NumPy for whole batches. Every number can be computed
without those before it, so threads, workers and interruptions cannot change any.
"""

import numpy as np

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Philox4x32-10 of counters (..., 4) under a key (2,): uint64 (..., 4) of 32-bit words."""
    word0, word1, word2, word3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    key0, key1 = int(key[0]), int(key[1])
    for _ in range(_ROUNDS):
        product0 = word0 * _MULTIPLIERS[0]
        product1 = word2 * _MULTIPLIERS[1]
        word0 = (product1 >> _HALF) ^ word1 ^ np.uint64(key0)
        word2 = (product0 >> _HALF) ^ word3 ^ np.uint64(key1)
        word1 = product1 & _WORD
        word3 = product0 & _WORD
        key0 = (key0 + _WEYL[0]) & 0xFFFFFFFF
        key1 = (key1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack((word0, word1, word2, word3), axis=-1)


def uniform(
    seed: int, epochs: np.ndarray, images: np.ndarray, draws: int, first_block: int = 0
) -> np.ndarray:
    """Independent random numbers for every image in every epoch, uniform in [0, 1).

    Parameters
    ----------
    seed
        0 to 2^64 - 1.
    epochs, images
        integers (n,), or one for all; epochs below 2^32.
    draws
        number of draws for each image. The first ones do not depend on this number.
    first_block
        first block of four draws, below 2^32. Independent uses begin at different blocks.

    Returns
    -------
    float64 (n, draws), multiples of 2^-32.

    """
    epochs, images = np.broadcast_arrays(np.atleast_1d(epochs), np.atleast_1d(images))
    blocks = -(-draws // 4)
    counter = np.empty((len(images), blocks, 4), np.uint64)
    counter[..., 0] = first_block + np.arange(blocks)
    counter[..., 1] = (images & 0xFFFFFFFF)[:, None]
    counter[..., 2] = (images >> 32)[:, None]
    counter[..., 3] = epochs[:, None]
    words = philox4x32(counter, np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint64))
    return words.reshape(len(images), 4 * blocks)[:, :draws] * 2.0**-32


def between(low: float, high: float, uniforms: np.ndarray) -> np.ndarray:
    """Numbers from `low` to below `high` from uniform ones in [0, 1), of the same shape."""
    return low + (high - low) * uniforms


def normal(uniforms: np.ndarray) -> np.ndarray:
    """Standard normal numbers from uniform ones in [0, 1), by Box and Muller (1958).

    float64 (..., 2k) to the same shape; each pair of columns becomes a pair.
    """
    radius = np.sqrt(-2 * np.log1p(-uniforms[..., 0::2]))  # 1 - u is never 0
    angle = 2 * np.pi * uniforms[..., 1::2]
    result = np.empty_like(uniforms)
    result[..., 0::2] = radius * np.cos(angle)
    result[..., 1::2] = radius * np.sin(angle)
    return result

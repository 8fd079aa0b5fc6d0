"""Temperature scaling: the temperature of the lowest cross-entropy.

Guo, Pleiss, Sun and Weinberger 2017, arXiv:1706.04599, section 4.2.
"""

import numpy as np
from scipy.special import logsumexp

from imagenet_trainer.metrics.counts import SMALLEST

# The temperature is looked for between these.
LOWEST, HIGHEST = 0.01, 100.0


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest cross-entropy; within [LOWEST, HIGHEST].

    Parameters
    ----------
    probabilities
        float (n, classes), each above 0 in the network's arithmetic; their logarithms are the
        logits, up to a constant that does not matter.
    labels
        int64 (n,).

    The cross-entropy is convex in 1 / temperature, so a root of its derivative is its minimum.

    """
    # Imported here: it takes 0.15 s to import, which every evaluation would wait for.
    from scipy.optimize import brentq

    logits = np.log(np.maximum(probabilities, SMALLEST).astype(np.float64))
    true = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]

    def slope(inverse: float) -> float:
        """The derivative of the mean cross-entropy by the inverse temperature."""
        scaled = logits * inverse
        weights = np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True))
        return float(((weights * logits).sum(axis=1) - true).mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    if slope(low) >= 0:
        return HIGHEST
    if slope(high) <= 0:
        return LOWEST
    return 1 / brentq(slope, low, high, xtol=1e-12)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities after the logits are divided by a temperature: float32 (n, classes)."""
    logits = np.log(np.maximum(probabilities, SMALLEST).astype(np.float64)) / temperature
    return np.exp(logits - logsumexp(logits, axis=1, keepdims=True)).astype(np.float32)

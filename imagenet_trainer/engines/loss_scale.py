"""Dynamic loss scaling, which keeps small gradients above float16's smallest number.

Micikevicius et al. 2018, "Mixed Precision Training", arXiv:1710.03740, section 3.2: the loss is
multiplied by a scale before backward, the gradient divided by it before the update. If the scaled
gradient overflows, the update is skipped and the scale is halved; after 2000 updates without an
overflow it is doubled. All scales are powers of two, so scaling alone changes no bit.
"""

import logging
from typing import Dict, Mapping

import numpy as np

from imagenet_trainer.engines import NonFiniteLossError

_LOG = logging.getLogger("imagenet_trainer")
FIRST, LARGEST, SMALLEST = 2.0**16, 2.0**24, 1.0
GROWTH_INTERVAL = 2000  # updates without an overflow, after which the scale is doubled
KEY = "loss_scale"  # in a state


class LossScale:
    """The scale of the next update, and the number of skipped updates."""

    def __init__(self) -> None:
        self.value = FIRST
        self.skipped = 0
        self._since_change = 0  # updates

    def adapt(self, overflowed: bool, update: int, rank: int) -> None:
        """Adapt the scale to an update, given whether its gradients overflowed.

        Such an update is skipped, which worker 0 logs. Raises NonFiniteLossError for an overflow
        that the scale does not cause.
        """
        if overflowed:
            if self.value == SMALLEST:
                raise NonFiniteLossError(update)
            self.value, self._since_change = self.value / 2, 0
            self.skipped += 1
            if rank == 0:
                log_skipped(update, self.skipped, self.value)
            return
        self._since_change += 1
        if self._since_change == GROWTH_INTERVAL:
            self.value, self._since_change = min(self.value * 2, LARGEST), 0

    def state(self) -> Dict[str, np.ndarray]:
        """`loss_scale`: float64 (3,), the scale, updates since it changed, updates skipped."""
        return {KEY: np.array([self.value, self._since_change, self.skipped])}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state, or from the first scale if it has none."""
        value, since_change, skipped = state.get(KEY, (FIRST, 0, 0))
        self.value, self.skipped = float(value), int(skipped)
        self._since_change = int(since_change)


def log_skipped(update: int, skipped: int, scale: float) -> None:
    """Log an update that was not made; `skipped` counts it too."""
    _LOG.info(
        "Update %d skipped: its gradients overflow float16 (%d skipped so far); the loss scale is "
        "now %g", update, skipped, scale,
    )  # fmt: skip

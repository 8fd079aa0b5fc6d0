"""How long the rest of a run takes, estimated from its speed so far."""

from collections import deque
from typing import Deque, Optional, Tuple

_WINDOW = 50  # intervals of updates; a run that became slower changes the estimate after a while


class RemainingTime:
    """Estimates the remaining time from the latest updates and ends of epochs."""

    def __init__(self) -> None:
        self._intervals: Deque[Tuple[int, float]] = deque(maxlen=_WINDOW)
        self._epoch_ends: Deque[float] = deque(maxlen=_WINDOW)
        self._is_warm = False

    def add_interval(self, updates: int, seconds: float) -> None:
        """Record the time of some updates; the second interval replaces the first, a warm-up."""
        if self._intervals and not self._is_warm:
            self._intervals.clear()
            self._is_warm = True
        if updates:
            self._intervals.append((updates, seconds))

    def add_epoch_end(self, seconds: float) -> None:
        """Record the time of an epoch's validation, checkpoint and plots."""
        self._epoch_ends.append(seconds)

    def seconds(self, updates: int, epochs: int) -> Optional[float]:
        """Seconds that the given updates and ends of epochs will take; None without an interval.

        Ends of epochs count 0 until the first one is recorded.
        """
        if not self._intervals:
            return None
        done, elapsed = (sum(values) for values in zip(*self._intervals))
        end = sum(self._epoch_ends) / len(self._epoch_ends) if self._epoch_ends else 0.0
        return updates * elapsed / done + epochs * end

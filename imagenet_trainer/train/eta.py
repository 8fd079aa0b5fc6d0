"""How long a run will still take, from how long it took so far."""

from collections import deque
from typing import Deque, Optional, Tuple

_REMEMBERED = 50  # stretches of updates: a run that got slower is believed after a while


class Pace:
    """Remembers the seconds of updates and of what lies between epochs."""

    def __init__(self) -> None:
        self._stretches: Deque[Tuple[int, float]] = deque(maxlen=_REMEMBERED)
        self._between: Deque[float] = deque(maxlen=_REMEMBERED)
        self._is_warm = False

    def trained(self, updates: int, seconds: float) -> None:
        """A stretch of updates took so long; the first, which warms up, counts until a second."""
        if self._stretches and not self._is_warm:
            self._stretches.clear()
            self._is_warm = True
        if updates:
            self._stretches.append((updates, seconds))

    def between(self, seconds: float) -> None:
        """Validation, checkpoint and images of one epoch took so long."""
        self._between.append(seconds)

    def left(self, updates: int, epochs: int) -> Optional[float]:
        """Seconds that so many updates and ends of epochs will take; None before anything is known.

        Ends of epochs count nothing before the first was seen.
        """
        if not self._stretches:
            return None
        made, seconds = (sum(values) for values in zip(*self._stretches))
        ends = sum(self._between) / len(self._between) if self._between else 0.0
        return updates * seconds / made + epochs * ends

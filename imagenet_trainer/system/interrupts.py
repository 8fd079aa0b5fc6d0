"""Ctrl-C, SIGTERM (pre-emption) and SIGHUP (a lost terminal) end a run with a checkpoint."""

import signal
from types import FrameType, TracebackType
from typing import Any, Dict, Optional, Type


def name_of(number: int) -> str:
    """A signal's name, such as SIGTERM."""
    return signal.Signals(number).name


class Interrupts:
    """While this context is open, the first signal is noted and a second one ends the process."""

    def __init__(self) -> None:
        self.signal: Optional[int] = None
        self._before: Dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process ended by the signal; 0 without one."""
        return 128 + self.signal if self.signal else 0

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self.signal = number
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def __enter__(self) -> "Interrupts":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

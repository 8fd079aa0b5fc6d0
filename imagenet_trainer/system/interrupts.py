"""Signals that end a run with a checkpoint: SIGINT (Ctrl-C), SIGTERM (pre-emption), SIGHUP."""

import os
import signal
import threading
from types import FrameType
from typing import Any, Dict, Optional


def signal_name(number: int) -> str:
    """Name of a signal, such as SIGTERM."""
    return signal.Signals(number).name


class Interrupts:
    """A context manager that records the first signal; a second one acts as without it.

    In another thread than the main one, which alone gets signals, it records none.
    """

    def __init__(self) -> None:
        self.signal: Optional[int] = None
        self._handlers: Dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code that a shell reports for the signal; 0 without one."""
        return 128 + self.signal if self.signal else 0

    def _record(self, number: int, frame: Optional[FrameType]) -> None:
        self.signal = number
        for one, handler in self._handlers.items():
            signal.signal(one, handler)
        if number == signal.SIGINT and os.isatty(2):  # a person waits; an update may take a minute
            os.write(2, b"\nStopping as soon as this step ends; Ctrl-C again stops at once\n")

    def __enter__(self) -> "Interrupts":
        is_main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if is_main else ():
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores it
                self._handlers[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

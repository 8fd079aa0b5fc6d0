"""A limit for the time in which a process waits for the others, in both engines.

Their libraries wait in C, where Python can neither act on a signal nor on time. So signals end the
process at once while it joins the others, and a thread limits how long that takes.
"""

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import Callable, Iterator

from imagenet_trainer.engines.workers import BEGINNING
from imagenet_trainer.errors import LostWorkerError

_SAID = 10  # seconds after which a process says what it waits for
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_signals() -> None:
    """Let signals end the process at once, also while it waits in C."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def joining(
    others: Callable[[], str], said: float = _SAID, limit: float = BEGINNING
) -> Iterator[None]:
    """A block that waits in C until the others are present; nothing needs saving before that.

    Signals end the process at once. After `said` seconds it prints what it waits for, which is what
    `others` returns then, and after `limit` it ends with exit code 75.
    """
    present = threading.Event()

    def watch() -> None:
        if not present.wait(said):
            print(f"waiting for {others()}", file=sys.stderr, flush=True)
            if not present.wait(max(limit - said, 0)):
                end_process(
                    f"waited {limit:g} s for {others()}; start them, and the same command again"
                )

    threading.Thread(target=watch, name="joining", daemon=True).start()
    with ended_by_signals():
        try:
            yield
        finally:
            present.set()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A block in which signals end the process at once."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    end_at_signals()
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # one that was not set by Python
                    signal.signal(number, handler)


def end_process(why: str) -> None:
    """End this process from any thread, with exit code 75, while its main thread waits in C."""
    print(f"error: {why}", file=sys.stderr, flush=True)
    os._exit(LostWorkerError.exit_code)

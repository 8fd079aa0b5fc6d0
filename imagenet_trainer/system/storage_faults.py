"""Faults of object storages: what is tried again, what is reported, and how waiting ends."""

import contextlib
import math
import re
import threading
import time
from typing import Callable, Iterator, TypeVar

from imagenet_trainer.errors import InputError, TemporaryError

T = TypeVar("T")
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between the tries
_LONGEST = 120.0  # seconds for all tries together; libraries may have retries of their own
POLL = 0.1  # seconds between looks whether a thread should give up
_SIGNATURE = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]*")


class StorageError(InputError):
    """An object cannot be read; it says nothing about the records in it."""


class StorageUnavailable(StorageError, TemporaryError):
    """None of several tries reached an object."""


class Abandoned(Exception):
    """The thread that waits for an object is not needed any more; see `abandon_if`."""


# --- waiting -------------------------------------------------------------------------------------

_thread = threading.local()


@contextlib.contextmanager
def abandon_if(condition: Callable[[], bool]) -> Iterator[None]:
    """In the block, this thread stops waiting for objects when the condition becomes true.

    The wait then raises Abandoned, within a tenth of a second.
    """
    _thread.condition = condition
    try:
        yield
    finally:
        del _thread.condition


def check_abandoned() -> None:
    """Raise Abandoned if this thread should give up; to be called at least every POLL seconds.

    Raises TimeoutError where the tries of `tried` take too long.
    """
    condition = getattr(_thread, "condition", None)
    if condition is not None and condition():
        raise Abandoned
    if time.monotonic() > getattr(_thread, "end", math.inf):
        raise TimeoutError


def wait_for(event: threading.Event) -> None:
    """Wait for an event; raises Abandoned."""
    while not event.wait(POLL):
        check_abandoned()


def _sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        check_abandoned()
        time.sleep(min(POLL, max(0.0, end - time.monotonic())))


# --- faults --------------------------------------------------------------------------------------


def tried(url: str, action: Callable[[], T]) -> T:
    """The result of an action that is tried again after a fault that may pass.

    Raises StorageError for the others, StorageUnavailable after the last try and when `_LONGEST` is
    over. Whether there is such an object is for the caller to say: FileNotFoundError passes.
    """
    end, tries = time.monotonic() + _LONGEST, 0
    while True:
        tries += 1
        try:
            return _attempt(url, action, end)
        except _MayPassError as error:
            pause = _PAUSES[tries - 1] if tries <= len(_PAUSES) else math.inf
            if time.monotonic() + pause > end:
                times = "once" if tries == 1 else f"{tries} times"
                raise StorageUnavailable(
                    f"{url}: cannot be read ({error}), tried {times}; check the network and the "
                    "server, and run the same command again"
                ) from error.__cause__
            _sleep(pause)


class _MayPassError(Exception):
    """A fault that another try may not meet; the message is the reason."""


def _attempt(url: str, action: Callable[[], T], end: float) -> T:
    outer = getattr(_thread, "end", math.inf)
    _thread.end = min(outer, end)
    try:
        return action()
    except (StorageError, Abandoned, FileNotFoundError):
        raise
    except Exception as error:
        reason = _reason(error)
        final = _why_final(error, reason)
        if final:
            raise StorageError(f"{url}: {final}") from error
        raise _MayPassError(reason) from error
    finally:
        _thread.end = outer


def _reason(error: Exception) -> str:
    """An error in one line, without signatures of addresses."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "no answer in time" if "Timeout" in text else _SIGNATURE.sub(r"\1?...", text)


def _status(error: Exception) -> int:
    """The status of an HTTP answer in an error of any of the libraries; 0 if it has none."""
    for owner in (error, getattr(error, "response", None)):
        for name in ("status", "status_code", "code"):
            value = getattr(owner, name, None)
            if isinstance(value, (int, str)) and str(value).isdecimal():
                return int(value)
    return 0


def _why_final(error: Exception, reason: str) -> str:
    """Why an error will not pass, and the way out; "" for one that may pass."""
    status, name = _status(error), type(error).__name__
    # gcsfs has no other sign of it.
    if isinstance(error, PermissionError) or status in (401, 403) or reason.startswith("Forbidden"):
        return (
            f"no permission ({reason}); check the credentials, and that they may read and list: "
            "without listing, a storage does not say that an object is missing"
        )
    if "Credential" in name or name in ("ProfileNotFound", "RefreshError"):
        return (
            f"no credentials ({reason}); configure them as for the storage's own tools, or for a "
            "public bucket set FSSPEC_S3_ANON=true or FSSPEC_GS_TOKEN=anon"
        )
    if 400 <= status < 500 and status not in (408, 425, 429):
        return f"the server refuses it ({reason}); check the address"
    if isinstance(error, (ValueError, ImportError, NotImplementedError)):
        return f"cannot be read ({reason}); check the address"
    return ""

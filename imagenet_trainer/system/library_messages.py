"""Lines that C libraries print on standard error, returned to the thread that caused them.

libjpeg and libpng report a damaged image only by a line on C's `stderr`, through OpenCV as well.
Here glibc's `stderr` becomes a stream whose writes are calls of Python (`fopencookie`). They run
in the thread that prints, so each line belongs to the image that this thread decodes. Lines of
other threads, and of other libraries, go on to file descriptor 2. Where the C library has no such
streams (macOS, musl), nothing is caught.
"""

import atexit
import ctypes
import os
import threading
from typing import Any, Callable, List, Tuple, TypeVar

T = TypeVar("T")
_WRITE = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t
)
_UNBUFFERED, _NOT_LOCKED = 2, 2  # _IONBF of stdio.h, FSETLOCKING_BYCALLER of stdio_ext.h


class _Functions(ctypes.Structure):
    """cookie_io_functions_t: the functions of a stream."""

    _fields_ = [
        ("read", ctypes.c_void_p), ("write", _WRITE), ("seek", ctypes.c_void_p),
        ("close", ctypes.c_void_p),
    ]  # fmt: skip


class _Thread(threading.local):
    lines: Any = None  # a list while this thread's lines are caught


_thread = _Thread()
_lock = threading.Lock()
_stream: List[Any] = []  # what must live as long as the stream; empty before the first call


def with_messages(function: Callable[..., T], *arguments: Any) -> Tuple[T, List[str]]:
    """The function's result, and the lines that it printed through C's `stderr`."""
    if not _stream:
        _replace_stream()
    before, _thread.lines = _thread.lines, []
    try:
        result = function(*arguments)
        lines = b"".join(_thread.lines).decode(errors="replace").splitlines()
    finally:
        _thread.lines = before
    return result, lines


def _replace_stream() -> None:
    with _lock:
        if _stream:
            return
        try:
            libc = ctypes.CDLL(None)
            variable = ctypes.c_void_p.in_dll(libc, "stderr")
            make, lock, buffer = libc.fopencookie, libc.__fsetlocking, libc.setvbuf
        except (AttributeError, OSError, TypeError, ValueError):
            _stream.append(None)  # another C library: nothing is caught
            return
        functions = _Functions(write=_WRITE(_write))
        make.restype = ctypes.c_void_p
        make.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Functions]
        stream = ctypes.c_void_p(make(None, b"w", functions))
        buffer(stream, None, _UNBUFFERED, ctypes.c_size_t(0))
        # A thread inside `_write` waits for the interpreter lock. With the stream's own lock it
        # could wait for a thread that holds the interpreter lock and waits for the stream.
        lock(stream, _NOT_LOCKED)
        _stream.extend((functions, stream))
        original, variable.value = variable.value, stream.value
        atexit.register(setattr, variable, "value", original)


def _write(cookie: Any, text: Any, length: int) -> int:
    data = ctypes.string_at(text, length)
    if _thread.lines is None:
        os.write(2, data)
    else:
        _thread.lines.append(data)
    return length

"""Error reporting of commands: one line that names the cause and the way out, and an exit code."""

import contextlib
import errno
import io
import os
import resource
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import Callable, Iterator, List, Optional, TextIO, Tuple, cast

from imagenet_trainer.text import OUTPUT, PrintableOutput, printable

_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_LIBRARIES_NEED = 1 << 30  # bytes of address space; NumPy and OpenCV on few processors


class InputError(Exception):
    """An input (a flag, a file, a device) that cannot be used.

    The message is one line: the flag or file, its value, what is wrong, and the way out.
    """

    exit_code = 2  # of the command; a launcher does not retry it


class TemporaryError(InputError):
    """What may not happen again: the same command, run again, may continue."""

    exit_code = 75  # EX_TEMPFAIL


class NonFiniteError(InputError):
    """Values of a network are infinite or NaN; `what` is the message without the way out."""

    def __init__(self, what: str, way_out: str) -> None:
        super().__init__(f"{what}; {way_out}")
        self.what = what


class LostWorkerError(TemporaryError):
    """Another worker cannot be reached."""


class ArgumentError(InputError):
    """An argument of a library function cannot be used; the message begins with its name.

    For code that does not know the command line. `run_command` prints the flag instead of the
    name: `num_layers 51: ...` becomes `--num-layers 51: ...`.
    """

    def __init__(self, argument: str, value: object, reason: str) -> None:
        if isinstance(value, (tuple, list)):
            value = ",".join(map(str, value))
        super().__init__(f"{argument} {value}".rstrip() + f": {reason}")
        self.argument = argument


# Of file systems over a network, and of disks: their server, the link to it or a machine fails.
# All others (names, permissions, a full or read-only disk) are for the user.
_UNREACHABLE = (
    "ECOMM", "ECONNABORTED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET",
    "ENETUNREACH", "ENOLINK", "ENOTCONN", "EREMOTEIO", "ESHUTDOWN", "ESTALE", "ETIMEDOUT",
)  # fmt: skip


def is_unreachable(error: OSError) -> bool:
    """Whether a file system cannot be reached; it says nothing about the file."""
    return errno.errorcode.get(error.errno or 0) in _UNREACHABLE


def is_temporary(error: OSError) -> bool:
    """Whether another try, perhaps on another machine, may not meet this error of a file."""
    return error.errno == errno.EIO or is_unreachable(error)


@contextlib.contextmanager
def attributed_to(flag: str, separator: str = ": ") -> Iterator[None]:
    """Prefix an InputError raised in the block with the flag, or the file, that caused it.

    Libraries do not know the command line. They raise InputError with what is wrong and the way
    out; code that holds the settings says which flag it came from:

        with attributed_to(f"--batch-size {settings.batch_size}"):
            order = Order(...)

    turns "batch of 20: the set has only 10 images; ..." into "--batch-size 20: batch of 20: the
    set has only 10 images; ...". Where the message begins with the value of the flag already, a
    separator of " " joins the two. The class of the error, its exit code and its traceback stay.
    Nested blocks put the outer name first. Other exceptions pass through unchanged.
    """
    try:
        yield
    except InputError as error:
        error.args = (f"{flag}{separator}{_with_flag(error)}",)
        raise


def print_message(command: str, text: str) -> None:
    """Print a line about the work of a command on standard error, where results never go."""
    print(f"{command}: {printable(text)}", file=sys.stderr, flush=True)


def run_command(name: str, body: Callable[[], Optional[int]]) -> int:
    """Run the body of a command; return its exit code (None counts as 0).

    InputError and OSError become one line on standard error and exit code 2, or 75 where another
    try may succeed (TemporaryError, `is_temporary`). Ctrl-C gives 130. A closed pipe (`| head`)
    ends the command quietly. Other errors are bugs and keep their traceback.
    """
    _open_output()
    with _handled_interrupts(name), _unraisable_errors() as unraisable:
        try:
            with contextlib.redirect_stdout(cast(TextIO, PrintableOutput(sys.stdout))):
                _check_address_space()
                return _run_and_flush(body)
        except KeyboardInterrupt:
            return _interrupted(name)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                # The interpreter flushes stdout again at exit, which must not fail.
                _discard_output()
                return 1
            report = _report_of(error)
            if report is None:
                raise
            if isinstance(error, OSError) and error.filename == OUTPUT:
                _discard_output()
        unraisable.clear()  # what failed while objects were removed because of the error
        message, code = report
        print_message(name, f"error: {' '.join(message.split())}")
        return code


def exit_code_of(error: BaseException) -> int:
    """The exit code of a command that this error ends, 1 for a bug."""
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    report = _report_of(error) if isinstance(error, Exception) else None
    return report[1] if report else 1


def _check_address_space() -> None:
    """InputError if the address space is too small to import NumPy, whose error is no line."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LIBRARIES_NEED:
        raise InputError(
            f"ulimit -v {limit >> 10}: too little address space, {_LIBRARIES_NEED >> 20} MiB are "
            "needed; raise it"
        )


@contextlib.contextmanager
def _unraisable_errors() -> Iterator[List[str]]:
    """Collects errors that Python cannot raise, as those in `__del__`; prints them at the end."""
    texts: List[str] = []

    def collect(one: "sys.UnraisableHookArgs") -> None:
        trace = traceback.format_exception(one.exc_type, one.exc_value, one.exc_traceback)
        what = one.err_msg or "Exception ignored in"  # from Python 3.14 on it names the object
        where = "" if one.object is None else f": {one.object!r}"
        texts.append(f"{what}{where}\n{''.join(trace)}")

    before, sys.unraisablehook = sys.unraisablehook, collect
    try:
        yield texts
    finally:
        sys.unraisablehook = before
        sys.stderr.write("".join(texts))


@contextlib.contextmanager
def _handled_interrupts(name: str) -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt if `system.interruptible` made it end the process.

    After the block it ends the process again: the command has reported its end.
    """
    at_main = threading.current_thread() is threading.main_thread()
    if not at_main or signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return

    def interrupt(number: int, frame: Optional[FrameType]) -> None:
        while frame:
            if "importlib" in frame.f_code.co_filename:
                # Extension modules print the exception and raise another one.
                os._exit(_interrupted(name))
            frame = frame.f_back
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _interrupted(name: str) -> int:
    print_message(name, "interrupted; run the same command again to continue")
    return _INTERRUPTED


_NO_THREAD = "can't start new thread"  # Python's RuntimeError; its stack found no memory


def _report_of(error: Exception) -> Optional[Tuple[str, int]]:
    """Message and exit code of an error that is no bug; None for a bug."""
    if isinstance(error, InputError):
        return _with_flag(error), error.exit_code
    if _is_from_full_memory(error):
        reason = f" ({error})" if str(error) else ""
        message = f"out of memory{reason}; close other programs or process less at a time"
        return message, InputError.exit_code
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        message = f"{error.filename}: {reason}" if error.filename else reason
        return message, (TemporaryError if is_temporary(error) else InputError).exit_code
    return None


def _is_from_full_memory(error: Optional[BaseException]) -> bool:
    """Whether this is a MemoryError, or an error while one was handled."""
    while error is not None:
        if isinstance(error, MemoryError) or str(error) == _NO_THREAD:
            return True
        error = error.__cause__ or error.__context__
    return False


def _with_flag(error: InputError) -> str:
    """The message, with the flag instead of the argument name at its start."""
    message = str(error)
    if isinstance(error, ArgumentError) and message.startswith(error.argument):
        return f"--{error.argument.replace('_', '-')}{message[len(error.argument) :]}"
    return message


def _run_and_flush(body: Callable[[], Optional[int]]) -> int:
    """The exit code of the body; raises OSError if its output cannot be written."""
    try:
        code = body() or 0
    except SystemExit:  # --help, a refused flag
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def _open_output() -> None:
    """Make standard output and error accept any text, even if the shell closed them (`>&-`)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Characters that the terminal's encoding lacks become escapes, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""How a mistake is told: one line that names the thing and the way out, and exit code 2."""

import os
import sys
from typing import Callable, Optional


class InputError(Exception):
    """Something that came from outside (a flag, a file, a device) cannot be used.

    The message is one line: the flag or file, the value, and what to do about it.
    """

    exit_code = 2  # of the command; what starts it need not try again


class NonFiniteError(InputError):
    """Numbers of a network are infinite or undefined; `what` says which, without the way out."""

    def __init__(self, what: str, way_out: str) -> None:
        super().__init__(f"{what}; {way_out}")
        self.what = what


class LostWorkerError(InputError):
    """Another worker cannot be reached: nothing to mend, the same command may go on."""

    exit_code = 75  # EX_TEMPFAIL


def run_command(name: str, body: Callable[[], Optional[int]]) -> int:
    """Run the body of a command line; return its exit code (None counts as 0).

    InputError and what the operating system refuses become one line on standard error and
    exit code 2 (a lost worker: 75); Ctrl-C becomes 130; a reader that went away (`| head`) ends
    quietly.
    """
    code = InputError.exit_code
    try:
        return body() or 0
    except InputError as error:
        message, code = str(error), error.exit_code
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit; give it somewhere to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        message = f"{error.filename or 'input/output'}: {error.strerror or error}"
    except (MemoryError, RuntimeError) as error:  # MXNet's and PyTorch's errors are RuntimeErrors
        reason = _full_memory(error)
        if reason is None:
            raise
        parts = ", or with the same one in parts: --accumulate 2" if name == "fit" else ""
        message = f"the memory is full ({reason}); run with a smaller --batch-size{parts}"
    except KeyboardInterrupt:
        message = "interrupted; run the same command again to continue"
        print(f"{name}: {message}", file=sys.stderr)
        return 130
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _full_memory(error: BaseException) -> Optional[str]:
    """The line that says so, if an error is that of a device or machine without memory left."""
    if isinstance(error, MemoryError):
        return str(error) or "of the machine"
    for line in str(error).splitlines():
        if any(words in line.lower() for words in _FULL_MEMORY):
            return line.rpartition("Error: ")[2].strip()
    return None


# What MXNet 1.x (`cudaMalloc retry failed: out of memory`, `Failed to allocate CPU Memory`), CUDA's
# libraries and PyTorch say.
_FULL_MEMORY = ("out of memory", "failed to allocate", "alloc_failed", "can't allocate memory")

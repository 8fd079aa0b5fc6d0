"""What a command does before it imports its modules.

Ctrl-C ends it without a traceback meanwhile, and a limit of the address space that is too low for
NumPy is one line.

Command modules import this module first, which costs nothing. `errors.run_command` handles Ctrl-C
afterwards. A program that imports a command keeps its own handling.
"""

import os
import resource
import signal
import sys

_LIBRARIES_NEED = 1 << 30  # bytes; NumPy and OpenCV on few processors


def _is_command() -> bool:
    """Whether this process runs one of our commands: python -m, a console script or tools/."""
    main = sys.modules.get("__main__")
    module = getattr(main, "__spec__", None)
    if module is not None:
        return module.name.startswith("imagenet_trainer.")
    folder, name = os.path.split(os.path.abspath(getattr(main, "__file__", None) or ""))
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return folder == os.path.join(root, "tools") or (
        name.startswith("imagenet-") and "." not in name
    )


def _refuse_little_address_space() -> None:
    """End the command if even its libraries do not fit: their errors are no single line."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < _LIBRARIES_NEED:
        print(
            f"error: ulimit -v {limit >> 10}: too little address space, {_LIBRARIES_NEED >> 20} "
            "MiB are needed; raise it",
            file=sys.stderr,
        )
        sys.exit(2)


if _is_command():
    _refuse_little_address_space()
if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

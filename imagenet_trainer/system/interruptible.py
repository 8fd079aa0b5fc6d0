"""Ctrl-C ends a command without a traceback while the command imports its modules.

Command modules import this module before any other, which costs nothing. `errors.run_command`
handles Ctrl-C afterwards. A program that imports a command keeps its own handling.
"""

import os
import signal
import sys


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


if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

"""Packs, trains and evaluates ImageNet classifiers with MXNet, reproducibly to the last bit."""

import os
import signal
import sys

__version__ = "0.1.0"


def _is_a_command() -> bool:
    """Whether this process is a command of ours, and not a program that imports the package."""
    folder, name = os.path.split(os.path.abspath(sys.argv[0] if getattr(sys, "argv", None) else ""))
    checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # What follows `python -m` is told from Python 3.10 on.
    words = [*getattr(sys, "orig_argv", []), "-m", ""]
    return (
        folder == os.path.join(checkout, "tools")
        or (name.startswith("imagenet-") and "." not in name)
        or words[words.index("-m") + 1].startswith("imagenet_trainer.")
    )


# While a command imports what it needs, Ctrl-C ends it at once and without a traceback;
# `errors.run_command` gives Python's handler back. Not where interrupts are ignored, as in the
# background of a script.
if _is_a_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

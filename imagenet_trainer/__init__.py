"""Packs, trains and evaluates ImageNet classifiers with MXNet, reproducibly to the last bit."""

import os
import signal
import sys

__version__ = "0.1.0"

# While a command imports what it needs, Ctrl-C ends it at once and without a traceback;
# `errors.run_command` gives Python's handler back. Not where a program imports the package, and
# not where interrupts are ignored, as in the background of a script. (`-m` is what sys.argv holds
# while Python looks for the module of `python -m imagenet_trainer.fit`.)
_COMMANDS = ("-m", "im2rec.py", "imagenet.py", "explore.py", "launch.py")
_program = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
if (_program in _COMMANDS or _program.startswith("imagenet-")) and signal.getsignal(
    signal.SIGINT
) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

"""A command after a run: to switch a rented machine off, to tell somebody, to begin the next job.

It runs when the run has ended by itself, finished or failed, and not after a signal: who pressed
Ctrl-C sits at the machine, and one that is taken away needs no switching off. Its words are split
once, as a shell would, and no shell ever sees them.
"""

import contextlib
import os
import shutil
import subprocess
from typing import Callable, Iterator, Mapping, Sequence

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.interrupts import Interrupts


def check(command: Sequence[str]) -> None:
    """InputError if there is no such program: that is better told before days of training."""
    if command and shutil.which(command[0]) is None:
        raise InputError(
            f"--when-done {command[0]}: there is no such program; give its full path, and for "
            "pipes and variables put them into a script"
        )


@contextlib.contextmanager
def afterwards(
    command: Sequence[str], prefix: str, interrupts: Interrupts, say: Callable[[str], None]
) -> Iterator[None]:
    """Run a command after the block unless a signal ended it; an empty one is none.

    In each word {how} becomes finished or failed, {exit_code} the number that the program is going
    to end with, {prefix} the run's --model-prefix. The command finds the same in its environment
    as IMAGENET_TRAINER_HOW, _EXIT_CODE and _PREFIX. Its failure is told and changes nothing.
    """
    how, code = "failed", 1
    try:
        yield
        how, code = "finished", 0
    except InputError:
        code = 2
        raise
    finally:
        if command and not interrupts:
            told = {"how": how, "exit_code": str(code), "prefix": prefix}
            say(_run([_filled(word, told) for word in command], told))


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _run(words: Sequence[str], told: Mapping[str, str]) -> str:
    """Run it to its end; what is to be said about it."""
    more = {f"IMAGENET_TRAINER_{name.upper()}": value for name, value in told.items()}
    try:
        ended = subprocess.run(
            words, stdin=subprocess.DEVNULL, env={**os.environ, **more}, check=False
        )
    except (OSError, ValueError) as error:
        return f"--when-done {words[0]}: could not be run: {error}"
    if ended.returncode:
        return f"--when-done {words[0]}: ended with {ended.returncode}"
    return f"--when-done {words[0]}: done"

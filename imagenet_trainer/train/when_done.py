"""A command after a run: shut a rented machine down, send a message, start the next job.

It runs when the run has finished or failed, and not after a signal: a user who presses Ctrl-C is
at the machine, and a pre-empted machine needs no shutdown. The command is split into arguments as
in a shell, but runs without one.
"""

import contextlib
import os
import shutil
import subprocess
from typing import Callable, Iterator, Mapping, Sequence

from imagenet_trainer.errors import InputError, exit_code_of
from imagenet_trainer.system.interrupts import Interrupts


def check_command(command: Sequence[str]) -> None:
    """InputError if the program does not exist, before the training starts."""
    if command and shutil.which(command[0]) is None:
        raise InputError(
            f"--when-done {command[0]}: there is no such program; give its full path, and put "
            "pipes and variables into a script"
        )


@contextlib.contextmanager
def run_afterwards(
    command: Sequence[str], prefix: str, interrupts: Interrupts, log: Callable[[str], None]
) -> Iterator[None]:
    """Run a command after the block unless a signal ended it; nothing if it is empty.

    In each argument {how} becomes finished or failed, {exit_code} the exit code of the program, and
    {prefix} the run's --model-prefix. The command gets the same in its environment as
    IMAGENET_TRAINER_HOW, _EXIT_CODE and _PREFIX. If it fails, that is logged and ignored.
    """
    how, code = "failed", 0
    try:
        yield
        how = "finished"
    except BaseException as error:
        code = exit_code_of(error)
        raise
    finally:
        if command and not interrupts:
            log(run(command, prefix, how, code))


def run(command: Sequence[str], prefix: str, how: str, code: int) -> str:
    """Run the command to its end, with its arguments filled in; return the line for the log."""
    values = {"how": how, "exit_code": str(code), "prefix": prefix}
    command = [_filled(argument, values) for argument in command]
    variables = {f"IMAGENET_TRAINER_{name.upper()}": value for name, value in values.items()}
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, env={**os.environ, **variables}, check=False
        )
    except (OSError, ValueError) as error:
        return f"--when-done {command[0]}: could not be run: {error}"
    if ended.returncode:
        return f"--when-done {command[0]}: exit code {ended.returncode}"
    return f"--when-done {command[0]}: done"


def _filled(argument: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        argument = argument.replace(f"{{{name}}}", value)
    return argument

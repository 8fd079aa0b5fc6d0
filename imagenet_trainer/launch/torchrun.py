"""Start the processes of --engine torch on this machine: torchrun, called as a function."""

import logging
import os
import shlex
import signal
import sys
import tempfile
from typing import List, Mapping, Sequence, Tuple

from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.errors import InputError, LostWorkerError
from imagenet_trainer.launch.plan import command_of
from imagenet_trainer.launch.supervise import SIGNALLED
from imagenet_trainer.system.machine import processors

_ELASTIC = "torch.distributed.elastic"


def launch(settings: LaunchSettings, command: Sequence[str]) -> int:
    """Run the command by torchrun, which watches its workers itself."""
    words = command_of(command)
    if settings.dry_run:
        print(shlex.join(command_line(settings.num_workers, words)))
        return 0
    return start(settings.num_workers, words, settings.max_restarts)


def command_line(count: int, words: Sequence[str]) -> List[str]:
    """Return the equivalent command line: torchrun, its options, the program."""
    return ["torchrun", *_options(count, words), *words]


def _options(count: int, words: Sequence[str]) -> List[str]:
    options = ["--standalone", "--nproc-per-node", str(count), "--max-restarts", "0"]
    return options if words[0] == "-m" else [*options, "--no-python"]


def start(count: int, words: Sequence[str], restarts: int = 0) -> int:
    """Run `python WORDS` in `count` processes to their end; return the exit code.

    torchrun ends all workers when one fails, and forwards signals. It is started again up to
    `restarts` times; its own --max-restarts would also retry after a wrong flag. The code is that
    of the first worker that failed, 128 + n after signal n.
    """
    # torchrun's default is one thread each; here the workers share the processors.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // count)))
    # A lost store is reported in one line; PyTorch would add a C++ stack trace as a warning.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # As nohup requests; torchrun handles the signal anyway. The workers inherit the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    from torch.distributed.elastic.multiprocessing.api import SignalException

    try:
        return _attempts(count, words, restarts)
    except SignalException as signalled:
        return 128 + int(signalled.sigval)


def _attempts(count: int, words: Sequence[str], restarts: int) -> int:
    for attempt in range(restarts + 1):
        code, rank = _once(count, words)
        # A restart would not change success, a wrong flag or file, or the user's wish to stop.
        if code in (0, InputError.exit_code, *SIGNALLED):
            break
        left = restarts - attempt
        next_step = (
            f"restarting from the last checkpoint, restarts left: {left}"
            if left
            else "the same command continues from the last checkpoint"
        )
        reason = code if code < 128 else 128 - code
        print(
            f"torchrun: worker {rank} ended with {reason}, and all others with it; {next_step}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return code


def _once(count: int, words: Sequence[str]) -> Tuple[int, int]:
    """Run one attempt; return its exit code and the worker that failed first."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in [n for n in logging.root.manager.loggerDict if n.startswith(_ELASTIC)]:
        # `start` reports a failed worker in one line instead.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(
            prefix="torchrun-"
        ) as logs:  # its default folder would stay
            program = 2 if words[0] == "-m" else 1  # number of words that name the program
            options = ["--log-dir", logs, *_options(count, words), *words[:program]]
            # The program's flags bypass argparse: before Python 3.12 it refuses those that are
            # prefixes of several torchrun flags, such as --monitor.
            parsed = torchrun.parse_args(options)
            parsed.training_script_args = list(words[program:])
            torchrun.run(parsed)
    except ChildFailedError as failed:
        return first_failure({r: (f.exitcode, f.timestamp) for r, f in failed.failures.items()})
    return 0, 0


def first_failure(failures: Mapping[int, Tuple[int, int]]) -> Tuple[int, int]:
    """Return exit code and worker of the failure that caused the others.

    `failures` maps workers to exit code and time in seconds. A wrong flag or file comes first.
    torchrun's times are whole seconds: within the same one, workers that lost another worker or
    were ended by torchrun come last.
    """
    consequences = (LostWorkerError.exit_code, -signal.SIGTERM)
    rank = min(
        failures,
        key=lambda r: (
            failures[r][0] != InputError.exit_code,
            failures[r][1],
            failures[r][0] in consequences,
        ),
    )
    code = failures[rank][0]
    return (code if code > 0 else 128 - code), rank

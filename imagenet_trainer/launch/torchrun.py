"""Starts the processes of --engine torch on this machine: torchrun, called as a function."""

import logging
import os
import signal
import sys
import tempfile
from typing import List, Mapping, Sequence, Tuple

from imagenet_trainer.errors import InputError, LostWorkerError
from imagenet_trainer.launch.supervise import SIGNALLED
from imagenet_trainer.system.machine import processors

_ELASTIC = "torch.distributed.elastic"


def command_line(count: int, words: Sequence[str]) -> List[str]:
    """What a shell would be given: torchrun, its options, the program."""
    return ["torchrun", *_options(count, words), *words]


def _options(count: int, words: Sequence[str]) -> List[str]:
    options = ["--standalone", "--nproc-per-node", str(count), "--max-restarts", "0"]
    return options if words[0] == "-m" else [*options, "--no-python"]


def start(count: int, words: Sequence[str], restarts: int = 0) -> int:
    """Run `python WORDS` in `count` processes to their end; return the exit code.

    torchrun ends all when one fails, and hands signals on. It is started anew up to `restarts`
    times: by its own --max-restarts it would try a mistake in the flags again too. The code is that
    of the first that failed, 128 + n after signal n.
    """
    # torchrun's own choice is one thread; these share the processors.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // count)))
    # A store that is gone is told in one line; PyTorch would warn of it with the stack of its C++.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # As nohup wants it; torchrun handles the signal whatever it was. The workers inherit this.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    from torch.distributed.elastic.multiprocessing.api import SignalException

    try:
        return _attempts(count, words, restarts)
    except SignalException as signalled:
        return 128 + int(signalled.sigval)


def _attempts(count: int, words: Sequence[str], restarts: int) -> int:
    for attempt in range(restarts + 1):
        code, rank = _once(count, words)
        # Nothing that another attempt would change: done, a mistake, or the user's wish.
        if code in (0, InputError.exit_code, *SIGNALLED):
            break
        left = restarts - attempt
        then = (
            f"again from the last checkpoint, {left} more times at most"
            if left
            else "the same command continues from the last checkpoint"
        )
        said = code if code < 128 else 128 - code
        print(
            f"torchrun: worker {rank} ended with {said}, and all others with it; {then}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    return code


def _once(count: int, words: Sequence[str]) -> Tuple[int, int]:
    """Exit code of an attempt, and the worker that failed first."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in [n for n in logging.root.manager.loggerDict if n.startswith(_ELASTIC)]:
        # What it would say of a failed worker is said here, shorter.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="torchrun-") as logs:  # or it leaves one of its own
            program = 2 if words[0] == "-m" else 1  # words; its flags are what follows
            options = ["--log-dir", logs, *_options(count, words), *words[:program]]
            # Flags are kept from argparse, which before Python 3.12 refuses those that are the
            # beginning of several of torchrun's, such as --monitor, whoever they are for.
            parsed = torchrun.parse_args(options)
            parsed.training_script_args = list(words[program:])
            torchrun.run(parsed)
    except ChildFailedError as failed:
        return first_failure({r: (f.exitcode, f.timestamp) for r, f in failed.failures.items()})
    return 0, 0


def first_failure(found: Mapping[int, Tuple[int, int]]) -> Tuple[int, int]:
    """Exit code, and the worker, that an attempt ended with: of exit codes and seconds by worker.

    A mistake is the reason before anything else. torchrun's clock tells whole seconds: of those
    that it found in the same one, who lost another or was ended by torchrun comes last.
    """
    no_reason = (LostWorkerError.exit_code, -signal.SIGTERM)
    rank = min(
        found,
        key=lambda r: (found[r][0] != InputError.exit_code, found[r][1], found[r][0] in no_reason),
    )
    code = found[rank][0]
    return (code if code > 0 else 128 - code), rank

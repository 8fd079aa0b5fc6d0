"""Starts the processes of --engine torch on this machine: torchrun, called as a function."""

import logging
import os
import sys
from typing import List, Sequence, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.launch.supervise import SIGNALLED
from imagenet_trainer.machine import processors


def command_line(count: int, words: Sequence[str]) -> List[str]:
    """What a shell would be given: torchrun, its options, the program."""
    options = ["--standalone", "--nproc-per-node", str(count), "--max-restarts", "0"]
    return ["torchrun", *options, *(words if words[0] == "-m" else ["--no-python", *words])]


def start(count: int, words: Sequence[str], restarts: int = 0) -> int:
    """Run `python WORDS` in `count` processes to their end; return the exit code.

    torchrun ends all when one fails, and hands signals on. It is started anew up to `restarts`
    times: by its own --max-restarts it would try a mistake in the flags again too. The code is that
    of the first that failed, 128 + n after signal n.
    """
    # torchrun's own choice is one thread; these share the processors.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // count)))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    # What it would say of a failed worker is said below, shorter.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
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
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        torchrun.run(torchrun.parse_args(command_line(count, words)[1:]))
    except SignalException as signalled:
        return 128 + int(signalled.sigval), 0
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        code = failure.exitcode
        return (code if code > 0 else 128 - code), rank
    return 0, 0

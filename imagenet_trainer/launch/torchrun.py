"""Starts the processes of --engine torch on this machine: torchrun, called as a function."""

import os
import sys
from typing import List, Sequence

from imagenet_trainer.machine import processors


def command_line(count: int, words: Sequence[str], restarts: int = 0) -> List[str]:
    """What a shell would be given: torchrun, its options, the program."""
    options = ["--standalone", "--nproc-per-node", str(count), "--max-restarts", str(restarts)]
    return ["torchrun", *options, *(words if words[0] == "-m" else ["--no-python", *words])]


def start(count: int, words: Sequence[str], restarts: int = 0) -> int:
    """Run `python WORDS` in `count` processes to their end; return the exit code.

    torchrun ends all when one fails, starts them anew up to `restarts` times, and hands signals
    on. The code is that of the first that failed, 128 + n after signal n.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun's own choice is one thread; these share the processors.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // count)))
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    arguments = torchrun.parse_args(command_line(count, words, restarts)[1:])
    try:
        torchrun.run(arguments)
    except SignalException as signalled:
        return 128 + int(signalled.sigval)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        code = failure.exitcode
        if code == 2:  # a mistake, of which the workers have told
            return code
        print(
            f"torchrun: worker {rank} ended with {code}, and all others with it; the same command "
            "continues from the last checkpoint",
            file=sys.stderr,
        )
        return code if code > 0 else 128 - code
    return 0

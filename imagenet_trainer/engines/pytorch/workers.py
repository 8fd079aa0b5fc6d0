"""Workers that a launcher started: one process for each GPU, or for each part of the CPUs."""

import ctypes
import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Iterator, Optional

import numpy as np
import torch
import torch.distributed as dist

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import is_torch_worker
from imagenet_trainer.engines.joining import joining
from imagenet_trainer.engines.pytorch.algorithms import set_algorithms
from imagenet_trainer.engines.pytorch.devices import device_here
from imagenet_trainer.engines.pytorch.heartbeat import Heartbeat
from imagenet_trainer.engines.pytorch.rendezvous import Rendezvous
from imagenet_trainer.engines.workers import ALONE, Workers, variable
from imagenet_trainer.errors import InputError, LostWorkerError

# How long a sum waits for a worker that responds: long enough for compiling the network at the
# first update, and for a checkpoint that waits for its disk. The heartbeat detects workers that do
# not respond much sooner.
_TIMEOUT = timedelta(minutes=30)
# Tenths of a second within which torchrun, which polls as often, notices the worker that failed.
_NOTICED = 100
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def join_torchrun(devices: Devices) -> Workers:
    """Join the group that a launcher started this process in; a group of one without a launcher."""
    if not is_torch_worker():
        return ALONE
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # If torchrun is killed, its workers get SIGTERM: they save and end.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    set_algorithms(devices)
    return TorchWorkers(device_here(devices))


class TorchWorkers:
    """The process group; creating this joins it and waits until all members are present.

    NCCL sums tensors on GPUs, gloo sums arrays in host memory. So the workers' messages about
    signals and counts after an update wait for the other hosts, but not for the GPU.

    Raises LostWorkerError, as all methods do, if the others cannot be reached, and InputError if
    the launcher's variables are wrong.
    """

    in_step = True  # every update uses the gradients of all workers

    def __init__(self, device: torch.device) -> None:
        self.world_size = variable("WORLD_SIZE", range(1, 1 << 31))
        self.rank = variable("RANK", range(self.world_size))
        self._heartbeat: Optional[Heartbeat] = None
        self._is_lost = False
        # `Interrupts` removes its handlers at the first signal, so a changed handler shows that
        # there was one.
        self._handler = signal.getsignal(signal.SIGTERM)
        rendezvous = None
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            _check_restarts()
        elif not dist.is_initialized():
            rendezvous = Rendezvous(self.rank, self.world_size)
        others = rendezvous or f"the other workers of {self.world_size} that torchrun started"
        with self.lost_errors(), joining(lambda: str(others)):
            store = rendezvous.open() if rendezvous else None
            # Before the group, so that workers that hang while joining are detected too.
            self._begin_heartbeat()
            if not dist.is_initialized():
                _join(device, store, self.rank, self.world_size)

    def _begin_heartbeat(self) -> None:
        if self.world_size > 1:
            self._heartbeat = Heartbeat(_connection(), self.rank, self.world_size, self._end)
            self._heartbeat.begin()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum float64 (k,) over all workers, element by element."""
        result = torch.tensor(np.asarray(values, np.float64))  # a copy, which all_reduce overwrites
        with self.lost_errors():
            dist.all_reduce(result)
        return result.numpy()

    def begin_sum(self, values: torch.Tensor) -> Any:
        """Begin to sum a tensor on the worker's device over all workers, in place.

        The result has `wait()`: afterwards the host, or on a GPU the current stream, has the sum.
        """
        return dist.all_reduce(values, async_op=True)

    def part(self) -> None:
        """Leave the group when all work is done and the others have called this too."""
        self.sum(np.zeros(1))
        if self._heartbeat:
            self._heartbeat.leave()
        # The group is never freed. DistributedDataParallel has the last reference to it, and waits
        # for gloo's thread while it holds the interpreter lock; that thread may need the lock to
        # free the last sum, and then both wait forever: with PyTorch 2.13 on a busy machine one of
        # the first ten groups did.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(dist.group.WORLD))
        dist.destroy_process_group()

    @contextmanager
    def lost_errors(self) -> Iterator[None]:
        """Raise LostWorkerError with this worker's rank if the others cannot be reached."""
        try:
            yield
        except RuntimeError as error:
            lines = str(error).strip().splitlines()
            if not (isinstance(error, dist.DistError) or any(w in str(error) for w in _BROKEN)):
                raise
            self._wait_for_signal()
            # gloo's messages begin with a file and line, and end with a guess.
            why = re.sub(r"^\[[^]]*\] |\. This is typically.*", "", lines[0] if lines else "")
            raise LostWorkerError(self._lost_message(why[:200] or repr(error))) from error

    def _wait_for_signal(self) -> None:
        """Wait for torchrun's signal: the run ends with the exit code of the first failed worker.

        That has to be the worker that failed, not one that lost it.
        """
        for _ in range(0 if self._is_lost else _NOTICED):
            if signal.getsignal(signal.SIGTERM) is not self._handler:
                break
            time.sleep(0.1)
        self._is_lost = True

    def _lost_message(self, why: str) -> str:
        return (
            f"worker {self.rank} of {self.world_size} ({os.uname().nodename}) lost another one: "
            f"{why}; the same command continues from the last checkpoint"
        )

    def _end(self, why: str) -> None:
        """End this process from the heartbeat's thread, as the worker itself waits in a sum."""
        print(f"error: {self._lost_message(why)}", file=sys.stderr, flush=True)
        os._exit(LostWorkerError.exit_code)


# Parts of gloo's and NCCL's error messages, which have no error class.
_BROKEN = ("gloo", "Gloo", "NCCL", "Connection", "process group")


def _join(device: torch.device, store: Optional[dist.TCPStore], rank: int, world_size: int) -> None:
    """Join the group; without a store that of the launcher's MASTER_ADDR and MASTER_PORT."""
    is_gpu = device.type == "cuda"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if is_gpu else "gloo", timeout=_TIMEOUT, store=store, rank=rank,
        world_size=world_size, device_id=device if is_gpu else None,
    )  # fmt: skip


def _check_restarts() -> None:
    """Raise InputError if torchrun would restart workers with the store of the last attempt."""
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0":
        raise InputError(
            f"torchrun --max-restarts {restarts}: restarted workers would try to reach the ones "
            "that ended (PyTorch's issue 135712); on one machine use tools/launch.py --engine "
            "torch, on several --rdzv-backend c10d and TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the "
            "environment of every torchrun"
        )


def _connection() -> dist.TCPStore:
    """Another connection to the group's store: on a shared one a waiting call blocks all others."""
    return dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
        wait_for_workers=False, timeout=timedelta(seconds=30),
    )  # fmt: skip

"""Workers that torchrun started: one process for each GPU, or for each part of some CPUs."""

import ctypes
import os
import re
import signal
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import Iterator, Optional

import numpy as np
import torch
import torch.distributed as dist

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import is_torch_worker
from imagenet_trainer.engines.pytorch.devices import device_here
from imagenet_trainer.engines.pytorch.heartbeat import Heartbeat
from imagenet_trainer.engines.workers import ALONE, Workers
from imagenet_trainer.errors import InputError, LostWorkerError

# How long a sum waits for a worker that is alive: compiling the network, which takes its time on
# the first update, must fit in, and a checkpoint that waits for its disk. Who is silent altogether
# is found by the heartbeat long before.
_PATIENCE = timedelta(minutes=30)
# Tenths of a second in which torchrun, which looks as often, has seen the worker that failed first.
_SEEN = 100
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def join_torchrun(devices: Devices) -> Workers:
    """The group that a launcher started this process in; of one without a launcher."""
    if not is_torch_worker():
        return ALONE
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # A torchrun that is killed leaves no workers behind: they save and end.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return TorchWorkers(device_here(devices))


class TorchWorkers:
    """The process group, joined when this is made; waits until all of its members are there.

    NCCL adds up what is on GPUs, gloo what is in the host's memory. So what workers tell each other
    of signals and counts after an update waits for the other hosts, and not until the GPU is done.

    Raises LostWorkerError, as all methods do, where the others cannot be reached.
    """

    in_step = True  # every update is made of the gradients of all workers

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._heartbeat: Optional[Heartbeat] = None
        self._is_lost = False
        # Interrupts takes its handlers away at the first signal: so one that came is told by them.
        self._before_signal = signal.getsignal(signal.SIGTERM)
        is_kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        if is_kept:
            _check_restarts()
        with self.told():
            if is_kept:
                # torchrun has the store already: who falls silent while all join is missed too.
                self._begin_heartbeat()
            if not dist.is_initialized():
                _join(device)
            if not is_kept:
                self._begin_heartbeat()

    def _begin_heartbeat(self) -> None:
        if self.world_size > 1:
            self._heartbeat = Heartbeat(_connection(), self.rank, self.world_size, self._end)
            self._heartbeat.begin()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers, element by element."""
        whole = torch.tensor(np.asarray(values, np.float64))  # of its own: the sum goes in there
        with self.told():
            dist.all_reduce(whole)
        return whole.numpy()

    def add_up(self, values: torch.Tensor) -> None:
        """The same in place, of a tensor on the worker's device."""
        dist.all_reduce(values)

    def part(self) -> None:
        """All work is done: leave the group when the others are here too."""
        self.sum(np.zeros(1))
        if self._heartbeat:
            self._heartbeat.leave()
        dist.destroy_process_group()

    @contextmanager
    def told(self) -> Iterator[None]:
        """LostWorkerError with this worker's rank where the others cannot be reached."""
        try:
            yield
        except RuntimeError as error:
            told = str(error).strip().splitlines()
            if not (isinstance(error, dist.DistError) or any(w in str(error) for w in _BROKEN)):
                raise
            self._let_the_first_be_seen()
            # gloo begins with a file and line of its own, and ends with a guess.
            why = re.sub(r"^\[[^]]*\] |\. This is typically.*", "", told[0] if told else "")
            raise LostWorkerError(self._told(why[:200] or repr(error))) from error

    def _let_the_first_be_seen(self) -> None:
        """Wait for torchrun's signal: the run ends with the exit code of who it sees fail first.

        That has to be the worker that failed, and not one that lost it.
        """
        for _ in range(0 if self._is_lost else _SEEN):
            if signal.getsignal(signal.SIGTERM) is not self._before_signal:
                break
            time.sleep(0.1)
        self._is_lost = True

    def _told(self, why: str) -> str:
        return (
            f"worker {self.rank} of {self.world_size} ({os.uname().nodename}) lost another one: "
            f"{why}; the same command continues from the last checkpoint"
        )

    def _end(self, why: str) -> None:
        """End this process from the heartbeat's thread: the worker itself waits inside a sum."""
        print(f"error: {self._told(why)}", file=sys.stderr, flush=True)
        os._exit(LostWorkerError.exit_code)


# Words of gloo's and NCCL's errors that have no class of their own.
_BROKEN = ("gloo", "Gloo", "NCCL", "Connection", "process group")


def _join(device: torch.device) -> None:
    if device.type == "cuda":
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)


def _check_restarts() -> None:
    """InputError where torchrun would restart workers into a store of the last attempt's."""
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0":
        raise InputError(
            f"torchrun --max-restarts {restarts}: its restarted workers look for those that died "
            "(PyTorch's issue 135712); on one machine use tools/launch.py --engine torch, on "
            "several --rdzv-backend c10d and TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the "
            "environment of every torchrun"
        )


def _connection() -> dist.TCPStore:
    """One more to the store that the group meets at: on a shared one a waiting call stops all."""
    return dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
        wait_for_workers=False, timeout=timedelta(seconds=30),
    )  # fmt: skip

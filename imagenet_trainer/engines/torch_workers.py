"""Workers that torchrun started: one process for each GPU, or for each part of some CPUs."""

import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Dict, Iterator, Optional

import numpy as np
import torch
import torch.distributed as dist

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import is_torch_worker
from imagenet_trainer.engines.torch_devices import device_here
from imagenet_trainer.engines.torch_heartbeat import Heartbeat
from imagenet_trainer.engines.workers import ALONE, Workers
from imagenet_trainer.errors import LostWorkerError

# How long a sum waits for a worker that is alive: compiling the network, which takes its time on
# the first update, must fit in, and a checkpoint that waits for its disk. Who is silent altogether
# is found by the heartbeat long before.
_PATIENCE = timedelta(minutes=30)


def join_torchrun(devices: Devices) -> Workers:
    """The group that a launcher started this process in; of one without a launcher."""
    return TorchWorkers(device_here(devices)) if is_torch_worker() else ALONE


class TorchWorkers:
    """The process group, joined when this is made; waits until all of its members are there.

    NCCL adds up on GPUs, gloo on CPUs.
    """

    in_step = True  # every update is made of the gradients of all workers

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if not dist.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            more: Dict[str, Any] = {"device_id": device} if device.type == "cuda" else {}
            dist.init_process_group(backend, timeout=_PATIENCE, **more)
        self.rank: int = dist.get_rank()
        self.world_size: int = dist.get_world_size()
        self._heartbeat: Optional[Heartbeat] = None
        if self.world_size > 1:
            self._heartbeat = Heartbeat(
                _connection(), self.rank, self.world_size,
                f"heartbeat/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", self._end,
            )  # fmt: skip
            self._heartbeat.begin()

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers, element by element."""
        whole = torch.as_tensor(np.asarray(values, np.float64), device=self._device)
        with self.told():
            dist.all_reduce(whole)
        return whole.cpu().numpy()

    def add_up(self, values: torch.Tensor) -> None:
        """The same in place, of a tensor on the worker's device."""
        dist.all_reduce(values)

    def part(self) -> None:
        """All work is done: leave the group when the others are here too."""
        with self.told():
            dist.barrier()
        if self._heartbeat:
            self._heartbeat.leave()
        dist.destroy_process_group()

    @contextmanager
    def told(self) -> Iterator[None]:
        """LostWorkerError with this worker's rank where the others cannot be reached."""
        try:
            yield
        except dist.DistError as error:
            raise self.lost(error) from error
        except RuntimeError as error:
            if any(word in str(error) for word in ("gloo", "NCCL", "Connection", "process group")):
                raise self.lost(error) from error
            raise

    def lost(self, error: BaseException) -> LostWorkerError:
        """The one line for a broken connection."""
        return LostWorkerError(self._told(str(error).strip().splitlines()[0][:200]))

    def _told(self, why: str) -> str:
        return (
            f"worker {self.rank} of {self.world_size} ({os.uname().nodename}) lost another one: "
            f"{why}; the same command continues from the last checkpoint"
        )

    def _end(self, why: str) -> None:
        """End this process from the heartbeat's thread: the worker itself waits inside a sum."""
        print(f"error: {self._told(why)}", file=sys.stderr, flush=True)
        os._exit(LostWorkerError.exit_code)


def _connection() -> dist.TCPStore:
    """One more to the store that the group met at: on a shared one a waiting call stops all."""
    return dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False,
        wait_for_workers=False, timeout=timedelta(seconds=30),
    )  # fmt: skip

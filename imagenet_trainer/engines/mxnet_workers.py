"""Workers that meet at MXNet's parameter servers (ps-lite): --kv-store dist_*."""

import os
from typing import Dict, Mapping

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.mxnet_import import mx

# What ps-lite reads; without any one of them it ends the process.
_NEEDED = ("DMLC_ROLE", "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER",
           "DMLC_NUM_SERVER")  # fmt: skip
# The launcher's number of this worker. ps-lite's own follows addresses and ports of the moment;
# with ours, worker 0 is on the first host after every restart.
RANK = "IMAGENET_TRAINER_RANK"


class KVStoreWorkers:
    """The workers of a parameter server, met when this is made.

    Waits until all of them are there. Raises InputError outside `tools/launch.py`, or where
    another launcher gave numbers that are not those of n workers.
    """

    def __init__(self, kind: str, environment: Mapping[str, str] = os.environ) -> None:
        missing = [name for name in _NEEDED if not environment.get(name)]
        if missing:
            raise InputError(
                f"--kv-store {kind}: is for workers that a launcher starts ({missing[0]} is not "
                "set); put `python tools/launch.py -n 2` before the command, or use "
                "--kv-store device"
            )
        self.kvstore = mx.kv.create(kind)
        # MXNet's default lets a worker that failed wait for ever for the others.
        self._meet_before_exit(False)
        self.world_size: int = self.kvstore.num_workers
        self.rank: int = int(environment.get(RANK, self.kvstore.rank))
        self._sums: Dict[int, str] = {}  # a key for each length
        present = np.zeros(self.world_size)
        if 0 <= self.rank < self.world_size:
            present[self.rank] = 1
        if not (self.sum(present) == 1).all():
            raise InputError(
                f"{RANK} {self.rank}: the {self.world_size} workers must have the numbers 0 to "
                f"{self.world_size - 1}; leave it to tools/launch.py"
            )

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers: the servers do, as they add gradients."""
        if not len(values):
            return np.zeros(0)
        key = self._sums.get(len(values))
        if key is None:
            key = self._sums[len(values)] = f"sum of {len(values)}"
            self.kvstore.init(key, mx.nd.zeros(len(values), dtype="float64"))
        # A fresh array each time: the pull also overwrites what was pushed (measured).
        pushed = mx.nd.array(np.asarray(values, np.float64), dtype="float64")
        result = mx.nd.zeros(len(values), dtype="float64")
        self.kvstore.push(key, pushed)
        self.kvstore.pull(key, result)
        return result.asnumpy()

    def part(self) -> None:
        """All work is done: wait for the others when the process ends; the last stops servers."""
        self._meet_before_exit(True)

    def _meet_before_exit(self, meet: bool) -> None:
        set_barrier = mx.base._LIB.MXKVStoreSetBarrierBeforeExit
        mx.base.check_call(set_barrier(self.kvstore.handle, int(meet)))

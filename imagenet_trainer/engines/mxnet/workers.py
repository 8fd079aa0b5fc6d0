"""Workers that meet at MXNet's parameter servers (ps-lite): --kv-store dist_*."""

import json
import os
from typing import Any, Dict, Mapping, Optional

import numpy as np

from imagenet_trainer.engines.mxnet import async_updates
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mx

# What ps-lite reads; without any one of them it ends the process.
_NEEDED = ("DMLC_ROLE", "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER",
           "DMLC_NUM_SERVER")  # fmt: skip
# The launcher's number of this worker. ps-lite's own follows addresses and ports of the moment;
# with ours, worker 0 is on the first host after every restart.
RANK = "IMAGENET_TRAINER_RANK"
_STRETCH = 2**20  # servers hold two arrays of every length that was ever added up


def join(kind: str) -> "KVStoreWorkers":
    """The workers of this process's launcher."""
    return AsyncWorkers(kind) if kind == "dist_async" else KVStoreWorkers(kind)


class KVStoreWorkers:
    """The workers of parameter servers that add gradients up, met when this is made.

    Waits until all of them are there. Raises InputError outside `tools/launch.py`, or where
    another launcher gave numbers that are not those of n workers.
    """

    in_step = True

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
        self._begin()
        present = np.zeros(self.world_size)
        if 0 <= self.rank < self.world_size:
            present[self.rank] = 1
        if not (self.sum(present) == 1).all():
            raise InputError(
                f"{RANK} {self.rank}: the {self.world_size} workers must have the numbers 0 to "
                f"{self.world_size - 1}; leave it to tools/launch.py"
            )

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers, long ones in stretches."""
        parts = [values[k : k + _STRETCH] for k in range(0, len(values), _STRETCH)]
        return np.concatenate([np.zeros(0), *map(self._sum, parts)])

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The servers add, as they add gradients."""
        key = self._key_of(len(values))
        # A fresh array each time: the pull also overwrites what was pushed (measured).
        pushed = mx.nd.array(np.asarray(values, np.float64), dtype="float64")
        result = mx.nd.zeros(len(values), dtype="float64")
        self.kvstore.push(key, pushed)
        self.kvstore.pull(key, result)
        return result.asnumpy()

    def _key_of(self, length: int) -> str:
        key = self._sums.get(length)
        if key is None:
            key = self._sums[length] = f"sum of {length}"
            self.kvstore.init(key, mx.nd.zeros(length, dtype="float64"))
        return key

    def _begin(self) -> None:
        """Prepare the servers; they add up by themselves."""

    def part(self) -> None:
        """All work is done: wait for the others when the process ends; the last stops servers."""
        self._meet_before_exit(True)

    def _meet_before_exit(self, meet: bool) -> None:
        set_barrier = mx.base._LIB.MXKVStoreSetBarrierBeforeExit
        mx.base.check_call(set_barrier(self.kvstore.handle, int(meet)))


class AsyncWorkers(KVStoreWorkers):
    """The workers of servers that make an update of every gradient as it comes: dist_async.

    The servers hold the parameters and the optimizer's state, and MXNet has no way to read the
    latter. Workers wait for each other in `sum`, `write` and `read` only.
    """

    in_step = False

    def _begin(self) -> None:
        self._totals: Dict[str, np.ndarray] = {}
        self._rate: Optional[float] = None
        self._tell(async_updates.BEGIN)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The servers keep a total, and what it grows by is the sum."""
        key = self._key_of(len(values))
        total = mx.nd.zeros(len(values), dtype="float64")
        self.kvstore.push(key, mx.nd.array(np.asarray(values, np.float64), dtype="float64"))
        self._meet()
        self.kvstore.pull(key, total)
        found = total.asnumpy()
        self._meet()  # before the next push
        before = self._totals.get(key, np.zeros(len(values)))
        self._totals[key] = found
        return found - before

    def hand_over(self, module: "mx.mod.Module", first: int) -> None:
        """Give the update rule to the servers, where the parameters' keys begin with `first`."""
        names = dict(enumerate(module._exec_group.param_names, first))
        self._tell(async_updates.OPTIMIZER, async_updates.described(module._optimizer, names))
        module._update_on_kvstore = True

    @property
    def keys(self) -> int:
        """How many keys the servers know; MXNet counts them up."""
        return len(self._sums)

    def set_rate(self, rate: float) -> None:
        """Tell the servers a new learning rate."""
        if self.rank == 0 and rate != self._rate:
            self._send(async_updates.RATE, rate)
        self._rate = rate

    def write(self, module: "mx.mod.Module") -> None:
        """Give the servers the parameters of rank 0."""
        self._tell(async_updates.ASSIGN)
        if self.rank == 0:
            group = module._exec_group
            for name, arrays in zip(group.param_names, group.param_arrays):
                self.kvstore.push(name, arrays[0].copy())
        self._meet()
        self._tell(async_updates.TRAIN)

    def read(self, module: "mx.mod.Module") -> None:
        """Take the parameters from the servers when all gradients under way have reached them."""
        self._meet()
        group = module._exec_group
        for name, arrays in zip(group.param_names, group.param_arrays):
            self.kvstore.pull(name, arrays)
        self._meet()

    def _tell(self, word: str, value: Any = None) -> None:
        if self.rank == 0:
            self._send(word, value)
        self._meet()

    def _send(self, word: str, value: Any) -> None:
        text = json.dumps([word, value])
        self.kvstore._send_command_to_servers(async_updates.NUMBER, text)

    def _meet(self) -> None:
        mx.nd.waitall()
        self.kvstore._barrier()

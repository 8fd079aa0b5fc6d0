"""Workers of MXNet's parameter servers (ps-lite): the kvstores dist_*."""

import json
import os
import sys
from typing import Any, Dict, Optional

import numpy as np

from imagenet_trainer.engines.joining import joining
from imagenet_trainer.engines.mxnet import async_updates, serving, watch
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.system.mxnet_import import mx

# Environment variables of ps-lite, which ends the process if one of them is missing.
_NEEDED = ("DMLC_ROLE", "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER",
           "DMLC_NUM_SERVER")  # fmt: skip
# The rank of this worker, set by the launcher. ps-lite's own ranks depend on addresses and ports;
# with ours, worker 0 is on the first host after every restart.
RANK = "IMAGENET_TRAINER_RANK"
_CHUNK = 2**20  # servers keep two arrays for every length that was ever summed


def join(kind: str) -> "KVStoreWorkers":
    """Join the workers that the launcher started together with this process.

    Where the environment makes this process a server or the scheduler, as clusters do that start
    one command in all roles, it serves to the end of the training; then SystemExit.
    """
    role = os.environ.get("DMLC_ROLE")
    if role in ("server", "scheduler"):
        print(f"DMLC_ROLE={role}: this process trains nothing", file=sys.stderr, flush=True)
        raise SystemExit(serving.main())
    return AsyncWorkers(kind) if kind.endswith("_async") else KVStoreWorkers(kind)


class KVStoreWorkers:
    """The workers of parameter servers that sum gradients; creating one joins the group.

    Waits until all workers are present. Raises InputError outside a launcher, or if the launcher
    set ranks that are not 0 to n - 1.
    """

    in_step = True

    def __init__(self, kind: str) -> None:
        missing = [name for name in _NEEDED if not os.environ.get(name)]
        if missing:
            raise ArgumentError(
                "kv_store",
                kind,
                f"needs workers that a launcher starts ({missing[0]} is not set); put `python "
                "tools/launch.py -n 2` before the command, or use device",
            )
        watch.prepare_environment()
        with joining(_others):
            self.kvstore = mx.kv.create(kind)  # imports MXNet
        count = watch.counter(mx.base._LIB, self.kvstore.handle)
        self._watch = watch.Watch(count, watch.SCHEDULER, watch.end_lost)
        # By default MXNet makes a failed worker wait for the others, possibly forever.
        self._set_barrier_before_exit(False)
        self.world_size: int = self.kvstore.num_workers
        rank = os.environ.get(RANK, str(self.kvstore.rank))
        self.rank = int(rank) if rank.isdecimal() else -1
        self._sums: Dict[int, str] = {}  # a key for each length
        self._begin()
        present = np.zeros(self.world_size)
        if 0 <= self.rank < self.world_size:
            present[self.rank] = 1
        if not (self.sum(present) == 1).all():
            raise InputError(
                f"{RANK} {rank}: the {self.world_size} workers must have the ranks 0 to "
                f"{self.world_size - 1}; let tools/launch.py set them"
            )

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum float64 (k,) over all workers, long arrays in chunks."""
        parts = [values[k : k + _CHUNK] for k in range(0, len(values), _CHUNK)]
        return np.concatenate([np.zeros(0), *map(self._sum, parts)])

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The servers sum the arrays as they sum gradients."""
        key = self._key_of(len(values))
        # A new array each time: the pull also overwrites the pushed array (measured).
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
        """Prepare the servers; summing needs nothing."""

    def part(self) -> None:
        """Leave the group when all work is done: the process waits for the others at its end."""
        self.sum(np.zeros(1))  # from here on the scheduler may end
        self._watch.leave()
        self._set_barrier_before_exit(True)

    def _set_barrier_before_exit(self, wait: bool) -> None:
        set_barrier = mx.base._LIB.MXKVStoreSetBarrierBeforeExit
        mx.base.check_call(set_barrier(self.kvstore.handle, int(wait)))


def _others() -> str:
    """What a worker waits for."""
    root, port, workers, servers = (os.environ[name] for name in _NEEDED[1:])
    return (
        f"the scheduler at {root}:{port}, {workers} workers and {servers} servers (DMLC_PS_ROOT_URI"
        ", DMLC_PS_ROOT_PORT, DMLC_NUM_WORKER, DMLC_NUM_SERVER)"
    )


class AsyncWorkers(KVStoreWorkers):
    """The workers of servers that update after every single gradient: dist_async.

    The servers hold the parameters and the optimizer's state, which MXNet cannot read back. Workers
    wait for each other only in `sum`, `write` and `read`.
    """

    in_step = False

    def _begin(self) -> None:
        self._totals: Dict[str, np.ndarray] = {}
        self._rate: Optional[float] = None
        self._command(async_updates.BEGIN)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The servers keep a running total; its increase is the sum."""
        key = self._key_of(len(values))
        total = mx.nd.zeros(len(values), dtype="float64")
        self.kvstore.push(key, mx.nd.array(np.asarray(values, np.float64), dtype="float64"))
        self._barrier()
        self.kvstore.pull(key, total)
        after = total.asnumpy()
        self._barrier()  # before the next push
        before = self._totals.get(key, np.zeros(len(values)))
        self._totals[key] = after
        return after - before

    def hand_over(self, module: "mx.mod.Module", first: int) -> None:
        """Move the update rule to the servers; the parameters' keys there begin with `first`."""
        names = dict(enumerate(module._exec_group.param_names, first))
        self._command(async_updates.OPTIMIZER, async_updates.serialise(module._optimizer, names))
        module._update_on_kvstore = True

    @property
    def keys(self) -> int:
        """The number of keys on the servers, which MXNet numbers in sequence."""
        return len(self._sums)

    def set_rate(self, rate: float) -> None:
        """Send a new learning rate to the servers."""
        if self.rank == 0 and rate != self._rate:
            self._send(async_updates.RATE, rate)
        self._rate = rate

    def write(self, module: "mx.mod.Module") -> None:
        """Copy the parameters of rank 0 to the servers."""
        self._command(async_updates.ASSIGN)
        if self.rank == 0:
            group = module._exec_group
            for name, arrays in zip(group.param_names, group.param_arrays):
                self.kvstore.push(name, arrays[0].copy())
        self._barrier()
        self._command(async_updates.TRAIN)

    def read(self, module: "mx.mod.Module") -> None:
        """Copy the parameters from the servers after all pending gradients have reached them."""
        self._barrier()
        group = module._exec_group
        for name, arrays in zip(group.param_names, group.param_arrays):
            self.kvstore.pull(name, arrays)
        self._barrier()

    def _command(self, kind: str, value: Any = None) -> None:
        if self.rank == 0:
            self._send(kind, value)
        self._barrier()

    def _send(self, kind: str, value: Any) -> None:
        text = json.dumps([kind, value])
        self.kvstore._send_command_to_servers(async_updates.NUMBER, text)

    def _barrier(self) -> None:
        mx.nd.waitall()
        self.kvstore._barrier()

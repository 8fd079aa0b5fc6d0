"""Where workers meet that torchrun did not start: a store that worker 0 serves.

torchrun has such a store of its own. A cluster that starts the workers by itself, as Kubernetes
does, may start any of them first, and starts one again while the others have not ended yet.
"""

import contextlib
import os
import re
import socket
import time
import uuid
from datetime import timedelta
from typing import Optional

import torch
import torch.distributed as dist

from imagenet_trainer import __version__
from imagenet_trainer.engines.workers import variable
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.hosts import ANYWHERE, address_towards, interface_of

_PAUSE = 0.5  # seconds between two attempts to reach worker 0
_REACHES = 5.0  # seconds for one of them
_ANSWERS = timedelta(seconds=30)
# Seconds in which the address has to lead worker 0 to itself; a cluster's name may appear late.
_LEADS_HERE = 60.0
_HERE = "127.0.0.1"


class Rendezvous:
    """The store at MASTER_ADDR:MASTER_PORT, for the worker with this rank.

    Its text is what the worker waits for: `worker 0 of 4 at first:29500 (...): no such host`.
    Another thread may ask for it while the worker waits.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank, self._size = rank, world_size
        self._host, self._port = os.environ["MASTER_ADDR"], variable("MASTER_PORT", range(1 << 16))
        self._token = uuid.uuid4().hex  # tells this worker from its predecessor
        self._why = "no answer yet"
        self._began = time.monotonic()

    def __str__(self) -> str:
        place = f"{self._host}:{self._port} (MASTER_ADDR, MASTER_PORT)"
        if self._why:
            return f"worker 0 of {self._size} at {place}: {self._why}"
        try:
            store = self._connection(serves=False)  # a waiting call blocks others on the same one
            missing = [r for r in range(self._size) if not store.check([f"joined/{r}"])]
        except RuntimeError:
            return f"the other workers of {self._size} (WORLD_SIZE), which meet at {place}"
        if not missing:
            return (
                f"connections between the {self._size} workers, which met at {place}; a firewall "
                "must allow all ports between their machines"
            )
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"worker {missing[0]}{more} of {self._size} (WORLD_SIZE), which meet at {place}"

    def open(self) -> dist.TCPStore:
        """Serve the store, as worker 0, or connect to it; tries until that succeeds.

        A store that another worker of this rank has joined is that of an attempt that is ending:
        worker 0 has not noticed yet that this worker's predecessor died. Its addresses lead
        nowhere. A worker may join twice: the answer to its first try may have come too late.

        Raises InputError if worker 0 has another number of workers, or another version, and in
        worker 0 if the address does not lead to itself.
        """
        while True:
            store = self._attempt()
            if store is not None:
                self._why = ""
                return store
            time.sleep(_PAUSE)

    def _attempt(self) -> Optional[dist.TCPStore]:
        """The store; None, with the reason in `_why`, if there is none yet."""
        try:
            store = self._connection(serves=True) if self._rank == 0 else None
            address = self._local_address()
            store = store or self._connection(serves=False)
            self._check_group(store)
            if store.compare_set(f"joined/{self._rank}", "", self._token) == self._token.encode():
                self._choose_interface(address)
                return store
            self._why = (
                f"its worker {self._rank} is another process; the last attempt has not ended yet, "
                "or this worker was started twice"
            )
        except OSError as error:
            self._why = error.strerror or str(error)
        except RuntimeError as error:  # DistNetworkError
            self._why = str(error).partition("\n")[0]
        return None

    def _local_address(self) -> str:
        """Address of this machine on its connection to worker 0; OSError if it cannot be reached.

        InputError in worker 0 if it cannot reach itself: a restart would not help.
        """
        # PyTorch prints stack traces about a host that it cannot reach.
        try:
            with socket.create_connection((self._host, self._port), _REACHES) as probe:
                return str(probe.getsockname()[0])
        except OSError as error:
            if self._rank or time.monotonic() - self._began < _LEADS_HERE:
                raise
            raise InputError(
                f"MASTER_ADDR {self._host}: does not lead to worker 0, which runs on "
                f"{os.uname().nodename} ({error.strerror or error}); use an address of this "
                "machine (--host-address of tools/launch.py)"
            ) from error

    def _connection(self, serves: bool) -> dist.TCPStore:
        """A connection to the store, which listens on all addresses of its machine."""
        host = _HERE if serves else self._host
        return dist.TCPStore(
            host, self._port, is_master=serves, wait_for_workers=False, timeout=_ANSWERS
        )

    def _check_group(self, store: dist.TCPStore) -> None:
        here = f"{self._size} workers, imagenet_trainer {__version__}, PyTorch {torch.__version__}"
        if self._rank == 0:
            store.set("group", here)
        there = store.get("group").decode()
        if there != here:
            raise InputError(
                f"worker {self._rank} ({os.uname().nodename}) has {here}; worker 0 has {there}; "
                "start all with the same numbers and versions"
            )

    def _choose_interface(self, address: str) -> None:
        """Have gloo use the interface of the connection to worker 0, not that of the host's name.

        Debian gives the name of a machine a loopback address, on which the others do not reach it.
        """
        if interface_of(address) == "lo" and not re.match(r"localhost|127\.|::1", self._host):
            with contextlib.suppress(OSError):
                address = address_towards(ANYWHERE)
        interface = interface_of(address)
        if interface:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)

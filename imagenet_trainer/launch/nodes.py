"""Machines that a cluster starts with one command each, as the pods of a Kubernetes Job.

No machine starts the others. Each has its number, and the address of machine 0.
"""

import os
import time
from dataclasses import replace
from typing import Callable, Optional

from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.errors import InputError, LostWorkerError
from imagenet_trainer.launch.addresses import address_towards, interface_of
from imagenet_trainer.launch.plan import Member
from imagenet_trainer.system.hosts import resolve

INDEX = "JOB_COMPLETION_INDEX"  # set in the pods of an indexed Job
_SAID = 10  # seconds after which the launcher says what it waits for
_LIMIT = 300  # seconds, as long as workers wait for each other


def check(settings: LaunchSettings) -> None:
    """Raise InputError for flags that contradict --nodes."""
    nodes = settings.nodes
    if nodes == 1:
        if settings.node_rank is not None:
            raise InputError(f"--node-rank {settings.node_rank}: has no meaning without --nodes")
        return
    if settings.engine != "torch":
        raise InputError(
            f"--nodes {nodes}: needs --engine torch; MXNet's workers are started by one machine, "
            "with --launcher ssh, mpi or slurm"
        )
    if settings.hostfile or settings.launcher not in ("auto", "local"):
        raise InputError(
            f"--nodes {nodes}: every machine starts its own workers; omit --hostfile and --launcher"
        )
    if not settings.host_address:
        raise InputError(f"--nodes {nodes}: name machine 0 with --host-address")
    if settings.num_workers % nodes:
        raise InputError(
            f"-n {settings.num_workers}: cannot be split evenly over {nodes} machines; use a "
            f"multiple of {nodes}"
        )
    node_rank(settings)


def node_rank(settings: LaunchSettings) -> int:
    """The number of this machine; InputError if there is none or it is too high."""
    rank, source = settings.node_rank, "--node-rank"
    if rank is None:
        text, source = os.environ.get(INDEX, ""), INDEX
        if not text.isdigit():
            raise InputError(
                f"--nodes {settings.nodes}: no number of this machine; give --node-rank, or "
                f"completionMode: Indexed in a Kubernetes Job, which sets {INDEX}"
            )
        rank = int(text)
    if rank >= settings.nodes:
        raise InputError(
            f"{source} {rank}: machines have the numbers 0 to {settings.nodes - 1}; correct it, or "
            "--nodes"
        )
    return rank


def workers_here(settings: LaunchSettings) -> range:
    """The numbers of the workers that this machine starts; all of them without --nodes."""
    if settings.nodes == 1:
        return range(settings.num_workers)
    count = settings.num_workers // settings.nodes
    return range(node_rank(settings) * count, (node_rank(settings) + 1) * count)


def on_route(member: Member, address: str) -> Member:
    """The member with the interface of the route to machine 0, whose name may change its address.

    A watcher would look the name up again, and end the Job if it is unknown for a moment.
    """
    interface = member.interface or interface_of(address_towards(address)) or ""
    return replace(member, interface=interface)


def wait_for_address(
    host: str,
    log: Callable[[str], None],
    is_stopped: Callable[[], bool],
    said: float = _SAID,
    limit: float = _LIMIT,
) -> Optional[str]:
    """Wait until a name has an address, which in a cluster takes moments; return it.

    None if `is_stopped` is true before. After `said` seconds `log` gets a line. Raises
    LostWorkerError after `limit` seconds.
    """
    began, has_said = time.monotonic(), False
    while not is_stopped():
        try:
            return resolve(host)
        except InputError as error:
            waited, reason = time.monotonic() - began, str(error).partition(";")[0]
        if waited > limit:
            raise LostWorkerError(
                f"--host-address {reason}, after {limit:g} s; is machine 0 there, and is this its "
                "name?"
            )
        if waited > said and not has_said:
            log(f"waiting for --host-address {reason}")
            has_said = True
        time.sleep(0.5)
    return None

"""Machines that a cluster starts with one command each, as the pods of a Kubernetes Job.

No machine starts the others. Each has its number, and the address of machine 0.
"""

import os

from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.errors import InputError

INDEX = "JOB_COMPLETION_INDEX"  # set in the pods of an indexed Job


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
    if settings.host_address.count(":") == 1:  # workers would wait for such a name
        raise InputError(
            f"--host-address {settings.host_address}: is not a name or an address; give the port "
            "with --port"
        )
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
        if not text.isdecimal():
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

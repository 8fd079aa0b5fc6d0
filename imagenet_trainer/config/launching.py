"""Flags of the launcher, which come before the command that it starts."""

from dataclasses import dataclass
from typing import Optional, Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import command, integer, number

LAUNCHERS = ("auto", "local", "ssh", "mpi", "slurm")


def _program(text: str) -> str:
    if not command(text):
        raise ValueError("must be a command")
    return text


def _arguments(text: str) -> str:
    command(text)  # ValueError for a quote that is not closed
    return text


@dataclass(frozen=True)
class LaunchSettings:
    """Everything that `launch` takes, apart from the command."""

    engine: str = option(
        "mxnet", "engine of the workers; torch: without servers", choices=("mxnet", "torch")
    )
    num_workers: int = option(
        1, "number of workers, of all machines together", integer(1, 65536), short="-n"
    )
    num_servers: int = option(
        0, "number of servers that sum gradients; 0: one per worker", integer(0, 65536), short="-s"
    )
    hostfile: str = option(
        "",
        "file with one host per line, `name[:port] [slots=N]`, for ssh and mpi",
        short="-H",
        metavar="FILE",
    )
    launcher: str = option(
        "auto",
        "how workers are started; auto: slurm inside an allocation, otherwise ssh with a host "
        "file, otherwise local",
        choices=LAUNCHERS,
    )
    nodes: int = option(
        1,
        "machines that each run this same command, as the pods of a Kubernetes Job do, for "
        "--engine torch; it starts this machine's part of the workers",
        integer(1, 65536),
    )
    node_rank: Optional[int] = option(
        None,
        "number of this machine among --nodes, from 0 on; by default JOB_COMPLETION_INDEX, which "
        "Kubernetes sets",
        integer(0, 65535),
        metavar="N",
    )
    host_address: str = option(
        "",
        "address of this machine for the others, with --nodes that of machine 0; by default that "
        "of the route to them",
        metavar="ADDRESS",
    )
    interface: str = option(
        "",
        "network interface that every machine uses; by default that of the route",
        metavar="NAME",
    )
    port: int = option(
        0,
        "port of the scheduler, with --engine torch of worker 0; 0: a free one, on another machine "
        "29500",
        integer(0, 65535),
    )
    max_restarts: int = option(
        3, "how often to restart from the last checkpoint after a process died", integer(0)
    )
    grace: float = option(
        60.0, "seconds that workers have to save a checkpoint after a signal", number(0)
    )
    requeue: bool = option(
        False,
        "in a Slurm batch job: queue the job again after a signal, such as that before its time "
        "limit, unless it is being cancelled",
    )
    env: Tuple[str, ...] = option(
        (),
        "additional environment variables for other machines: NAME or NAME=VALUE, separated by "
        "commas",
        lambda text: tuple(text.split(",")),
        metavar="LIST",
    )
    directory: str = option(
        "", "working directory on every machine; by default the current one", metavar="FOLDER"
    )
    python: str = option(
        "", "Python interpreter on every machine; by default the launcher's", metavar="FILE"
    )
    ssh: str = option(
        "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15",
        "command that connects to a host",
        _program,
        metavar="COMMAND",
    )
    options: str = option(
        "", "additional arguments for mpirun or srun, in quotes", _arguments, metavar="ARGUMENTS"
    )
    dry_run: bool = option(False, "print the command lines and start nothing")

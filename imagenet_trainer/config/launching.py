"""Flags of the launcher, which come before the command that it starts."""

from dataclasses import dataclass
from typing import Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import integer, number

LAUNCHERS = ("auto", "local", "ssh", "mpi", "slurm")


@dataclass(frozen=True)
class LaunchSettings:
    """Everything that `launch` takes, apart from the command."""

    engine: str = option(
        "mxnet", "engine of the workers; torch: by torchrun, on this machine only",
        choices=("mxnet", "torch"),
    )  # fmt: skip
    num_workers: int = option(1, "number of workers", integer(1, 65536), short="-n")
    num_servers: int = option(
        0, "number of servers that sum gradients; 0: one per worker", integer(0, 65536), short="-s"
    )
    hostfile: str = option(
        "", "file with one host per line, `name[:port] [slots=N]`, for ssh and mpi", str,
        short="-H", metavar="FILE",
    )  # fmt: skip
    launcher: str = option(
        "auto",
        "how workers are started; auto: slurm inside an allocation, otherwise ssh with a host "
        "file, otherwise local",
        choices=LAUNCHERS,
    )
    host_address: str = option(
        "", "address of this machine for the others; by default that of the route to them", str,
        metavar="ADDRESS",
    )  # fmt: skip
    interface: str = option(
        "", "network interface that every machine uses; by default that of the route", str,
        metavar="NAME",
    )  # fmt: skip
    port: int = option(0, "port of the scheduler; 0: a free one", integer(0, 65535))
    max_restarts: int = option(
        3, "how often to restart from the last checkpoint after a process died", integer(0)
    )
    grace: float = option(
        60.0, "seconds that workers have to save a checkpoint after a signal", number(0)
    )
    env: Tuple[str, ...] = option(
        (),
        "additional environment variables for other machines: NAME or NAME=VALUE, separated by "
        "commas",
        lambda text: tuple(text.split(",")),
        metavar="LIST",
    )
    directory: str = option(
        "", "working directory on every machine; by default the current one", str,
        metavar="FOLDER",
    )  # fmt: skip
    python: str = option(
        "", "Python interpreter on every machine; by default the launcher's", str, metavar="FILE"
    )
    ssh: str = option(
        "ssh -o BatchMode=yes -o ServerAliveInterval=15", "command that connects to a host", str,
        metavar="COMMAND",
    )  # fmt: skip
    options: str = option(
        "", "additional arguments for mpirun or srun, in quotes", str, metavar="ARGUMENTS"
    )  # fmt: skip
    dry_run: bool = option(False, "print the command lines and start nothing")

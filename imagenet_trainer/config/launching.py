"""Flags of the launcher, which come before the command that it starts."""

from dataclasses import dataclass
from typing import Tuple

from imagenet_trainer.config.flags import option
from imagenet_trainer.config.values import integer, number

LAUNCHERS = ("auto", "local", "ssh", "mpi", "slurm", "sge", "yarn")


@dataclass(frozen=True)
class LaunchSettings:
    """Everything that `launch` takes, apart from the command."""

    engine: str = option(
        "mxnet", "whose workers they are; torch: torchrun's, on this machine",
        choices=("mxnet", "torch"),
    )  # fmt: skip
    num_workers: int = option(1, "workers", integer(1, 65536), short="-n")
    num_servers: int = option(
        0, "servers that add gradients up; 0: as many as workers", integer(0, 65536), short="-s"
    )
    hostfile: str = option(
        "", "a host a line, `name[:port] [slots=N]`; with ssh and mpi", str, short="-H",
        metavar="FILE",
    )  # fmt: skip
    launcher: str = option(
        "auto",
        "auto: slurm inside an allocation, otherwise ssh with a host file, otherwise local",
        choices=LAUNCHERS,
    )
    host_address: str = option(
        "", "this machine's address for the others; by default that of the route to them", str,
        metavar="ADDRESS",
    )  # fmt: skip
    interface: str = option(
        "", "the interface of every machine to talk through; by default that of the route", str,
        metavar="NAME",
    )  # fmt: skip
    port: int = option(0, "of the scheduler; 0: a free one", integer(0, 65535))
    max_restarts: int = option(
        3, "how often to begin again from the last checkpoint when a process died", integer(0)
    )
    grace: float = option(60.0, "seconds that workers get to save in after a signal", number(0))
    env: Tuple[str, ...] = option(
        (), "more variables for other machines: NAME or NAME=VALUE, several with commas",
        lambda text: tuple(text.split(",")), metavar="LIST",
    )  # fmt: skip
    directory: str = option("", "where to run on every machine; by default where you are", str)
    python: str = option("", "the interpreter on every machine; by default the launcher's", str)
    ssh: str = option(
        "ssh -o BatchMode=yes -o ServerAliveInterval=15", "the command that reaches a host", str,
        metavar="COMMAND",
    )  # fmt: skip
    options: str = option(
        "", "more words for mpirun, srun, qsub or YARN's client, in quotes", str, metavar="WORDS"
    )
    yarn_jar: str = option("", "dmlc-yarn.jar, built from dmlc-core; with yarn", str)
    dry_run: bool = option(False, "print the command lines and start nothing")

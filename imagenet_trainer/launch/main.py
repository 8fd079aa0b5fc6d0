"""Start workers on one machine or many: python tools/launch.py -n 4 -H hosts COMMAND..."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from types import FrameType
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from imagenet_trainer.config import FitSettings, flags, recipes
from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.errors import InputError, print_message, run_command
from imagenet_trainer.launch import plan
from imagenet_trainer.launch.addresses import (
    LOOPBACK,
    address_of,
    address_towards,
    free_port,
    is_here,
)
from imagenet_trainer.launch.supervise import SIGNALLED, Attempt

log = partial(print_message, "launch")

_DESCRIPTION = (
    "Start the workers, servers and scheduler of a distributed training, on one machine or many; "
    "watch them, and begin again from the last checkpoint when one dies. The command comes last."
)
# What the user has to mend: another attempt would end the same.
_MISTAKE = 2


# --- what is started -----------------------------------------------------------------------------


def chosen_launcher(settings: LaunchSettings) -> str:
    """The launcher that is meant; InputError for flags that do not go together."""
    name = settings.launcher
    if name == "auto":
        inside = "SLURM_JOB_ID" in os.environ and not settings.hostfile
        name = "slurm" if inside else "ssh" if settings.hostfile else "local"
    if name == "ssh" and not settings.hostfile:
        raise InputError("--launcher ssh: needs the hosts; name a file of them with --hostfile")
    if settings.hostfile and name not in ("ssh", "mpi"):
        raise InputError(f"--hostfile {settings.hostfile}: has no meaning with --launcher {name}")
    if name == "slurm" and "SLURM_JOB_ID" not in os.environ:
        raise InputError(
            "--launcher slurm: this is no Slurm allocation (SLURM_JOB_ID is not set); run it "
            "inside sbatch or salloc"
        )
    programs = {"mpi": "mpirun", "slurm": "srun", "sge": "qsub", "yarn": "hadoop", "ssh": ""}
    program = programs.get(name, "") or (shlex.split(settings.ssh)[0] if name == "ssh" else "")
    if program and not settings.dry_run and not shutil.which(program):
        raise InputError(f"--launcher {name}: {program} is not on this machine; install it")
    return name


def hosts_of(settings: LaunchSettings, launcher: str) -> List[plan.Host]:
    """The machines that are known before anything starts; none where a scheduler chooses them."""
    if settings.hostfile:
        return plan.read_hosts(settings.hostfile)
    if launcher == "slurm":
        nodes = os.environ.get("SLURM_JOB_NODELIST", "")
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            names = subprocess.run(
                ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
            ).stdout.split()
            return [plan.Host(name) for name in names]
    return []


def root_address(settings: LaunchSettings, launcher: str, hosts: Sequence[plan.Host]) -> str:
    """Where all others find the scheduler: an address of this machine."""
    if settings.host_address:
        return settings.host_address
    if settings.interface:
        return address_of(settings.interface)
    names = [host.name.rpartition("@")[2] for host in hosts]
    if launcher == "local":
        return LOOPBACK
    if names and all(is_here(name) for name in names):
        return LOOPBACK
    for name in names:
        if not is_here(name):
            return address_towards(name)
    return address_towards("10.255.255.255")  # nobody's address: the route to everywhere


def member_of(settings: LaunchSettings, command: Sequence[str], root: str) -> plan.Member:
    """What all processes of an attempt have in common."""
    return plan.Member(
        workers=settings.num_workers,
        servers=settings.num_servers or settings.num_workers,
        root=root,
        port=settings.port or free_port(root),
        command=plan.command_of(command),
        python=settings.python or sys.executable,
        directory=os.path.abspath(settings.directory or os.getcwd()),
        environment=plan.passed_environment(settings.env, os.environ),
        interface=settings.interface,
        grace=settings.grace,
    )


def jobs_of(
    settings: LaunchSettings, launcher: str, hosts: Sequence[plan.Host], member: plan.Member
) -> List[plan.Job]:
    """The command lines of an attempt, the scheduler's first."""
    options = shlex.split(settings.options)
    if launcher == "local":
        jobs = plan.local_jobs(member)
    elif launcher == "ssh":
        jobs = plan.ssh_jobs(member, hosts, shlex.split(settings.ssh))
    elif launcher == "mpi":
        jobs = [plan.mpi_job(member, settings.hostfile, options)]
    elif launcher == "slurm":
        jobs = [plan.slurm_job(member, options)]
    elif launcher == "sge":
        jobs = [plan.sge_job(member, member.directory, options)]
    else:
        jobs = [_yarn(settings, member, options)]
    return [plan.scheduler_job(member), *jobs]


def _yarn(settings: LaunchSettings, member: plan.Member, options: Sequence[str]) -> plan.Job:
    if not os.path.isfile(settings.yarn_jar):
        raise InputError(
            f"--yarn-jar {settings.yarn_jar}: is not there; MXNet's wheel brings the tracker "
            "without its Java part, which dmlc-core/tracker/yarn builds"
        )
    import importlib.util

    spec = importlib.util.find_spec("dmlc_tracker")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("--launcher yarn: dmlc_tracker is not there; install MXNet's wheel")
    launcher = os.path.join(next(iter(spec.submodule_search_locations)), "launcher.py")
    found = subprocess.run(["hadoop", "classpath"], capture_output=True, text=True)
    return plan.yarn_job(member, settings.yarn_jar, found.stdout.strip(), launcher, options)


# --- running it ----------------------------------------------------------------------------------


class Signals:
    """While open, SIGINT, SIGTERM and SIGHUP are handed to the attempt under way."""

    def __init__(self) -> None:
        self.attempt: Optional[Attempt] = None
        self.number = 0  # of the first that came
        self._before: Dict[int, Any] = {}

    def _handle(self, number: int, frame: Optional[FrameType]) -> None:
        self.number = self.number or number
        if self.attempt is not None:
            self.attempt.stop(number)

    @contextlib.contextmanager
    def open(self) -> Iterator["Signals"]:
        """Handle them; afterwards as before."""
        for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(wanted) is not signal.SIG_IGN:  # as nohup wants it
                self._before[wanted] = signal.signal(wanted, self._handle)
        try:
            yield self
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)


def launch(settings: LaunchSettings, command: Sequence[str]) -> int:
    """Run the command by all workers to its end, beginning again when a process dies."""
    check_flags(command)
    if settings.engine == "torch":
        return launch_torch(settings, command)
    launcher = chosen_launcher(settings)
    hosts = hosts_of(settings, launcher)
    root = root_address(settings, launcher, hosts)
    if settings.dry_run:
        for job in jobs_of(settings, launcher, hosts, member_of(settings, command, root)):
            print(f"{job.name}: {shlex.join(job.command)}")
        return 0
    restarts = 0
    with Signals().open() as signals:
        while True:
            # A new port each time: the old one may still be closing.
            member = member_of(settings, command, root)
            log(
                f"{_many(member.workers, 'worker')} and {_many(member.servers, 'server')} by "
                f"{launcher}, the scheduler at {root}:{member.port}"
            )
            signals.attempt = Attempt(log, settings.grace)
            if signals.number:
                signals.attempt.stop(signals.number)
            code = signals.attempt.run(jobs_of(settings, launcher, hosts, member))
            if code == 0 or code == _MISTAKE or code in SIGNALLED or signals.number:
                return code
            if restarts == settings.max_restarts:
                log(
                    f"--max-restarts {restarts}: no more; look for the reason above, then run the "
                    "same command to continue from the last checkpoint"
                )
                return code
            restarts += 1
            log(f"restart {restarts} of {settings.max_restarts}, from the last checkpoint")


def check_flags(command: Sequence[str]) -> None:
    """End here, with one line, for a mistake in the words of `fit` that every worker would tell."""
    words = list(command)
    if words[1:3] == ["-m", "imagenet_trainer.fit"]:
        flags.parse(FitSettings, recipes.expanded(words[3:]), "fit", "")


def launch_torch(settings: LaunchSettings, command: Sequence[str]) -> int:
    """The same by torchrun, which watches and restarts its workers itself."""
    from imagenet_trainer.engines.choice import check_torch
    from imagenet_trainer.launch import torchrun

    if settings.hostfile or settings.launcher not in ("auto", "local"):
        raise InputError(
            "--engine torch: starts workers on this machine; for several run on each of them "
            "`TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --nnodes MACHINES "
            "--nproc-per-node GPUS --rdzv-backend c10d --rdzv-endpoint FIRST:29400 "
            "--max-restarts 3 -m imagenet_trainer.fit ...`"
        )
    words = plan.command_of(command)
    if settings.dry_run:
        print(shlex.join(torchrun.command_line(settings.num_workers, words)))
        return 0
    check_torch()
    return torchrun.start(settings.num_workers, words, settings.max_restarts)


def _many(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")


def split_command(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The launcher's own words, and the command: what follows the first word that is no flag's."""
    parser = flags.parser_of(LaunchSettings, "launch", _DESCRIPTION)
    takes_value = {
        name: action.nargs != 0 for action in parser._actions for name in action.option_strings
    }
    place = 0
    while place < len(argv):
        word = argv[place]
        if word == "--":
            return list(argv[:place]), list(argv[place + 1 :])
        if not word.startswith("-"):
            break
        place += 2 if takes_value.get(word, False) else 1
    return list(argv[:place]), list(argv[place:])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    own, command = split_command(sys.argv[1:] if argv is None else argv)
    settings = flags.parse(LaunchSettings, own, "launch", _DESCRIPTION)

    def body() -> int:
        if not command:
            raise InputError(
                "no command: it comes after the flags, such as python -m imagenet_trainer.fit ... "
                "--kv-store dist_sync"
            )
        return launch(settings, command)

    return run_command("launch", body)


if __name__ == "__main__":
    sys.exit(main())

"""Choose a launcher, start attempts with it, and restart until one succeeds."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from types import FrameType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.errors import InputError, attributed_to, print_message
from imagenet_trainer.launch import nodes, plan, slurm
from imagenet_trainer.launch.addresses import (
    LOOPBACK,
    address_of,
    address_towards,
    free_port,
    is_here,
)
from imagenet_trainer.launch.supervise import SIGNALLED, Attempt
from imagenet_trainer.system.hosts import ANYWHERE, resolve

_TORCH_PORT = 29500  # torchrun's, where no free one can be looked for
_NO_PROGRAM = (126, 127)  # exit codes of shells and of env
log = partial(print_message, "launch")


# --- what is started -----------------------------------------------------------------------------


def chosen_launcher(settings: LaunchSettings) -> str:
    """Return the launcher to use; InputError for flags that contradict each other."""
    nodes.check(settings)
    name = settings.launcher if settings.nodes == 1 else "local"
    if name == "auto":
        in_slurm = "SLURM_JOB_ID" in os.environ and not settings.hostfile
        name = "slurm" if in_slurm else "ssh" if settings.hostfile else "local"
    if name == "ssh" and not settings.hostfile:
        raise InputError("--launcher ssh: needs the hosts; name a file of them with --hostfile")
    if settings.hostfile and name not in ("ssh", "mpi"):
        raise InputError(
            f"--hostfile {settings.hostfile}: has no meaning with --launcher {name}; omit one"
        )
    if name == "slurm" and "SLURM_JOB_ID" not in os.environ:
        raise InputError(
            "--launcher slurm: this is not a Slurm allocation (SLURM_JOB_ID is not set); run it "
            "inside sbatch or salloc"
        )
    programs = {"mpi": "mpirun", "slurm": "srun", "ssh": shlex.split(settings.ssh)[0]}
    program = programs.get(name)
    if program and not settings.dry_run and not shutil.which(program):
        raise InputError(f"--launcher {name}: {program} is not on this machine; install it")
    return name


def hosts_of(settings: LaunchSettings, launcher: str) -> List[plan.Host]:
    """Return the machines that are known before the start; none where mpirun chooses them."""
    if settings.hostfile:
        return plan.read_hosts(settings.hostfile)
    return [plan.Host(name) for name in slurm.nodes()] if launcher == "slurm" else []


def root_address(settings: LaunchSettings, launcher: str, hosts: Sequence[plan.Host]) -> str:
    """Return an address that all other processes can reach: of the scheduler, which is here.

    With PyTorch it is that of worker 0, which is on the first host.
    """
    if settings.host_address:
        with attributed_to("--host-address", " "):
            return resolve(settings.host_address)
    names = [host.name.rpartition("@")[2] for host in hosts]
    if launcher == "ssh":
        names = [name_behind(alias, shlex.split(settings.ssh)) for alias in names]
    if settings.engine == "torch" and names and not is_here(names[0]):
        return resolve(names[0])
    if settings.interface:
        return address_of(settings.interface)
    if launcher == "local":
        return LOOPBACK
    others = [name for name in names if not is_here(name)]
    if names and not others:
        return LOOPBACK
    return address_towards(others[0] if others else ANYWHERE)


def name_behind(alias: str, ssh: Sequence[str]) -> str:
    """Return the host name that ssh's configuration gives an alias, or the name itself."""
    with contextlib.suppress(InputError):
        resolve(alias)
        return alias
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run([*ssh, "-G", alias], capture_output=True, text=True, timeout=10)
        found = re.search(r"^hostname (\S+)$", asked.stdout, re.MULTILINE)
        if found and not asked.returncode:
            return found[1]
    return alias


def member_of(settings: LaunchSettings, command: Sequence[str], root: str) -> plan.Member:
    """Return what all processes of an attempt have in common."""
    is_torch = settings.engine == "torch"
    port = settings.port
    if not port:
        elsewhere = is_torch and (settings.nodes > 1 or not is_here(root))
        port = _TORCH_PORT if elsewhere else free_port(root)
    return plan.Member(
        workers=settings.num_workers,
        servers=0 if is_torch else settings.num_servers or settings.num_workers,
        root=root,
        port=port,
        command=plan.command_of(command),
        python=settings.python or sys.executable,
        directory=os.path.abspath(settings.directory or os.getcwd()),
        environment=plan.passed_environment(settings.env, os.environ),
        interface=settings.interface,
        grace=settings.grace,
        engine=settings.engine,
    )


def jobs_of(
    settings: LaunchSettings, launcher: str, hosts: Sequence[plan.Host], member: plan.Member
) -> List[plan.Job]:
    """Return the command lines of an attempt, the scheduler's first."""
    options = shlex.split(settings.options)
    if launcher == "local":
        jobs = plan.local_jobs(member, nodes.workers_here(settings))
    elif launcher == "ssh":
        jobs = plan.ssh_jobs(member, hosts, shlex.split(settings.ssh))
    elif launcher == "mpi":
        jobs = [plan.mpi_job(member, settings.hostfile, options)]
    else:
        jobs = [plan.slurm_job(member, options)]
    return jobs if settings.engine == "torch" else [plan.scheduler_job(member), *jobs]


# --- running it ----------------------------------------------------------------------------------


class Signals:
    """While open, SIGINT, SIGTERM and SIGHUP are passed to the current attempt."""

    def __init__(self) -> None:
        self.attempt: Optional[Attempt] = None
        self.number = 0  # of the first signal received
        self._before: Dict[int, Any] = {}

    def _handle(self, number: int, frame: Optional[FrameType]) -> None:
        self.number = self.number or number
        if self.attempt is not None:
            self.attempt.stop(number)

    @contextlib.contextmanager
    def open(self) -> Iterator["Signals"]:
        """Handle the signals; restore the earlier handlers at the end."""
        for wanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(wanted) is not signal.SIG_IGN:  # as nohup requests
                self._before[wanted] = signal.signal(wanted, self._handle)
        try:
            yield self
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)


def launch(settings: LaunchSettings, launcher: str, command: Sequence[str]) -> int:
    """Run the command in all workers to its end; restart all when a process dies."""
    if settings.requeue:
        slurm.check_requeue()
    hosts = hosts_of(settings, launcher)
    root = settings.host_address if settings.nodes > 1 else root_address(settings, launcher, hosts)
    if settings.dry_run:
        for job in jobs_of(settings, launcher, hosts, member_of(settings, command, root)):
            print(f"{job.name}: {shlex.join(job.command)}")
        return 0
    if settings.engine == "mxnet":
        free_port(root)  # InputError unless the scheduler, which runs here, can have the address
    with Signals().open() as signals:

        def attempt() -> int:
            # A new port each time: the old one may still be closing.
            member = member_of(settings, command, root)
            log(_description(settings, launcher, member))
            signals.attempt = Attempt(log, settings.grace)
            if signals.number:
                signals.attempt.stop(signals.number)
            return signals.attempt.run(jobs_of(settings, launcher, hosts, member))

        code = _repeated(attempt, signals, settings.max_restarts)
        if settings.requeue and code in SIGNALLED:
            log(slurm.requeue())
        return code


def _repeated(attempt: Callable[[], int], signals: Signals, max_restarts: int) -> int:
    """Make attempts until one succeeds, or no restart is left; return the exit code of the last."""
    restarts = 0
    while True:
        code = attempt()
        # A restart would not change success, a wrong flag or file, a missing program, or the user's
        # wish to stop.
        if code in (0, InputError.exit_code, *_NO_PROGRAM, *SIGNALLED) or signals.number:
            return code
        if restarts == max_restarts:
            log(
                f"--max-restarts {restarts}: no restart is left; the reason is printed above; "
                "the same command continues from the last checkpoint"
            )
            return code
        restarts += 1
        log(f"restart {restarts} of {max_restarts}, from the last checkpoint")


def _description(settings: LaunchSettings, launcher: str, member: plan.Member) -> str:
    place = f"{member.root}:{member.port}"
    if settings.nodes > 1:
        here = nodes.workers_here(settings)
        return (
            f"machine {nodes.node_rank(settings)} of {settings.nodes}: workers {here[0]} to "
            f"{here[-1]} of {member.workers}, worker 0 at {place}"
        )
    workers = _counted(member.workers, "worker")
    if member.engine == "torch":
        return f"{workers} by {launcher}, worker 0 at {place}"
    servers = _counted(member.servers, "server")
    return f"{workers} and {servers} by {launcher}, the scheduler at {place}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" + ("" if count == 1 else "s")

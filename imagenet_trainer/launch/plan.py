"""What is started where: hosts, roles, and the command lines that start them. Nothing runs here."""

import base64
import json
import os
import re
import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from imagenet_trainer.errors import InputError

SCHEDULER, SERVER, WORKER = "scheduler", "server", "worker"
# Variables of the launching shell that remote processes get too; --env adds more.
_PASSED = re.compile(r"(MXNET|OMP|KMP|NCCL|PS|CUDNN|OPENBLAS|MKL)_\w+|LD_LIBRARY_PATH|TZ|LC_\w+")
# Who comes out of which variable, when one command starts all.
_POSITIONS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")
_ROOT = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class Host:
    """A line of the host file."""

    name: str
    port: Optional[int] = None  # of its ssh
    slots: int = 1


@dataclass(frozen=True)
class Member:
    """One process of a run, as `member.py` gets it; role and number None: its position says them.

    Positions count servers first: a worker's gradient needs them all.
    """

    workers: int
    servers: int
    root: str  # the scheduler's address
    port: int
    command: Tuple[str, ...]  # of a worker
    python: str
    directory: str
    environment: Dict[str, str] = field(default_factory=dict)
    role: Optional[str] = None
    number: Optional[int] = None
    interface: str = ""  # to use instead of that of the route to the root
    on_host: int = 1  # workers that share this machine's processors
    name: str = ""  # of the host, for the prefix of lines
    grace: float = 60.0  # seconds to save and end in
    has_control: bool = True  # standard input says what to do; its end means that all is over

    def encoded(self) -> str:
        """One word without a character that any shell or scheduler would touch."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @staticmethod
    def decoded(word: str) -> "Member":
        """The other way round."""
        values = json.loads(base64.urlsafe_b64decode(word))
        return Member(**{**values, "command": tuple(values["command"])})

    def placed(self, environment: Mapping[str, str]) -> "Member":
        """With role and number, from the variables of whoever started it where they are open."""
        if self.role is not None:
            return self
        if environment.get("SGE_TASK_ID", "undefined").isdigit():
            position = int(environment["SGE_TASK_ID"]) - 1
        elif any(environment.get(name, "").isdigit() for name in _POSITIONS):
            found = (environment.get(name, "") for name in _POSITIONS)
            position = int(next(text for text in found if text.isdigit()))
        elif environment.get("DMLC_ROLE") in (SERVER, WORKER):  # YARN's application master
            return replace(self, role=environment["DMLC_ROLE"])
        else:
            raise InputError(f"no variable says which process this is ({', '.join(_POSITIONS)})")
        if position < self.servers:
            return replace(self, role=SERVER, number=position)
        return replace(self, role=WORKER, number=position - self.servers)


@dataclass(frozen=True)
class Job:
    """A command of the launching machine that stands for one member, or for several."""

    name: str  # "worker 1", "mpirun"
    command: Tuple[str, ...]
    role: Optional[str]  # None: servers and workers together
    has_control: bool = True


def read_hosts(path: str) -> List[Host]:
    """A host file's `name[:port] [slots=N]` lines; # begins a comment.

    Raises InputError naming file and line for another one, and for a file without hosts.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text"
        raise InputError(f"--hostfile {path}: {reason}; name a file with a host a line") from error
    hosts = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"(\w[\w.-]*(?:@[\w.-]+)?)(?::(\d+))?(?:\s+slots=(\d+))?", text)
        if not match or match.group(3) == "0":
            raise InputError(f"{path}, line {number}: {text!r} is not `host[:port] [slots=N]`")
        name, port, slots = match.groups()
        hosts.append(Host(name, int(port) if port else None, int(slots or 1)))
    if not hosts:
        raise InputError(f"--hostfile {path}: names no host")
    return hosts


def places(count: int, hosts: Sequence[Host]) -> List[Host]:
    """Where `count` processes go: slot by slot, and from the beginning when all are taken."""
    seats = [host for host in hosts for _ in range(host.slots)]
    return [seats[number % len(seats)] for number in range(count)]


def passed_environment(extra: Sequence[str], environment: Mapping[str, str]) -> Dict[str, str]:
    """Variables for remote processes: the usual ones, and NAME or NAME=VALUE of --env."""
    chosen = {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}
    for word in extra:
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise InputError(f"--env {word}: is neither NAME nor NAME=VALUE")
        if not equals and name not in environment:
            raise InputError(f"--env {name}: is not set here; write {name}=VALUE")
        chosen[name] = value if equals else environment[name]
    return chosen


def watched(member: Member) -> Tuple[str, ...]:
    """The command line, on whatever machine, of a member and the process that watches it."""
    path = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return (
        "env", f"PYTHONPATH={path}", member.python, "-m", "imagenet_trainer.launch.member",
        member.encoded(),
    )  # fmt: skip


def through_ssh(ssh: Sequence[str], host: Host, member: Member) -> Tuple[str, ...]:
    """The same on another machine. What its shell gets is quoted word by word."""
    port = () if host.port is None else ("-p", str(host.port))
    directory = shlex.quote(member.directory)
    return (*ssh, *port, host.name, f"cd {directory} && exec {shlex.join(watched(member))}")


def local_jobs(member: Member) -> List[Job]:
    """Servers and workers on this machine."""
    roles = [(SERVER, n) for n in range(member.servers)] + [
        (WORKER, n) for n in range(member.workers)
    ]
    return [
        Job(
            f"{role} {n}",
            watched(replace(member, role=role, number=n, on_host=member.workers)),
            role,
        )
        for role, n in roles
    ]


def ssh_jobs(member: Member, hosts: Sequence[Host], ssh: Sequence[str]) -> List[Job]:
    """Servers and workers, each by an ssh of its own."""
    jobs = []
    for role, count in ((SERVER, member.servers), (WORKER, member.workers)):
        chosen = places(count, hosts)
        for number, host in enumerate(chosen):
            shared = chosen.count(host) if role == WORKER else 1
            one = replace(member, role=role, number=number, on_host=shared, name=host.name)
            jobs.append(Job(f"{role} {number} on {host.name}", through_ssh(ssh, host, one), role))
    return jobs


def mpi_job(member: Member, hostfile: str, options: Sequence[str]) -> Job:
    """One mpirun (Open MPI, MPICH, Intel MPI) for all servers and workers."""
    hosts = ("-machinefile", hostfile) if hostfile else ()
    count = str(member.servers + member.workers)
    command = ("mpirun", "-n", count, *hosts, *options, *watched(_open(member)))
    return Job("mpirun", command, None, has_control=False)


def slurm_job(member: Member, options: Sequence[str]) -> Job:
    """One srun inside a Slurm allocation; it spreads the tasks over the nodes in turn."""
    count = str(member.servers + member.workers)
    command = (
        "srun", "--ntasks", count, "--distribution=cyclic", "--overcommit", "--input=none",
        "--kill-on-bad-exit=1", "--chdir", member.directory, *options, *watched(_open(member)),
    )  # fmt: skip
    return Job("srun", command, None, has_control=False)


def sge_job(member: Member, logs: str, options: Sequence[str]) -> Job:
    """One array job of Grid Engine, waited for; -notify lets workers save before it is deleted."""
    count = member.servers + member.workers
    command = (
        "qsub", "-sync", "y", "-terse", "-notify", "-b", "y", "-j", "y", "-o", logs, "-wd",
        member.directory, "-N", "imagenet-fit", "-t", f"1-{count}", *options,
        *watched(_open(member)),
    )  # fmt: skip
    return Job("qsub", command, None, has_control=False)


def yarn_job(
    member: Member, jar: str, classpath: str, launcher: str, options: Sequence[str]
) -> Job:
    """The YARN client of dmlc-core, which asks for a container for each server and worker."""
    numbers = {
        "DMLC_NUM_WORKER": member.workers,
        "DMLC_NUM_SERVER": member.servers,
        "DMLC_JOB_CLUSTER": "yarn",
        "DMLC_PS_ROOT_URI": member.root,
        "DMLC_PS_ROOT_PORT": member.port,
        "DMLC_WORKER_CORES": member.environment.get("DMLC_WORKER_CORES", 1),
        "DMLC_WORKER_MEMORY_MB": member.environment.get("DMLC_WORKER_MEMORY_MB", 4096),
        "DMLC_SERVER_CORES": member.environment.get("DMLC_SERVER_CORES", 1),
        "DMLC_SERVER_MEMORY_MB": member.environment.get("DMLC_SERVER_MEMORY_MB", 4096),
    }
    java = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else ""
    command = (
        "env", *(f"{name}={value}" for name, value in numbers.items()), java or "java", "-cp",
        f"{classpath}:{jar}", "org.apache.hadoop.yarn.dmlc.Client", "-file", jar, "-file", launcher,
        "-jobname", "imagenet-fit", "-tempdir", "/tmp", "-queue", "default", *options,
        "./launcher.py", *watched(_open(member)),
    )  # fmt: skip
    return Job("yarn", command, None, has_control=False)


def scheduler_job(member: Member) -> Job:
    """The scheduler, always on the launching machine, whose address the others are given."""
    return Job("scheduler", watched(replace(member, role=SCHEDULER, number=0)), SCHEDULER)


def _open(member: Member) -> Member:
    return replace(member, has_control=False)


def command_of(words: Sequence[str]) -> Tuple[str, ...]:
    """A worker's command; `python` means the one that runs the launcher, here and on every host."""
    first = os.path.basename(words[0])
    return (sys.executable, *words[1:]) if first in ("python", "python3") else tuple(words)

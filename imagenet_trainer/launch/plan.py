"""Which process runs on which host, and the command lines that start it. Starts nothing."""

import base64
import json
import os
import re
import shlex
import socket
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from imagenet_trainer import __version__
from imagenet_trainer.config.layers import NO_FLAGS, VARIABLE
from imagenet_trainer.errors import InputError

SCHEDULER, SERVER, WORKER = "scheduler", "server", "worker"
# Variables of the launching shell that are passed to other machines; --env adds more.
_PASSED = re.compile(
    r"(MXNET|OMP|KMP|NCCL|PS|CUDNN|OPENBLAS|MKL|GLOO|TORCH|CUBLAS)_\w+|LD_LIBRARY_PATH|TZ|LC_\w+|"
    # flags of fit, but not what --when-done and the launcher itself set
    rf"{VARIABLE}(?!({'|'.join(NO_FLAGS)})$)\w+"
)
# The variables in which srun and each mpirun put the rank of a process.
_RANK_VARIABLES = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")
# The same for its number among those of its machine, and for how many these are.
_LOCAL_VARIABLES = ("SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
_ON_HOST_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
_MOST_SLOTS = 65536  # as --num-workers
_ROOT = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class Host:
    """A line of the host file."""

    name: str
    port: Optional[int] = None  # of its ssh
    slots: int = 1


@dataclass(frozen=True)
class Member:
    """One process of a run, as `member.py` receives it.

    Role and number are None where one command starts all processes: they follow from the rank
    that the command gives each. Servers have the first ranks.
    """

    workers: int
    servers: int
    root: str  # address of the scheduler; with PyTorch of worker 0
    port: int
    command: Tuple[str, ...]  # of a worker
    python: str
    directory: str
    environment: Dict[str, str] = field(default_factory=dict)
    role: Optional[str] = None
    number: Optional[int] = None
    interface: str = ""  # replaces the interface of the route to the root
    on_host: int = 1  # workers that share this machine's processors
    local: int = 0  # number of the worker among them, which selects its GPU with PyTorch
    engine: str = "mxnet"
    name: str = ""  # of the host, in the prefix of each line
    grace: float = 60.0  # seconds to save and exit after a signal
    has_control: bool = True  # orders arrive on standard input; when it closes, the run is over

    def encoded(self) -> str:
        """Encode as one word that no shell or scheduler changes."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @staticmethod
    def decoded(word: str) -> "Member":
        """Decode what `encoded` returned; InputError if another version of this program did."""
        values = json.loads(base64.urlsafe_b64decode(word))
        unknown = values.keys() ^ {one.name for one in fields(Member)}
        if unknown:
            raise InputError(
                f"{socket.gethostname()}: imagenet_trainer {__version__} is another version than "
                "the launcher's; install the same on all machines"
            )
        return Member(**{**values, "command": tuple(values["command"])})

    def placed(self, environment: Mapping[str, str]) -> "Member":
        """Return the member with its role and number, taken from the rank where they are None."""
        if self.role is not None:
            return self
        rank = _number(environment, _RANK_VARIABLES)
        if self.engine == "torch":
            local = _number(environment, _LOCAL_VARIABLES)
            on_host = tasks_here(environment) or _number(environment, _ON_HOST_VARIABLES)
            return replace(self, role=WORKER, number=rank, local=local, on_host=on_host)
        if rank < self.servers:
            return replace(self, role=SERVER, number=rank)
        return replace(self, role=WORKER, number=rank - self.servers)


def _number(environment: Mapping[str, str], names: Sequence[str]) -> int:
    """The first of these variables that is a number."""
    texts = (environment.get(name, "") for name in names)
    number = next((int(text) for text in texts if text.isdigit()), None)
    if number is None:
        raise InputError(
            f"no rank of this process in the environment ({', '.join(names)}); start it with srun "
            "or mpirun"
        )
    return number


def tasks_here(environment: Mapping[str, str]) -> int:
    """The number of tasks of a Slurm step on this node, from texts as `2(x3),1`; 0 without them."""
    text, node = environment.get("SLURM_STEP_TASKS_PER_NODE", ""), environment.get("SLURM_NODEID")
    if not text or not node:
        return 0
    groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in groups for _ in range(int(times or 1))][int(node)]


@dataclass(frozen=True)
class Job:
    """A command that the launching machine runs, for one member or for several."""

    name: str  # "worker 1", "mpirun"
    command: Tuple[str, ...]
    role: Optional[str]  # None: servers and workers together
    has_control: bool = True


def ending(member: Member, code: int) -> str:
    """What the watcher of a process without control says at its end; `ending_in` reads it."""
    return f"{member.role} {member.number} on {socket.gethostname()}: exit code {code}"


def ending_in(line: str) -> Optional[int]:
    """The exit code of a process in a line of output; None if it is another line."""
    match = re.search(rf"launch: ({WORKER}|{SERVER}) \d+ on \S+: exit code (\d+)$", line)
    return int(match[2]) if match else None


def read_hosts(path: str) -> List[Host]:
    """Read a host file of lines `name[:port] [slots=N]`; # begins a comment.

    Raises InputError, with file and line, for any other line and for a file without hosts.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file"
        raise InputError(
            f"--hostfile {path}: {reason}; name a file with one host per line"
        ) from error
    hosts = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"(\w[\w.-]*(?:@[\w.-]+)?)(?::(\d+))?(?:\s+slots=(\d+))?", text)
        if not match or not 0 < int(match[3] or 1) <= _MOST_SLOTS:
            raise InputError(
                f"--hostfile {path}: line {number}: {text!r} is not `host[:port] [slots=N]`"
            )
        name, port, slots = match.groups()
        hosts.append(Host(name, int(port) if port else None, int(slots or 1)))
    if not hosts:
        raise InputError(f"--hostfile {path}: names no host; write one per line")
    return hosts


def places(count: int, hosts: Sequence[Host]) -> List[Host]:
    """Assign `count` processes to the hosts' slots in turn, several times if necessary."""
    slots = [host for host in hosts for _ in range(host.slots)]
    return [slots[number % len(slots)] for number in range(count)]


def passed_environment(extra: Sequence[str], environment: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables for remote processes: the usual ones, and those of --env."""
    chosen = {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}
    for word in extra:
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise InputError(f"--env {word}: is neither NAME nor NAME=VALUE; write one of them")
        if not equals and name not in environment:
            raise InputError(f"--env {name}: is not set here; write {name}=VALUE")
        chosen[name] = value if equals else environment[name]
    return chosen


def watched(member: Member) -> Tuple[str, ...]:
    """Return the command line of a member's watcher, the same on every machine."""
    path = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return (
        "env", f"PYTHONPATH={path}", member.python, "-m", "imagenet_trainer.launch.member",
        member.encoded(),
    )  # fmt: skip


def through_ssh(ssh: Sequence[str], host: Host, member: Member) -> Tuple[str, ...]:
    """Return the command that starts a watcher by ssh; words are quoted for the remote shell."""
    port = () if host.port is None else ("-p", str(host.port))
    directory = shlex.quote(member.directory)
    return (*ssh, *port, host.name, f"cd {directory} && exec {shlex.join(watched(member))}")


def local_jobs(member: Member, workers: Optional[range] = None) -> List[Job]:
    """Return the servers and workers of this machine; by default all workers."""
    chosen = range(member.workers) if workers is None else workers
    members = [replace(member, role=SERVER, number=n) for n in range(member.servers)]
    members += [
        replace(member, role=WORKER, number=n, local=local, on_host=len(chosen))
        for local, n in enumerate(chosen)
    ]
    return [Job(f"{one.role} {one.number}", watched(one), one.role) for one in members]


def ssh_jobs(member: Member, hosts: Sequence[Host], ssh: Sequence[str]) -> List[Job]:
    """Return the servers and workers of other machines, one ssh each."""
    jobs = []
    for role, count in ((SERVER, member.servers), (WORKER, member.workers)):
        chosen = places(count, hosts)
        names = [host.name for host in chosen]  # a machine may have several lines
        for number, host in enumerate(chosen):
            shared = names.count(host.name) if role == WORKER else 1
            one = replace(
                member, role=role, number=number, on_host=shared, name=host.name,
                local=names[:number].count(host.name),
            )  # fmt: skip
            jobs.append(Job(f"{role} {number} on {host.name}", through_ssh(ssh, host, one), role))
    return jobs


def mpi_job(member: Member, hostfile: str, options: Sequence[str]) -> Job:
    """Return one mpirun (Open MPI, MPICH, Intel MPI) for all servers and workers."""
    hosts = ("-machinefile", hostfile) if hostfile else ()
    count = str(member.servers + member.workers)
    command = ("mpirun", "-n", count, *hosts, *options, *watched(_without_control(member)))
    return Job("mpirun", command, None, has_control=False)


def slurm_job(member: Member, options: Sequence[str]) -> Job:
    """Return one srun for all servers and workers; it assigns them to the nodes in turn."""
    count = str(member.servers + member.workers)
    own = []
    if member.engine == "torch":
        own.append("--cpu-bind=none")  # each worker takes its share of the node's processors
    if os.environ.get("SLURM_CPUS_PER_TASK"):  # srun does not inherit it since Slurm 22.05
        own.append(f"--cpus-per-task={os.environ['SLURM_CPUS_PER_TASK']}")
    command = (
        "srun", "--ntasks", count, "--distribution=cyclic", "--overcommit", "--input=none",
        "--kill-on-bad-exit=1", "--chdir", member.directory, *own, *options,
        *watched(_without_control(member)),
    )  # fmt: skip
    return Job("srun", command, None, has_control=False)


def scheduler_job(member: Member) -> Job:
    """Return the scheduler, which runs on the launching machine; the others connect to it."""
    return Job("scheduler", watched(replace(member, role=SCHEDULER, number=0)), SCHEDULER)


def _without_control(member: Member) -> Member:
    return replace(member, has_control=False)


def command_of(words: Sequence[str]) -> Tuple[str, ...]:
    """Return a worker's command; `python` means the launcher's interpreter, on every host."""
    first = os.path.basename(words[0])
    return (sys.executable, *words[1:]) if first in ("python", "python3") else tuple(words)

"""The watcher of one process, on its machine: python -m imagenet_trainer.launch.member WORD

It sets the process's role and address, prefixes each line of output with its name, forwards the
launcher's orders, and leaves no process behind when the process ends, when the launcher dies, or
when the connection to the launcher is lost.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any, Dict, List, Optional, Sequence

from imagenet_trainer.errors import InputError, print_message, run_command
from imagenet_trainer.launch.addresses import address_of, address_towards
from imagenet_trainer.launch.plan import WORKER, Member, ending
from imagenet_trainer.system.hosts import interface_of
from imagenet_trainer.system.machine import processors

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_SERVING = ("-m", "imagenet_trainer.engines.mxnet.serving")
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Signals that mpirun and srun forward, and that cluster schedulers can send as a warning.
_WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)


def environment_of(member: Member) -> Dict[str, str]:
    """Variables of the process: those passed, those of its engine, its OpenMP threads.

    Raises InputError if this machine has no such interface, or no route to the root.
    """
    variables = {**member.environment, "PYTHONUNBUFFERED": "1"}
    if member.engine == "torch":
        variables.update(_torch_variables(member))
        if member.interface:  # else a worker takes that of its connection to worker 0
            address_of(member.interface)
            variables.setdefault("GLOO_SOCKET_IFNAME", member.interface)
        # A lost worker is reported in one line; PyTorch would add C++ stack traces as warnings.
        variables.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    else:
        variables.update(_mxnet_variables(member))
    variables.setdefault("OMP_NUM_THREADS", str(max(1, processors() // member.on_host)))
    return variables


def _torch_variables(member: Member) -> Dict[str, str]:
    """Those that torchrun sets, too; worker 0 serves the store at the address."""
    return {
        "RANK": str(member.number),
        "WORLD_SIZE": str(member.workers),
        "LOCAL_RANK": str(member.local),
        "LOCAL_WORLD_SIZE": str(member.on_host),
        "MASTER_ADDR": member.root,
        "MASTER_PORT": str(member.port),
    }


def _mxnet_variables(member: Member) -> Dict[str, str]:
    """Those of ps-lite, and the worker's rank."""
    address = address_of(member.interface) if member.interface else address_towards(member.root)
    interface = member.interface or interface_of(address)
    if interface is None:
        raise InputError(
            f"{address}: is not the first address of any interface; name one with --interface"
        )
    variables = {
        "DMLC_ROLE": str(member.role),
        "DMLC_NUM_WORKER": str(member.workers),
        "DMLC_NUM_SERVER": str(member.servers),
        "DMLC_PS_ROOT_URI": member.root,
        "DMLC_PS_ROOT_PORT": str(member.port),
        "DMLC_NODE_HOST": address,
        "DMLC_INTERFACE": interface,
        "PS_HEARTBEAT_INTERVAL": "1",  # seconds; engines/mxnet/watch.py
    }
    if member.role == WORKER and member.number is not None:
        variables["IMAGENET_TRAINER_RANK"] = str(member.number)
    return variables


class Process:
    """The process of a member, in its own process group, which is killed when it ends."""

    def __init__(self, member: Member) -> None:
        worker = member.role == WORKER
        libc = ctypes.CDLL(None)
        # A server is needed until the last worker has saved. Slurm signals every process of a job
        # step, not only this watcher: a warning must not kill the process that it is meant for.
        ignored = _WARNINGS if worker else (*_WARNINGS, *_STOPS)

        def prepare() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # when this watcher is killed
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        self._member = member
        self._killing: Optional[threading.Timer] = None
        self.child = subprocess.Popen(
            list(member.command) if worker else [member.python, *_SERVING],
            cwd=member.directory,
            env={**os.environ, **environment_of(member)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=prepare,
        )

    def stop(self, number: Optional[int] = signal.SIGTERM) -> None:
        """Signal a worker to save and exit (None: it has the signal); kill it after the grace."""
        if self._member.role == WORKER and number is not None and self.child.poll() is None:
            self.child.send_signal(number)
        if self._killing is None:
            self._killing = threading.Timer(self._member.grace, self.kill)
            self._killing.daemon = True
            self._killing.start()

    def kill(self) -> None:
        """Kill the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)

    def obey(self, orders: IO[str]) -> None:
        """Follow the launcher's orders, one a line; stop when the connection closes."""
        for line in orders:
            word, _, number = line.strip().partition(" ")
            if word == "kill":
                self.kill()
            elif word == "stop" and number.isdigit():
                self.stop(int(number))
        self.stop()


def prefix_of(member: Member) -> bytes:
    """Return what precedes each line of output: `[worker 1 node7] `."""
    number = "" if member.number is None else str(member.number)
    return f"[{' '.join(filter(None, (member.role, number, member.name)))}] ".encode()


def copy_lines(source: IO[bytes], target: IO[bytes], prefix: bytes) -> None:
    """Write each line with its prefix in one call, so lines of several processes do not mix."""
    for line in source:
        with contextlib.suppress(OSError, ValueError):  # the launcher may have exited
            target.write(prefix + line.rstrip(b"\n") + b"\n")
            target.flush()


def watch(member: Member) -> int:
    """Run a member to its end; return its exit code, or 128 + n if signal n ended it."""
    process = Process(member)
    in_slurm = not member.has_control and "SLURM_PROCID" in os.environ
    for number in (*_STOPS, *_WARNINGS):
        signal.signal(
            number, lambda number, frame: process.stop(_signal_to_forward(number, in_slurm))
        )
    prefix = prefix_of(member)
    pumps: List[threading.Thread] = []
    for source, target in ((process.child.stdout, sys.stdout), (process.child.stderr, sys.stderr)):
        streams: Any = (source, target.buffer, prefix)
        pumps.append(threading.Thread(target=copy_lines, args=streams, daemon=True))
    if member.has_control:
        threading.Thread(target=process.obey, args=(sys.stdin,), daemon=True).start()
    for pump in pumps:
        pump.start()
    code = process.child.wait()
    process.kill()  # what it started and left running
    for pump in pumps:
        pump.join(timeout=10)
    return code if code >= 0 else 128 - code


def _signal_to_forward(number: int, in_slurm: bool) -> Optional[int]:
    """The signal to send to a worker after the watcher has received one; None for none."""
    if in_slurm and number in _STOPS:
        return None  # Slurm sent it to the worker too, and at a second one a training exits at once
    return signal.SIGINT if number == signal.SIGINT else signal.SIGTERM


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line: one word, made by `Member.encoded`."""
    words = sys.argv[1:] if argv is None else argv
    members: List[Member] = []

    def body() -> int:
        members.append(Member.decoded(words[0]).placed(os.environ))
        return watch(members[0])

    code = run_command("launch", body)
    for member in members:
        if code and not member.has_control:
            print_message("launch", ending(member, code))
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A thread that waits for the launcher's next order must not keep the interpreter alive.
    os._exit(code)

"""Around one process of a run, on its own machine: python -m imagenet_trainer.launch.member WORD

It gives the process its role and address, puts its name before each line, forwards what the
launcher says, and leaves nothing behind: neither when the process ends, nor when the launcher or
the connection to it is gone.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any, Dict, List, Optional, Sequence

from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.launch.addresses import address_of, address_towards, interface_of
from imagenet_trainer.launch.plan import WORKER, Member
from imagenet_trainer.system.machine import processors

_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_SERVING = ("-m", "imagenet_trainer.launch.serving")


def environment_of(member: Member, address: str, interface: str) -> Dict[str, str]:
    """Variables of the process: those passed, ps-lite's, the worker's number, its OpenMP share."""
    variables = {
        **member.environment,
        "DMLC_ROLE": str(member.role),
        "DMLC_NUM_WORKER": str(member.workers),
        "DMLC_NUM_SERVER": str(member.servers),
        "DMLC_PS_ROOT_URI": member.root,
        "DMLC_PS_ROOT_PORT": str(member.port),
        "DMLC_NODE_HOST": address,
        "DMLC_INTERFACE": interface,
        "PYTHONUNBUFFERED": "1",
    }
    if member.role == WORKER and member.number is not None:
        variables["IMAGENET_TRAINER_RANK"] = str(member.number)
    variables.setdefault("OMP_NUM_THREADS", str(max(1, processors() // member.on_host)))
    return variables


class Process:
    """A member's process, in a process group of its own that ends with it."""

    def __init__(self, member: Member) -> None:
        address = address_of(member.interface) if member.interface else address_towards(member.root)
        interface = member.interface or interface_of(address)
        if interface is None:
            raise InputError(f"{address}: no interface has it first; name one with --interface")
        worker = member.role == WORKER
        libc = ctypes.CDLL(None)

        def prepare() -> None:
            # If this watcher is killed the process goes too.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if not worker:  # a server is needed until the last worker has saved
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)

        self._member = member
        self._killing: Optional[threading.Timer] = None
        self.child = subprocess.Popen(
            list(member.command) if worker else [member.python, *_SERVING],
            cwd=member.directory,
            env={**os.environ, **environment_of(member, address, interface)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=prepare,
        )

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Have a worker save and end; kill whatever is still there after the grace period."""
        if self._member.role == WORKER and self.child.poll() is None:
            self.child.send_signal(number)
        if self._killing is None:
            self._killing = threading.Timer(self._member.grace, self.kill)
            self._killing.daemon = True
            self._killing.start()

    def kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)

    def obey(self, orders: IO[str]) -> None:
        """Do what the launcher says, line by line, until it says no more."""
        for line in orders:
            word, _, number = line.strip().partition(" ")
            if word == "kill":
                self.kill()
            elif word == "stop" and number.isdigit():
                self.stop(int(number))
        self.stop()


def prefix_of(member: Member) -> bytes:
    """What stands before each line: `[worker 1 node7] `."""
    number = "" if member.number is None else str(member.number)
    return f"[{' '.join(filter(None, (member.role, number, member.name)))}] ".encode()


def copy_lines(source: IO[bytes], target: IO[bytes], prefix: bytes) -> None:
    """Each line with its prefix, in one write, so that lines of several processes do not mix."""
    for line in source:
        with contextlib.suppress(OSError, ValueError):  # the launcher may be gone
            target.write(prefix + line.rstrip(b"\n") + b"\n")
            target.flush()


def watch(member: Member) -> int:
    """Run a member to its end; return its exit code, 128 + n for one that signal n ended."""
    process = Process(member)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # Schedulers of clusters warn by these; Grid Engine by SIGUSR2.
        signal.signal(number, lambda number, frame: process.stop(_meaning(number)))
    prefix = prefix_of(member)
    pumps: List[threading.Thread] = []
    for source, target in ((process.child.stdout, sys.stdout), (process.child.stderr, sys.stderr)):
        words: Any = (source, target.buffer, prefix)
        pumps.append(threading.Thread(target=copy_lines, args=words, daemon=True))
    if member.has_control:
        threading.Thread(target=process.obey, args=(sys.stdin,), daemon=True).start()
    for pump in pumps:
        pump.start()
    code = process.child.wait()
    process.kill()  # what it started and left behind
    for pump in pumps:
        pump.join(timeout=10)
    return code if code >= 0 else 128 - code


def _meaning(number: int) -> int:
    return signal.SIGINT if number == signal.SIGINT else signal.SIGTERM


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line: one word that `Member.encoded` made."""
    words = sys.argv[1:] if argv is None else argv
    return run_command("launch", lambda: watch(Member.decoded(words[0]).placed(os.environ)))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # A thread that waits for the launcher's next order must not hold the interpreter back.
    os._exit(code)

"""The parts of `storm.py`: commands in forked processes, damage to files, results to compare."""

import gc
import hashlib
import importlib
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from matplotlib.figure import Figure
from same_results import TIMED, arrays, rows

from imagenet_trainer.runs import params
from imagenet_trainer.system import mxnet_import

CLASSES = ("error line", "same", "other", "traceback", "signal", "hang")
PATIENCE = 120.0  # seconds after which a command hangs
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# What may change between two runs of `evaluate` with the same results.
_VARIES = re.compile(r"images/s|from 20\d\d-|^evaluate: |\d s\b")


class Ended(NamedTuple):
    """How a command ended: exit code, or minus the signal; None after PATIENCE."""

    code: Optional[int]
    output: str
    seconds: float
    was_signalled: bool = False

    @property
    def kind(self) -> str:
        """`done`, or a class of CLASSES."""
        if self.code is None:
            return "hang"
        if self._has_traceback:
            return "traceback"
        if self.code < 0:
            return "signal"
        if self.code == 0:
            return "error line" if "is passed over" in self.output else "done"
        # im2rec ends with 1 after it has listed rejected images.
        reported = "error:" in self.output or (self.code == 1 and "rejected" in self.output)
        return "error line" if reported else "traceback"

    @property
    def _has_traceback(self) -> bool:
        return "Traceback" in self.output or "Exception ignored" in self.output

    def fault_after(self, number: int) -> str:
        """The class of what must not follow a signal, or "": it ends by it, saves, or finishes.

        130 is im2rec's code for every signal.
        """
        if self.code is None:
            return "hang"
        ends = self.code in (0, -number, 128 + number, 130) and not self._has_traceback
        return "" if ends else "traceback"


class Command(NamedTuple):
    """A command of the package."""

    module: str
    words: Sequence[str]

    def run(
        self,
        folder: Path,
        signalled: Optional[Tuple[float, int]] = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> Ended:
        """Run it in a child that has the modules of this process; `signalled`: (seconds, signal).

        `prepare` is called in the child, which is in `folder`.
        """
        log = folder.parent / f"{folder.name}.out"
        main = importlib.import_module(self.module).main
        began = time.monotonic()
        # A signal that comes too early must not reach this process's handler in the child.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        child = os.fork()
        if child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        else:
            _be_command(lambda: main(list(self.words)), folder, log, prepare)
        sent = False
        code: Optional[int] = None
        until = began + (signalled[0] if signalled else PATIENCE)
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            now = time.monotonic()
            if ended:
                code = os.waitstatus_to_exitcode(status)
                break
            if now > until:
                if signalled and not sent:
                    os.kill(child, signalled[1])
                    sent, until = True, now + PATIENCE
                else:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    break
            time.sleep(0.002)
        text = log.read_text(errors="replace")
        return Ended(code, text, time.monotonic() - began, sent)

    def run_alone(self, folder: Path, prepare: Callable[[], None]) -> Ended:
        """Run it in a new interpreter, which imports everything itself."""
        began = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-m", self.module, *self.words], cwd=folder, preexec_fn=prepare,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            return Ended(None, str(error.stdout), PATIENCE)
        return Ended(done.returncode, done.stdout, time.monotonic() - began)


def _be_command(
    main: Callable[[], int], folder: Path, log: Path, prepare: Callable[[], None]
) -> None:
    """In the child: run the command as a shell would; does not return."""
    code = 1
    try:
        os.chdir(folder)
        output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as system/interruptible.py
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        prepare()
        code = main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # none may reach the storm's own code in this child
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)


def import_what_is_used(commands: Sequence[Command], folder: Path) -> None:
    """Run commands in children, and import here what they import, so that others start at once."""
    mxnet_import.import_problem()  # imports MXNet, if that is possible
    for command in commands:
        found = folder.parent / "modules.txt"

        def listed(command: Command = command, found: Path = found) -> int:
            try:
                return importlib.import_module(command.module).main(list(command.words))
            finally:
                found.write_text("\n".join(sys.modules))

        child = os.fork()
        if not child:
            _be_command(listed, folder, folder.parent / "modules.out", lambda: None)
        os.waitpid(child, 0)
        for name in found.read_text().split("\n"):
            try:
                importlib.import_module(name)
            except BaseException:  # some can only be imported by others
                continue
    # Plots are most of the time of a miniature, and nothing reads them.
    Figure.savefig = lambda *_, **__: None  # type: ignore[method-assign]
    gc.freeze()  # the children share these objects


# --- damage ---------------------------------------------------------------------------------------


def damage(path: Path, draw: random.Random) -> str:
    """Change a file; return what was done, with the position."""
    data = bytearray(path.read_bytes())
    at = draw.randrange(max(len(data), 1))
    length = min(draw.choice((1, 2, 8, 64, 512)), max(len(data) - at, 1))
    kind = draw.choice(
        ("bit", "byte", "zeroes", "noise", "cut", "empty", "longer", "insert", "remove", "swap")
    )
    if kind == "bit" and data:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == "byte" and data:
        data[at] = draw.randrange(256)
    elif kind == "zeroes":
        data[at : at + length] = bytes(length)
    elif kind == "noise":
        data[at : at + length] = draw.randbytes(length)
    elif kind == "cut":
        del data[at:]
    elif kind == "empty":
        data.clear()
    elif kind == "longer":
        data += draw.randbytes(length)
    elif kind == "insert":
        data[at:at] = draw.randbytes(length)
    elif kind == "remove":
        del data[at : at + length]
    elif kind == "swap":
        other = draw.randrange(max(len(data) - length, 1))
        low, high = min(at, other), max(at, other)
        data[low : low + length], data[high : high + length] = (
            data[high : high + length], data[low : low + length],
        )  # fmt: skip
    unchanged = bytes(data) == path.read_bytes()
    path.write_bytes(data)
    return "" if unchanged else f"{kind} {length} at {at}"


# --- results --------------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    """A short name of these bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def of_training(folder: Path, output: str) -> Dict[str, str]:
    """Every array of every checkpoint of an epoch, and the rows of the history."""
    found: Dict[str, str] = {}
    for path in sorted(folder.glob("runs/x/*-0*.params")):
        for name, value in params.read(str(path)).items():
            found[f"{path.name} {name}"] = digest(value.tobytes())
        state = path.with_suffix(".npz")
        for name, array in arrays(state).items() if state.exists() else ():
            if not TIMED.search(name):
                found[f"{state.name} {name}"] = digest(array.tobytes())
    history = folder / "runs" / "x" / "history.csv"
    for row in rows(history) if history.exists() else ():
        row = {k: v for k, v in row.items() if "percent" not in k and "_mb" not in k}
        found[f"history {row['epoch']}"] = digest(repr(row).encode())
    return found


def of_packing(folder: Path, output: str) -> Dict[str, str]:
    """The bytes of the shards, their indexes and manifests."""
    paths = [p for kind in ("rec", "idx") for p in folder.glob(f"out/*.{kind}")]
    return {path.name: digest(path.read_bytes()) for path in sorted(paths)}


def of_lists(folder: Path, output: str) -> Dict[str, str]:
    """The bytes of lists."""
    return {path.name: digest(path.read_bytes()) for path in sorted(folder.glob("out/*.lst"))}


def of_output(folder: Path, output: str) -> Dict[str, str]:
    """What was printed, without times."""
    lines = [line for line in output.splitlines() if not _VARIES.search(line)]
    return {"output": "\n".join(lines)}


def leftovers(folder: Path) -> List[str]:
    """Temporary files that nothing will ever use."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp")]


def random_signal(draw: random.Random, seconds: float) -> Tuple[float, int]:
    """A moment within so many seconds, and a signal."""
    return draw.uniform(0, seconds), draw.choice(_SIGNALS)

#!/usr/bin/env python3
"""What happens to a training that is killed, and to files that are damaged: `tools/storm.sh`.

Miniature runs are killed at random moments until they end; their arrays are compared with those
of the uninterrupted run. Files of every kind are damaged at random places; what the commands that
read them do is counted. Commands run in processes that are forked from this one after it has
imported everything, so that thousands of them are affordable. One seed gives the same signals and
damage, but not the same moments. docs/reliability.md holds a result. Exits with 1 if anything
happened that must not.
"""

import argparse
import contextlib
import os
import platform
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import cv2
import numpy as np
import storm_children as parts
from helpers import interrupting, miniature
from storm_children import CLASSES, Command, Ended

from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.system.mxnet_import import installation_problem

ROOT = Path(__file__).resolve().parent.parent
Result = Callable[[Path, str], Dict[str, str]]

DATA = (
    "--data-train train.rec --data-val val.rec --image-shape 3,16,16 --batch-size 8 --lr 0.002 "
    "--rgb-std 58,58,58 --data-nthreads 1 "
)
SMALL = "--network one-stage-cnn "
OFTEN = "--num-epochs 2 --random-resized-crop 0 --random-crop 1 --checkpoint-minutes 1e-9 "
# The methods of the kills, for both engines.
METHODS = {
    "sgd, BatchNorm": "--network resnet --num-layers 8 ",
    "adam, average": SMALL + "--optimizer adam --lr 0.001 --ema 0.9 ",
    "nag, mixup, parts": SMALL
    + "--optimizer nag --mixup 0.2 --label-smoothing 0.1 --accumulate 2 ",
    "keep best, GIF": SMALL + "--keep 1 --save-period 2 --confusion-gif 1 ",
}
INSTALLED = [
    name
    for name, there in (("mxnet", installation_problem() is None), ("torch", has_torch()))
    if there
]
KILLED = ("killed", "same", "other", "not finished", "traceback", "hang", "leftover")
NAMES = {"im2rec": "im2rec.py", "command": "imagenet.py"}  # of modules


def fit(words: str) -> Command:
    """A training in runs/x/."""
    return Command(
        "imagenet_trainer.fit",
        shlex.split(f"{DATA}{words} --model-prefix runs/x/m --data-nthreads 1"),
    )


def evaluate(words: str = "") -> Command:
    """An evaluation of the run."""
    return Command("imagenet_trainer.evaluate", ["--model-prefix", "runs/x/m", *words.split()])


def im2rec(words: str) -> Command:
    """A pack or its list."""
    return Command("imagenet_trainer.packing.im2rec", words.split())


class Target(NamedTuple):
    """A file to damage, and the command that reads it.

    `checked` files have a checksum, directly or by another file: no damage may change a result
    silently. In the others, damage that leaves a valid file is an edit.
    """

    file: str
    command: Command
    result: Result
    checked: bool = True


def targets(engine: str) -> List[Target]:
    """What is damaged; trainings and evaluations are those of the engine."""
    more = fit(f"{SMALL}{OFTEN}--num-epochs 3 --engine {engine}")
    new = fit(f"{SMALL}{OFTEN}--num-epochs 1 --engine {engine}")
    new = Command(new.module, [w.replace("runs/x/m", "new/runs/x/m") for w in new.words])
    again, cached = evaluate(f"--again --engine {engine}"), evaluate(f"--engine {engine}")
    report = evaluate(f"--report --engine {engine}")
    pack, tar = im2rec("out/new images --resize 24"), im2rec("out/new images.tar --resize 24")
    lists = Command(
        "imagenet_trainer.packing.ilsvrc.command", ["out", "downloads", "--test-per-class", "1"]
    )
    classify = Command(
        "imagenet_trainer.predict", "--model-prefix runs/x/m one.jpg --engine".split() + [engine]
    )
    trained: Result = lambda folder, text: parts.of_training(folder / "new", text)  # noqa: E731
    run, out = "runs/x/", parts.of_output
    return [
        *(Target(f"train.{kind}", new, trained) for kind in ("rec", "idx", "json")),
        *(Target(f"val.{kind}", again, out) for kind in ("rec", "idx", "json")),
        *(Target(run + f"m-0002.{kind}", more, parts.of_training) for kind in ("params", "npz")),
        *(Target(run + f"m-0002.{kind}", again, out) for kind in ("params", "npz")),
        *(Target(run + name, more, parts.of_training, False)
          for name in ("m-symbol.json", "config.json", "history.csv", "events.jsonl")),
        *(Target(run + name, again, out, False) for name in ("m-symbol.json", "config.json")),
        *(Target(run + name, cached, out, False)
          for name in ("evaluation.json", "predictions-0002.npz")),
        *(Target(run + name, report, out, False)
          for name in ("evaluation.json", "history.csv", "events.jsonl")),
        Target("out/new.lst", pack, parts.of_packing, False),
        Target("images/0/0.jpg", pack, parts.of_packing, False),
        Target("images.tar", tar, parts.of_packing, False),
        Target("one.jpg", classify, out, False),
        *(Target(f"downloads/{name}", lists, parts.of_lists, False)
          for name in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar",
                       "ILSVRC2012_devkit_t12.tar.gz")),
    ]  # fmt: skip


# --- the miniature --------------------------------------------------------------------------------


def write_inputs(folder: Path) -> None:
    """Images of three classes as files and as a tar, lists, shards, the files of image-net.org."""
    draw = np.random.default_rng(0)
    files = {}
    for label in range(3):
        for number in range(8):
            coarse = draw.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            coarse[..., label] //= 2
            image = cv2.resize(coarse, (30, 26), interpolation=cv2.INTER_CUBIC)
            files[f"{label}/{number}.jpg"] = cv2.imencode(".jpg", image)[1].tobytes()
    miniature.write_files(folder / "images", files)
    (folder / "images.tar").write_bytes(miniature.tar_of(files))
    (folder / "one.jpg").write_bytes(files["1/0.jpg"])
    (folder / "downloads").mkdir()
    miniature.write_downloads(folder / "downloads")
    (folder / "out").mkdir()
    for name in ("train", "val"):
        must(im2rec(f"--list --recursive {name} images"), folder)
        must(im2rec(f"{name} images --resize 24"), folder)
    shutil.copy(folder / "train.lst", folder / "out" / "new.lst")


def must(command: Command, folder: Path) -> Ended:
    """Run a command that has to succeed."""
    ended = command.run(folder)
    if ended.code != 0:
        sys.exit(f"{shlex.join([command.module, *command.words])}: {ended.code}\n{ended.output}")
    return ended


@contextlib.contextmanager
def copy_of(base: Path, without: str = "") -> Iterator[Path]:
    """A copy of the folder for one command, without one of the folders in it."""
    folder = base.parent / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder, ignore=lambda _, names: {without} & set(names))
    yield folder


# --- what is counted ------------------------------------------------------------------------------


class Table:
    """Counts by row and class, and a line for everything that must not happen."""

    def __init__(self) -> None:
        self.rows: Dict[str, Counter] = {}
        self.faults: List[str] = []

    def add(self, row: str, kind: str, fault: str = "") -> None:
        """Count one; a fault is kept with its reason."""
        self.rows.setdefault(row, Counter())[kind] += 1
        if fault:
            self.faults.append(f"{row}: {kind}: {fault}")
            print(f"fault: {self.faults[-1]}", flush=True)

    def print(self, title: str, columns: Sequence[str]) -> None:
        """As Markdown."""
        print(f"\n| {title} | all | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
        total: Counter = Counter()
        for row, counts in self.rows.items():
            total += counts
            self._line(row, counts, columns)
        self._line("all", total, columns)

    @staticmethod
    def _line(row: str, counts: Counter, columns: Sequence[str]) -> None:
        number = sum(counts[kind] for kind in columns)
        print(f"| {row} | {number:,} | {' | '.join(str(counts[kind]) for kind in columns)} |")


def differing(found: Dict[str, str], wanted: Dict[str, str]) -> List[str]:
    """Names whose values differ."""
    return [n for n in sorted(wanted.keys() | found.keys()) if wanted.get(n) != found.get(n)]


def kills(base: Path, count: int, draw: random.Random, table: Table) -> Iterator[float]:
    """Kill every command at random moments until it ends, again and again; yields the progress."""
    scenarios = {
        f"fit, {engine}: {name}": (fit(f"{OFTEN}{words}--engine {engine}"), parts.of_training)
        for engine in INSTALLED
        for name, words in METHODS.items()
    }
    scenarios["im2rec.py"] = (im2rec("out/new images --resize 24 --num-thread 2"), parts.of_packing)
    straight = {}
    for name, (command, result) in scenarios.items():
        with copy_of(base, "runs") as folder:
            ended = must(command, folder)
            straight[name] = result(folder, ended.output), ended.seconds
    killed = 0
    while killed < count:
        for name, (command, result) in scenarios.items():
            wanted, seconds = straight[name]
            with copy_of(base, "runs") as folder:
                killed += _kill_until_it_ends(name, command, folder, seconds, draw, table)
                differ = differing(result(folder, ""), wanted)
            table.add(name, "other" if differ else "same", ", ".join(differ))
            for left in parts.leftovers(folder):
                table.add(name, "leftover", left)
            yield min(killed / count, 1.0)


def _kill_until_it_ends(
    name: str, command: Command, folder: Path, seconds: float, draw: random.Random, table: Table
) -> int:
    """Return the number of kills, at most 30; then the command is left alone."""
    killed = 0
    while killed < 30:
        moment = parts.random_signal(draw, seconds)
        ended = command.run(folder, moment)
        if not ended.was_signalled:
            break
        killed += 1
        bad = ended.fault_after(moment[1])
        table.add(name, bad or "killed", bad and f"signal {moment[1]}: {ended}")
    else:
        ended = command.run(folder)
    if ended.code != 0:
        table.add(name, "not finished", str(ended))
    return killed


def damages(base: Path, count: int, draw: random.Random, table: Table) -> Iterator[float]:
    """Damage each kind of file in turn, run the command that reads it; yields the progress."""
    found = [one for engine in INSTALLED for one in targets(engine)]
    wanted = []
    for target in found:
        with copy_of(base) as folder:
            wanted.append(target.result(folder, must(target.command, folder).output))
    for number in range(count):
        target, right = found[number % len(found)], wanted[number % len(found)]
        with copy_of(base) as folder:
            done = parts.damage(folder / target.file, draw)
            ended = target.command.run(folder)
            kind = ended.kind
            if kind == "done":
                same = not differing(target.result(folder, ended.output), right)
                kind = "same" if same else "other" if target.checked or not done else "edit"
        module = target.command.module.rpartition(".")[2]
        row = f"{Path(target.file).name}, {NAMES.get(module, module)}"
        fault = kind in ("other", "traceback", "signal", "hang")
        table.add(row, kind, f"{done}: {ended.output[-1500:]}" if fault else "")
        yield (number + 1) / count


IMPORTING = (
    "fit --summary", "evaluate", "predict", "compare", "export", "published",
    "benchmark loader --data-train none.rec",
    "doctor", "packing.im2rec --list a b", "packing.ilsvrc.command a b", "explore.command a",
    "launch.main -n 1 true",
)  # fmt: skip


def interrupted_imports(base: Path, count: int, draw: random.Random, table: Table) -> None:
    """Ctrl-C at random imports and opened files of commands that start."""
    if not count:
        return
    folder = base.parent / "empty"
    folder.mkdir()
    commands = [f"imagenet_trainer.{one}".split() for one in IMPORTING]
    events = [interrupting.count_events(words, folder) for words in commands]
    for number in range(count):
        words = commands[number % len(commands)]
        event = draw.randint(1, events[number % len(commands)])
        done = interrupting.run_until(event, words, folder)
        kind = interrupting.fault_of(done)
        fault = f"{words}, {event}: {done}" if kind else ""
        table.add("Ctrl-C while imported", kind or "error line", fault)


# --- limits, disks, hung workers ------------------------------------------------------------------


def limit(kind: int, value: int) -> Callable[[], None]:
    """Sets a limit in the child."""
    return lambda: resource.setrlimit(kind, (value, value))


def conditions(base: Path, count: int, draw: random.Random, table: Table) -> None:
    """Trainings that run out of files, disk or memory; then the same command without the limit."""
    command = fit(f"{OFTEN}{SMALL}--engine {INSTALLED[0]} --save-patience 0")
    with copy_of(base, "runs") as folder:
        wanted = parts.of_training(folder, must(command, folder).output)
    kinds: Dict[str, Callable[[], Callable[[], None]]] = {
        "files of a limited size": lambda: limit(resource.RLIMIT_FSIZE, draw.randrange(1, 200_000)),
        "few open files": lambda: limit(resource.RLIMIT_NOFILE, draw.randrange(6, 40)),
        "little address space": lambda: limit(
            resource.RLIMIT_AS, draw.randrange(100 << 20, 4 << 30)
        ),
    }
    for _ in range(count):
        for name, prepare in kinds.items():
            with copy_of(base, "runs") as folder:
                _limited(name, command, folder, prepare(), wanted, table)
        if can_mount(base):
            sizes = {"full disk": f"size={draw.randrange(40, 700)}k", "read-only folder": "ro"}
            for name, options in sizes.items():
                with copy_of(base) as folder, mounted(folder / "runs", options):
                    _limited(name, command, folder, lambda: None, None, table)


def _limited(
    name: str, command: Command, folder: Path, prepare: Callable[[], None],
    wanted: Optional[Dict[str, str]], table: Table,
) -> None:  # fmt: skip
    run = command.run_alone if name == "little address space" else command.run
    ended = run(folder, prepare=prepare)
    kind = "same" if ended.kind == "done" else ended.kind
    bad = kind not in ("same", "error line")
    table.add(name, kind, ended.output[-1500:] if bad else "")
    if wanted is None:
        return
    ended = command.run(folder)
    differ = differing(parts.of_training(folder, ""), wanted)
    if ended.code != 0 or differ:
        table.add(name, "other", f"then without the limit: {ended.output[-800:]} {differ}")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Another file system instead of the folder."""
    shutil.rmtree(folder)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(base: Path) -> bool:
    """Whether this user may mount file systems."""
    if os.geteuid():
        return False
    place = base.parent / "mount"
    place.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        return False
    subprocess.run(["umount", str(place)], check=True)
    return True


def hung_workers(base: Path, table: Table) -> None:
    """Two workers of each engine, of which one stops: all end and are restarted."""
    for engine in INSTALLED:
        store = "--kv-store dist_sync " if engine == "mxnet" else ""
        words = fit(
            f"{OFTEN}{METHODS['sgd, BatchNorm']}--engine {engine} {store}--num-epochs 40"
        ).words
        launch = [sys.executable, str(ROOT / "tools" / "launch.py"), "-n", "2", "--engine", engine]
        name = f"hung worker, {engine}"
        with copy_of(base, "runs") as folder:
            process = subprocess.Popen(
                [*launch, sys.executable, "-m", "imagenet_trainer.fit", *words], cwd=folder,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert process.stdout
            began, stopped, text = 0.0, 0, ""
            for line in process.stdout:
                text += line
                if "Epoch[2]" in line and not stopped:
                    stopped, began = _a_worker_of(process.pid), time.monotonic()
                    os.kill(stopped, signal.SIGSTOP)
                if began and ("restart 1" in line or "restarting" in line):
                    print(f"{name}: all ended after {time.monotonic() - began:.0f} s", flush=True)
                    break
            process.send_signal(signal.SIGTERM)
            text += process.communicate(timeout=200)[0]
            good = stopped and "has not responded for 20 s" in text and "Traceback" not in text
            table.add(name, "error line" if good else "hang", "" if good else text[-3000:])


def _a_worker_of(launcher: int) -> int:
    """The process id of a training below the launcher."""
    lines = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = [line.split(None, 2) for line in lines]
    below = {str(launcher)}
    for _ in range(4):
        below |= {pid for pid, parent, _ in rows if parent in below}
    trains = " -m imagenet_trainer.fit "
    return max(int(p) for p, _, args in rows if p in below and trains in args.split("launch")[0])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--damages", type=int, default=500, metavar="M")
    parser.add_argument("--conditions", type=int, default=5, metavar="C")
    parser.add_argument("--imports", type=int, default=24, metavar="I")
    parser.add_argument("--hung", type=int, default=1, metavar="H", choices=(0, 1))
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    options = parser.parse_args(argv)
    draw = random.Random(options.seed)
    killing, damaging = Table(), Table()
    signal.signal(signal.SIGINT, _interrupt)  # the default one is replaced by that of commands
    print(
        f"seed {options.seed}, {time.strftime('%Y-%m-%d')}: {platform.platform()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(KeyboardInterrupt):
        base = prepared(Path(scratch) / "base")
        conditions(base, options.conditions, draw, damaging)
        interrupted_imports(base, options.imports, draw, damaging)
        if options.hung:
            hung_workers(base, damaging)
        # In turns, so that an interrupted storm has its part of both.
        both = [kills(base, options.kills, draw, killing),
                damages(base, options.damages, draw, damaging)]  # fmt: skip
        progress = dict.fromkeys(both, 0.0)
        shown = time.monotonic()
        while progress:
            if time.monotonic() > shown + 60:
                shown = time.monotonic()
                print(f"{time.strftime('%H:%M')}: {min(progress.values()):.1%}", flush=True)
            least = min(progress, key=lambda one: progress[one])
            done = next(least, None)
            if done is None:
                del progress[least]
            else:
                progress[least] = done
    killing.print("killed", KILLED)
    damaging.print("damaged", (*CLASSES[:3], "edit", *CLASSES[3:]))
    faults = killing.faults + damaging.faults
    print(f"\n{len(faults)} faults")
    return 1 if faults else 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def prepared(base: Path) -> Path:
    """Write the miniature and train and evaluate its run; import what the commands use."""
    base.mkdir()
    write_inputs(base)
    must(fit(f"{SMALL}{OFTEN}--engine {INSTALLED[0]}"), base)
    must(evaluate(f"--engine {INSTALLED[0]}"), base)
    with copy_of(base) as folder:
        used = [fit(f"{SMALL}{OFTEN}--engine {engine} --num-epochs 3") for engine in INSTALLED]
        read = [target.command for target in targets(INSTALLED[-1])]
        parts.import_what_is_used([*used, *read], folder)
    return base


if __name__ == "__main__":
    sys.exit(main())

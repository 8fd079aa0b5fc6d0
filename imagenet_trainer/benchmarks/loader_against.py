"""Measure the loader against those of other libraries, in turns, each in a process of its own.

Rates are those of an epoch from opening the loader on, with worker processes; imports are not
counted. Memory is the largest proportional set size of the process and its workers above that after
the imports. A resume opens the loader in a new process in the middle of the epoch, from what it
saved, or by repeating the epoch; its batches are compared with those of the uninterrupted epoch.
"""

import base64
import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from typing import Any, Dict, List, Optional, Sequence, Tuple

import psutil

from imagenet_trainer.benchmarks.figures import Figures
from imagenet_trainer.benchmarks.loader import cpu_seconds
from imagenet_trainer.benchmarks.loading import BATCH, SIDE, import_problem
from imagenet_trainer.benchmarks.other_loaders import CONTESTANTS, LEFT_OUT, OURS, write_inputs
from imagenet_trainer.system.machine import keep_freed_memory

_COMPARED = 3  # batches after the middle
_POLL = 0.1  # seconds
Measured = Dict[str, Any]


def run(against: Sequence[str], count: int, rounds: int, threads: int) -> Figures:
    """Print a row for each loader; return the figures by `NAME_MEASURE`."""
    names = [OURS, *_usable(against)]
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(folder, count)
        print(
            f"{count} JPEGs of 500 x 375 pixels; random resized crop to {SIDE} pixels and mirror; "
            f"batch {BATCH}; threads or processes: {threads}"
        )
        versions = [f"{name} {_version(name)}" for name in names if name != OURS]
        print("; ".join([*versions, f"Python {platform.python_version()}"]))
        rows: Dict[str, List[Measured]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                rows[name].append(_round(name, folder, threads))
        exact = {name: _is_exact(rows[name][0], name, folder, threads) for name in names}
    return _printed(rows, exact)


def _usable(against: Sequence[str]) -> List[str]:
    """The libraries that can be imported here; print why the others are left out."""
    usable = []
    for name in against:
        reason = LEFT_OUT.get(name) or import_problem(*CONTESTANTS[name].modules)
        if reason:
            print(f"{name} is left out: {reason}")
        else:
            usable.append(name)
    return usable


def _version(name: str) -> str:
    for package in (name, f"nvidia-{name}-cuda120", f"nvidia-{name}-cuda130"):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"


# --- a process for each --------------------------------------------------------------------------


def _round(name: str, folder: str, threads: int) -> Measured:
    """An epoch, and a resume in its middle."""
    straight = _in_a_process(name, folder, threads, None)
    resumed = _in_a_process(name, folder, threads, straight)
    return {**straight, "resume": resumed["first"], "resumed": resumed["digests"]}


def _is_exact(measured: Measured, name: str, folder: str, threads: int) -> Tuple[bool, bool]:
    """Whether a resume has the same batches, with as many threads, and with another number."""
    other = _in_a_process(name, folder, 1 if threads > 1 else 2, measured)
    digests = measured["digests"]
    return measured["resumed"] == digests, other["digests"] == digests


def _in_a_process(name: str, folder: str, threads: int, resumed: Optional[Measured]) -> Measured:
    """Measure an epoch, or the resume of one, and the memory meanwhile."""
    code = "import sys; from imagenet_trainer.benchmarks import loader_against as b; b.child()"
    job = {"name": name, "folder": folder, "threads": threads}
    job.update({key: resumed and resumed[key] for key in ("saved", "middle")})
    child = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(job)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin and child.stdout
    with child:
        child.stdout.readline()  # imports are done
        before = peak = _memory(child.pid)
        child.stdin.write("go\n")
        child.stdin.flush()
        output = None
        while output is None:
            peak = max(peak, _memory(child.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                output, _ = child.communicate(timeout=_POLL)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return {**json.loads(output.splitlines()[-1]), "megabytes": (peak - before) / 1e6}


def _memory(process: int) -> int:
    """Bytes of a process and its children; pages that they share count once."""
    total = 0
    try:
        first = psutil.Process(process)
        for one in (first, *first.children(recursive=True)):
            total += getattr(one.memory_full_info(), "pss", 0) or one.memory_info().rss
    except psutil.Error:  # it has ended
        pass
    return total


def child() -> None:
    """Measure what the parent wants and print it as JSON."""
    job = json.loads(sys.argv[1])
    contestant = CONTESTANTS[job["name"]]
    for module in contestant.modules:
        importlib.import_module(module)
    if job["name"] == OURS:
        importlib.import_module("imagenet_trainer.data")
        keep_freed_memory()
    print("ready", flush=True)
    sys.stdin.readline()
    if job["saved"] is None:
        measured = _epoch(job)
    else:
        measured = _resume(job)
    print(json.dumps(measured), flush=True)
    os._exit(0)  # worker threads of some libraries would wait


def _open(job: Dict[str, Any], saved: bytes) -> Any:
    return CONTESTANTS[job["name"]].open(job["folder"], job["threads"], saved)


def _epoch(job: Dict[str, Any]) -> Measured:
    began, cpu = time.perf_counter(), cpu_seconds()
    opened = _open(job, b"")
    images, first, saved, digests = 0, 0.0, b"", []
    middle = _images(job["folder"]) // BATCH // 2
    for number, (batch, labels) in enumerate(opened.batches, start=1):
        first = first or time.perf_counter() - began
        images += len(batch)
        if number == middle:
            saved = opened.save()
        elif middle < number <= middle + _COMPARED:
            digests.append(_digest(batch, labels))
    return {
        "first": first, "seconds": time.perf_counter() - began, "cpu": cpu_seconds() - cpu,
        "images": images, "middle": middle, "digests": digests,
        "saved": base64.b64encode(saved).decode(),
    }  # fmt: skip


def _resume(job: Dict[str, Any]) -> Measured:
    began = time.perf_counter()
    saved = base64.b64decode(job["saved"])
    opened = _open(job, saved)
    if not saved:
        for _ in range(job["middle"]):
            next(opened.batches)
    digests, first = [], 0.0
    for batch, labels in opened.batches:
        first = first or time.perf_counter() - began
        digests.append(_digest(batch, labels))
        if len(digests) == _COMPARED:
            break
    return {"first": first, "digests": digests}


def _images(folder: str) -> int:
    return len(os.listdir(os.path.join(folder, "images")))


def _digest(images: Any, labels: Any) -> int:
    return zlib.crc32(labels.tobytes(), zlib.crc32(images.tobytes()))


# --- the table -----------------------------------------------------------------------------------


def _printed(rows: Dict[str, List[Measured]], exact: Dict[str, Tuple[bool, bool]]) -> Figures:
    print(
        f"\n{'':<36}{'images per':>12}{'':>8}{'images':>8}{'first':>8}{'resume':>8}{'memory':>8}"
        f"{'exact after':>14}{'with other':>14}"
    )
    print(
        f"{'median of ' + str(len(rows[OURS])):<36}{'CPU-second':>12}{'ratio':>8}{'per s':>8}"
        f"{'batch s':>8}{'s':>8}{'MB':>8}{'a resume':>14}{'threads':>14}"
    )
    found: Figures = {}
    for name, measured in rows.items():
        rates = [one["images"] / one["cpu"] for one in measured]
        ratio = statistics.median(
            rate * ours["cpu"] / ours["images"] for rate, ours in zip(rates, rows[OURS])
        )
        values = {
            "per_cpu_second": statistics.median(rates),
            "ratio": ratio,
            "per_second": statistics.median(one["images"] / one["seconds"] for one in measured),
            "first": statistics.median(one["first"] for one in measured),
            "resume": statistics.median(one["resume"] for one in measured),
            "megabytes": statistics.median(one["megabytes"] for one in measured),
        }
        print(
            f"{CONTESTANTS[name].title:<36}{values['per_cpu_second']:>12.0f}{ratio:>7.2f}x"
            f"{values['per_second']:>8.0f}{values['first']:>8.2f}{values['resume']:>8.2f}"
            f"{values['megabytes']:>8.0f}"
            + "".join(f"{'yes' if one else 'NO':>14}" for one in exact[name])
        )
        found.update({f"{name}_{key}": value for key, value in values.items()})
        found[f"{name}_exact"], found[f"{name}_other_threads"] = map(float, exact[name])
    return found

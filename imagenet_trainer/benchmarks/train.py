"""Measure training speed with data and without, and against MXNet with its defaults."""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.figures import Figures, median_ratio, named
from imagenet_trainer.benchmarks.photographs import pack_photographs
from imagenet_trainer.data.dataset import IMAGENET_CLASSES
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.runs.events import read_events
from imagenet_trainer.system.machine import compute_threads, has_bfloat16, processors
from imagenet_trainer.train.previews.throughput import INTERVALS

_BATCH = 16
_SHOWN = 2  # updates of an interval without data
_RESNET = "resnet-18"
_NETWORKS = (_RESNET, "squeezenet1.0")
_MXNET = "MXNet with its defaults"
_Kind = Tuple[str, str, str]  # network, dtype, engine
_Speeds = Dict[_Kind, List[float]]  # images per second in each round
_MOST_AT_ONCE = 16  # trainings, each of which takes a gigabyte


class _Measured(NamedTuple):
    """What was measured in each round."""

    with_data: _Speeds
    without: _Speeds
    repeatable: _Speeds  # without data, with --deterministic
    defaults: List[float]  # images per second of MXNet with its defaults
    waits: List[float]  # shares of the time in which trainings waited for data
    bounds: List[float]  # of `_all_processors`


# --- against MXNet's defaults ------------------------------------------------------------------


def run(images: int, rounds: int) -> Figures:
    """Print images per second and ratios of ResNet-18 and SqueezeNet at 224 pixels on the CPU.

    `fit` trains on a shard of JPEGs, in float32 and, if the CPU has it, in bfloat16, and the same
    engine trains on a batch that stays in memory (`fit --benchmark 1`). For MXNet the same symbol
    of ResNet-18 is trained by a plain Module with ImageRecordIter, and MXNet's choice of OpenMP
    threads. PyTorch also trains with --deterministic, to show what that costs. As many trainings
    as processors, of one thread each, at once show what all processors can gain in this run.
    """
    dtypes = ["float32", *(["bfloat16"] if has_bfloat16() else [])]
    # PyTorch too where it is installed, to show which engine suits this CPU.
    kinds = [(network, dtype, "mxnet") for network in _NETWORKS for dtype in dtypes]
    kinds += [(_RESNET, dtype, "torch") for dtype in dtypes if has_torch()]
    measured = _Measured(
        {kind: [] for kind in kinds}, {kind: [] for kind in kinds},
        {kind: [] for kind in kinds if kind[2] == "torch"}, [], [], [],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        rec = pack_photographs(folder, images)
        for turn in range(rounds):
            _measure_round(measured, folder, rec, turn)
    ratios = _ratios(measured)
    print("\n".join(_table(measured, ratios)))
    groups = {
        "": measured.with_data, "_without_data": measured.without,
        "_deterministic": measured.repeatable,
    }  # fmt: skip
    return {
        **{named(" ".join(kind)) + ending: statistics.median(speeds)
           for ending, group in groups.items() for kind, speeds in group.items()},
        **ratios,
        "mxnet_defaults": statistics.median(measured.defaults),
        "wait_share": max(measured.waits),
        **({"all_processors": statistics.median(measured.bounds)} if measured.bounds else {}),
    }  # fmt: skip


def _measure_round(measured: _Measured, folder: str, rec: str, turn: int) -> None:
    for kind, speeds in measured.with_data.items():
        measured.without[kind].append(_synthetic(kind))
        if kind in measured.repeatable:
            measured.repeatable[kind].append(_synthetic(kind, "--deterministic"))
        speed, waited = _fit(folder, rec, kind, turn)
        speeds.append(speed)
        measured.waits.append(waited)
        print(f"round {turn + 1}, images/s: {' '.join(kind)} {speed:.2f}, without data "
              f"{measured.without[kind][-1]:.2f}", flush=True)  # fmt: skip
    measured.defaults.append(_plain(folder, rec))
    print(f"round {turn + 1}, images/s: {_RESNET} {_MXNET} {measured.defaults[-1]:.2f}", flush=True)
    if 1 < processors() <= _MOST_AT_ONCE:
        measured.bounds.append(_all_processors())


def _all_processors() -> float:
    """Trainings with one thread, one for each processor: the sum of their speeds, of one alone."""
    command = [*_command((_RESNET, "float32", "mxnet")), "--disp-batches", str(_SHOWN)]
    environment = {**_environment(), "OMP_NUM_THREADS": "1"}
    alone = speed_without_data(command, environment)
    with ThreadPoolExecutor(processors()) as pool:
        each = [pool.submit(speed_without_data, command, environment) for _ in range(processors())]
        return sum(one.result() for one in each) / alone


def _ratios(measured: _Measured) -> Figures:
    """Medians over the rounds of the ratios of speeds within a round."""
    found = {}
    for kind, speeds in measured.with_data.items():
        network, dtype, engine = kind
        pairs = {"of_without_data": (speeds, measured.without[kind])}
        if (network, engine) == (_RESNET, "mxnet"):
            pairs["of_mxnet_defaults"] = (speeds, measured.defaults)
        if engine == "torch":
            pairs["of_mxnet"] = (speeds, measured.with_data[network, dtype, "mxnet"])
            pairs["deterministic_of_without"] = (measured.repeatable[kind], measured.without[kind])
        elif dtype == "bfloat16":
            pairs["of_float32"] = (speeds, measured.with_data[network, "float32", engine])
        for name, (ours, theirs) in pairs.items():
            found[f"{named(' '.join(kind))}_{name}"] = median_ratio(ours, theirs)
    return found


def _table(measured: _Measured, ratios: Figures) -> Iterator[str]:
    """The speeds, what follows from them, and the targets."""
    yield f"{'':52}{'measured':>10}{'target':>8}"
    rows = {
        "of_mxnet_defaults": (f"of {_MXNET}", {"float32": "1.9", "bfloat16": "3.0"}),
        "of_mxnet": ("of --engine mxnet", {"float32": "0.95", "bfloat16": "0.95"}),
        "deterministic_of_without": ("with --deterministic, of without", {}),
        "of_float32": ("of float32", {"bfloat16": "1.35"}),
    }
    for kind, speeds in measured.with_data.items():
        yield _row(f"{' '.join(kind)}, images/s", f"{statistics.median(speeds):.2f}")
        share = ratios[f"{named(' '.join(kind))}_of_without_data"]
        yield _row("  of its speed without data", f"{share:.1%}", "97 %")
        for name, (title, targets) in rows.items():
            ratio = ratios.get(f"{named(' '.join(kind))}_{name}")
            if ratio is not None:
                yield _row(f"  {title}", f"{ratio:.2f}", targets.get(kind[1], ""))
    yield _row(f"{_RESNET} {_MXNET}, images/s", f"{statistics.median(measured.defaults):.2f}")
    if measured.bounds:
        bound = f"{statistics.median(measured.bounds):.2f}"
        yield _row(f"{processors()} trainings of 1 thread at once, of one alone", bound, "bound")
    yield _row("waiting for data, at most", f"{max(measured.waits):.1%}", "< 3 %")


def _row(what: str, value: str, target: str = "") -> str:
    return f"{what:52}{value:>10}{target:>8}".rstrip()


def _command(kind: _Kind) -> List[str]:
    network, dtype, engine = kind
    return [
        sys.executable, "-m", "imagenet_trainer.fit", "--network", network, "--engine", engine,
        "--batch-size", str(_BATCH), "--lr", "0.01", "--dtype", dtype,
    ]  # fmt: skip


def _fit(folder: str, rec: str, kind: _Kind, turn: int) -> Tuple[float, float]:
    """Return images per second and share of waiting of the second epoch.

    MXNet computes while the program goes on, so the time of an interval can lack a part of its
    updates and have one of earlier ones. An epoch begins and ends without pending updates.
    """
    run_folder = os.path.join(folder, f"{'-'.join(kind)}-{turn}")
    command = [
        *_command(kind), "--num-epochs", "2", "--data-train", rec, "--data-val", rec,
        "--model-prefix", os.path.join(run_folder, "model"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env=_environment())
    events = read_events(os.path.join(run_folder, "events.jsonl"))
    epoch = next(one for one in events if one["event"] == "epoch" and one["epoch"] == 2)
    return epoch["images_per_second"], epoch["wait_share"]


def _synthetic(kind: _Kind, *more: str) -> float:
    words = [*_command(kind), "--disp-batches", str(_SHOWN), *more]
    return speed_without_data(words, _environment())


def speed_without_data(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Images per second of a training without data: the median of all intervals but the first."""
    done = subprocess.run(
        [*command, "--benchmark", "1"], check=True, capture_output=True, text=True, env=environment
    )
    speeds = re.findall(r"Speed: ([.\d]+) samples/sec", done.stderr)
    assert len(speeds) == INTERVALS, done.stderr
    return statistics.median(map(float, speeds[1:]))


def _plain(folder: str, rec: str) -> float:
    symbol = symbols.get_symbol(_RESNET, IMAGENET_CLASSES)
    path = os.path.join(folder, "symbol.json")
    symbol.save(path)
    code = (
        "import sys; from imagenet_trainer.engines.mxnet import reference; "
        "reference.train_plainly(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, path, rec, str(_BATCH)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    match = re.search(r"images/s ([.\d]+)", result.stdout)
    assert match, result.stdout
    return float(match.group(1))


def _environment() -> Dict[str, str]:
    """All processors, whatever others use when a training begins: speeds are compared."""
    return {**os.environ, "OMP_NUM_THREADS": str(compute_threads())}

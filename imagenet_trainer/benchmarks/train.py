"""Measure training speed with data and without, and against MXNet with its defaults."""

import csv
import os
import re
import statistics
import subprocess
import sys
import tempfile
from typing import Dict, List, Mapping, Sequence, Tuple

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.benchmarks.photographs import pack_photographs
from imagenet_trainer.data.dataset import IMAGENET_CLASSES
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.system.machine import has_bfloat16
from imagenet_trainer.train.previews.throughput import INTERVALS

_BATCH = 16
_RESNET = "resnet-18"
_NETWORKS = (_RESNET, "squeezenet1.0")
_MXNET = "MXNet with its defaults"
_Kind = Tuple[str, str, str]  # network, dtype, engine
_Speeds = Dict[_Kind, List[float]]  # images per second in each round


# --- against MXNet's defaults ------------------------------------------------------------------


def run(images: int = 160, rounds: int = 3) -> Figures:
    """Print images per second and ratios of ResNet-18 and SqueezeNet at 224 pixels on the CPU.

    `fit` trains on a shard of JPEGs, in float32 and, if the CPU has it, in bfloat16, and the same
    engine trains on a batch that stays in memory (`fit --benchmark 1`). For MXNet the same symbol
    of ResNet-18 is trained by a plain Module with ImageRecordIter, and MXNet's choice of OpenMP
    threads. PyTorch also trains with --deterministic, to show what that costs.
    """
    dtypes = ["float32", *(["bfloat16"] if has_bfloat16() else [])]
    # PyTorch too where it is installed, to show which engine suits this CPU.
    kinds = [(network, dtype, "mxnet") for network in _NETWORKS for dtype in dtypes]
    kinds += [(_RESNET, dtype, "torch") for dtype in dtypes if has_torch()]
    with_data: _Speeds = {kind: [] for kind in kinds}
    without: _Speeds = {kind: [] for kind in kinds}
    repeatable: _Speeds = {kind: [] for kind in kinds if kind[2] == "torch"}
    plain_speeds: List[float] = []
    waits: List[float] = []
    with tempfile.TemporaryDirectory() as folder:
        rec = pack_photographs(folder, images)
        for turn in range(rounds):
            for kind in kinds:
                without[kind].append(_synthetic(kind))
                if kind in repeatable:
                    repeatable[kind].append(_synthetic(kind, "--deterministic"))
                speed, waited = _fit(folder, rec, kind, turn)
                with_data[kind].append(speed)
                waits.append(waited)
                print(f"round {turn + 1}, images/s: {' '.join(kind)} {speed:.2f}, without data "
                      f"{without[kind][-1]:.2f}", flush=True)  # fmt: skip
            plain_speeds.append(_plain(folder, rec))
            print(f"round {turn + 1}, images/s: {_RESNET} {_MXNET} {plain_speeds[-1]:.2f}")
    slow = statistics.median(plain_speeds)
    _print_ratios(slow, with_data, without, repeatable)
    print(f"waiting for data: at most {100 * max(waits):.1f} % (target below 3)")
    groups = {"": with_data, "_without_data": without, "_deterministic": repeatable}
    return {
        **{named(" ".join(kind)) + ending: statistics.median(speeds)
           for ending, group in groups.items() for kind, speeds in group.items()},
        "mxnet_defaults": slow,
        "wait_share": max(waits),
    }  # fmt: skip


def _print_ratios(slow: float, with_data: _Speeds, without: _Speeds, repeatable: _Speeds) -> None:
    """What follows from the speeds of every round; `slow` is that of MXNet with its defaults."""
    for dtype in [kind[1] for kind in with_data if kind[::2] == (_RESNET, "mxnet")]:
        ours = statistics.median(with_data[_RESNET, dtype, "mxnet"])
        print(f"{_RESNET} --dtype {dtype}: {ours / slow:.2f} times {_MXNET}")
    for network, dtype, engine in with_data:
        share = _median_ratio(with_data[network, dtype, engine], without[network, dtype, engine])
        print(f"{network} {dtype} {engine}: {share:.1%} of its speed without data (target 97 %)")
        if engine == "torch":
            of_mxnet = with_data[network, dtype, "mxnet"]
            both = _median_ratio(with_data[network, dtype, engine], of_mxnet)
            print(f"{network} {dtype} --engine torch: {both:.2f} times --engine mxnet")
            kind = (network, dtype, engine)
            cost = _median_ratio(repeatable[kind], without[kind])
            print(f"{network} {dtype} --engine torch --deterministic: {cost:.2f} times without")
        elif dtype == "bfloat16":
            in_float32 = with_data[network, "float32", engine]
            both = _median_ratio(with_data[network, dtype, engine], in_float32)
            print(f"{network} bfloat16: {both:.2f} times float32 (target 1.35)")


def _median_ratio(ours: List[float], theirs: List[float]) -> float:
    """The median over rounds of the ratio within a round, which varies less with other load."""
    return statistics.median(a / b for a, b in zip(ours, theirs))


def _command(kind: _Kind) -> List[str]:
    """Return the command of a training."""
    network, dtype, engine = kind
    return [
        sys.executable, "-m", "imagenet_trainer.fit", "--network", network, "--engine", engine,
        "--batch-size", str(_BATCH), "--lr", "0.01", "--dtype", dtype,
    ]  # fmt: skip


def _fit(folder: str, rec: str, kind: _Kind, turn: int) -> Tuple[float, float]:
    """Return images per second and share of waiting of the second epoch."""
    run_folder = os.path.join(folder, f"{'-'.join(kind)}-{turn}")
    command = [
        *_command(kind), "--num-epochs", "2", "--data-train", rec, "--data-val", rec,
        "--model-prefix", os.path.join(run_folder, "model"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env=_environment())
    with open(os.path.join(run_folder, "history.csv"), newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return float(last["images_per_second"]), float(last["wait_share"])


def _synthetic(kind: _Kind, *more: str) -> float:
    return speed_without_data([*_command(kind), "--disp-batches", "4", *more], _environment())


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
    result = subprocess.run(
        command, check=True, capture_output=True, text=True,
        env=_environment(),
    )  # fmt: skip
    match = re.search(r"images/s ([.\d]+)", result.stdout)
    assert match, result.stdout
    return float(match.group(1))


def _environment() -> Dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

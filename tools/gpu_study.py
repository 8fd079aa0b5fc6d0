#!/usr/bin/env python3
"""Measure the torch engine on a GPU: parity with MXNet, and speed against PyTorch's own networks.

It prints one table: parity with MXNet on the CPU; images/s of updates on data in memory and from
JPEG shards, decoded on the CPU and on the GPU; the same for torchvision's network with PyTorch's
fastest settings (channels_last, autocast, torch.compile with CUDA graphs, fused SGD, the batch
already on the GPU); an upper bound from this GPU's copy and matrix rates; the share of time spent
waiting for data; memory. tools/gpu_study.sh sets the environment up and runs this.
"""

import csv
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import torchvision_networks

import symbols
from imagenet_trainer.benchmarks.photographs import pack_photographs
from imagenet_trainer.config import flags
from imagenet_trainer.config.values import integers, strings
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.train.initializers import initial_parameters

_MEAN, _STD = (123.68, 116.779, 103.939), (58.393, 57.12, 57.375)
# Our name and torchvision's; ResNet-v2 here has as many convolutions as their v1.5.
_NETWORKS = (("resnet50", "resnet50"), ("resnet18", "resnet18"), ("squeezenet1.0", "squeezenet1_0"))


@dataclass(frozen=True)
class StudySettings:
    """All settings of the study."""

    tiny: bool = flags.option(False, "a trial run on the CPU, whose numbers mean nothing")
    network: Tuple[str, ...] = flags.option(
        (), "only these networks; by default all", strings, metavar="NAME,NAME"
    )
    batches: Tuple[int, ...] = flags.option(
        (), "only these batch sizes; by default 256,512,1024", integers(1), metavar="N,N"
    )


@dataclass(frozen=True)
class Workload:
    """How much is measured, and on what."""

    device: str
    side: int
    classes: int
    batches: Tuple[int, ...]
    updates: int  # in one timing
    rounds: int
    images: int  # in the shards
    dtype: str
    matrix: int
    copied: int  # bytes


FULL = Workload("cuda", 224, 1000, (256, 512, 1024), 30, 3, 16384, "bfloat16", 8192, 1 << 30)
# A trial run of every step on the CPU in a minute; its numbers mean nothing.
TINY = Workload("cpu", 64, 10, (4,), 1, 1, 64, "float32", 256, 1 << 20)


def run(tiny: bool = False, names: Sequence[str] = (), batches: Sequence[int] = ()) -> None:
    """Measure and print all networks and batches, or only these.

    Raises InputError without a GPU, unless `tiny`, and for networks that torchvision lacks.
    """
    networks = _pairs(names) or (_NETWORKS[-1:] if tiny else _NETWORKS)
    if not tiny and not torch.cuda.is_available():
        raise InputError("PyTorch finds no GPU on this machine; --tiny is a trial run on the CPU")
    workload = TINY if tiny else FULL
    workload = replace(workload, batches=tuple(batches) or workload.batches)
    print(machine(workload))
    bounds = measured_bounds(workload)
    print(
        f"matrix product, {workload.dtype}: {bounds.flops / 1e12:.2f} TFLOP/s; copy: "
        f"{bounds.copy / 1e9:.1f} GB/s read and written"
    )
    for ours, _ in networks:
        print(parity(ours, workload), flush=True)
    print(f"{'network':14}{'batch':>6}{'ours':>10}{'plain':>10}{'ratio':>7}{'bound':>9}"
          f"{'share':>7}{'GiB':>6}{'shards':>9}{'of it':>7}{'wait':>6}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        rec = pack_photographs(folder, workload.images)
        for ours, theirs in networks:
            for batch in workload.batches:
                print(row(ours, theirs, batch, workload, bounds, folder, rec), flush=True)
    print(f"plain: {torchvision_networks.network('resnet18')[1]}")


def _pairs(names: Sequence[str]) -> Tuple[Tuple[str, str], ...]:
    """The rows of `_NETWORKS` with these names."""
    known = dict(_NETWORKS)
    for name in names:
        if name not in known:
            raise InputError(f"--network {name}: is not measured; choose from {', '.join(known)}")
    return tuple((name, known[name]) for name in names)


def machine(workload: Workload) -> str:
    """Describe the device."""
    if workload.device == "cpu":
        return f"a trial run on the CPU, {platform.machine()}, PyTorch {torch.__version__}"
    gpu = torch.cuda.get_device_properties(0)
    return (
        f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, {gpu.multi_processor_count} "
        f"multiprocessors, compute capability {gpu.major}.{gpu.minor}, PyTorch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, {len(os.sched_getaffinity(0))} processors"
    )


# --- upper bounds --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounds:
    """Measured rates of the device."""

    flops: float  # of a large matrix product
    copy: float  # bytes read and written, per second


def measured_bounds(workload: Workload) -> Bounds:
    """The best of several timings: the highest rates of this device."""
    kind = getattr(torch, workload.dtype)
    matrix = torch.randn(workload.matrix, workload.matrix, device=workload.device).to(kind)
    source = torch.empty(workload.copied, dtype=torch.uint8, device=workload.device)
    target = torch.empty_like(source)
    product = min(_seconds(lambda: torch.mm(matrix, matrix), 10, workload) for _ in range(5))
    copy = min(_seconds(lambda: target.copy_(source), 10, workload) for _ in range(5))
    return Bounds(2 * workload.matrix**3 / product, 2 * workload.copied / copy)


def bound(symbol: Any, side: int, bounds: Bounds, bytes_each: int) -> float:
    """Upper bound in images/s for implementations that compute layer by layer.

    A convolution or dense layer is computed three times (forward, gradients of input and weight),
    each at the matrix rate or at the rate of reading its input and writing its output once,
    whichever is slower. The rest (normalisation, activations, update) counts as free.
    """
    graph = json.loads(symbol.tojson())
    internals = symbol.get_internals()
    _, shapes, _ = internals.infer_shape(data=(1, 3, side, side))
    shape_of = dict(zip(internals.list_outputs(), shapes))
    seconds = 0.0
    for node in graph["nodes"]:
        if node["op"] not in ("Convolution", "FullyConnected"):
            continue
        source, weight = (graph["nodes"][place[0]] for place in node["inputs"][:2])
        made = np.prod(shape_of[f"{node['name']}_output"])
        key = source["name"] if source["op"] == "null" else f"{source['name']}_output"
        read = np.prod(shape_of[key]) if key in shape_of else made
        flops = 2 * made * np.prod(shape_of[weight["name"]][1:])
        seconds += 3 * max(flops / bounds.flops, (read + made) * bytes_each / bounds.copy)
    return 1 / seconds


def _seconds(call: Callable[[], Any], times: int, workload: Workload) -> float:
    """Seconds of one call, averaged over consecutive calls."""
    call()
    _wait(workload)
    began = time.perf_counter()
    for _ in range(times):
        call()
    _wait(workload)
    return (time.perf_counter() - began) / times


def _wait(workload: Workload) -> None:
    if workload.device == "cuda":
        torch.cuda.synchronize()


# --- parity --------------------------------------------------------------------------------------


def _engine(name: str, engine: str, batch: int, workload: Workload, dtype: str) -> Any:
    shape = (3, workload.side, workload.side)
    symbol = symbols.get_symbol(name, workload.classes, shape)
    gpus = (0,) if workload.device == "cuda" and engine == "torch" else ()
    opened = open_engine(
        symbol, Devices(gpus, dtype=dtype, engine=engine), (batch, workload.side, workload.side, 3),
        _MEAN, _STD, Training(Optimizer("sgd", 0.9, 1e-4)),
    )  # fmt: skip
    start = symbols.find(name).initializer
    opened.set_params(*initial_parameters(*parameter_shapes(symbol, shape), start, 0))
    return opened


def _batch(batch: int, workload: Workload) -> Tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, workload.side, workload.side, 3), np.uint8)
    return images, random.integers(0, workload.classes, batch)


def parity(name: str, workload: Workload) -> str:
    """Compare five float32 updates here and with MXNet on the CPU; dropout, if any, differs."""
    images, labels = _batch(8, workload)
    predictions, losses = [], []
    for engine in ("mxnet", "torch"):
        trained = _engine(name, engine, 8, workload, "float32")
        predictions.append(trained.predict(images))
        for _ in range(5):
            trained.train_batch(images, labels, 1e-3)
        losses.append(trained.read_counts()[3] / 40)
    difference = np.abs(predictions[0] - predictions[1]).max()
    return (
        f"parity, {name}, float32: probabilities differ by at most {difference:.1e}; mean loss of "
        f"five updates {losses[1]:.5f}, MXNet on the CPU {losses[0]:.5f}"
    )


# --- speed ---------------------------------------------------------------------------------------


def row(
    ours: str, theirs: str, batch: int, workload: Workload, bounds: Bounds, folder: str, rec: str
) -> str:
    """Return a line of the table, or that the batch does not fit."""
    symbol = symbols.get_symbol(ours, workload.classes, (3, workload.side, workload.side))
    upper = bound(symbol, workload.side, bounds, 4 if workload.dtype == "float32" else 2)
    _free(workload)
    try:
        mine, memory = engine_speed(ours, batch, workload)
    except DeviceMemoryError:
        return f"{ours:14}{batch:>6}  does not fit"
    _free(workload)
    other = plain_speed(theirs, batch, workload)
    _free(workload)
    shards, wait = shard_speed(ours, batch, workload, folder, rec, "cpu")
    compared = f"{other:>10.1f}{mine / other:>7.2f}" if other else f"{'no room':>10}{'':>7}"
    return (
        f"{ours:14}{batch:>6}{mine:>10.1f}{compared}{upper:>9.0f}{mine / upper:>7.2f}{memory:>6.1f}"
        f"{shards:>9.1f}{shards / mine:>7.2f}{100 * wait:>5.1f}%"
        + decoded_on_gpu(ours, batch, workload, folder, rec, mine)
    )


def decoded_on_gpu(
    name: str, batch: int, workload: Workload, folder: str, rec: str, without_data: float
) -> str:
    """Return a second line, with --decode gpu; none on the CPU."""
    if workload.device == "cpu":
        return ""
    try:
        shards, wait = shard_speed(name, batch, workload, folder, rec, "gpu")
    except InputError as error:
        return f"\n  --decode gpu: {error}"
    return f"\n{'  --decode gpu':69}{shards:>9.1f}{shards / without_data:>7.2f}{100 * wait:>5.1f}%"


def engine_speed(name: str, batch: int, workload: Workload) -> Tuple[float, float]:
    """Images/s of the engine with a batch in host memory, and its peak memory in GiB."""
    engine = _engine(name, "torch", batch, workload, workload.dtype)
    images, labels = _batch(batch, workload)

    def train() -> None:
        engine.train_batch(images, labels, 1e-3)

    speed = _speed(train, batch, workload)
    return speed, torch.cuda.max_memory_reserved() / 2**30 if workload.device == "cuda" else 0.0


def plain_speed(name: str, batch: int, workload: Workload) -> Optional[float]:
    """Images/s of torchvision's network, at its fastest; None if the batch does not fit."""
    is_cuda = workload.device == "cuda"
    model = torchvision_networks.network(name, workload.classes)[0].to(
        workload.device, memory_format=torch.channels_last
    )
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=1e-4, fused=True)
    images, labels = (torch.from_numpy(array) for array in _batch(batch, workload))
    data = images.permute(0, 3, 1, 2).to(workload.device)
    data = (data.float() / 64 - 2).contiguous(memory_format=torch.channels_last)
    label = labels.to(workload.device)
    forward = torch.compile(model, mode="reduce-overhead") if is_cuda else model
    kind = getattr(torch, workload.dtype)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        if is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(workload.device, kind, kind != torch.float32):
            loss = torch.nn.functional.cross_entropy(forward(data), label)
        loss.backward()
        optimizer.step()

    try:
        return _speed(train, batch, workload)
    except torch.cuda.OutOfMemoryError:
        return None


def _speed(train: Callable[[], None], batch: int, workload: Workload) -> float:
    """The median over the rounds, after warm-up calls that compile and tune."""
    for _ in range(5 if workload.device == "cuda" else 1):
        train()
    speeds = [batch / _seconds(train, workload.updates, workload) for _ in range(workload.rounds)]
    return statistics.median(speeds)


def shard_speed(
    name: str, batch: int, workload: Workload, folder: str, rec: str, decode: str
) -> Tuple[float, float]:
    """Images/s and share of waiting in the last epoch of `fit` on JPEG shards."""
    prefix = os.path.join(folder, f"{name}-{batch}-{decode}", "model")
    epochs = "4" if workload.device == "cuda" else "1"
    command = [
        sys.executable, "-m", "imagenet_trainer.fit", "--engine", "torch", "--network", name,
        "--image-shape", f"3,{workload.side},{workload.side}", "--batch-size", str(batch),
        "--num-epochs", epochs, "--data-train", rec, "--data-val", rec, "--lr", "0.001",
        "--dtype", workload.dtype, "--save-period", "100", "--model-prefix", prefix,
        "--decode", decode,
        *(["--gpus", "0"] if workload.device == "cuda" else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        line = done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"fit on shards ended with exit code {done.returncode}: {line}")
    with open(os.path.join(os.path.dirname(prefix), "history.csv"), newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return float(last["images_per_second"]), float(last["wait_share"])


def _free(workload: Workload) -> None:
    """Free the memory of the previous measurement."""
    torch.compiler.reset()
    gc.collect()
    if workload.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line."""
    settings = flags.parse(
        StudySettings, sys.argv[1:] if argv is None else argv, "gpu_study",
        "Measure the torch engine on a GPU against PyTorch's own networks.",
    )  # fmt: skip
    return run_command("gpu_study", lambda: run(settings.tiny, settings.network, settings.batches))


if __name__ == "__main__":
    sys.exit(main())

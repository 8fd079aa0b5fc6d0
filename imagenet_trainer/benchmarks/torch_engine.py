"""The torch engine on a GPU: is it right, and as fast as PyTorch's own networks?

One table: parity with MXNet on the CPU; images/s of an update on data in memory and from JPEG
shards, decoded by the processors and by the GPU; the same for torchvision's network in PyTorch's
best settings (channels_last, autocast, torch.compile with CUDA graphs, fused SGD, its batch on the
GPU already); a bound from what this GPU copies and multiplies; the share of time that was spent
waiting for data; memory.
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
from typing import Any, Callable, Optional, Sequence, Tuple

import numpy as np
import torch

import symbols
from imagenet_trainer.benchmarks import torchvision_networks as plain
from imagenet_trainer.benchmarks.train import pack_photographs
from imagenet_trainer.engines import (
    Devices,
    Optimizer,
    Training,
    open_engine,
    parameter_shapes,
)
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.initializers import initial_parameters

_MEAN, _STD = (123.68, 116.779, 103.939), (58.393, 57.12, 57.375)
# Ours and torchvision's name; ResNet-v2 here has as many convolutions as their v1.5.
_NETWORKS = (("resnet50", "resnet50"), ("resnet18", "resnet18"), ("squeezenet1.0", "squeezenet1_0"))


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    device: str
    side: int
    classes: int
    batches: Tuple[int, ...]
    updates: int  # of a timing
    rounds: int
    images: int  # in the shards
    dtype: str
    matrix: int
    copied: int  # bytes


FULL = Scale("cuda", 224, 1000, (256, 512, 1024), 30, 3, 16384, "bfloat16", 8192, 1 << 30)
# Rehearses every step on the CPU in a minute; its numbers mean nothing.
TINY = Scale("cpu", 64, 10, (4,), 1, 1, 64, "float32", 256, 1 << 20)


def run(tiny: bool = False, names: Sequence[str] = (), batches: Sequence[int] = ()) -> None:
    """Measure and print, of all networks and batches or of these.

    Raises InputError without a GPU, unless it is the rehearsal, and for networks that have no twin.
    """
    networks = _with_twins(names) or (_NETWORKS[-1:] if tiny else _NETWORKS)
    if not tiny and not torch.cuda.is_available():
        raise InputError("gpu: PyTorch finds no GPU here; --tiny rehearses on the CPU")
    scale = TINY if tiny else FULL
    scale = replace(scale, batches=tuple(batches) or scale.batches)
    print(machine(scale))
    bounds = measured_bounds(scale)
    print(
        f"matrix product, {scale.dtype}: {bounds.flops / 1e12:.2f} TFLOP/s; copy: "
        f"{bounds.copy / 1e9:.1f} GB/s read and written"
    )
    for ours, _ in networks:
        print(parity(ours, scale), flush=True)
    print(f"{'network':14}{'batch':>6}{'ours':>10}{'plain':>10}{'ratio':>7}{'bound':>9}"
          f"{'share':>7}{'GiB':>6}{'shards':>9}{'of it':>7}{'wait':>6}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        rec = pack_photographs(folder, scale.images)
        for ours, theirs in networks:
            for batch in scale.batches:
                print(row(ours, theirs, batch, scale, bounds, folder, rec), flush=True)
    print(f"plain: {plain.network('resnet18')[1]}")


def _with_twins(names: Sequence[str]) -> Tuple[Tuple[str, str], ...]:
    """Those that torchvision has too, as `_NETWORKS`."""
    known = dict(_NETWORKS)
    for name in names:
        if name not in known:
            raise InputError(f"--network {name}: gpu measures {', '.join(known)}")
    return tuple((name, known[name]) for name in names)


def machine(scale: Scale) -> str:
    """What it was measured on."""
    if scale.device == "cpu":
        return f"a rehearsal on the CPU, {platform.machine()}, PyTorch {torch.__version__}"
    there = torch.cuda.get_device_properties(0)
    return (
        f"{there.name}, {there.total_memory / 2**30:.0f} GiB, {there.multi_processor_count} "
        f"multiprocessors, compute capability {there.major}.{there.minor}, PyTorch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, {len(os.sched_getaffinity(0))} processors"
    )


# --- what is possible ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounds:
    """Measured rates of this device."""

    flops: float  # of a large matrix product
    copy: float  # bytes read and written, per second


def measured_bounds(scale: Scale) -> Bounds:
    """The best of some tries: what nothing on this device exceeds."""
    kind = getattr(torch, scale.dtype)
    one = torch.randn(scale.matrix, scale.matrix, device=scale.device).to(kind)
    source = torch.empty(scale.copied, dtype=torch.uint8, device=scale.device)
    target = torch.empty_like(source)
    product = min(_seconds(lambda: torch.mm(one, one), 10, scale) for _ in range(5))
    copy = min(_seconds(lambda: target.copy_(source), 10, scale) for _ in range(5))
    return Bounds(2 * scale.matrix**3 / product, 2 * scale.copied / copy)


def bound(symbol: Any, side: int, bounds: Bounds, bytes_each: int) -> float:
    """Images/s that no implementation exceeds which computes layer by layer.

    A convolution or dense layer is computed three times (forward, gradients of input and weight),
    each at the matrix rate or at the rate at which its input and output are read and written once,
    whichever is slower. All else (normalisation, activations, update) is taken to cost nothing.
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


def _seconds(call: Callable[[], Any], times: int, scale: Scale) -> float:
    """Of one call, when many come one after the other."""
    call()
    _wait(scale)
    began = time.perf_counter()
    for _ in range(times):
        call()
    _wait(scale)
    return (time.perf_counter() - began) / times


def _wait(scale: Scale) -> None:
    if scale.device == "cuda":
        torch.cuda.synchronize()


# --- right? --------------------------------------------------------------------------------------


def _engine(name: str, engine: str, batch: int, scale: Scale, dtype: str) -> Any:
    shape = (3, scale.side, scale.side)
    symbol = symbols.get_symbol(name, scale.classes, shape)
    gpus = (0,) if scale.device == "cuda" and engine == "torch" else ()
    made = open_engine(
        symbol, Devices(gpus, dtype=dtype, engine=engine), (batch, scale.side, scale.side, 3),
        _MEAN, _STD, Training(Optimizer("sgd", 0.9, 1e-4)),
    )  # fmt: skip
    start = symbols.find(name).initializer
    made.set_params(*initial_parameters(*parameter_shapes(symbol, shape), start, 0))
    return made


def _batch(batch: int, scale: Scale) -> Tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, scale.side, scale.side, 3), np.uint8)
    return images, random.integers(0, scale.classes, batch)


def parity(name: str, scale: Scale) -> str:
    """Five updates in float32 here and with MXNet on the CPU; dropout, if any, differs."""
    images, labels = _batch(8, scale)
    answers, losses = [], []
    for engine in ("mxnet", "torch"):
        made = _engine(name, engine, 8, scale, "float32")
        answers.append(made.predict(images))
        for _ in range(5):
            made.train_batch(images, labels, 1e-3)
        losses.append(made.read_counts()[3] / 40)
    off = np.abs(answers[0] - answers[1]).max()
    return (
        f"parity, {name}, float32: probabilities differ by at most {off:.1e}; mean loss of five "
        f"updates {losses[1]:.5f}, MXNet on the CPU {losses[0]:.5f}"
    )


# --- fast? ---------------------------------------------------------------------------------------


def row(
    ours: str, theirs: str, batch: int, scale: Scale, bounds: Bounds, folder: str, rec: str
) -> str:
    """A line of the table; a batch that does not fit says so."""
    symbol = symbols.get_symbol(ours, scale.classes, (3, scale.side, scale.side))
    most = bound(symbol, scale.side, bounds, 4 if scale.dtype == "float32" else 2)
    _free(scale)
    try:
        mine, memory = engine_speed(ours, batch, scale)
    except DeviceMemoryError:
        return f"{ours:14}{batch:>6}  does not fit"
    _free(scale)
    other = plain_speed(theirs, batch, scale)
    _free(scale)
    shards, wait = shard_speed(ours, batch, scale, folder, rec, "cpu")
    compared = f"{other:>10.1f}{mine / other:>7.2f}" if other else f"{'no room':>10}{'':>7}"
    return (
        f"{ours:14}{batch:>6}{mine:>10.1f}{compared}{most:>9.0f}{mine / most:>7.2f}{memory:>6.1f}"
        f"{shards:>9.1f}{shards / mine:>7.2f}{100 * wait:>5.1f}%"
        + decoded_on_gpu(ours, batch, scale, folder, rec, mine)
    )


def decoded_on_gpu(
    name: str, batch: int, scale: Scale, folder: str, rec: str, without_data: float
) -> str:
    """A second line, with --decode gpu; none on the CPU."""
    if scale.device == "cpu":
        return ""
    try:
        shards, wait = shard_speed(name, batch, scale, folder, rec, "gpu")
    except InputError as error:
        return f"\n  --decode gpu: {error}"
    return f"\n{'  --decode gpu':69}{shards:>9.1f}{shards / without_data:>7.2f}{100 * wait:>5.1f}%"


def engine_speed(name: str, batch: int, scale: Scale) -> Tuple[float, float]:
    """Images/s of the engine with a batch in the host's memory, and its peak memory in GiB."""
    engine = _engine(name, "torch", batch, scale, scale.dtype)
    images, labels = _batch(batch, scale)

    def train() -> None:
        engine.train_batch(images, labels, 1e-3)

    speed = _speed(train, batch, scale)
    return speed, torch.cuda.max_memory_reserved() / 2**30 if scale.device == "cuda" else 0.0


def plain_speed(name: str, batch: int, scale: Scale) -> Optional[float]:
    """Images/s of PyTorch's own network in its best settings; None if the batch does not fit."""
    is_cuda = scale.device == "cuda"
    model = plain.network(name, scale.classes)[0].to(
        scale.device, memory_format=torch.channels_last
    )
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=1e-4, fused=True)
    images, labels = (torch.from_numpy(array) for array in _batch(batch, scale))
    data = images.permute(0, 3, 1, 2).to(scale.device)
    data = (data.float() / 64 - 2).contiguous(memory_format=torch.channels_last)
    label = labels.to(scale.device)
    forward = torch.compile(model, mode="reduce-overhead") if is_cuda else model
    kind = getattr(torch, scale.dtype)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        if is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(scale.device, kind, kind != torch.float32):
            loss = torch.nn.functional.cross_entropy(forward(data), label)
        loss.backward()
        optimizer.step()

    try:
        return _speed(train, batch, scale)
    except torch.cuda.OutOfMemoryError:
        return None


def _speed(train: Callable[[], None], batch: int, scale: Scale) -> float:
    """The median over the rounds, after what is compiled and tried out at the beginning."""
    for _ in range(5 if scale.device == "cuda" else 1):
        train()
    found = [batch / _seconds(train, scale.updates, scale) for _ in range(scale.rounds)]
    return statistics.median(found)


def shard_speed(
    name: str, batch: int, scale: Scale, folder: str, rec: str, decode: str
) -> Tuple[float, float]:
    """Images/s and share of waiting of the last epoch of `fit` on JPEG shards."""
    prefix = os.path.join(folder, f"{name}-{batch}-{decode}", "model")
    epochs = "4" if scale.device == "cuda" else "1"
    command = [
        sys.executable, "-m", "imagenet_trainer.fit", "--engine", "torch", "--network", name,
        "--image-shape", f"3,{scale.side},{scale.side}", "--batch-size", str(batch),
        "--num-epochs", epochs, "--data-train", rec, "--data-val", rec, "--lr", "0.001",
        "--dtype", scale.dtype, "--save-period", "100", "--model-prefix", prefix,
        "--decode", decode,
        *(["--gpus", "0"] if scale.device == "cuda" else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        line = done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"gpu: fit on shards ended with {done.returncode}: {line}")
    with open(os.path.join(os.path.dirname(prefix), "history.csv"), newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return float(last["images_per_second"]), float(last["wait_share"])


def _free(scale: Scale) -> None:
    """Give back what the measurement before left."""
    torch.compiler.reset()
    gc.collect()
    if scale.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

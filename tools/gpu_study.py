#!/usr/bin/env python3
"""Measure PyTorch's engine on a GPU: parity with the CPU, speed against torchvision, a repeat.

It prints one table: parity with the CPU; images/s of updates on data in memory and from JPEG
shards; the same for torchvision's network with PyTorch's fastest settings (channels_last, autocast,
torch.compile with CUDA graphs, fused SGD, the batch already on the GPU); an upper bound from this
GPU's copy and matrix rates; the share of time spent waiting for data; memory; whether a training
with --deterministic repeats bit for bit, and what that costs; what DistributedDataParallel costs a
worker, and whether CUDA graphs beside it would pay. tools/gpu_study.sh runs this.
"""

import gc
import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# cuBLAS reads it once; this is its default on Hopper. Without it nothing is deterministic later.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch
import torch.distributed as dist
import torchvision_networks
from gpu_bounds import Bounds, bound

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.photographs import pack_photographs
from imagenet_trainer.config import FitSettings, flags
from imagenet_trainer.config.values import integers, strings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.loader import Batch, loader_threads, training_batches
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.choice import why_not_mxnet
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.engines.pytorch.step import compiled, shared
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.train.datasets import open_order, open_training_set
from imagenet_trainer.train.gpu_decoding import decoded, has_dali
from imagenet_trainer.train.initializers import initial_parameters

_MEAN, _STD = (123.68, 116.779, 103.939), (58.393, 57.12, 57.375)
# Our name and torchvision's; ResNet-v2 here has as many convolutions as their v1.5.
_NETWORKS = (("resnet50", "resnet50"), ("resnet18", "resnet18"), ("squeezenet1.0", "squeezenet1_0"))


@dataclass(frozen=True)
class StudySettings:
    """All settings of the study."""

    device: str = flags.option("cuda", "what is measured", choices=("cuda", "cpu"))
    short: bool = flags.option(
        False, "batches of 256 only, fewer updates and images: less than ten minutes"
    )
    small: bool = flags.option(
        False, "small images and single updates: a trial of every step, whose numbers mean nothing"
    )
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
    repeated: int  # networks that are trained twice

    @property
    def gpus(self) -> Tuple[int, ...]:
        """The numbers of the GPUs, for `Devices`."""
        return (0,) if self.device == "cuda" else ()


FULL = Workload("cuda", 224, 1000, (256, 512, 1024), 30, 3, 16384, "bfloat16", 8192, 1 << 30, 3)
SHORT = replace(FULL, batches=(256,), updates=20, rounds=2, images=4096, repeated=1)
SMALL = Workload("cpu", 64, 10, (4,), 1, 1, 64, "float32", 256, 1 << 20, 1)


def workload_of(settings: StudySettings) -> Workload:
    """What is measured; InputError without a GPU, unless that is wanted."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "PyTorch finds no GPU on this machine; --device cpu --small is a trial run on the CPU"
        )
    if settings.device == "cpu" and not settings.small:
        raise InputError("--device cpu: would take hours; add --small")
    workload = SMALL if settings.small else SHORT if settings.short else FULL
    batches = settings.batches or workload.batches
    return replace(workload, device=settings.device, batches=batches)


def run(settings: StudySettings) -> None:
    """Measure and print; InputError for networks that torchvision lacks."""
    networks = _pairs(settings.network) or (_NETWORKS[-1:] if settings.small else _NETWORKS)
    workload = workload_of(settings)
    began = time.monotonic()
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
                print(row(ours, theirs, batch, workload, bounds, rec), flush=True)
    print(f"plain: {torchvision_networks.network('resnet18')[1]}")
    for ours, _ in networks[: workload.repeated]:
        print(repeat(ours, workload.batches[0], workload), flush=True)
        # Each of several GPUs has a part of the batch, so that the host has less time to launch.
        print(shared_speeds(ours, max(1, workload.batches[0] // 4), workload), flush=True)
    print(f"seconds: {time.monotonic() - began:.0f}")


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
        return f"the CPU, {platform.machine()}, PyTorch {torch.__version__}, NumPy {np.__version__}"
    gpu = torch.cuda.get_device_properties(0)
    return (
        f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, {gpu.multi_processor_count} "
        f"multiprocessors, compute capability {gpu.major}.{gpu.minor}, PyTorch "
        f"{torch.__version__}, CUDA {torch.version.cuda}, NumPy {np.__version__}, "
        f"{len(os.sched_getaffinity(0))} processors"
    )


# --- timing --------------------------------------------------------------------------------------


def measured_bounds(workload: Workload) -> Bounds:
    """The best of several timings: the highest rates of this device."""
    kind = getattr(torch, workload.dtype)
    matrix = torch.randn(workload.matrix, workload.matrix, device=workload.device).to(kind)
    source = torch.empty(workload.copied, dtype=torch.uint8, device=workload.device)
    target = torch.empty_like(source)
    product = min(_seconds(lambda: torch.mm(matrix, matrix), 10, workload) for _ in range(5))
    copy = min(_seconds(lambda: target.copy_(source), 10, workload) for _ in range(5))
    return Bounds(2 * workload.matrix**3 / product, 2 * workload.copied / copy)


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


def _engine(name: str, batch: int, workload: Workload, devices: Devices) -> Any:
    shape = (3, workload.side, workload.side)
    symbol = symbols.get_symbol(name, workload.classes, shape)
    opened = open_engine(
        symbol, devices, (batch, workload.side, workload.side, 3), _MEAN, _STD,
        Training(Optimizer("sgd", 0.9, 1e-4)),
    )  # fmt: skip
    start = symbols.find(name).initializer
    opened.set_params(*initial_parameters(*parameter_shapes(symbol, shape), start, 0))
    return opened


def _ours(workload: Workload, **more: Any) -> Devices:
    return Devices(workload.gpus, engine="torch", **{"dtype": workload.dtype, **more})


def _batch(batch: int, workload: Workload) -> Tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, workload.side, workload.side, 3), np.uint8)
    return images, random.integers(0, workload.classes, batch)


def parity(name: str, workload: Workload) -> str:
    """Compare five updates on this device with the CPU's in float32; dropout, if any, differs."""
    images, labels = _batch(8, workload)
    kinds = {"PyTorch on the CPU": Devices(engine="torch")}
    if why_not_mxnet(()) is None:
        kinds["MXNet on the CPU"] = Devices(engine="mxnet")
    kinds["here"] = _ours(workload, dtype="float32", compile="off")
    if workload.dtype != "float32":
        kinds[f"in {workload.dtype}"] = _ours(workload, compile="off")
    predictions, losses = {}, {}
    for kind, devices in kinds.items():
        trained = _engine(name, 8, workload, devices)
        predictions[kind] = trained.predict(images)
        for _ in range(5):
            trained.train_batch(images, labels, 1e-3)
        losses[kind] = trained.read_counts()[3] / 40
    reference = list(kinds)[list(kinds).index("here") - 1]
    difference = np.abs(predictions[reference] - predictions["here"]).max()
    means = ", ".join(f"{kind} {loss:.5f}" for kind, loss in losses.items())
    return (
        f"parity, {name}, float32: probabilities differ by at most {difference:.1e} from "
        f"{reference}; mean loss of five updates: {means}"
    )


def repeat(name: str, batch: int, workload: Workload) -> str:
    """Train twice with --deterministic; compare the bits, and the speed with that without."""
    fixed = _ours(workload, deterministic=True)
    (one, _), (two, speed) = (_repeated(name, batch, workload, fixed) for _ in range(2))
    _, usual = _repeated(name, batch, workload, _ours(workload))
    same = "bit-equal" if one == two else f"different: {one}, {two}"
    return (
        f"repeat, {name}, batch {batch}, --deterministic: two trainings of five updates are "
        f"{same}; {speed:.1f} images/s, {speed / usual:.2f} times the speed without it"
    )


def shared_speeds(name: str, batch: int, workload: Workload) -> str:
    """Train as one of several workers, with and without CUDA graphs; compare bits and speeds."""
    fixed = _ours(workload, deterministic=True)  # or cuDNN's choices would differ as well
    _, alone = _repeated(name, batch, workload, fixed)
    backend = "nccl" if workload.device == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    text = f"DistributedDataParallel of one worker, {name}, batch {batch}: "
    try:
        plain, speed = _repeated(name, batch, workload, fixed, captured=False)
        text += f"{speed:.1f} images/s, {speed / alone:.2f} times the speed without it; "
        graphs, captured = _repeated(name, batch, workload, fixed, captured=True)
    except (RuntimeError, AssertionError) as error:  # PyTorch may refuse to capture
        return f"{text}with CUDA graphs: {str(error).splitlines()[0]}"
    finally:
        dist.destroy_process_group()
    same = "the same bits" if plain == graphs else "other bits"
    return f"{text}with CUDA graphs {captured:.1f}, {captured / speed:.2f} times, {same}"


def _repeated(
    name: str, batch: int, workload: Workload, devices: Devices, captured: Optional[bool] = None
) -> Tuple[str, float]:
    """A digest of the parameters after five updates, and images/s.

    With `captured` gradients go through DistributedDataParallel, with or without CUDA graphs.
    """
    _free(workload)
    images, labels = _batch(batch, workload)
    engine = _engine(name, batch, workload, devices)
    if captured is not None:
        # The engine does this for several workers only, and never captures it.
        engine._shared = engine._step = shared(engine._alone, engine._device)
        if engine._is_compiled:
            engine._step = compiled(engine._shared, captured)
    for update in range(5):
        engine.train_batch(images, np.roll(labels, update), 1e-3)
    digest = hashlib.sha256()
    for part in engine.get_params():
        for value in part.values():
            digest.update(value.tobytes())
    speed = _speed(lambda: engine.train_batch(images, labels, 1e-3), batch, workload)
    return digest.hexdigest()[:16], speed


# --- speed ---------------------------------------------------------------------------------------


def row(ours: str, theirs: str, batch: int, workload: Workload, bounds: Bounds, rec: str) -> str:
    """Return a line of the table, or that the batch does not fit."""
    symbol = symbols.get_symbol(ours, workload.classes, (3, workload.side, workload.side))
    upper = bound(symbol, workload.side, bounds, 4 if workload.dtype == "float32" else 2)
    _free(workload)
    try:
        mine, memory, shards, wait, on_gpu = engine_speed(ours, batch, workload, rec)
    except DeviceMemoryError:
        return f"{ours:14}{batch:>6}  does not fit"
    _free(workload)
    other = plain_speed(theirs, batch, workload)
    compared = f"{other:>10.1f}{mine / other:>7.2f}" if other else f"{'no room':>10}{'':>7}"
    return (
        f"{ours:14}{batch:>6}{mine:>10.1f}{compared}{upper:>9.0f}{mine / upper:>7.2f}{memory:>6.1f}"
        f"{shards:>9.1f}{shards / mine:>7.2f}{100 * wait:>5.1f}%{on_gpu}"
    )


def engine_speed(
    name: str, batch: int, workload: Workload, rec: str
) -> Tuple[float, float, float, float, str]:
    """Images/s with a batch in host memory, GiB, images/s from shards, share of waiting.

    The text is a second line, with --decode gpu; empty on the CPU and without DALI.
    """
    images, labels = _batch(batch, workload)
    engine = _engine(name, batch, workload, _ours(workload))
    speed = _speed(lambda: engine.train_batch(images, labels, 1e-3), batch, workload)
    memory = torch.cuda.max_memory_reserved() / 2**30 if workload.device == "cuda" else 0.0
    shards, wait = shard_speed(engine, batch, workload, rec, "cpu")
    return speed, memory, shards, wait, decoded_on_gpu(engine, batch, workload, rec, speed)


def decoded_on_gpu(
    engine: Any, batch: int, workload: Workload, rec: str, without_data: float
) -> str:
    """Return a second line of the table, with --decode gpu, where that is possible."""
    if workload.device == "cpu" or not has_dali():
        return ""
    try:
        shards, wait = shard_speed(engine, batch, workload, rec, "gpu")
    except InputError as error:
        return f"\n  --decode gpu: {error}"
    return f"\n{'  --decode gpu':69}{shards:>9.1f}{shards / without_data:>7.2f}{100 * wait:>5.1f}%"


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
    engine: Any, batch: int, workload: Workload, rec: str, decode: str
) -> Tuple[float, float]:
    """Images/s and share of waiting of a training from JPEG shards, as `fit` reads them."""
    settings = FitSettings(
        data_train=rec, batch_size=batch, image_shape=(3, workload.side, workload.side),
        num_classes=workload.classes, gpus=workload.gpus, engine="torch", decode=decode,
    )  # fmt: skip
    dataset = open_training_set(settings)
    transform = TrainTransform(settings, settings.image_shape, settings.seed)
    threads = loader_threads(0, bool(workload.gpus), engine.host_memory)
    warm = 5 if workload.gpus else 1
    with training_batches(
        dataset.shards, open_order(settings, dataset), transform, workload.classes,
        range(warm + workload.updates * workload.rounds), threads=threads,
        encoded=decode == "gpu",
    ) as loader:  # fmt: skip
        stream = decoded(loader, settings, dataset.shards, threads.count, print)
        _train_on(engine, stream, warm, workload)
        began = time.perf_counter()
        waited = _train_on(engine, stream, workload.updates * workload.rounds, workload)
        seconds = time.perf_counter() - began
    dataset.shards.close()
    return batch * workload.updates * workload.rounds / seconds, waited / seconds


def _train_on(engine: Any, stream: Iterator[Batch], updates: int, workload: Workload) -> float:
    """Make updates; return the seconds that were spent waiting for batches."""
    waited = 0.0
    for _ in range(updates):
        batch = next(stream)
        waited += batch.wait
        engine.train_batch(batch.images, batch.labels, 1e-3)
    _wait(workload)
    return waited


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
        "Measure PyTorch's engine on a GPU against torchvision's networks.",
    )  # fmt: skip
    return run_command("gpu_study", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())

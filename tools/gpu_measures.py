"""What tools/gpu_study.py measures on a GPU, and how: one function for each line that it prints."""

import contextlib
import gc
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import numpy as np
import torch
import torch.distributed as dist
import torchvision_networks
from gpu_bounds import Bounds, bound

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.engine_speed import open_untrained, random_batch
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import why_not_mxnet
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.engines.pytorch.step import compiled, shared


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
    seconds: int  # of the whole study

    @property
    def image_shape(self) -> Tuple[int, int, int]:
        """Of the networks' input."""
        return 3, self.side, self.side

    @property
    def gpus(self) -> Tuple[int, ...]:
        """The numbers of the GPUs, for `Devices`."""
        return (0,) if self.device == "cuda" else ()


FULL = Workload(
    "cuda", 224, 1000, (256, 512, 1024), 30, 3, 16384, "bfloat16", 8192, 1 << 30, 3, 7200
)
SHORT = replace(FULL, batches=(256,), updates=20, rounds=2, images=4096, repeated=1, seconds=420)
SMALL = Workload("cpu", 64, 10, (4,), 1, 1, 64, "float32", 256, 1 << 20, 1, 7200)


class Study:
    """The measurements. Numbers that others need are in a file, as a step may be in a new process.

    Parameters
    ----------
    workload
        how much is measured.
    folder
        for that file, and for shards.

    """

    def __init__(self, workload: Workload, folder: Path) -> None:
        self.workload, self.folder = workload, folder
        self._engine: Any = None  # of the last `speed`, which `shards` uses again
        self._of_engine: Tuple[str, int] = ("", 0)

    # --- what is kept ----------------------------------------------------------------------------

    def numbers(self) -> Dict[str, float]:
        """What was measured so far, by name."""
        path = self.folder / "numbers.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def keep(self, **numbers: float) -> None:
        """Keep numbers for later steps."""
        path = self.folder / "numbers.json"
        path.write_text(json.dumps({**self.numbers(), **numbers}))

    def devices(self, **more: Any) -> Devices:
        """The device; compiled if that worked, so that one fault does not take all numbers."""
        if self.workload.gpus and not self.numbers().get("compiles"):
            more = {"compile": "off", **more}
        return Devices(self.workload.gpus, engine="torch", **{"dtype": self.workload.dtype, **more})

    def engine(self, name: str, batch: int, devices: Devices) -> Any:
        """An engine that trains a network, after the memory of the one before is free."""
        self.free()
        workload = self.workload
        return open_untrained(name, devices, workload.image_shape, workload.classes, batch)

    def engine_of(self, name: str, batch: int) -> Any:
        """The engine of the last `speed`, or a new one."""
        if self._of_engine != (name, batch):
            self._engine = self.engine(name, batch, self.devices())
            self._of_engine = name, batch
        return self._engine

    def free(self) -> None:
        """Free the memory of the last measurement."""
        self._engine, self._of_engine = None, ("", 0)
        torch.compiler.reset()
        gc.collect()
        if self.workload.gpus:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def batch(self, batch: int) -> Tuple[np.ndarray, np.ndarray]:
        """Images and labels, which are always the same."""
        return random_batch(self.workload.image_shape, self.workload.classes, batch)

    # --- timing ----------------------------------------------------------------------------------

    def seconds(self, call: Callable[[], Any], times: int) -> float:
        """Seconds of one call, averaged over consecutive calls."""
        call()
        self.wait()
        began = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return (time.perf_counter() - began) / times

    def wait(self) -> None:
        """Wait for the device."""
        if self.workload.gpus:
            torch.cuda.synchronize()

    def images_per_second(self, train: Callable[[], None], batch: int) -> float:
        """The median over the rounds, after warm-up calls that compile and tune."""
        for _ in range(5 if self.workload.gpus else 1):
            train()
        rounds = range(self.workload.rounds)
        return statistics.median(batch / self.seconds(train, self.workload.updates) for _ in rounds)

    # --- lines -----------------------------------------------------------------------------------

    def machine(self) -> None:
        """Describe the device, and what is installed."""
        versions = f"PyTorch {torch.__version__}, NumPy {np.__version__}"
        if not self.workload.gpus:
            print(f"the CPU, {platform.machine()}, {versions}")
            return
        gpu = torch.cuda.get_device_properties(0)
        print(
            f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, {gpu.multi_processor_count} "
            f"multiprocessors, compute capability {gpu.major}.{gpu.minor}, {versions}, CUDA "
            f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, Python "
            f"{platform.python_version()}, {len(os.sched_getaffinity(0))} processors"
        )
        tools = {name: shutil.which(name) for name in ("gcc", "clang", "nvidia-smi")}
        modules = ("triton", "torchvision", "cv2", "PIL", "psutil", "scipy", "tqdm", "pynvml")
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        absent += [name for name, path in tools.items() if path is None]
        print(f"absent: {', '.join(absent) or 'nothing'}")

    def bounds(self) -> None:
        """Measure the best of several timings: the highest rates of this device."""
        workload = self.workload
        kind = getattr(torch, workload.dtype)
        matrix = torch.randn(workload.matrix, workload.matrix, device=workload.device).to(kind)
        source = torch.empty(workload.copied, dtype=torch.uint8, device=workload.device)
        target = torch.empty_like(source)
        product = min(self.seconds(lambda: torch.mm(matrix, matrix), 10) for _ in range(5))
        copy = min(self.seconds(lambda: target.copy_(source), 10) for _ in range(5))
        flops, rate = 2 * workload.matrix**3 / product, 2 * workload.copied / copy
        self.keep(flops=flops, copy=rate)
        print(
            f"matrix product, {workload.dtype}: {flops / 1e12:.2f} TFLOP/s; copy: "
            f"{rate / 1e9:.1f} GB/s read and written"
        )

    def parity(self, name: str) -> None:
        """Compare five updates on this device with the CPU's in float32; dropout, if any, differs.

        Not compiled.
        """
        kinds = {"PyTorch on the CPU": Devices(engine="torch")}
        if why_not_mxnet(()) is None:
            kinds["MXNet on the CPU"] = Devices(engine="mxnet")
        reference = list(kinds)[-1]
        kinds["here"] = self.devices(dtype="float32", compile="off")
        if self.workload.dtype != "float32":
            kinds[f"in {self.workload.dtype}"] = self.devices(compile="off")
        self._compare(f"parity, {name}, float32", name, kinds, reference)

    def compiled_parity(self, name: str) -> None:
        """Compare five updates of the compiled network with those of the same without compiling."""
        how = "on" if self.workload.gpus else "off"
        kinds = {"not compiled": self.devices(compile="off"), "here": self.devices(compile=how)}
        self._compare(f"compiled, {name}, {self.workload.dtype}", name, kinds, "not compiled")
        self.keep(compiles=1)

    def _compare(self, title: str, name: str, kinds: Dict[str, Devices], reference: str) -> None:
        images, labels = self.batch(8)
        predictions, losses = {}, {}
        for kind, devices in kinds.items():
            trained = self.engine(name, 8, devices)
            predictions[kind] = trained.predict(images)
            for _ in range(5):
                trained.train_batch(images, labels, 1e-3)
            losses[kind] = trained.read_counts()[3] / 40
        difference = np.abs(predictions[reference] - predictions["here"]).max()
        means = ", ".join(f"{kind} {loss:.5f}" for kind, loss in losses.items())
        print(
            f"{title}: probabilities differ by at most {difference:.1e} from {reference}; mean "
            f"loss of five updates: {means}"
        )

    def line(self, name: str, batch: int, what: str, speed: float, *remarks: str) -> None:
        """Print a row of the table."""
        more = "".join(f"  {remark}" for remark in remarks)
        print(f"{name:14}{batch:>6}  {what:14}{speed:>10.1f} images/s{more}")

    @contextlib.contextmanager
    def row(self, name: str, batch: int, what: str) -> Iterator[None]:
        """A block that prints a row; if the memory does not suffice, the row says so."""
        try:
            yield
        except (DeviceMemoryError, torch.cuda.OutOfMemoryError):
            print(f"{name:14}{batch:>6}  {what} does not fit")

    def speed(self, name: str, batch: int) -> None:
        """Train on one batch in host memory, compiled where that works."""
        images, labels = self.batch(batch)
        with self.row(name, batch, "one update"):
            engine = self.engine_of(name, batch)
            speed = self.images_per_second(lambda: engine.train_batch(images, labels, 1e-3), batch)
            self.keep(**{f"{name} {batch}": speed})
            what = "compiled" if engine._is_compiled else "not compiled"
            self.line(name, batch, what, speed, *self._compared(name, speed))

    def _compared(self, name: str, speed: float) -> Iterator[str]:
        """A speed's share of the bound, if that was measured, and the memory of a GPU."""
        workload, found = self.workload, self.numbers()
        if "flops" in found:
            symbol = symbols.get_symbol(name, workload.classes, workload.image_shape)
            size = 4 if workload.dtype == "float32" else 2
            upper = bound(symbol, workload.side, Bounds(found["flops"], found["copy"]), size)
            yield f"{speed / upper:.2f} of the bound, {upper:.0f}"
        if workload.gpus:
            yield f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GiB"

    def eager_speed(self, name: str, batch: int) -> None:
        """The same, not compiled."""
        images, labels = self.batch(batch)
        engine = self.engine(name, batch, self.devices(compile="off"))
        speed = self.images_per_second(lambda: engine.train_batch(images, labels, 1e-3), batch)
        self.line(name, batch, "not compiled", speed)

    def shards(self, name: str, batch: int, decode: str = "cpu") -> None:
        """Train from JPEG shards, as `fit` reads them; with `decode` gpu, DALI decodes."""
        if decode == "gpu" and not self.workload.gpus:
            return
        from gpu_shards import shard_speed  # needs OpenCV, as the next

        from imagenet_trainer.train.gpu_decoding import has_dali

        if decode == "gpu" and not has_dali():
            return
        what = "from shards" if decode == "cpu" else "--decode gpu"
        with self.row(name, batch, what):
            speed, wait = shard_speed(self.engine_of(name, batch), batch, self, decode)
            without = self.numbers().get(f"{name} {batch}")
            remarks = [f"{speed / without:.2f} of it without"] if without else []
            self.line(name, batch, what, speed, *remarks, f"waits {100 * wait:.1f} %")

    def plain(self, name: str, theirs: str, batch: int) -> None:
        """Train torchvision's network, at its fastest."""
        self.free()
        with self.row(name, batch, "plain PyTorch"):
            train, source = self._plain(theirs, batch)
            speed = self.images_per_second(train, batch)
            ours = self.numbers().get(f"{name} {batch}")
            remarks = [f"ours has {ours / speed:.2f} of it"] if ours else []
            self.line(name, batch, "plain PyTorch", speed, *remarks, source)

    def _plain(self, theirs: str, batch: int) -> Tuple[Callable[[], None], str]:
        """An update of torchvision's network, and where this comes from."""
        workload, is_cuda = self.workload, bool(self.workload.gpus)
        model, source = torchvision_networks.network(theirs, workload.classes)
        model = model.to(workload.device, memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=1e-4, fused=True)
        images, labels = (torch.from_numpy(array) for array in self.batch(batch))
        data = images.permute(0, 3, 1, 2).to(workload.device)
        data = (data.float() / 64 - 2).contiguous(memory_format=torch.channels_last)
        label = labels.to(workload.device)
        compiles = is_cuda and self.numbers().get("compiles")
        forward = torch.compile(model, mode="reduce-overhead") if compiles else model
        kind = getattr(torch, workload.dtype)

        def train() -> None:
            optimizer.zero_grad(set_to_none=True)
            if is_cuda:
                torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(workload.device, kind, kind != torch.float32):
                loss = torch.nn.functional.cross_entropy(forward(data), label)
            loss.backward()
            optimizer.step()

        return train, source

    def repeat(self, name: str, batch: int) -> None:
        """Train twice with --deterministic; compare the bits, and the speed with that without."""
        fixed = self.devices(deterministic=True)
        (one, _), (two, speed) = (self._repeated(name, batch, fixed) for _ in range(2))
        _, usual = self._repeated(name, batch, self.devices())
        same = "bit-equal" if one == two else f"different: {one}, {two}"
        print(
            f"repeat, {name}, batch {batch}, --deterministic: two trainings of five updates are "
            f"{same}; {speed:.1f} images/s, {speed / usual:.2f} times the speed without it"
        )

    def shared(self, name: str, batch: int) -> None:
        """Train as one of several workers, with and without CUDA graphs; compare bits, speeds."""
        fixed = self.devices(deterministic=True)  # or cuDNN's choices would differ as well
        _, alone = self._repeated(name, batch, fixed)
        backend = "nccl" if self.workload.gpus else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        text = f"DistributedDataParallel of one worker, {name}, batch {batch}: "
        try:
            plain, speed = self._repeated(name, batch, fixed, captured=False)
            print(f"{text}{speed:.1f} images/s, {speed / alone:.2f} times the speed without it")
            # PyTorch may refuse to capture: then this ends with its error.
            graphs, captured = self._repeated(name, batch, fixed, captured=True)
        finally:
            dist.destroy_process_group()
        same = "the same bits" if plain == graphs else "other bits"
        print(f"{text}with CUDA graphs {captured:.1f}, {captured / speed:.2f} times, {same}")

    def _repeated(
        self, name: str, batch: int, devices: Devices, captured: Optional[bool] = None
    ) -> Tuple[str, float]:
        """A digest of the parameters after five updates, and images/s.

        With `captured` gradients go through DistributedDataParallel, with or without CUDA graphs.
        """
        images, labels = self.batch(batch)
        engine = self.engine(name, batch, devices)
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
        speed = self.images_per_second(lambda: engine.train_batch(images, labels, 1e-3), batch)
        return digest.hexdigest()[:16], speed

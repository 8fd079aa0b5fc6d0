"""Executes a symbol with PyTorch, on GPUs that MXNet's wheels cannot drive as on any other device.

One process drives one device. Several are started by torchrun, and DistributedDataParallel adds up
their gradients while backward runs.
"""

import contextlib
import warnings
from functools import cached_property
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from imagenet_trainer.engines import (
    Devices,
    Mix,
    NonFiniteLossError,
    Training,
    parameter_shapes,
    seed_of,
)
from imagenet_trainer.engines.loss_scale import LossScale
from imagenet_trainer.engines.memory import memory_errors
from imagenet_trainer.engines.optimizers import frozen
from imagenet_trainer.engines.pytorch.devices import (
    autocast_type,
    described,
    device_here,
    devices_of,
)
from imagenet_trainer.engines.pytorch.feed import Feed
from imagenet_trainer.engines.pytorch.graph import (
    Network,
    check_shapes,
    load_graph,
    to_numpy,
    to_tensor,
)
from imagenet_trainer.engines.pytorch.optimizers import Average, Update
from imagenet_trainer.engines.pytorch.step import Head, Monitor, Step, root_mean_square
from imagenet_trainer.engines.pytorch.workers import TorchWorkers
from imagenet_trainer.engines.stages import Staged
from imagenet_trainer.engines.targets import frozen_in
from imagenet_trainer.engines.workers import ALONE, Workers, whole_of
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays


class TorchEngine(Staged):
    """One symbol on one device: trains it, asks it, gives and takes its parameters.

    Parameters
    ----------
    symbol
        network from `data` (n, 3, h, w) to `softmax` (n, classes), label `softmax_label`.
    devices
        where it runs: of several GPUs a worker of torchrun's trains on its own, and an engine that
        only predicts shares a batch out to all. Parameters, statistics and optimizer state are
        float32 always. `compile` is for torch.compile, which fuses what lies between convolutions.
    batch_shape
        (n, h, w, 3): the batch over all workers, of which this one takes its part.
    mean, std
        of red, green and blue, on the scale 0-255.
    training
        how parameters move; None for an engine that only predicts.
    workers
        the group to train with.

    Raises InputError for operators that are not there, devices that are not there or a batch that
    the workers cannot share.

    """

    in_step = True  # every update is made of the gradients of all workers

    def __init__(
        self,
        symbol: Any,
        devices: Devices,
        batch_shape: Tuple[int, int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        training: Optional[Training] = None,
        workers: Workers = ALONE,
    ) -> None:
        self._workers = workers if isinstance(workers, TorchWorkers) else None
        self.rank, self.world_size = workers.rank, workers.world_size
        _check(devices, batch_shape[0], self.world_size, training)
        self.batch_size = batch_shape[0] // self.world_size
        here = [device_here(devices)] if training else devices_of(devices)
        self._device, self._training = here[0], training
        self._device_name = described(self._device)
        self._autocast = autocast_type(devices.dtype, self._device)
        if training:
            symbol = frozen_in(symbol, frozen(training.optimizer))
        height, width = batch_shape[1:3]
        shapes = parameter_shapes(symbol, (3, height, width))
        self._networks = [load_graph(symbol.tojson(), *shapes, device) for device in here]
        self._network = self._networks[0]
        self._parts = training.accumulate if training else 1
        check_shapes(self._network, (self.batch_size // self._parts, 3, height, width))
        self._heads = [Head(mean, std, device) for device in here]
        self._feeds = [Feed(device) for device in here]
        self._updates = 0
        self._counts = np.zeros(4)
        self._seen: List[Tuple[int, Dict[str, float]]] = []  # by --monitor
        self._scale = LossScale() if self._autocast == torch.float16 else None
        is_cuda = self._device.type == "cuda"
        self._is_compiled = devices.is_compiled
        if is_cuda:
            # float32 means it; what computes in fewer bits is asked for with --dtype.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
            warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
            torch.backends.cudnn.benchmark = True
        if training:
            self._open_training(training, symbol, (height, width))

    def _open_training(self, training: Training, symbol: Any, size: Tuple[int, int]) -> None:
        if not self._network.has_loss:
            raise InputError("this network has no SoftmaxOutput, so there is nothing to train for")
        _, outputs, _ = symbol.infer_shape(data=(1, 3, *size))
        classes = int(np.prod(outputs[0][1:]))
        self._update = Update(training.optimizer, self._network)
        self._average: Optional[Average] = None
        if training.average_decay:
            self._average = Average(training.average_decay, self._network)
        self._alone = Step(self._heads[0], self._network, training, classes, self._autocast)

    @cached_property
    def _shared(self) -> Any:
        """What computes a part of an update, and adds gradients up over the workers.

        Made at the first update, for it talks to the others: until then each may still refuse.
        """
        moves = any(value.requires_grad for value in self._alone.parameters())
        if self.world_size == 1 or not moves:
            return self._alone
        on_gpu = [self._device] if self._device.type == "cuda" else None
        # Of 1 x 1 kernels in channels_last: two ways to write the strides of the same memory.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        return DistributedDataParallel(self._alone, device_ids=on_gpu, gradient_as_bucket_view=True)

    @cached_property
    def _step(self) -> Any:
        """The same compiled, if it is to be.

        Captured as CUDA graphs where nothing between forward and backward needs the host; the
        memory that they share cannot hold gradients that are still added to.
        """
        if not self._is_compiled:
            return self._shared
        captured = self._device.type == "cuda" and self.world_size == 1 and self._parts == 1
        return torch.compile(self._shared, mode="reduce-overhead" if captured else "default")

    def _adding_up(self, part: int) -> Any:
        """Gradients of several parts travel once, with the last one."""
        is_last = part + 1 == self._parts
        return contextlib.nullcontext() if is_last or self._shared is self._alone else (
            self._shared.no_sync()
        )  # fmt: skip

    # --- training ------------------------------------------------------------------------------

    def train_batch(
        self,
        images: Any,
        labels: np.ndarray,
        learning_rate: float,
        mix: Optional[Mix] = None,
    ) -> None:
        """Forward, backward, update with this worker's uint8 (n, h, w, 3) and int64 (n,).

        Images that are on this device already come as what DLPack takes.

        Raises NonFiniteLossError before the update, in all workers alike, when the loss is
        infinite or not a number: the counts come to the host while backward runs, so the device
        does not wait for the question. Raises DeviceMemoryError for a batch that does not fit.
        """
        batch = {"images": images, "labels": np.asarray(labels, np.int64)}
        if mix is not None:
            batch["other"] = np.asarray(mix.labels, np.int64)
            batch["share"] = np.asarray(mix.shares, np.float32)
        told = self._workers.told() if self._workers else contextlib.nullcontext()
        with told, memory_errors(len(labels) // self._parts, self._device_name):
            self._train(batch, len(labels), learning_rate)

    def _train(self, batch: Mapping[str, Any], images: int, learning_rate: float) -> None:
        self.end_stage("")
        there = self._feeds[0].take(batch)
        self.end_stage("copy")
        self._network.training.train()
        results = [self._part(there, part, images // self._parts) for part in range(self._parts)]
        self.end_stage("compute")
        counts = np.sum([result.counts() for result in results], axis=0)
        self.end_stage("metric")
        # DistributedDataParallel gives the mean over the workers of their sums.
        scale = 1 / (images * self._loss_scale())
        every = self._training.monitor if self._training else 0
        if every and self._updates % every == 0:
            self._look(there, scale)
        if not np.isfinite(counts[2]):
            self._forget_gradients()
            raise NonFiniteLossError(self._updates)
        number = self._updates + 1
        if self._gradients_are_finite():
            self._update.step(learning_rate, scale, number)
            for result in results:
                self._move_statistics(result.moments)
            if self._average:
                self._average.update()
        self._forget_gradients()
        self.end_stage("update")
        self._updates = number
        self._counts += (images * self.world_size, *counts)

    def _part(self, there: Mapping[str, torch.Tensor], part: int, size: int) -> "_Result":
        """Forward and backward of one part of the batch; gradients are added up."""
        here = slice(part * size, (part + 1) * size)
        labels = there["labels"][here]
        inputs = (
            there["images"][here], labels, there.get("other", there["labels"])[here],
            there["share"][here] if "share" in there else labels,
        )  # fmt: skip
        self._seed_network(part)
        if self._is_compiled:
            torch.compiler.cudagraph_mark_step_begin()
        with self._adding_up(part):
            loss, counts, moments = self._step(*inputs)
            result = _Result(counts, moments, self._workers)
            if loss.requires_grad:
                (loss * self._loss_scale()).backward()
        return result

    def _seed_network(self, part: int) -> None:
        """Nothing random may depend on when a checkpoint was written."""
        seed = self._training.seed if self._training else 0
        torch.manual_seed(seed_of(seed, self._updates, self.rank, part))

    def _move_statistics(self, moments: torch.Tensor) -> None:
        """MXNet's BatchNorm: moving <- momentum moving + (1 - momentum) batch."""
        aux, found = self._network.aux, self._network.statistics
        names = [name for statistic in found for name in (statistic.mean, statistic.variance)]
        fresh = dict(zip(names, moments.split([aux[name].numel() for name in names])))
        with torch.no_grad():
            for kept in {statistic.momentum for statistic in found}:
                moved = [n for s in found if s.momentum == kept for n in (s.mean, s.variance)]
                moving = [aux[name] for name in moved]
                torch._foreach_mul_(moving, kept)
                torch._foreach_add_(moving, [fresh[name] for name in moved], alpha=1 - kept)

    def _forget_gradients(self) -> None:
        for value in self._network.arg.values():
            value.grad = None

    def _loss_scale(self) -> float:
        return self._scale.value if self._scale else 1.0

    def _gradients_are_finite(self) -> bool:
        """Whether float16 held them, in all workers alike, for they are added up already.

        Other types hold what float32 does. Raises NonFiniteLossError where no scale would help.
        """
        if self._scale is None:
            return True
        there = [v.grad for v in self._network.arg.values() if v.grad is not None]
        overflowed = not bool(torch.isfinite(torch.stack(torch._foreach_norm(there))).all())
        try:
            return self._scale.lets_pass(overflowed, self._updates, self.rank)
        except NonFiniteLossError:
            self._forget_gradients()
            raise

    def _look(self, there: Mapping[str, torch.Tensor], scale: float) -> None:
        """Keep what --monitor asks for, by MXNet's names, before the update is made."""
        monitor = Monitor(self._network.training)
        self._seed_network(0)
        autocast = torch.autocast(self._device.type, self._autocast, self._autocast is not None)
        with torch.no_grad(), autocast:
            monitor.run(self._heads[0](there["images"]), there["labels"])
        arg = self._network.arg
        seen = {**monitor.seen, "data": root_mean_square(there["images"])}
        seen.update((name, root_mean_square(value)) for name, value in arg.items())
        for name, value in arg.items():
            if value.grad is not None:
                seen[f"{name}_grad"] = root_mean_square(value.grad) * scale
        self._seen.append((self._updates + 1, whole_of(seen, self._workers or ALONE)))

    def read_statistics(self) -> List[Tuple[int, Dict[str, float]]]:
        """What --monitor saw since the last call: updates made, root mean squares by tensor."""
        seen, self._seen = self._seen, []
        return seen

    def wait(self) -> None:
        """Wait for all work under way on the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def read_counts(self) -> Tuple[int, int, int, float]:
        """Images, rank-1 hits, rank-5 hits and summed loss of all workers since the last call."""
        images, rank1, rank5, loss = self._counts
        self._counts = np.zeros(4)
        return int(images), int(rank1), int(rank5), float(loss)

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Add float64 (k,) of all workers, element by element; without others the values."""
        return self._workers.sum(values) if self._workers else np.asarray(values, np.float64)

    # --- answering -----------------------------------------------------------------------------

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, h, w, 3), n up to the batch size."""
        count, devices = len(images), len(self._networks)
        if count < self.batch_size:
            # One size for all batches: an answer does not depend on how many it is asked with.
            padding = np.zeros((self.batch_size - count, *images.shape[1:]), np.uint8)
            images = np.concatenate([images, padding])
        cuts = [self.batch_size * i // devices for i in range(devices + 1)]
        found: List[torch.Tensor] = []
        with memory_errors(cuts[1], self._device_name), torch.no_grad():
            for i, network in enumerate(self._networks):
                found.append(self._answer(i, network, images[cuts[i] : cuts[i + 1]]))
            return np.concatenate([part.float().cpu().numpy() for part in found])[:count]

    def _answer(self, i: int, network: Network, images: np.ndarray) -> torch.Tensor:
        there = self._feeds[i].take({"images": images})["images"]
        with torch.autocast(there.device.type, self._autocast, self._autocast is not None):
            return network.answering.forward(self._heads[i](there))[0]  # see Step

    # --- parameters and state --------------------------------------------------------------------

    def get_params(self) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states by MXNet's names; the same in all workers."""
        network = self._network
        return (
            {name: to_numpy(value) for name, value in network.arg.items()},
            {name: to_numpy(value) for name, value in network.aux.items()},
        )

    def set_params(self, arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray]) -> None:
        """Set them; names and shapes must be the network's."""
        for network in self._networks:
            for name, value in network.arg.items():
                to_tensor(arg[name], value)
            for name, value in network.aux.items():
                to_tensor(aux[name], value)

    def get_state(self) -> Arrays:
        """What, beside the parameters, the next update depends on; as MXNetEngine has it.

        `updates` so far; `momentum:NAME` (or `mean:`, `variance:`); `average:arg:NAME` and
        `average:aux:NAME`; in float16 `loss_scale`.
        """
        state: Arrays = {"updates": np.array(self._updates, np.int64)}
        if self._training:
            state.update(self._update.state())
            if self._average:
                state.update(self._average.state())
        return {**state, **(self._scale.state() if self._scale else {})}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what get_state gave, here or in MXNetEngine, after set_params."""
        self._updates = int(state["updates"])
        if self._training:
            self._update.set_state(state)
            if self._average:
                self._average.set_state(state)
        if self._scale:
            self._scale.set_state(state)


class _Result:
    """Counts and moments of a part, added up over the workers, and on their way to the host."""

    def __init__(
        self, counts: torch.Tensor, moments: torch.Tensor, workers: Optional[TorchWorkers]
    ) -> None:
        # One message for both. The means over the workers of the batch's moments make the mean of
        # what each would have made of its own: moving statistics are linear in them.
        both = torch.cat([counts, moments])
        if workers and workers.world_size > 1:
            workers.add_up(both)
            both[3:] /= workers.world_size
        self.moments = both[3:]
        self._copied: Any = None
        self._counts = both[:3]
        if both.is_cuda:
            self._counts = torch.empty(3, pin_memory=True)
            self._counts.copy_(both[:3], non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def counts(self) -> np.ndarray:
        """Float64 (3,); waits for forward, and not for backward."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._counts.numpy().astype(np.float64)


def _check(devices: Devices, batch: int, workers: int, training: Optional[Training]) -> None:
    """InputError for what PyTorch's side does not do."""
    if devices.compression_threshold is not None:
        raise InputError("--gc-type 2bit: is MXNet's; leave it away with --engine torch")
    if devices.kv_store.startswith("dist"):
        raise InputError(
            f"--kv-store {devices.kv_store}: is MXNet's; with --engine torch leave it away and "
            "start the workers with torchrun"
        )
    parts = training.accumulate if training else 1
    if batch % (workers * parts):
        of_parts = f" in {parts} parts" if parts > 1 else ""
        raise InputError(
            f"--batch-size {batch} cannot be split evenly over {workers} workers{of_parts}; "
            f"use a multiple of {workers * parts}"
        )

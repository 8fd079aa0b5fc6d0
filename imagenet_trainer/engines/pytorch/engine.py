"""Runs a symbol with PyTorch, on all devices and above all on GPUs that MXNet does not support.

A process trains on one device. torchrun starts several processes, and DistributedDataParallel sums
their gradients while backward runs.
"""

import contextlib
from functools import cached_property
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch

from imagenet_trainer.engines import (
    Devices,
    Mix,
    NonFiniteLossError,
    Training,
    mixed_vectors,
    seed_of,
)
from imagenet_trainer.engines.memory import memory_errors
from imagenet_trainer.engines.pytorch.algorithms import deterministic_errors, set_algorithms
from imagenet_trainer.engines.pytorch.average import Average
from imagenet_trainer.engines.pytorch.devices import (
    autocast,
    autocast_type,
    check_options,
    describe,
    device_here,
    devices_of,
    is_compiled,
)
from imagenet_trainer.engines.pytorch.feed import Feed
from imagenet_trainer.engines.pytorch.graph import check_shapes, load_graph, to_numpy, to_tensor
from imagenet_trainer.engines.pytorch.inference import Inference
from imagenet_trainer.engines.pytorch.loss_scale import DeviceLossScale, Overflow
from imagenet_trainer.engines.pytorch.monitor import statistics_of
from imagenet_trainer.engines.pytorch.optimizers import Update
from imagenet_trainer.engines.pytorch.recomputation import checkpointed
from imagenet_trainer.engines.pytorch.statistics import update_statistics
from imagenet_trainer.engines.pytorch.step import Head, Step, StepResult, compiled, shared
from imagenet_trainer.engines.pytorch.sync_batch_norm import synchronise
from imagenet_trainer.engines.pytorch.workers import TorchWorkers
from imagenet_trainer.engines.stages import StageTimer
from imagenet_trainer.engines.symbol import executed_graph, number_of_classes, parameter_shapes
from imagenet_trainer.engines.update_rules import BEGAN, began_at
from imagenet_trainer.engines.workers import ALONE, Workers, whole_of
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays


class TorchEngine(StageTimer):
    """One symbol on one device: training, inference, parameters and state.

    Parameters
    ----------
    symbol
        network from `data` (n, 3, h, w) to `softmax` (n, classes), label `softmax_label`.
    devices
        where it runs. With several GPUs each worker of torchrun trains on its own GPU, and an
        engine that only predicts divides a batch among all. Parameters, statistics and optimizer
        state are always float32. `compile` enables torch.compile, which fuses the operators between
        convolutions.
    batch_shape
        (n, h, w, 3): the batch over all workers, of which this one computes its part.

    The others are those of `factory.open_engine`.

    Raises InputError for operators that are not available, devices that do not exist, and a batch
    that cannot be split evenly over the workers.

    """

    in_step = True  # every update uses the gradients of all workers

    def __init__(
        self,
        symbol: Any,
        devices: Devices,
        batch_shape: Tuple[int, int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        training: Optional[Training] = None,
        workers: Workers = ALONE,
        bgr: bool = False,
    ) -> None:
        self._workers = workers if isinstance(workers, TorchWorkers) else None
        self.rank, self.world_size = workers.rank, workers.world_size
        check_options(devices, batch_shape[0], self.world_size, training)
        set_algorithms(devices)
        self.batch_size = batch_shape[0] // self.world_size
        # No device predicts an empty part of a batch.
        here = [device_here(devices)] if training else devices_of(devices)[: self.batch_size]
        self._device, self._training = here[0], training
        self._device_name = describe(self._device)
        self._autocast = autocast_type(devices.dtype, self._device)
        symbol = executed_graph(symbol, training)
        height, width = batch_shape[1:3]
        shapes = parameter_shapes(symbol, (3, height, width))
        bce = training is not None and training.bce
        self._networks = [load_graph(symbol, *shapes, device, bce) for device in here]
        self._network = self._networks[0]
        self._is_compiled = is_compiled(devices, self._device)
        self._parts = training.accumulate if training else 1
        check_shapes(self._network, (3, height, width))
        self._head, self._feed = Head(mean, std, self._device, bgr), Feed(self._device)
        self._inferences = [
            Inference(
                Head(mean, std, device, bgr), network.inference, self._autocast, self._is_compiled
            )
            for device, network in zip(here, self._networks)
        ]
        self._updates = self._began = 0
        self._counts = np.zeros(5)
        self._statistics: List[Tuple[int, Dict[str, float]]] = []  # of Training.monitor
        self._scale: Optional[DeviceLossScale] = None
        if self._autocast == torch.float16:
            self._scale = DeviceLossScale(self._device)
        is_cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if is_cuda else None  # of the counts
        if training:
            self._open_training(training, symbol, (height, width))

    def _open_training(self, training: Training, symbol: Any, size: Tuple[int, int]) -> None:
        if not self._network.has_loss:
            raise InputError("this network has no SoftmaxOutput, so it has no loss to train with")
        classes = number_of_classes(symbol, (3, *size))
        self._update = Update(training.optimizer, self._network)
        self._average: Optional[Average] = None
        if training.average_decay:
            self._average = Average(training, self._network)
        forward: torch.nn.Module = self._network.training
        if training.sync_batch_norm and self.world_size > 1:
            synchronise(self._network.training)
            self._is_compiled = False  # its messages are between the layers that would be fused
        if training.checkpoint_activations:
            shape = (self.batch_size // self._parts, 3, *size)
            forward = checkpointed(self._network.training, shape, classes)
        self._alone = Step(self._head, forward, training, classes, self._autocast)

    @cached_property
    def _shared(self) -> Any:
        """The module that computes a part of an update and sums gradients over the workers.

        Created at the first update, as it communicates: before that any worker may still fail.
        """
        learns = any(value.requires_grad for value in self._alone.parameters())
        is_alone = self.world_size == 1 or not learns
        return self._alone if is_alone else shared(self._alone, self._device)

    @cached_property
    def _step(self) -> Any:
        """The same module, compiled if requested.

        It is captured as CUDA graphs if nothing between forward and backward needs the host. Their
        shared memory cannot hold gradients to which more is added, and DistributedDataParallel
        launches its messages from the host, between the compiled parts of backward: whether
        capturing these parts pays, tools/gpu_study.py measures.
        """
        if not self._is_compiled:
            return self._shared
        is_cuda, is_alone = self._device.type == "cuda", self._shared is self._alone
        return compiled(self._shared, is_cuda and is_alone and self._parts == 1)

    def _synchronised(self, part: int) -> Any:
        """A context in which gradients are summed over the workers for the last part only."""
        if part + 1 == self._parts or self._shared is self._alone:
            return contextlib.nullcontext()
        return self._shared.no_sync()

    # --- training ------------------------------------------------------------------------------

    def train_batch(
        self,
        images: Any,
        labels: np.ndarray,
        learning_rate: float,
        mix: Optional[Mix] = None,
        teacher: Optional[np.ndarray] = None,
    ) -> None:
        """Forward, backward, update with this worker's uint8 (n, h, w, 3) and labels.

        Images on this device are accepted as objects that support DLPack.

        Raises NonFiniteLossError before the update, in all workers, if the loss is infinite or not
        a number. The counts are copied to the host while backward runs, so the device does not
        wait for the host. Raises DeviceMemoryError for a batch that does not fit.
        """
        vectors = self._training is not None and self._training.multi_label
        targets = mixed_vectors(labels, mix) if vectors else np.asarray(labels, np.int64)
        batch = {"images": images, "labels": targets}
        if mix is not None and not vectors:
            batch["other"] = np.asarray(mix.labels, np.int64)
            batch["share"] = np.asarray(mix.shares, np.float32)
        if teacher is not None:
            batch["teacher"] = np.asarray(teacher, np.float32)
        lost = self._workers.lost_errors() if self._workers else contextlib.nullcontext()
        memory = memory_errors(len(labels) // self._parts, self._device_name)
        with lost, memory, deterministic_errors():
            self._train(batch, len(labels), learning_rate)

    def _train(self, batch: Mapping[str, Any], images: int, learning_rate: float) -> None:
        self.end_stage("")
        tensors = self._feed.to_device(batch)
        self.end_stage("copy")
        self._network.training.train()
        results = [self._part(tensors, part, images // self._parts) for part in range(self._parts)]
        self.end_stage("compute")
        counts = np.sum([result.counts() for result in results], axis=0)
        self._feed.wait()  # takes no time: forward has read the batch
        self.end_stage("metric")
        self._settle()
        every = self._training.monitor if self._training else 0
        if every and self._updates % every == 0:
            # DistributedDataParallel returns the mean over the workers of their sums.
            self._monitor(tensors, 1 / (images * float(self._loss_scale())))
        if not np.isfinite(counts[2]):
            self._discard_gradients()
            raise NonFiniteLossError(self._updates)
        number = self._updates + 1
        overflow = self._overflow()
        self._update.step(learning_rate, images, self._made + 1 - self._began, overflow)
        for result in results:
            update_statistics(self._network, result.moments(), overflow)
        if self._average:
            self._average.update(number, overflow)
        self._discard_gradients()
        self.end_stage("update")
        self._updates = number
        self._counts += (images * self.world_size, *counts)

    def _part(self, tensors: Mapping[str, torch.Tensor], part: int, size: int) -> StepResult:
        """Forward and backward of one part of the batch; gradients are summed over the parts."""
        here = {name: value[part * size :][:size] for name, value in tensors.items()}
        self._seed_network(part)
        if self._is_compiled:
            torch.compiler.cudagraph_mark_step_begin()
        with self._synchronised(part):
            loss, counts, moments = self._step(*_inputs(here))
            result = StepResult(counts, moments, self._workers, self._stream)
            if loss.requires_grad:
                (loss * self._loss_scale()).backward()
        return result

    def _seed_network(self, part: int) -> None:
        """Seed each part, so that random numbers do not depend on when a run was resumed."""
        seed = self._training.seed if self._training else 0
        torch.manual_seed(seed_of(seed, self._updates, self.rank, part))

    def _discard_gradients(self) -> None:
        for value in self._network.arg.values():
            value.grad = None

    def _loss_scale(self) -> Any:
        """A number, or with float16 float32 () on the device."""
        return self._scale.value if self._scale else 1.0

    def _overflow(self) -> Optional[Overflow]:
        """Whether float16 gradients overflow; equal for all workers, as they are summed.

        Other types have float32's range.
        """
        gradients = [v.grad for v in self._network.arg.values() if v.grad is not None]
        if self._scale is None or not gradients:
            return None
        return self._scale.check(gradients, self._updates)

    @property
    def _made(self) -> int:
        """Updates that were not skipped, known after `_settle`: those that rules count."""
        return self._updates - (self._scale.skipped if self._scale else 0)

    def _settle(self) -> None:
        """Raise NonFiniteLossError if the last update was not made and no loss scale would help.

        With float16 this is known when backward has ended, so it is read later: during the next
        update, and before anything that follows from this one is handed out.
        """
        if self._scale is None:
            return
        try:
            self._scale.settle(self.rank)
        except NonFiniteLossError as error:
            self._discard_gradients()
            self._updates = error.update
            raise

    def _monitor(self, tensors: Mapping[str, torch.Tensor], scale: float) -> None:
        """Compute the statistics of Training.monitor, by MXNet's names, before the update."""
        images, *labels = _inputs(tensors)
        self._seed_network(0)
        with torch.no_grad(), autocast(self._device, self._autocast):
            target = self._alone.target(*labels)
            values = statistics_of(self._network, images, self._head(images), target, scale)
        self._statistics.append((self._updates + 1, whole_of(values, self._workers or ALONE)))

    def read_statistics(self) -> List[Tuple[int, Dict[str, float]]]:
        """Results of Training.monitor since the last call: update, root mean squares by tensor."""
        statistics, self._statistics = self._statistics, []
        return statistics

    def wait(self) -> None:
        """Wait for all pending work on the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def read_counts(self) -> Tuple[int, int, int, float, int]:
        """Images, rank-1, rank-5 hits, summed loss, rank-`top_k` hits since the last call."""
        self._settle()
        images, rank1, rank5, loss, rank_k = self._counts
        self._counts = np.zeros(5)
        return int(images), int(rank1), int(rank5), float(loss), int(rank_k)

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Sum float64 (k,) over all workers, element by element."""
        return self._workers.sum(values) if self._workers else np.asarray(values, np.float64)

    # --- inference -----------------------------------------------------------------------------

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, h, w, 3), n up to the batch size."""
        count, devices = len(images), len(self._networks)
        if count < self.batch_size:
            # All batches have the same size, so predictions do not depend on the size of a batch.
            padding = np.zeros((self.batch_size - count, *images.shape[1:]), np.uint8)
            images = np.concatenate([images, padding])
        cuts = [self.batch_size * i // devices for i in range(devices + 1)]
        with memory_errors(cuts[1], self._device_name), torch.no_grad():
            begun = [
                one.begin(images[begin:end])
                for one, begin, end in zip(self._inferences, cuts, cuts[1:])
            ]
            parts = [one.end(part) for one, part in zip(self._inferences, begun)]
        return np.concatenate(parts)[:count]

    def host_memory(self, shape: Tuple[int, ...]) -> np.ndarray:
        """Uint8 memory that this engine copies fastest; on GPUs it is pinned."""
        if self._device.type != "cuda":
            return np.empty(shape, np.uint8)
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()

    # --- parameters and state --------------------------------------------------------------------

    def get_params(self) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states by MXNet's names; the same in all workers."""
        self._settle()
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
        """Everything except the parameters that the next update depends on, as in MXNetEngine.

        `updates` made so far; `momentum:NAME` (or `mean:`, `variance:`); `average:arg:NAME` and
        `average:aux:NAME`; with float16 `loss_scale`.
        """
        self._settle()
        state: Arrays = {"updates": np.array(self._updates, np.int64)}
        if self._training:
            state.update(self._update.state())
            if self._began:
                state[BEGAN] = np.array(self._began, np.int64)
            if self._average:
                state.update(self._average.state())
        return {**state, **(self._scale.state() if self._scale else {})}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the result of get_state, of this engine or MXNet's, after set_params."""
        self._updates = int(state["updates"])
        if self._scale:
            self._scale.set_state(state)
        if self._training:
            self._began = began_at(self._training.optimizer.name, state, self._made)
            self._update.set_state(state)
            if self._average:
                self._average.set_state(state)


def _inputs(tensors: Mapping[str, torch.Tensor]) -> List[torch.Tensor]:
    """The arguments of `Step.forward`; labels stand for those that a training does not use."""
    names = ("images", "labels", "other", "share", "teacher")
    return [tensors.get(name, tensors["labels"]) for name in names]

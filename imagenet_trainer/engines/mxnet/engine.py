"""Runs a symbol with MXNet's Module and kvstore, on CPUs or on GPUs from Maxwell to Ada."""

import functools
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, TypeVar, cast

import numpy as np

from imagenet_trainer.engines import Devices, Mix, NonFiniteLossError, Training, seed_of
from imagenet_trainer.engines.loss_scale import LossScale
from imagenet_trainer.engines.memory import memory_errors
from imagenet_trainer.engines.mxnet.arrays import normalised, to_mxnet, to_numpy, to_symbol
from imagenet_trainer.engines.mxnet.average import MovingAverage
from imagenet_trainer.engines.mxnet.binding import Binding
from imagenet_trainer.engines.mxnet.compression import TwoBit
from imagenet_trainer.engines.mxnet.devices import check_options, check_shares, contexts_of
from imagenet_trainer.engines.mxnet.fused_relu import fused_relu
from imagenet_trainer.engines.mxnet.max_norm import clip_norms, max_norms
from imagenet_trainer.engines.mxnet.monitor import TensorMonitor
from imagenet_trainer.engines.mxnet.optimizers import (
    init_optimizer,
    optimizer_state,
    set_optimizer_state,
)
from imagenet_trainer.engines.mxnet.precision import (
    LOSS_SCALE,
    all_finite,
    in_16_bits,
    with_scaled_loss,
)
from imagenet_trainer.engines.mxnet.statistics import (
    mean_statistics,
    set_statistics,
    statistics_state,
)
from imagenet_trainer.engines.mxnet.targets import Targets
from imagenet_trainer.engines.mxnet.workers import AsyncWorkers
from imagenet_trainer.engines.stages import StageTimer
from imagenet_trainer.engines.symbol import (
    draws_numbers,
    executed_graph,
    label_vector_length,
    number_of_classes,
)
from imagenet_trainer.engines.update_rules import BEGAN, SMALLEST_RATE, began_at
from imagenet_trainer.engines.workers import ALONE, Workers
from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.machine import keep_freed_memory
from imagenet_trainer.system.mxnet_import import mx

M = TypeVar("M", bound=Callable[..., Any])


def _memory_checked(method: M) -> M:
    """A method of MXNetEngine that raises DeviceMemoryError if MXNet's memory is full.

    MXNet reports it from whichever call waits for the failed operation.
    """

    @functools.wraps(method)
    def checked(engine: "MXNetEngine", *arguments: Any, **keywords: Any) -> Any:
        with memory_errors(engine.batch_size // engine._accumulate, engine._device_names):
            return method(engine, *arguments, **keywords)

    return cast(M, checked)


class MXNetEngine(StageTimer):
    """One symbol on some devices: training, inference, parameters and state.

    Parameters
    ----------
    symbol
        graph, or symbol of MXNet, from `data` (n, 3, h, w) to `softmax` (n, classes), with the
        label `softmax_label`.
    devices
        where it runs. With bfloat16 (CPUs with instructions for it) and float16 (GPUs),
        parameters, statistics and optimizer state stay float32; with float16 the loss is scaled.
    batch_shape
        (n, h, w, 3): the batch over all devices of all workers, split evenly over the workers and
        over the devices of each.
    workers
        the group that this process trains with; its kvstore sums the gradients.

    The others are those of `factory.open_engine`.

    Raises InputError for devices that do not exist, a batch that cannot be split evenly over them,
    and DeviceMemoryError, as all methods do, for a batch that does not fit into their memory.

    """

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
        contexts = contexts_of(devices)
        check_options(devices, training)
        if not devices.gpus:
            keep_freed_memory()  # temporary arrays of every update, else a hundredth of the time
        self.rank, self.world_size, self._workers = workers.rank, workers.world_size, workers
        self.in_step = workers.in_step
        self._async = workers if isinstance(workers, AsyncWorkers) else None
        self._accumulate = training.accumulate if training else 1
        check_shares(batch_shape[0], self._accumulate, len(contexts), self.world_size)
        batch_shape = (batch_shape[0] // self.world_size, *batch_shape[1:])
        self.batch_size = batch_shape[0]
        self._seed = training.seed if training else 0
        self._updates = self._began = 0
        self._optimizer = training.optimizer if training else None
        self._counts = np.zeros(5)
        symbol = executed_graph(symbol, training)
        self._is_random = draws_numbers(symbol)
        frozen = self._optimizer.frozen if self._optimizer else []
        self._max_norms = max_norms(symbol, frozen)
        self._scale = LossScale() if training and devices.dtype == "float16" else None
        size = (3, *batch_shape[1:3])
        self._targets = Targets(
            training, number_of_classes(symbol, size), label_vector_length(symbol, size)
        )
        executed = self._executed(symbol, devices, batch_shape, (mean, std), bgr)
        self._device_names = devices.description
        self._has_predicted = False  # since it was bound
        self._average: Optional[MovingAverage] = None
        self._monitor: Optional[TensorMonitor] = None
        self._compression: Optional[TwoBit] = None
        self._bound = Binding(
            executed,
            contexts,
            (batch_shape[0] // self._accumulate, *batch_shape[1:]),
            self._targets,
            inputs=(*self._targets.inputs, *([LOSS_SCALE] if self._scale else [])),
            fused=fused_relu(executed, training, devices, self._async is not None),
            frozen=frozen,
            trains=training is not None,
            adds=self._accumulate > 1,
        )
        if training:
            self._open_training(training, devices)

    def _executed(
        self,
        network: Symbol,
        devices: Devices,
        batch_shape: Tuple[int, ...],
        normalisation: Tuple[Sequence[float], Sequence[float]],
        bgr: bool,
    ) -> "mx.sym.Symbol":
        """What MXNet executes: the network between its heads."""
        symbol = to_symbol(network)
        if self._scale:
            symbol = with_scaled_loss(symbol)
        symbol = normalised(symbol, *normalisation, bgr)
        if devices.dtype != "float32":
            symbol = in_16_bits(symbol, devices.dtype, devices.gpus, batch_shape)
        return self._targets.added_to(symbol)

    @property
    def _module(self) -> "mx.mod.Module":
        return self._bound.module

    def _open_training(self, training: Training, devices: Devices) -> None:
        kvstore = getattr(self._workers, "kvstore", None)
        if kvstore is None and len(self._bound.executors) > 1:
            kvstore = mx.kv.create(devices.kv_store)  # a single device has nothing to sum
        # The kvstore needs initial values; set_params sets the real ones.
        self._module.init_params(_zero)
        # In step an update uses the gradients of all workers, otherwise those of one worker.
        batch = self.batch_size * (self.world_size if self.in_step else 1)
        first_key = self._async.keys if self._async else 0
        threshold = devices.compression_threshold
        if threshold is not None:
            self._compression = TwoBit(threshold, self._module, kvstore, self._workers)
            kvstore = None  # TwoBit writes the sums to the module's gradients
        init_optimizer(self._module, kvstore, training.optimizer, batch)
        if self._async:
            self._async.hand_over(self._module, first_key)
        if training.average_decay:
            names = self._module._exec_group.param_names
            self._average = MovingAverage(training, names)
        if training.monitor:
            self._monitor = TensorMonitor(self._module, training.monitor, self._workers)

    def _bind_to(self, images: np.ndarray) -> None:
        """Bind the network to the size of these images, if it is another one."""
        if self._bound.to(images) and self._monitor:
            self._monitor.install()

    # --- training ------------------------------------------------------------------------------

    @_memory_checked
    def train_batch(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        learning_rate: float,
        mix: Optional[Mix] = None,
        teacher: Optional[np.ndarray] = None,
    ) -> None:
        """Forward, backward, update with uint8 (n, h, w, 3) and labels, part by part.

        Raises NonFiniteLossError before the update if the loss is infinite or not a number, in all
        workers if one of them has such a loss. The loss is computed between forward and backward
        and read while backward runs, so a GPU never waits for the host.
        """
        self._bind_to(images)
        if self._monitor:
            self._monitor.begin(self._updates)
        inputs = self._targets.arrays(labels, mix, teacher)
        if self._scale:
            inputs[LOSS_SCALE] = np.full(len(labels), self._scale.value, np.float32)
        counts: List[mx.nd.NDArray] = []
        self.end_stage("")
        for part in range(self._accumulate):
            if self._is_random:
                mx.random.seed(seed_of(self._seed, self._updates, self.rank, part) >> 1)
            batch = self._bound.part(part, images, inputs)
            self.end_stage("copy")
            self._module.forward(batch, is_train=True)
            self.end_stage("compute")
            counts += self._count()
            self.end_stage("metric")
            if part == 0 and self._accumulate > 1:
                self._bound.clear_gradients()
            self._module.backward()
            self.end_stage("compute")
        if self._monitor:
            self._monitor.end_forward(self._updates, images)
        hits = np.sum([part.asnumpy() for part in counts], axis=0, dtype=np.float64)
        hits = np.array([len(labels), *hits])
        if self.in_step:
            hits = self._workers.sum(hits)
        if not np.isfinite(hits[3]):
            raise NonFiniteLossError(self._updates)
        self.end_stage("metric")
        learning_rate = learning_rate if learning_rate >= SMALLEST_RATE else 0.0
        self._module._optimizer.lr = learning_rate
        if self._async:
            self._async.set_rate(learning_rate)
        self._update()
        self.end_stage("update")
        if self._monitor:
            self._monitor.end_update(self._updates)
        self._updates += 1
        self._counts += hits

    @_memory_checked
    def wait(self) -> None:
        """Wait for all pending work on the devices."""
        _wait_for_all()

    def _update(self) -> None:
        """Update the parameters, unless their gradients overflow."""
        scale = self._scale.value if self._scale else 1.0
        if not self._may_update():
            return
        if self._compression:
            self._compression.sum_gradients(scale)
        self._module.update()
        clip_norms(self._bound.executors, self._max_norms)
        if self._average:
            self._average.update(self._bound.executors, self._updates + 1)

    def _may_update(self) -> bool:
        """Whether the gradients of all workers are finite; True if the loss is not scaled.

        Prepares the update, or logs that it is skipped. Raises NonFiniteLossError if the scale is
        not the cause.
        """
        if self._scale is None:
            return True
        overflowed = bool(self._workers.sum(np.array([not all_finite(self._module)]))[0])
        batch = self.batch_size * self.world_size
        self._module._optimizer.rescale_grad = 1.0 / (batch * self._scale.value)
        self._scale.adapt(overflowed, self._updates, self.rank)
        return not overflowed

    def _count(self) -> List["mx.nd.NDArray"]:
        """The result of `Targets.count` on each device, without waiting for them."""
        outputs = self._module.get_outputs(merge_multi_context=False)[0]
        return [
            self._targets.count(output, executor.arg_dict)
            for output, executor in zip(outputs, self._bound.executors)
        ]

    def read_counts(self) -> Tuple[int, int, int, float, int]:
        """Images, rank-1, rank-5 hits, summed loss, rank-`top_k` hits since the last call."""
        counts = self._counts if self.in_step else self._workers.sum(self._counts)
        images, rank1, rank5, loss, rank_k = counts
        self._counts = np.zeros(5)
        return int(images), int(rank1), int(rank5), float(loss), int(rank_k)

    def sum_over_workers(self, values: np.ndarray) -> np.ndarray:
        """Sum float64 (k,) over all workers, element by element."""
        return self._workers.sum(values)

    def read_statistics(self) -> List[Tuple[int, Dict[str, float]]]:
        """Results of Training.monitor since the last call: update, root mean squares by tensor."""
        return self._monitor.read() if self._monitor else []

    @_memory_checked
    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, h, w, 3), n up to the batch size."""
        count, size = len(images), self._bound.batch_shape[0]
        inputs = {name: np.zeros(shape, np.float32) for name, shape in self._bound.shapes().items()}
        _wait_for_all()
        self._bind_to(images)
        self._has_predicted = True
        probabilities = []
        for first in range(0, count, size):
            batch = images[first : first + size]
            if len(batch) < size:
                # Padding is computed and cut off: rebinding to another size would cost far more.
                padding = np.zeros((size - len(batch), *images.shape[1:]), np.uint8)
                batch = np.concatenate([batch, padding])
            self._module.forward(self._bound.part(0, batch, inputs), is_train=False)
            probabilities.append(self._module.get_outputs()[0].asnumpy())
        return np.concatenate(probabilities)[:count]

    def host_memory(self, shape: Tuple[int, ...]) -> np.ndarray:
        """Uint8 memory for images; MXNet copies all memory alike."""
        return np.empty(shape, np.uint8)

    # --- parameters and state --------------------------------------------------------------------

    @_memory_checked
    def get_params(self) -> Tuple[Arrays, Arrays]:
        """Arguments, and auxiliary states averaged over the devices, by MXNet's names."""
        _wait_for_all()
        module, executors = self._module, self._bound.executors
        if self._async:
            self._async.read(module)
            module._params_dirty = True
        # Only after an update, as predictions write ones to the gammas that the symbol fixes.
        if module._params_dirty:
            # All devices have the same parameters. MXNet's average of them rounds: the mean of
            # three equal numbers often differs from them.
            for name, value in module._arg_params.items():
                executors[0].arg_dict[name].copyto(value)
            module._params_dirty = False
        return to_numpy(module._arg_params), mean_statistics(executors, self._workers)

    @_memory_checked
    def set_params(self, arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray]) -> None:
        """Set them on every device; names and shapes must be the network's.

        The residuals of gradient compression are distributed evenly over all devices.
        """
        _wait_for_all()
        if self._compression:
            self._compression.share()
        if self._optimizer is None and self._has_predicted:
            # On the CPU a network bound for inference caches convolutions fused with BatchNorm,
            # computed from the parameters of its first batch. Only a new binding discards them.
            self._bound.again()
            self._has_predicted = False
        self._module.set_params(to_mxnet(arg), to_mxnet(aux), force_init=True)
        if self._async:
            self._async.write(self._module)

    @_memory_checked
    def get_state(self) -> Arrays:
        """Everything except the parameters that the next update depends on.

        `updates` made so far; `momentum:NAME` (or `mean:`, `variance:`) of every parameter that
        has been updated; `rule_began`, see update_rules; with several devices
        `statistics:DEVICE:NAME`, the moving statistics of each device, which get_params averages
        (devices are numbered over all workers, those of rank 0 first); the moving averages, see
        Training; with float16 `loss_scale`; with gradient compression the residuals, see TwoBit.
        """
        _wait_for_all()
        state: Arrays = {"updates": np.array(self._updates, np.int64)}
        if self._optimizer:
            state.update(optimizer_state(self._module, self._optimizer))
        if self._began:
            state[BEGAN] = np.array(self._began, np.int64)
        state.update(statistics_state(self._bound.executors, self._workers))
        if self._scale:
            state.update(self._scale.state())
        if self._compression:
            state.update(self._compression.state())
        return {**state, **(self._average.state(self._workers) if self._average else {})}

    @_memory_checked
    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from the result of get_state, after set_params.

        Statistics of another number of devices are ignored: all devices start from the average.
        """
        assert self._optimizer
        self._updates = int(state["updates"])
        if self._scale:
            self._scale.set_state(state)
        made = self._updates - (self._scale.skipped if self._scale else 0)
        self._began = began_at(self._optimizer.name, state, made)
        set_optimizer_state(self._module, self._optimizer, state, made - self._began)
        set_statistics(state, self._bound.executors, self._workers)
        if self._compression:
            self._compression.set_state(state)
        if self._average:
            self._average.set_state(state, self._bound.executors, self._workers)


def _wait_for_all() -> None:
    """Wait for all pending operations.

    BatchNorm writes its moving statistics during backward, and MXNet does not make readers of them
    wait for that (measured).
    """
    mx.nd.waitall()


def _zero(name: str, array: "mx.nd.NDArray") -> None:
    """An initializer that, unlike MXNet's own, accepts any parameter name."""
    array[:] = 0

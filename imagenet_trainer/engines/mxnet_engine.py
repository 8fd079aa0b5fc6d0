"""Executes a symbol with MXNet's Module and kvstore, on CPUs or on GPUs from Maxwell to Ada."""

import logging
import zlib
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines import Arrays, Devices, NonFiniteLossError, Optimizer, Training
from imagenet_trainer.errors import InputError
from imagenet_trainer.machine import has_bfloat16
from imagenet_trainer.mxnet_import import check_gpus, mixed_precision, mx

# What MXNet's optimizers remember for each parameter, in the order of their state tuples.
_STATE_NAMES = {"sgd": ("momentum",), "nag": ("momentum",), "adam": ("mean", "variance")}
_LOG = logging.getLogger("imagenet_trainer")
# Keeps the logarithm of an underflown probability finite without hiding a NaN.
_TINY = 1.2e-38


def normalised(
    symbol: "mx.sym.Symbol", mean: Sequence[float], std: Sequence[float]
) -> "mx.sym.Symbol":
    """Put a head in front of a network: uint8 (n, h, w, 3) RGB to float32 (n, 3, h, w).

    Batches travel as bytes and become (value - mean) / std on the device.
    """
    pixels = mx.sym.Variable("data")
    planes = mx.sym.transpose(mx.sym.Cast(pixels, dtype="float32"), axes=(0, 3, 1, 2))
    if any(mean) or any(deviation != 1 for deviation in std):
        planes = mx.sym.image.normalize(planes, mean=tuple(mean), std=tuple(std))
    return symbol(data=planes)


def max_norms(symbol: "mx.sym.Symbol") -> Dict[str, float]:
    """How long the rows of a weight may be, by its name: the symbol's `__max_norm__` attributes.

    A row is what goes into one unit: the constraint of Srivastava et al. 2014 ("Dropout", section
    5.1), acted on after every update.
    """
    attributes = symbol.attr_dict()
    return {
        name: float(attributes[name]["__max_norm__"])
        for name in symbol.list_arguments()
        if "__max_norm__" in attributes.get(name, {})
    }


def converted_to_bfloat16(symbol: "mx.sym.Symbol") -> "mx.sym.Symbol":
    """MXNet's conversion; where it fails, with Concat in float32.

    MXNet lets a Concat take whatever type comes, and then cannot convert a network that joins a
    convolution's bfloat16 with the float32 of a scaled residual (Inception-ResNet).
    """
    amp = mixed_precision()
    try:
        return amp.convert_symbol(symbol, target_dtype="bfloat16")
    except mx.base.MXNetError:
        in_float32 = [*amp.lists.symbol_bf16.FP32_FUNCS, "Concat"]
        return amp.convert_symbol(symbol, target_dtype="bfloat16", fp32_ops=in_float32)


def in_bfloat16(symbol: "mx.sym.Symbol", gpus: Sequence[int]) -> "mx.sym.Symbol":
    """Casts around the operators that gain by bfloat16; parameters stay float32.

    Raises InputError for GPUs and for CPUs without bfloat16 instructions.
    """
    if gpus:
        raise InputError("--dtype bfloat16: is for CPUs in this version; leave it away with --gpus")
    if not has_bfloat16():
        raise InputError(
            "--dtype bfloat16: this CPU has no instructions for it (avx512_bf16 or amx_bf16), it "
            "would be slower than float32; leave it away"
        )
    converted = converted_to_bfloat16(symbol)
    nodes = converted.get_internals()
    for name in (*converted.list_arguments(), *converted.list_auxiliary_states()):
        if name != "data":
            nodes[name]._set_attr(__dtype__="0")  # float32, which the casts leave open
    return converted


class MXNetEngine:
    """One symbol on some devices: trains it, asks it, gives and takes its parameters.

    Parameters
    ----------
    symbol
        network from `data` (n, 3, h, w) to `softmax` (n, classes), label `softmax_label`.
    devices
        where it runs. In bfloat16, on CPUs that have instructions for it, parameters, statistics
        and optimizer state stay float32.
    batch_shape
        (n, h, w, 3): this worker's part of the global batch, split evenly over its devices.
    mean, std
        of red, green and blue, on the scale 0-255.
    training
        how parameters move; None for an engine that only predicts.

    Raises InputError for devices that are not there or a batch that they cannot share.

    """

    def __init__(
        self,
        symbol: "mx.sym.Symbol",
        devices: Devices,
        batch_shape: Tuple[int, int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        training: Optional[Training] = None,
    ) -> None:
        gpus, kv_store = devices.gpus, devices.kv_store
        contexts = _contexts(gpus, devices.cpus)
        if kv_store == "nccl" and not gpus:
            raise InputError("--kv-store nccl: adds up gradients of GPUs; use it with --gpus")
        if devices.compression_threshold is not None and not gpus:
            # Measured: segmentation faults a few dozen updates later.
            raise InputError(
                "--gc-type 2bit: MXNet 1.9.1 overwrites memory when it compresses gradients of CPU "
                "contexts; use it with --gpus, or leave it away"
            )
        if batch_shape[0] % len(contexts):
            raise InputError(
                f"--batch-size {batch_shape[0]} cannot be split evenly over {len(contexts)} "
                f"devices; use a multiple of {len(contexts)}"
            )
        self.batch_size = batch_shape[0]
        self._seed = training.seed if training else 0
        self._updates = 0
        self._optimizer = training.optimizer if training else None
        self._counts = np.zeros(4)
        self._max_norms = max_norms(symbol)
        self._symbol = normalised(symbol, mean, std)
        if devices.dtype == "bfloat16":
            self._symbol = in_bfloat16(self._symbol, gpus)
        self._contexts = contexts
        self._batch_shape = batch_shape
        self._compression = devices.compression_threshold
        self._has_answered = False  # since it was bound
        self._module = self._bound_module()
        # One device alone has nothing to add up.
        self._kvstore = mx.kv.create(kv_store) if training and len(contexts) > 1 else None
        self.rank = self._kvstore.rank if self._kvstore else 0
        self.world_size = self._kvstore.num_workers if self._kvstore else 1
        if training:
            self._init_optimizer(training.optimizer)
        every = training.monitor if training else 0
        self._monitor = mx.mon.Monitor(every, sort=True) if every else None
        if self._monitor:
            self._module.install_monitor(self._monitor)

    def _bound_module(self) -> "mx.mod.Module":
        compression = {"type": "2bit", "threshold": self._compression}
        module = mx.mod.Module(
            self._symbol,
            context=self._contexts,
            logger=logging.getLogger("mxnet"),
            compression_params=None if self._compression is None else compression,
        )
        module.bind(
            data_shapes=[mx.io.DataDesc("data", self._batch_shape, np.uint8, layout="NHWC")],
            label_shapes=[mx.io.DataDesc("softmax_label", self._batch_shape[:1], layout="N")],
            for_training=self._optimizer is not None,
        )
        return module

    def _init_optimizer(self, optimizer: Optimizer) -> None:
        # The kvstore wants values to start from; set_params brings the real ones.
        self._module.init_params(_nought)
        words = {"wd": optimizer.weight_decay, "learning_rate": 1.0}
        if optimizer.name != "adam":
            words["momentum"] = optimizer.momentum
        # The symbol's gradient is a sum over the batch.
        words["rescale_grad"] = 1.0 / (self.batch_size * self.world_size)
        self._module.init_optimizer(self._kvstore, optimizer.name, words)
        if self._contexts[0].device_type == "cpu":
            # Several weights in one operator save launches on a GPU; here the operator's inner loop
            # over the weights costs more than it saves (a tenth of ResNet-18's update, measured).
            self._module._updater.aggregate_updates = False
            self._module._optimizer.aggregate_num = 0

    # --- training ------------------------------------------------------------------------------

    def train_batch(self, images: np.ndarray, labels: np.ndarray, learning_rate: float) -> None:
        """Forward, backward, update with uint8 (n, h, w, 3) and int64 (n,).

        Raises NonFiniteLossError before the update when the loss is infinite or not a number. The
        loss is counted between forward and backward and read while backward runs, so a GPU never
        waits for the answer.
        """
        mx.random.seed(zlib.crc32(f"{self._seed}/{self._updates}".encode()) >> 1)
        if self._monitor:
            self._monitor.tic()
        batch = _batch(images, labels)
        self._module.forward(batch, is_train=True)
        counts = self._count(batch)
        self._module.backward()
        hits = np.sum([part.asnumpy() for part in counts], axis=0, dtype=np.float64)
        if not np.isfinite(hits[2]):
            raise NonFiniteLossError(self._updates)
        self._module._optimizer.lr = learning_rate
        self._module.update()
        self._constrain()
        self._updates += 1
        self._counts += (len(labels), *hits)
        if self._monitor:
            for update, name, value in self._monitor.toc():
                _LOG.info("Batch: %7d %30s %s", update, name, value)

    def _constrain(self) -> None:
        """Shorten the rows of weights that the symbol gives a `__max_norm__` to that length."""
        for name, longest in self._max_norms.items():
            for executor in self._executors():
                weight = executor.arg_dict[name]
                rows = weight.reshape((weight.shape[0], -1))
                length = mx.nd.norm(rows, axis=1, keepdims=True)
                # A row of nought has a length of nought, and nothing to shorten.
                rows[:] = rows * mx.nd.minimum(1, longest / mx.nd.maximum(length, _TINY))

    def _count(self, batch: "mx.io.DataBatch") -> List["mx.nd.NDArray"]:
        """(rank-1 hits, rank-5 hits, summed loss) on each device, not waited for."""
        per_device = self._module.get_outputs(merge_multi_context=False)[0]
        first, counts = 0, []
        for output in per_device:
            last = first + output.shape[0]
            label = batch.label[0][first:last].as_in_context(output.context).reshape((-1, 1))
            first = last
            true = mx.nd.pick(output, label, axis=1, keepdims=True)
            classes = mx.nd.arange(output.shape[1], ctx=output.context).reshape((1, -1))
            # Of equal probabilities the lower class index comes first, as in metrics.ranks.
            ahead = mx.nd.broadcast_greater(output, true) + mx.nd.broadcast_equal(
                output, true
            ) * mx.nd.broadcast_lesser(classes, label)
            rank = ahead.sum(axis=1)
            loss = -mx.nd.log(true + _TINY).sum()
            counts.append(mx.nd.concat((rank < 1).sum(), (rank < 5).sum(), loss, dim=0))
        return counts

    def read_counts(self) -> Tuple[int, int, int, float]:
        """Images, rank-1 hits, rank-5 hits and summed loss since the last call."""
        images, rank1, rank5, loss = self._counts
        self._counts = np.zeros(4)
        return int(images), int(rank1), int(rank5), float(loss)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, h, w, 3), n up to the batch size."""
        count = len(images)
        if count < self.batch_size:
            # The rest of the batch is computed and cut off: rebinding would cost far more.
            padding = np.zeros((self.batch_size - count, *images.shape[1:]), np.uint8)
            images = np.concatenate([images, padding])
        labels = np.zeros(self.batch_size, np.int64)
        _settle()
        self._has_answered = True
        self._module.forward(_batch(images, labels), is_train=False)
        return self._module.get_outputs()[0].asnumpy()[:count]

    # --- parameters and state --------------------------------------------------------------------

    def get_params(self) -> Tuple[Arrays, Arrays]:
        """Arguments and auxiliary states by MXNet's names; of several devices the average."""
        _settle()
        arg, aux = self._module.get_params()
        return _to_numpy(arg), _to_numpy(aux)

    def set_params(self, arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray]) -> None:
        """Set them on every device; names and shapes must be the network's."""
        _settle()
        if self._optimizer is None and self._has_answered:
            # On the CPU a network bound for prediction keeps convolutions fused with BatchNorm,
            # computed from the parameters of its first batch; only binding anew forgets them.
            self._module, self._has_answered = self._bound_module(), False
        self._module.set_params(_to_mxnet(arg), _to_mxnet(aux), force_init=True)

    def get_state(self) -> Arrays:
        """What, beside the parameters, the next update depends on.

        `updates` so far; `momentum:NAME` (or `mean:`, `variance:`) of every parameter that has
        been updated; with several devices `statistics:DEVICE:NAME`, each one's moving statistics,
        which get_params averages.
        """
        _settle()
        state: Arrays = {"updates": np.array(self._updates, np.int64)}
        devices = len(self._executors())
        for index, name in enumerate(self._module._exec_group.param_names):
            # All devices hold the same state; the first one's is index * devices.
            held = self._module._updater.states.get(index * devices)
            parts = held if isinstance(held, tuple) else (held,)
            for label, part in zip(self._state_names(), parts):
                if part is not None:
                    state[f"{label}:{name}"] = part.asnumpy()
        if devices > 1:
            for device, executor in enumerate(self._executors()):
                for name, value in executor.aux_dict.items():
                    state[f"statistics:{device}:{name}"] = value.asnumpy()
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what get_state gave, after set_params.

        Statistics of another number of devices are left out: then all start from the average.
        """
        self._updates = int(state["updates"])
        optimizer, updater = self._module._optimizer, self._module._updater
        optimizer.begin_num_update = optimizer.num_update = self._updates
        for counts in optimizer._all_index_update_counts.values():
            counts.clear()
        updater.states.clear()
        updater.states_synced.clear()
        executors = self._executors()
        for index, name in enumerate(self._module._exec_group.param_names):
            values = [state.get(f"{label}:{name}") for label in self._state_names()]
            if any(value is None for value in values):
                continue
            for device, executor in enumerate(executors):
                place = index * len(executors) + device
                held = optimizer.create_state_multi_precision(place, executor.arg_dict[name])
                for part, value in zip(held if isinstance(held, tuple) else (held,), values):
                    if part is not None:
                        part[:] = value
                updater.states[place] = held
                updater.states_synced[place] = True
        self._set_statistics(state)

    def _set_statistics(self, state: Mapping[str, np.ndarray]) -> None:
        devices = {key.split(":")[1] for key in state if key.startswith("statistics:")}
        executors = self._executors()
        if len(devices) != len(executors):
            return
        for device, executor in enumerate(executors):
            for name, value in executor.aux_dict.items():
                value[:] = state[f"statistics:{device}:{name}"]

    def _executors(self) -> List["mx.executor.Executor"]:
        return self._module._exec_group.execs

    def _state_names(self) -> Tuple[str, ...]:
        return _STATE_NAMES[self._optimizer.name] if self._optimizer else ()


def _settle() -> None:
    """Wait for everything under way.

    BatchNorm writes its moving statistics during backward, and MXNet lets readers of them go
    ahead before that (measured).
    """
    mx.nd.waitall()


def _nought(name: str, array: "mx.nd.NDArray") -> None:
    """An initializer that, unlike MXNet's own, takes whatever name a parameter has."""
    array[:] = 0


def _contexts(gpus: Sequence[int], cpus: int) -> List["mx.Context"]:
    if not gpus:
        return [mx.cpu(number) for number in range(cpus)]
    reason = check_gpus(tuple(gpus))
    if reason:
        raise InputError(reason)
    return [mx.gpu(number) for number in gpus]


def _batch(images: np.ndarray, labels: np.ndarray) -> "mx.io.DataBatch":
    # nd.array copies before it returns, so the loader may reuse its buffers.
    return mx.io.DataBatch(
        [mx.nd.array(images, dtype=np.uint8)], [mx.nd.array(labels, dtype=np.float32)]
    )


def _to_numpy(arrays: Mapping[str, "mx.nd.NDArray"]) -> Arrays:
    return {name: value.asnumpy() for name, value in arrays.items()}


def _to_mxnet(arrays: Mapping[str, np.ndarray]) -> Dict[str, "mx.nd.NDArray"]:
    return {name: mx.nd.array(value, dtype=value.dtype) for name, value in arrays.items()}

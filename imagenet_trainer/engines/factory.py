"""Opens engines and joins the workers that train together.

The modules of MXNet and PyTorch are imported when one of them is chosen.
"""

import os
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines import Devices, Engine, Training
from imagenet_trainer.engines.choice import TITLES, choose_engine
from imagenet_trainer.engines.joining import ended_by_signals
from imagenet_trainer.engines.memory import check_address_space, memory_errors
from imagenet_trainer.engines.plugin import join_plugin, open_plugin
from imagenet_trainer.engines.workers import ALONE, Workers
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.arrays import Arrays


def join_workers(devices: Devices) -> Workers:
    """Join the workers that train together with this process; waits until all are present.

    Raises ArgumentError for a kvstore of several machines outside a launcher, and for one of a
    single machine inside a launcher.
    """
    engine = choose_engine(devices).engine
    if engine not in TITLES:
        return join_plugin(devices)
    if engine == "torch":
        with ended_by_signals():  # one that is recorded now would be forgotten while joining
            from imagenet_trainer.engines.pytorch.workers import join_torchrun

        return join_torchrun(devices)
    if devices.kv_store.startswith("dist"):
        from imagenet_trainer.engines.mxnet.workers import join

        return join(devices.kv_store)
    if os.environ.get("DMLC_ROLE") == "worker" and os.environ.get("DMLC_NUM_WORKER", "1") != "1":
        raise ArgumentError(
            "kv_store",
            devices.kv_store,
            f"does not connect the launcher's {os.environ['DMLC_NUM_WORKER']} workers; use "
            "dist_sync",
        )
    return ALONE


def check_gpus_of_torch(gpus: Sequence[int]) -> None:
    """Raise ArgumentError if PyTorch finds no such GPUs, in front of a process for each of them."""
    from imagenet_trainer.engines.pytorch.devices import missing_gpus

    reason = missing_gpus(tuple(gpus)) if gpus else None
    if reason:
        raise ArgumentError("gpus", tuple(gpus), reason)


def open_engine(
    symbol: Any,
    devices: Devices,
    batch_shape: Tuple[int, int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    training: Optional[Training] = None,
    workers: Workers = ALONE,
    bgr: bool = False,
) -> Engine:
    """Open the engine that `choose_engine` names for these devices: ours, or that of a plug-in.

    `batch_shape` is that of the batch over all devices of all workers, `mean` and `std` are of red,
    green, blue on the scale 0-255. `training` has the update rule and its options; without it the
    engine only predicts. `workers` is the group that this process trains with. Images are RGB; with
    `bgr` the engine gives the network blue, green, red.
    """
    parts = workers.world_size * (training.accumulate if training else 1)
    images = -(-batch_shape[0] // parts)  # that this process computes at a time
    check_address_space(symbol, (images, *batch_shape[1:]), devices, training)
    engine = choose_engine(devices).engine
    with memory_errors(images, devices.description):
        if engine not in TITLES:
            return open_plugin(symbol, devices, batch_shape, mean, std, training, bgr)
        if engine == "torch":
            from imagenet_trainer.engines.pytorch.engine import TorchEngine

            return TorchEngine(symbol, devices, batch_shape, mean, std, training, workers, bgr)
        from imagenet_trainer.engines.mxnet.engine import MXNetEngine

        return MXNetEngine(symbol, devices, batch_shape, mean, std, training, workers, bgr)


def why_no_gradients(engine: str) -> str:
    """Why `output_gradients` does not work with an engine; "" if it does."""
    if engine in TITLES:
        return ""
    return "is a plug-in, which computes no gradients of single outputs; use mxnet or torch"


def output_gradients(
    symbol: Symbol,
    devices: Devices,
    arg: Arrays,
    aux: Arrays,
    inputs: np.ndarray,
    outputs: np.ndarray,
) -> np.ndarray:
    """The gradient of one output of a network for each input, in inference, on the CPU.

    Parameters
    ----------
    symbol
        network from `data`, of the shape of `inputs`, to (n, outputs) or (n, outputs, 1, 1).
    devices
        those whose engine computes it, see `choose_engine`.
    arg, aux
        the parameters and moving statistics of this network, and no others.
    inputs, outputs
        float32 (n, ...), and the number of the output of each, int64 (n,).

    Returns float32 of the shape of `inputs`. Raises ArgumentError for an engine that lacks them.

    """
    engine = choose_engine(devices).engine
    problem = why_no_gradients(engine)
    if problem:
        raise ArgumentError("engine", engine, problem)
    if engine == "torch":
        from imagenet_trainer.engines.pytorch import gradients as pytorch

        return pytorch.output_gradients(symbol, arg, aux, inputs, outputs)
    from imagenet_trainer.engines.mxnet import gradients as mxnet

    return mxnet.output_gradients(symbol, arg, aux, inputs, outputs)

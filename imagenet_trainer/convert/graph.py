"""MXNet's part of an export: symbols without label, ONNX by MXNet's exporter, quantisation.

Functions take and return symbols and arrays, and run on the CPU.
"""

import json
import time
import warnings
from typing import Any, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines.mxnet.arrays import to_mxnet, to_numpy
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx, quantization

Model = Tuple[Any, Arrays, Arrays]  # symbol, arguments and auxiliary states by MXNet's names


def without_label(symbol: Any, path: str) -> Any:
    """The network from `data` to probabilities `softmax_output`, with no input for labels.

    Raises InputError with the file for a network that does not end in a SoftmaxOutput or a
    softmax.
    """
    last = json.loads(symbol.tojson())["nodes"][-1]
    if last["op"] == "softmax":
        return symbol
    if last["op"] != "SoftmaxOutput" or len(symbol.list_outputs()) != 1:
        raise InputError(f"{path}: ends in {last['op']}, not in a softmax; it cannot be exported")
    return mx.sym.softmax(symbol.get_children()[0], axis=-1, name=last["name"])


def with_fixed_gammas(symbol: Any, arg: Arrays) -> Arrays:
    """The arguments with fixed gammas set to 1.

    BatchNorm treats these gammas as 1, but weight decay changes their stored values a little. MXNet
    ignores the values, its ONNX exporter does not.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    fixed = {
        nodes[node["inputs"][1][0]]["name"]
        for node in nodes
        if node["op"] == "BatchNorm" and node.get("attrs", {}).get("fix_gamma", "True") == "True"
    }
    return {name: np.ones_like(value) if name in fixed else value for name, value in arg.items()}


def with_explicit_flatten(symbol: Any) -> Any:
    """The network with MXNet's default written out: dense layers flatten their input.

    MXNet's ONNX exporter assumes the opposite default.
    """
    graph = json.loads(symbol.tojson())
    for node in graph["nodes"]:
        if node["op"] == "FullyConnected":
            node["attrs"].setdefault("flatten", "True")
    return mx.sym.load_json(json.dumps(graph))


class ExportedNetwork:
    """Inference of a network without label on the CPU, with the methods that evaluation calls.

    Parameters
    ----------
    model
        from `data`, float32 (n, 3, h, w), to probabilities (n, classes).
    batch_shape
        (n, h, w, 3).
    mean, std
        of red, green and blue, on the scale 0-255.
    bgr
        whether the network takes blue, green, red.

    """

    def __init__(
        self,
        model: Model,
        batch_shape: Tuple[int, int, int, int],
        mean: Sequence[float],
        std: Sequence[float],
        bgr: bool = False,
    ) -> None:
        symbol, arg, aux = model
        self.batch_size, height, width, _ = batch_shape
        self.seconds = 0.0  # of inference
        self._mean, self._std, self._bgr = mean, std, bgr
        self._module = mx.mod.Module(symbol, label_names=None, context=mx.cpu())
        self._module.bind([("data", (self.batch_size, 3, height, width))], for_training=False)
        self._module.set_params(to_mxnet(arg), to_mxnet(aux))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, h, w, 3), n up to the batch size."""
        began = time.perf_counter()
        planes = normalise(images, self._mean, self._std, self._bgr)
        missing = self.batch_size - len(images)
        planes = np.concatenate([planes, np.zeros((missing, *planes.shape[1:]), np.float32)])
        self._module.forward(mx.io.DataBatch([mx.nd.array(planes)]), is_train=False)
        probabilities = self._module.get_outputs()[0].asnumpy()[: len(images)]
        self.seconds += time.perf_counter() - began
        return probabilities


def normalise(
    images: np.ndarray, mean: Sequence[float], std: Sequence[float], bgr: bool = False
) -> np.ndarray:
    """(value - mean) / std of uint8 (n, h, w, 3) RGB as float32 (n, 3, h, w); `bgr`: blue first."""
    values = (images.astype(np.float32) - np.array(mean, np.float32)) / np.array(std, np.float32)
    values = values[..., ::-1] if bgr else values
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def write_onnx(model: Model, image_shape: Sequence[int], path: str) -> None:
    """Write a network without label as ONNX with a free batch size, by MXNet's exporter.

    Raises ArgumentError with the operator that ONNX or the exporter does not have.
    """
    symbol, arg, aux = model
    symbol = with_explicit_flatten(symbol)
    parameters = to_mxnet({**with_fixed_gammas(symbol, arg), **aux})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mx.onnx.export_model(
                symbol, parameters, [(1, *image_shape)], np.float32, path,
                dynamic=True, dynamic_input_shapes=[("batch", *image_shape)],
            )  # fmt: skip
    except AttributeError as error:  # the exporter raises it for operators that it does not have
        raise ArgumentError(
            "to", "onnx", f"MXNet cannot write this network as ONNX: {error}; use mxnet"
        ) from error


def quantised(model: Model, planes: np.ndarray, batch: int, mode: str) -> Model:
    """The network with convolutions and dense layers in 8-bit integers, by MXNet and oneDNN.

    Parameters
    ----------
    model
        without label.
    planes
        float32 (n, 3, h, w), for the ranges of all layers' outputs.
    batch
        batch size for these.
    mode
        naive uses the minimum and maximum, entropy the range with the least loss of information
        (Migacz 2017, "8-bit Inference with TensorRT").

    """
    symbol, arg, aux = model
    images = mx.io.NDArrayIter(planes, batch_size=batch, data_name="data")
    int8, arguments, auxiliary = quantization().quantize_model_mkldnn(
        symbol, to_mxnet(arg), to_mxnet(aux), data_names=("data",), label_names=None,
        ctx=mx.cpu(), calib_mode=mode, calib_data=images, num_calib_examples=len(planes),
        quantized_dtype="auto", logger=None,
    )  # fmt: skip
    return int8, to_numpy(arguments), to_numpy(auxiliary)

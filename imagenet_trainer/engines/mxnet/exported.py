"""Exported networks: inference on the CPU, and quantisation to 8-bit integers."""

import time
from typing import Any, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines.mxnet.arrays import to_mxnet, to_numpy, to_symbol
from imagenet_trainer.engines.planes import normalise
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx, quantization

Model = Tuple[Any, Arrays, Arrays]  # graph without label, arguments and auxiliary states


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
        self._module = mx.mod.Module(to_symbol(symbol), label_names=None, context=mx.cpu())
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
        to_symbol(symbol), to_mxnet(arg), to_mxnet(aux), data_names=("data",), label_names=None,
        ctx=mx.cpu(), calib_mode=mode, calib_data=images, num_calib_examples=len(planes),
        quantized_dtype="auto", logger=None,
    )  # fmt: skip
    return int8, to_numpy(arguments), to_numpy(auxiliary)

"""The root mean square of every tensor during training, by MXNet's monitor."""

import math
from typing import Any, Dict, List, Tuple

import numpy as np

from imagenet_trainer.engines.workers import ALONE, Workers, whole_of
from imagenet_trainer.system.mxnet_import import mx

# Outputs of backward operators are reported as gradients of parameters. The output for the labels
# is never written and holds arbitrary memory.
_PATTERN = r"(?!.*_backward_|softmax_label$)"
Statistics = Tuple[int, Dict[str, float]]  # update, root mean square by tensor


class TensorMonitor:
    """Monitors the tensors of a module every `every` updates, on all devices of all workers.

    Values are root mean squares over the whole batch (with asynchronous workers, over the part of
    each one): of the outputs of all layers in order of execution, then of the data, the parameters
    before the update and, as NAME_grad, the gradients of the mean loss. A value is not finite if
    an element of the tensor is not.
    """

    def __init__(self, module: "mx.mod.Module", every: int, workers: Workers) -> None:
        self._module = module
        self._workers = workers if workers.in_step else ALONE
        self._monitor = mx.mon.Monitor(every, _root_mean_square, _PATTERN)
        self._statistics: List[Statistics] = []
        self.install()

    def install(self) -> None:
        """Monitor the module's executors, which are others after a binding to another size."""
        self._monitor.exes = []
        self._module.install_monitor(self._monitor)

    def begin(self, update: int) -> None:
        """Call before the forward pass of an update, counted from 0."""
        self._monitor.step = update  # MXNet counts the updates of this process only
        self._monitor.tic()

    def end_forward(self, update: int, images: np.ndarray) -> None:
        """Call after the forward pass; `images` are the data of the update."""
        devices: Dict[str, List[float]] = {}
        for _, name, text in self._monitor.toc():
            devices.setdefault(name, []).append(float(text))
        if devices:
            # Each device has its part of the batch, and all of the parameters.
            values = {name: _over_devices(parts) for name, parts in devices.items()}
            # If a batch is computed in parts, MXNet has the data of the last part only.
            values["data"] = math.sqrt(np.square(images, dtype=np.float32).mean(dtype=np.float64))
            self._statistics.append((update + 1, whole_of(values, self._workers)))

    def end_update(self, update: int) -> None:
        """Call after the update: every device then has the gradient summed over the batch."""
        if not self._statistics or self._statistics[-1][0] != update + 1:
            return
        executor = self._module._exec_group.execs[0]
        scale = self._module._optimizer.rescale_grad
        for name, gradient in executor.grad_dict.items():
            if gradient is not None:
                value = float(_root_mean_square(gradient).asscalar())
                self._statistics[-1][1][f"{name}_grad"] = value * scale

    def read(self) -> List[Statistics]:
        """The statistics since the last call."""
        statistics, self._statistics = self._statistics, []
        return statistics


def _root_mean_square(tensor: Any) -> Any:
    # amp_cast reads bfloat16 in the layout of MXNet's kernels, for which astype fails (measured).
    # It does not convert integers, which astype does.
    whole = mx.nd.amp_cast(tensor, dtype="float32").astype("float32")
    return mx.nd.norm(whole) / math.sqrt(tensor.size)


def _over_devices(parts: List[float]) -> float:
    return math.sqrt(sum(part * part for part in parts) / len(parts))

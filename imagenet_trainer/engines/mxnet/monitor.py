"""What --monitor sees, by MXNet's own monitor: the root mean square of every tensor."""

import math
from typing import Any, Dict, List, Tuple

import numpy as np

from imagenet_trainer.engines.workers import ALONE, Workers, whole_of
from imagenet_trainer.system.mxnet_import import mx

# Outputs of backward operators are told as gradients of parameters; that of the labels is never
# written and holds what was in memory before.
_PATTERN = r"(?!.*_backward_|softmax_label$)"
Statistics = Tuple[int, Dict[str, float]]  # updates made, root mean square by tensor


class TensorMonitor:
    """Looks at the tensors of every so many updates of a module, on all devices of all workers.

    Values are root mean squares over the whole batch (of workers that are not in step: over each
    one's part): of the outputs of all layers in the order in
    which they are computed, then of the data, the parameters before the update and, as
    NAME_grad, the gradients of the mean loss. Not finite where a number of the tensor is not.
    """

    def __init__(self, module: "mx.mod.Module", every: int, workers: Workers) -> None:
        self._module = module
        self._workers = workers if workers.in_step else ALONE
        self._monitor = mx.mon.Monitor(every, _root_mean_square, _PATTERN)
        self._seen: List[Statistics] = []
        module.install_monitor(self._monitor)

    def begin(self, update: int) -> None:
        """Before the forward pass of an update, counted from 0."""
        self._monitor.step = update  # MXNet counts the updates of this process
        self._monitor.tic()

    def end_forward(self, update: int, images: np.ndarray) -> None:
        """After it: keep what was seen if this update is one to look at; `images` are its data."""
        devices: Dict[str, List[float]] = {}
        for _, name, text in self._monitor.toc():
            devices.setdefault(name, []).append(float(text))
        if devices:
            # Each device has its part of the batch, and all of the parameters.
            values = {name: _over_devices(parts) for name, parts in devices.items()}
            # Of a batch that is computed in parts MXNet holds the last one's.
            values["data"] = math.sqrt(np.square(images, dtype=np.float32).mean(dtype=np.float64))
            self._seen.append((update + 1, whole_of(values, self._workers)))

    def end_update(self, update: int) -> None:
        """After the update: every device has the gradient summed over the batch."""
        if not self._seen or self._seen[-1][0] != update + 1:
            return
        executor = self._module._exec_group.execs[0]
        scale = self._module._optimizer.rescale_grad
        for name, gradient in executor.grad_dict.items():
            if gradient is not None:
                value = float(_root_mean_square(gradient).asscalar())
                self._seen[-1][1][f"{name}_grad"] = value * scale

    def read(self) -> List[Statistics]:
        """What was seen since the last call."""
        seen, self._seen = self._seen, []
        return seen


def _root_mean_square(tensor: Any) -> Any:
    # amp_cast reads bfloat16 in the layout of MXNet's kernels, which astype fails at (measured);
    # types that are no floats it leaves to astype.
    whole = mx.nd.amp_cast(tensor, dtype="float32").astype("float32")
    return mx.nd.norm(whole) / math.sqrt(tensor.size)


def _over_devices(parts: List[float]) -> float:
    return math.sqrt(sum(part * part for part in parts) / len(parts))

"""An exponential moving average of parameters and moving statistics, kept on their devices.

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the decayed form
as in PyTorch's swa_utils: the first update's parameters are copied, then
average <- decay * average + (1 - decay) * value.
"""

from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from imagenet_trainer.engines import Training, average_decay_of
from imagenet_trainer.engines.mxnet.arrays import to_numpy
from imagenet_trainer.engines.mxnet.statistics import by_device, devices_in
from imagenet_trainer.engines.workers import Workers, mean_of, of_all_devices
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

_ARG, _AUX = "average:arg:", "average:aux:"
_ON_DEVICES = "average_statistics:"


class MovingAverage:
    """The averages of an engine's executors.

    Parameters are the same on all devices and are averaged on the first one. Moving statistics
    differ between devices; they are averaged on each, and over the devices when they are read.

    Parameters
    ----------
    training
        has the decay: the weight of the previous average.
    names
        names of the parameters.

    """

    def __init__(self, training: Training, names: Sequence[str]) -> None:
        self._training, self._names = training, list(names)
        self._arg: Dict[str, Any] = {}  # empty until the first update
        self._aux: List[Dict[str, Any]] = []

    def update(self, executors: Sequence[Any], number: int) -> None:
        """Add the parameters after update `number` (from 1), without waiting for them."""
        for executor in executors:
            for value in executor.aux_dict.values():
                # MXNet treats BatchNorm's backward, which writes these, as a reader of them, and
                # does not make other readers wait for it. A writer has to wait; this one multiplies
                # by one.
                mx.nd._internal._mul_scalar(value, scalar=1.0, out=value)
        arg = {name: executors[0].arg_dict[name] for name in self._names}
        if not self._arg:
            self._arg = {name: value.copy() for name, value in arg.items()}
            self._aux = [
                {name: value.copy() for name, value in executor.aux_dict.items()}
                for executor in executors
            ]
            return
        rest = 1 - average_decay_of(self._training, number)
        self._move(self._arg, arg, rest)
        for averages, executor in zip(self._aux, executors):
            self._move(averages, executor.aux_dict, rest)

    @staticmethod
    def _move(averages: Mapping[str, Any], values: Mapping[str, Any], rest: float) -> None:
        for name, average in averages.items():
            # (1 - rest * 1) * average + rest * value in one operator, that of sgd.
            mx.nd.sgd_update(average, values[name], out=average, lr=rest, wd=1.0, rescale_grad=-1.0)

    def state(self, workers: Workers) -> Arrays:
        """`average:arg:NAME`, `average:aux:NAME`; with several devices also their statistics.

        Devices are numbered over all workers, all of which must call this.
        """
        if not self._arg:
            return {}
        state = {f"{_ARG}{name}": value for name, value in to_numpy(self._arg).items()}
        per_device = of_all_devices([to_numpy(one) for one in self._aux], workers)
        state.update((f"{_AUX}{name}", mean) for name, mean in mean_of(per_device).items())
        return {**state, **by_device(_ON_DEVICES, per_device)}

    def set_state(
        self, state: Mapping[str, np.ndarray], executors: Sequence[Any], workers: Workers
    ) -> None:
        """Continue from `state`; from the average over devices if their number has changed."""
        self._arg, self._aux = {}, []
        if not any(key.startswith(_ARG) for key in state):
            return
        self._arg = {
            name: _like(executors[0].arg_dict[name], state[_ARG + name]) for name in self._names
        }
        same = devices_in(state, _ON_DEVICES) == len(executors) * workers.world_size
        for device, executor in enumerate(executors, workers.rank * len(executors)):
            prefix = f"{_ON_DEVICES}{device}:" if same else _AUX
            self._aux.append(
                {name: _like(v, state[prefix + name]) for name, v in executor.aux_dict.items()}
            )


def _like(array: Any, value: np.ndarray) -> Any:
    return mx.nd.array(value, ctx=array.context, dtype=array.dtype)

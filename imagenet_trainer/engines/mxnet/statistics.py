"""BatchNorm's moving statistics, of which every device of every worker has its own."""

from typing import Any, Mapping, Sequence

import numpy as np

from imagenet_trainer.engines.mxnet.arrays import to_numpy
from imagenet_trainer.engines.workers import Workers, mean_of, of_all_devices
from imagenet_trainer.system.arrays import Arrays

_KEY = "statistics:"


def mean_statistics(executors: Sequence[Any], workers: Workers) -> Arrays:
    """The mean of each over all devices; all workers must call this."""
    here = [to_numpy(executor.aux_dict) for executor in executors]
    return mean_of(of_all_devices(here, workers))


def statistics_state(executors: Sequence[Any], workers: Workers) -> Arrays:
    """With several devices `statistics:DEVICE:NAME`; all workers must call this.

    Devices are numbered over all workers, those of rank 0 first.
    """
    here = [to_numpy(executor.aux_dict) for executor in executors]
    return by_device(_KEY, of_all_devices(here, workers))


def set_statistics(
    state: Mapping[str, np.ndarray], executors: Sequence[Any], workers: Workers
) -> None:
    """Continue from the result of `statistics_state`; that of other devices is ignored."""
    if devices_in(state, _KEY) != len(executors) * workers.world_size:
        return
    for device, executor in enumerate(executors, workers.rank * len(executors)):
        for name, value in executor.aux_dict.items():
            value[:] = state[f"{_KEY}{device}:{name}"]


def by_device(prefix: str, everywhere: Sequence[Arrays]) -> Arrays:
    """The arrays of several devices as `PREFIX DEVICE:NAME`; nothing of a single device."""
    if len(everywhere) == 1:
        return {}
    return {
        f"{prefix}{device}:{name}": value
        for device, arrays in enumerate(everywhere)
        for name, value in arrays.items()
    }


def devices_in(state: Mapping[str, np.ndarray], prefix: str) -> int:
    """The number of devices in the result of `by_device`."""
    return len({key.split(":")[1] for key in state if key.startswith(prefix)})

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
    everywhere = of_all_devices(here, workers)
    if len(everywhere) == 1:
        return {}
    return {
        f"{_KEY}{device}:{name}": value
        for device, statistics in enumerate(everywhere)
        for name, value in statistics.items()
    }


def set_statistics(
    state: Mapping[str, np.ndarray], executors: Sequence[Any], workers: Workers
) -> None:
    """Continue from the result of `statistics_state`; that of other devices is ignored."""
    devices = {key.split(":")[1] for key in state if key.startswith(_KEY)}
    if len(devices) != len(executors) * workers.world_size:
        return
    for device, executor in enumerate(executors, workers.rank * len(executors)):
        for name, value in executor.aux_dict.items():
            value[:] = state[f"{_KEY}{device}:{name}"]

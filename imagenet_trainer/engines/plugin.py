"""Engines of other installed packages: functions that return an `engines.Engine`.

Such an engine trains in one process; workers are joined by our engines only.
"""

import os
from typing import Any, Optional, Sequence, Tuple

from imagenet_trainer.config import plugins
from imagenet_trainer.engines import Devices, Engine, Training
from imagenet_trainer.engines.choice import is_torch_worker
from imagenet_trainer.engines.workers import ALONE, Workers
from imagenet_trainer.errors import ArgumentError, InputError

_MEMBERS = sorted(
    {name for name in vars(Engine) if not name.startswith("_")} | set(Engine.__annotations__)
)


def join_plugin(devices: Devices) -> Workers:
    """No other workers; raises ArgumentError where a launcher has started several."""
    if devices.kv_store.startswith("dist") or is_torch_worker() or "DMLC_ROLE" in os.environ:
        raise ArgumentError(
            "engine", devices.engine, "is a plug-in, which trains in one process; omit the launcher"
        )
    return ALONE


def open_plugin(
    symbol: Any,
    devices: Devices,
    batch_shape: Tuple[int, int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    training: Optional[Training],
    bgr: bool,
) -> Engine:
    """Call the plug-in with these arguments, by their names, which are those of `open_engine`.

    Raises ArgumentError as `plugins.load` does, if its code fails, and if the result lacks members
    of an Engine. A RuntimeError passes through: it may be about memory.
    """
    plugin, function = plugins.load("engines", devices.engine)
    try:
        engine = function(
            symbol=symbol, devices=devices, batch_shape=batch_shape, mean=mean, std=std,
            training=training, bgr=bgr,
        )  # fmt: skip
    except (InputError, MemoryError, RuntimeError):
        raise
    except Exception as error:
        raise plugin.error(f"failed: {plugins.one_line(error)}") from error
    missing = [name for name in _MEMBERS if not hasattr(engine, name)]
    if missing:
        raise plugin.error(f"returns no engine: it lacks {', '.join(missing)}")
    return engine

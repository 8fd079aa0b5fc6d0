"""Checkpoints of a run with an exponential moving average of the parameters (--ema).

In an engine the parameters are the trained ones, and the average is part of the state. In a
checkpoint the parameters are the average, because it is evaluated and loaded by other programs,
and the trained parameters are part of the state.
"""

from typing import Mapping, Optional, Tuple

import numpy as np

from imagenet_trainer.system.arrays import Arrays

_AVERAGE, _TRAINED = "average:", "trained:"  # then arg:NAME or aux:NAME


def averages(state: Mapping[str, np.ndarray]) -> Optional[Tuple[Arrays, Arrays]]:
    """The averaged arguments and auxiliary states in an engine's state; None without an average."""
    arg, aux = _below(f"{_AVERAGE}arg:", state), _below(f"{_AVERAGE}aux:", state)
    return (arg, aux) if arg else None


def to_save(arg: Arrays, aux: Arrays, state: Arrays) -> Tuple[Arrays, Arrays, Arrays]:
    """Convert arguments, auxiliary states and state of an engine to those of a checkpoint."""
    return _exchanged(arg, aux, state, _AVERAGE, _TRAINED)


def to_resume(arg: Arrays, aux: Arrays, state: Arrays) -> Tuple[Arrays, Arrays, Arrays]:
    """Convert arguments, auxiliary states and state of a checkpoint to those of an engine."""
    return _exchanged(arg, aux, state, _TRAINED, _AVERAGE)


def _exchanged(
    arg: Arrays, aux: Arrays, state: Arrays, take: str, put: str
) -> Tuple[Arrays, Arrays, Arrays]:
    """Swap the parameters with those below `take` in the state; they are stored below `put`."""
    taken = _below(f"{take}arg:", state), _below(f"{take}aux:", state)
    if not taken[0]:
        return arg, aux, state
    rest = {key: value for key, value in state.items() if not key.startswith(take)}
    for kind, parameters in (("arg", arg), ("aux", aux)):
        rest.update({f"{put}{kind}:{name}": value for name, value in parameters.items()})
    return (*taken, rest)


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays whose names start with a prefix, by the rest of their names."""
    return {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}

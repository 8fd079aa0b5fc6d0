"""A checkpoint of a run with a moving average: who is who in its arrays.

An engine has what is trained as its parameters and the average in its state. A checkpoint has the
average as its parameters, because that is what is scored and what other programs load, and what
is trained in its state.
"""

from typing import Mapping, Optional, Tuple

import numpy as np

from imagenet_trainer.system.arrays import Arrays

_AVERAGE, _TRAINED = "average:", "trained:"  # then arg:NAME or aux:NAME


def averages(state: Mapping[str, np.ndarray]) -> Optional[Tuple[Arrays, Arrays]]:
    """Averaged arguments and auxiliary states in an engine's state; None if there are none."""
    arg, aux = _behind(f"{_AVERAGE}arg:", state), _behind(f"{_AVERAGE}aux:", state)
    return (arg, aux) if arg else None


def to_save(arg: Arrays, aux: Arrays, state: Arrays) -> Tuple[Arrays, Arrays, Arrays]:
    """From an engine's arguments, auxiliary states and state to a checkpoint's."""
    return _exchanged(arg, aux, state, _AVERAGE, _TRAINED)


def to_resume(arg: Arrays, aux: Arrays, state: Arrays) -> Tuple[Arrays, Arrays, Arrays]:
    """From a checkpoint's arguments, auxiliary states and state to an engine's."""
    return _exchanged(arg, aux, state, _TRAINED, _AVERAGE)


def _exchanged(
    arg: Arrays, aux: Arrays, state: Arrays, inside: str, instead: str
) -> Tuple[Arrays, Arrays, Arrays]:
    """Parameters and those that the state has `inside` change places, named `instead` there."""
    coming = _behind(f"{inside}arg:", state), _behind(f"{inside}aux:", state)
    if not coming[0]:
        return arg, aux, state
    rest = {key: value for key, value in state.items() if not key.startswith(inside)}
    for kind, going in (("arg", arg), ("aux", aux)):
        rest.update({f"{instead}{kind}:{name}": value for name, value in going.items()})
    return (*coming, rest)


def _behind(prefix: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays whose names begin so, by the rest of their names."""
    return {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}

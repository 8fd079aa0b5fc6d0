"""A function in a process of its own: its memory is given back, its crash is an error like others.

A network that was measured here would stay in MXNet's memory beside the trainings that follow.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Callable, Optional, Tuple, TypeVar

from imagenet_trainer.errors import InputError

T = TypeVar("T")


def apart(function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)`, both of a module; InputError as it raised it, or where it crashed."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            result, refusal = pool.submit(_told, function, *arguments).result()
        except BrokenProcessPool:
            raise InputError(
                "its process crashed or was killed, perhaps for want of memory (dmesg says so)"
            ) from None
    if refusal is not None:
        raise InputError(refusal)
    return result


def _told(function: Callable[..., T], *arguments: Any) -> Tuple[Any, Optional[str]]:
    """The result, or the line of an InputError: those of some kinds cannot be sent on."""
    try:
        return function(*arguments), None
    except InputError as error:
        return None, str(error)

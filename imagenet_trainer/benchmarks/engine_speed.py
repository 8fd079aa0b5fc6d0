"""`doctor --measure`: which engine and which --dtype train fastest on this CPU."""

import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices, Engine, Optimizer, Training
from imagenet_trainer.engines.choice import TITLES, has_torch
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.speeds import WORTH, Kind, keep
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.system.machine import has_bfloat16
from imagenet_trainer.system.mxnet_import import installation_problem
from imagenet_trainer.train.initializers import initial_parameters


def available_kinds() -> List[Kind]:
    """Return what can be measured, the default of `fit` first; bfloat16 if the CPU has it."""
    dtypes = ["float32", *(["bfloat16"] if has_bfloat16() else [])]
    found = {"mxnet": installation_problem() is None, "torch": has_torch()}
    engines = [engine for engine, is_installed in found.items() if is_installed]
    return [(engine, dtype) for engine in engines for dtype in dtypes]


def open_untrained(
    network: str, devices: Devices, image_shape: Tuple[int, ...], classes: int, batch: int
) -> Engine:
    """An engine that trains a network with SGD, from its usual initial parameters."""
    symbol = symbols.get_symbol(network, classes, image_shape)
    _, height, width = image_shape
    engine = open_engine(
        symbol, devices, (batch, height, width, 3), (123.68, 116.779, 103.939),
        (58.393, 57.12, 57.375), Training(Optimizer("sgd", 0.9, 1e-4)),
    )  # fmt: skip
    start = symbols.find(network).initializer
    engine.set_params(*initial_parameters(*parameter_shapes(symbol, image_shape), start, 0))
    return engine


def random_batch(
    image_shape: Tuple[int, ...], classes: int, batch: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Images uint8 (batch, height, width, 3) and labels int64 (batch,), always the same."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, *image_shape[1:], 3), np.uint8)
    return images, random.integers(0, classes, batch)


class _Trained:
    """A network that trains on one batch in memory."""

    def __init__(
        self, network: str, kind: Kind, image_shape: Tuple[int, ...], classes: int, batch: int
    ) -> None:
        engine, dtype = kind
        devices = Devices(engine=engine, dtype=dtype)
        self._engine = open_untrained(network, devices, image_shape, classes, batch)
        self._images, self._labels = random_batch(image_shape, classes, batch)

    def update(self) -> None:
        self._engine.train_batch(self._images, self._labels, 1e-3)

    def wait(self) -> None:
        """Wait for the last update; its counts are known before its backward pass has ended."""
        self._engine.get_params()


def updates_per_second(
    network: str,
    kinds: Sequence[Kind],
    image_shape: Tuple[int, ...] = (3, 224, 224),
    classes: int = 1000,
    batch: int = 16,
    seconds: float = 1.0,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Dict[Kind, float]:
    """Measure updates of a network on one batch in memory, in the fastest of some rounds.

    In a round each kind trains for this many seconds and at least one update. The kinds take
    turns, because the load of other programs varies.
    """
    trained = {kind: _Trained(network, kind, image_shape, classes, batch) for kind in kinds}
    for one in trained.values():
        one.update()  # allocates, and chooses algorithms
    speeds = dict.fromkeys(kinds, 0.0)
    for _ in range(rounds):
        for kind, one in trained.items():
            one.wait()
            began, updates = clock(), 0
            while updates == 0 or clock() - began < seconds:
                one.update()
                updates += 1
            one.wait()
            speeds[kind] = max(speeds[kind], updates / (clock() - began))
    return speeds


def report_lines(speeds: Dict[Kind, float], network: str, batch: int) -> List[str]:
    """Return a table, and one line that recommends flags; the first kind is the default."""
    default = next(iter(speeds))
    usual = f"{TITLES[default[0]]} in {default[1]}"
    lines = [f"{network}, batch {batch}, on this CPU:"]
    for (engine, dtype), speed in speeds.items():
        lines.append(
            f"  {TITLES[engine]:8} {dtype:9}{speed:8.2f} updates/s{speed * batch:9.1f} images/s"
        )
    best = max(speeds, key=lambda kind: speeds[kind])
    gain = speeds[best] / speeds[default]
    if gain < WORTH:
        return [*lines, f"recommended: the defaults, {usual}; nothing else is "
                f"{100 * (WORTH - 1):.0f} % faster"]  # fmt: skip
    pairs = zip(("--engine", "--dtype"), best, default)
    flags = [f"{flag} {ours}" for flag, ours, other in pairs if ours != other]
    return [*lines, f"recommended: {' '.join(flags)}, {gain:.2f} times {usual}"]


def measure(
    networks: Sequence[str], image_shape: Optional[Tuple[int, ...]] = None, batch: int = 16
) -> Dict[str, Dict[Kind, float]]:
    """Print a table for each network, and keep the speeds for `--engine auto`.

    Returns updates per second by network and kind. By default the images have the size for which
    the network was published. Raises InputError before anything is measured if a network does not
    exist or not for this size.
    """
    found = [symbols.find(name) for name in networks]
    shapes = [image_shape or network.image_shape for network in found]
    for network, shape in zip(found, shapes):
        symbols.get_symbol(network.name, 10, shape)
    kept, measured = "", {}
    for network, shape in zip(found, shapes):
        classes = 1000 if shape[1] >= 64 else 10
        speeds = updates_per_second(network.name, available_kinds(), shape, classes, batch)
        measured[network.name] = speeds
        print("\n".join(report_lines(speeds, network.name, batch)), flush=True)
        kept = keep(network.name, shape, speeds)
    print(kept)
    return measured

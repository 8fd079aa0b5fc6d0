"""Compare outputs, gradients and statistics of every network between MXNet and PyTorch.

Both receive the same parameters, images and labels. In float64 only the last of sixteen digits may
differ, which shows that both compute the same function. In float32 rounding is visible, and depends
on the point of comparison. So parameters are like those of a trained network (initial parameters
have gradients that are zero except for BatchNorm's epsilon), the batch is large enough for every
BatchNorm, and no unit is at a breakpoint (`nondifferentiable`).
"""

import gc
import platform
import time
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks.figures import Figures, named
from imagenet_trainer.benchmarks.nondifferentiable import certainty, move_away
from imagenet_trainer.engines.choice import version_of
from imagenet_trainer.engines.mxnet.reference import forward_backward
from imagenet_trainer.engines.pytorch.graph import TorchNetwork, load_graph, to_tensor
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import Symbol
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.train.initializers import initial_parameters

CLASSES = 10
# The first that a network accepts: small ResNets accept up to 28 pixels, Inception v3 75 and more.
# Few pixels, so that the gradients of the first layers are not sums that mostly cancel; more than
# one in the last layer, for its BatchNorm.
_SIDES = (40, 28, 64, 107)
_IMAGES = {107: 4}  # a pooling of many large planes always has two equal pixels
_BATCH = 16  # of the other sizes
_CERTAIN, _TRIES = 8.0, 40
_CPU = torch.device("cpu")
# A gradient that in float64 is smaller than this share of the largest counts as zero: for example
# that of a bias before a BatchNorm, which subtracts it again.
_ZERO = 1e-9
# The float32 value of such a gradient is compared with this share of the largest.
_ZERO_SCALE = 1e-2


@dataclass(frozen=True)
class Case:
    """A network with parameters and a batch."""

    symbol: Symbol
    arg: Arrays
    aux: Arrays
    images: np.ndarray  # float32 (n, 3, h, w), already normalised
    labels: np.ndarray  # int64 (n,)
    certainty: float  # see nondifferentiable.certainty


@dataclass(frozen=True)
class Results:
    """What an engine computed for a case, in training."""

    output: np.ndarray  # probabilities (n, classes)
    gradients: Arrays  # of the summed loss
    statistics: Arrays  # moving means and variances after the update


def case_of(name: str, batch: Optional[int] = None) -> Case:
    """Return a network of the registry with noise images and parameters where it is differentiable.

    Parameters
    ----------
    name
        as `symbols.find` takes it.
    batch
        number of images; by default 16, for 107 pixels 4.

    Raises InputError for an unknown name, or images that the network does not accept.

    """
    symbol, shape = _graph(name)
    batch = batch or _IMAGES.get(shape[1], _BATCH)
    shapes = parameter_shapes(symbol, shape)
    arg, aux = initial_parameters(*shapes, symbols.find(name).initializer, 0)
    arg = like_learned(arg)
    best: Optional[Case] = None
    for seed in range(_TRIES):
        images, labels = _batch(shape, batch, seed)
        exact = torch_network(symbol, arg, aux, "float64")
        move_away(exact, torch.from_numpy(images).double(), torch.from_numpy(labels))
        moved = {key: value.detach().float().numpy() for key, value in exact.arg.items()}
        exact, rounded = (torch_network(symbol, moved, aux, d) for d in ("float64", "float32"))
        sure = certainty(
            exact, rounded, torch.from_numpy(images).double(), torch.from_numpy(labels)
        )
        if best is None or sure > best.certainty:
            best = Case(symbol, moved, aux, images, labels, sure)
        if sure > _CERTAIN:
            break
    assert best
    return best


def _graph(name: str) -> Tuple[Symbol, Tuple[int, int, int]]:
    """Return the symbol for the first of _SIDES that works; dropout, being random, is off."""
    for side in _SIDES:
        try:
            symbol = symbols.get_symbol(name, CLASSES, (3, side, side))
        except InputError:
            if side == _SIDES[-1]:
                raise
            continue
        dropouts = [node.name for node in symbol.nodes if node.op == "Dropout"]
        return symbol.with_attributes({one: {"p": "0"} for one in dropouts}), (3, side, side)
    raise AssertionError


def _batch(shape: Tuple[int, int, int], batch: int, seed: int) -> Tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    images = random.normal(0, 50, (batch, *shape)).astype(np.float32)
    return images, random.integers(0, CLASSES, batch)


def like_learned(arg: Mapping[str, np.ndarray]) -> Arrays:
    """Return parameters with gammas in [0.75, 1.25), betas in [-1, 2), biases in [-0.1, 0.1).

    With gammas of one and betas of zero, a BatchNorm's scale is removed by the next BatchNorm: its
    gradient is zero, and cannot be compared. Moreover every unit is active for half of the images,
    so that rounding errors grow by a tenth per layer, too much for float32 over three hundred
    layers. In a trained network most units are active for more images, or for fewer. The seed is
    one with which float32 is certain in all networks; with others one or two of the 58 lose 1e-4
    and more in either engine.
    """
    random, learned = np.random.default_rng(0), {}
    for name, value in arg.items():
        drawn = random.uniform(-1, 1, value.shape).astype(np.float32)
        if name.endswith("gamma"):
            learned[name] = 1 + drawn / 4
        elif name.endswith("beta"):
            learned[name] = 0.5 + 1.5 * drawn
        else:
            learned[name] = drawn / 10 if name.endswith("bias") else value
    return learned


# --- results of both engines ---------------------------------------------------------------------


def by_mxnet(case: Case, dtype: str) -> Results:
    """Run forward and backward passes in MXNet in float32 or float64."""
    passed = forward_backward(case.symbol, case.arg, case.aux, case.images, case.labels, dtype)
    return Results(*passed)


def by_torch(case: Case, dtype: str) -> Results:
    """Run the same in PyTorch, with the graph that its engine trains."""
    network = torch_network(case.symbol, case.arg, case.aux, dtype)
    images = torch.from_numpy(case.images).to(
        getattr(torch, dtype), memory_format=torch.channels_last
    )
    outputs, loss, moments = network.training(images, torch.from_numpy(case.labels))
    loss.backward()
    statistics = {}
    for position, statistic in enumerate(network.statistics):
        for part, name in enumerate((statistic.mean, statistic.variance)):
            momentum, new = statistic.momentum, moments[2 * position + part].numpy()
            statistics[name] = momentum * case.aux[name] + (1 - momentum) * new
    gradients = {n: v.grad.numpy() for n, v in network.arg.items() if v.grad is not None}
    return Results(outputs[0].detach().numpy(), gradients, statistics)


def torch_network(
    symbol: Symbol, arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray],
    dtype: str,
) -> TorchNetwork:  # fmt: skip
    """Return a symbol as the PyTorch engine computes it, with these parameters."""
    shapes, aux_shapes = (
        {name: value.shape for name, value in group.items()} for group in (arg, aux)
    )
    network = load_graph(symbol, shapes, aux_shapes, _CPU)
    for name, value in network.arg.items():
        to_tensor(arg[name], value)
    network.training.to(getattr(torch, dtype))
    return network


# --- their difference ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """The difference of two results: for each tensor, its norm over the norm of the tensor.

    Whole tensors are compared, because elements are sums whose terms may cancel.
    """

    output: float
    gradients: Dict[str, float]
    statistics: float  # the largest

    @property
    def worst(self) -> Tuple[float, str]:
        """The largest difference of a gradient, NaN if one is, and the name of its parameter."""
        names = sorted(self.gradients)
        name = names[int(np.argmax([self.gradients[one] for one in names]))]
        return self.gradients[name], name


def difference(ours: Results, theirs: Results, exact: Results) -> Difference:
    """Compare relative to float64; gammas that a symbol fixes have gradients on one side only.

    Gradients that are zero in exact arithmetic have no relative error: they are compared with a
    hundredth of the largest, so 1e-4 means a millionth of the largest.
    """
    sizes = {name: np.linalg.norm(value) for name, value in exact.gradients.items()}
    largest = max(sizes.values())
    gradients = {}
    for name in ours.gradients.keys() & theirs.gradients.keys():
        distance = np.linalg.norm(ours.gradients[name] - theirs.gradients[name].astype(np.float64))
        is_zero = sizes[name] < _ZERO * largest
        gradients[name] = float(distance / (_ZERO_SCALE * largest if is_zero else sizes[name]))
    # After a BatchNorm with beta zero, moving means are zero except for rounding.
    largest_moving = max((float(np.linalg.norm(v)) for v in exact.statistics.values()), default=0.0)
    least = 1e-6 * largest_moving
    moved = [_relative(v, theirs.statistics[name], least) for name, v in ours.statistics.items()]
    statistics = float(np.max(moved)) if moved else 0.0  # NaN if one is, as Python's max is not
    return Difference(_relative(ours.output, theirs.output), gradients, statistics)


def _relative(ours: np.ndarray, theirs: np.ndarray, least: float = 0.0) -> float:
    size = max(float(np.linalg.norm(theirs)), least)
    return float(np.linalg.norm(ours - theirs.astype(np.float64))) / size


# --- the table -----------------------------------------------------------------------------------

_HEAD = (
    f"{'network':20}{'pixels':>7}{'sure':>6}   "
    f"{'output':>8}{'gradient':>9}{'moving':>8}   {'MXNet':>8}{'PyTorch':>8}   "
    f"{'float64':>8}{'seconds':>8}"
)


def row(name: str) -> Tuple[str, Figures]:
    """Measure a network; return its line of the table, and its relative differences."""
    start = time.perf_counter()
    case = case_of(name)
    exact = by_torch(case, "float64")
    ours, theirs = by_torch(case, "float32"), by_mxnet(case, "float32")
    between = difference(ours, theirs, exact)
    own = [difference(results, exact, exact).worst[0] for results in (theirs, ours)]
    same = difference(exact, by_mxnet(case, "float64"), exact)
    double = float(np.max([same.output, same.worst[0]]))
    figures = {
        "output": between.output, "gradient": between.worst[0], "moving": between.statistics,
        "mxnet": own[0], "torch": own[1], "float64": double,
    }  # fmt: skip
    line = (
        f"{name:20}{case.images.shape[2]:7}{case.certainty:6.1f}   "
        f"{between.output:8.1e}{between.worst[0]:9.1e}{between.statistics:8.1e}   "
        f"{own[0]:8.1e}{own[1]:8.1e}   {double:8.1e}"
        f"{time.perf_counter() - start:8.0f}  {between.worst[1]}"
    )
    return line, {f"{named(name)}_{key}": value for key, value in figures.items()}


def run(names: Sequence[str]) -> Figures:
    """Print the table line by line, by default of all networks; return its numbers.

    Raises InputError for an unknown name.
    """
    chosen = [symbols.find(name).name for name in names] or all_networks()
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, MXNet "
        f"{version_of('mxnet')}, PyTorch {torch.__version__}"
    )
    print(_HEAD, flush=True)
    figures: Figures = {}
    for name in chosen:
        line, differences = row(name)
        print(line, flush=True)
        figures.update(differences)
        gc.collect()  # graphs refer to themselves
    return figures


def all_networks() -> List[str]:
    """Return every network of the registry once."""
    return list(dict.fromkeys(symbols.find(name).name for name in symbols.names()))

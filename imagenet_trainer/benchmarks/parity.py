"""Do MXNet and PyTorch compute the same? Outputs, gradients and statistics of every network.

Both get the same parameters, images and labels. In float64 nothing but the last of sixteen
digits may differ: that is the proof that both compute the same function. In float32 rounding is
seen, which depends on where one looks. So parameters are like those of a network that learns
(first parameters have gradients that are nought but for BatchNorm's epsilon), the batch is large
enough for every BatchNorm, and no unit lies on its kink (`kinks`).
"""

import gc
import json
import platform
import time
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import torch

import symbols
from imagenet_trainer.benchmarks.nondifferentiable import certainty, move_away
from imagenet_trainer.engines import parameter_shapes
from imagenet_trainer.engines.pytorch.graph import Network, load_graph, to_tensor
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters

CLASSES = 10
# The first that a network takes: small ResNets take up to 28 pixels, Inception v3 75 and more. Few
# places, so that the first layers' gradients are not sums that mostly cancel; more than one at the
# end, for the last BatchNorm.
_SIDES = (40, 28, 64, 107)
_IMAGES = {107: 4}  # a pooling of many large planes always has two pixels that are equal
_BATCH = 16  # of the others
_CERTAIN, _TRIES = 8.0, 40
_CPU = torch.device("cpu")
# A gradient that float64 finds smaller than this share of the largest is nought: that of a bias in
# front of a BatchNorm, say, which takes it away again.
_NOUGHT = 1e-9
# What float32 may then make of it, against the largest, counts as 1e-4.
_NOUGHT_SCALE = 1e-2


@dataclass(frozen=True)
class Subject:
    """A network with parameters and a batch."""

    symbol: "mx.sym.Symbol"
    arg: Arrays
    aux: Arrays
    images: np.ndarray  # float32 (n, 3, h, w), what a head makes of bytes
    labels: np.ndarray  # int64 (n,)
    certainty: float  # see kinks.certainty


@dataclass(frozen=True)
class Found:
    """What an engine computed of a subject, in training."""

    output: np.ndarray  # probabilities (n, classes)
    gradients: Arrays  # of the summed loss
    statistics: Arrays  # moving means and variances after the update


def subject(
    name: str, side: Optional[int] = None, batch: Optional[int] = None, learned: bool = True
) -> Subject:
    """A network of the registry on images of noise, with parameters where it has derivatives.

    Parameters
    ----------
    name
        as `symbols.find` takes it.
    side
        pixels each way; by default the first of 40, 28, 64 and 107 that the network takes.
    batch
        images; by default 16, of 107 pixels 4.
    learned
        False for the network's first parameters as they are, kinks and all.

    Raises InputError for a name that is none or images that the network does not take.

    """
    symbol, shape = _graph(name, (side,) if side else _SIDES)
    batch = batch or _IMAGES.get(shape[1], _BATCH)
    shapes = parameter_shapes(symbol, shape)
    arg, aux = initial_parameters(*shapes, symbols.find(name).initializer, 0)
    if not learned:
        images, labels = _batch(shape, batch, 0)
        return Subject(symbol, arg, aux, images, labels, 0.0)
    arg = like_learned(arg)
    best: Optional[Subject] = None
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
            best = Subject(symbol, moved, aux, images, labels, sure)
        if sure > _CERTAIN:
            break
    assert best
    return best


def _graph(name: str, sides: Sequence[int]) -> Tuple["mx.sym.Symbol", Tuple[int, int, int]]:
    """Its symbol for the first of these sizes that it takes; without dropout, which is random."""
    for side in sides:
        try:
            symbol = symbols.get_symbol(name, CLASSES, (3, side, side))
        except InputError:
            if side == sides[-1]:
                raise
            continue
        graph = json.loads(symbol.tojson())
        for node in graph["nodes"]:
            if node["op"] == "Dropout":
                node["attrs"]["p"] = "0"
        return mx.sym.load_json(json.dumps(graph)), (3, side, side)
    raise AssertionError


def _batch(shape: Tuple[int, int, int], batch: int, seed: int) -> Tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    images = random.normal(0, 50, (batch, *shape)).astype(np.float32)
    return images, random.integers(0, CLASSES, batch)


def like_learned(arg: Mapping[str, np.ndarray]) -> Arrays:
    """First parameters, but gammas in [0.75, 1.25), betas in [-1, 2), biases in [-0.1, 0.1).

    With gammas of one and betas of nought a BatchNorm is scaled and the next one takes the scale
    away: such gammas have gradients of nought, where nothing can be compared. And every unit is on
    for one half of all images, which makes rounding grow by a tenth from layer to layer: three
    hundred layers of that are too many for float32. Most units of a network that has learned are
    on for more or for less. The draw is one of which float32 is sure in all networks; with others
    one or two of the 58 cost either engine alone 1e-4 and more.
    """
    random, made = np.random.default_rng(0), {}
    for name, value in arg.items():
        fresh = random.uniform(-1, 1, value.shape).astype(np.float32)
        if name.endswith("gamma"):
            made[name] = 1 + fresh / 4
        elif name.endswith("beta"):
            made[name] = 0.5 + 1.5 * fresh
        else:
            made[name] = fresh / 10 if name.endswith("bias") else value
    return made


# --- what both engines make of it ----------------------------------------------------------------


def by_mxnet(of: Subject, dtype: str) -> Found:
    """Forward and backward on MXNet in float32 or float64."""
    names = (*of.symbol.list_arguments(), *of.symbol.list_auxiliary_states())
    bound = of.symbol.simple_bind(
        mx.cpu(), data=of.images.shape, grad_req="write", type_dict=dict.fromkeys(names, dtype)
    )
    bound.copy_params_from(
        *({name: mx.nd.array(value, dtype=dtype) for name, value in group.items()}
          for group in (of.arg, of.aux))
    )  # fmt: skip
    data = mx.nd.array(of.images, dtype=dtype)
    output = bound.forward(is_train=True, data=data, softmax_label=of.labels)[0].asnumpy()
    bound.backward()
    mx.nd.waitall()
    gradients = {name: bound.grad_dict[name].asnumpy() for name in of.arg}
    return Found(output, gradients, {n: value.asnumpy() for n, value in bound.aux_dict.items()})


def by_torch(of: Subject, dtype: str) -> Found:
    """The same on PyTorch, through the graph that its engine trains."""
    network = torch_network(of.symbol, of.arg, of.aux, dtype)
    images = torch.from_numpy(of.images).to(
        getattr(torch, dtype), memory_format=torch.channels_last
    )
    outputs, loss, moments = network.training(images, torch.from_numpy(of.labels))
    loss.backward()
    statistics = {}
    for place, statistic in enumerate(network.statistics):
        for part, name in enumerate((statistic.mean, statistic.variance)):
            kept, new = statistic.momentum, moments[2 * place + part].numpy()
            statistics[name] = kept * of.aux[name] + (1 - kept) * new
    gradients = {n: v.grad.numpy() for n, v in network.arg.items() if v.grad is not None}
    return Found(outputs[0].detach().numpy(), gradients, statistics)


def torch_network(
    symbol: "mx.sym.Symbol", arg: Mapping[str, np.ndarray], aux: Mapping[str, np.ndarray],
    dtype: str,
) -> Network:  # fmt: skip
    """A symbol as PyTorch's engine computes it, with these parameters, in float32 or float64."""
    shapes, aux_shapes = (
        {name: value.shape for name, value in group.items()} for group in (arg, aux)
    )
    network = load_graph(symbol.tojson(), shapes, aux_shapes, _CPU)
    for name, value in network.arg.items():
        to_tensor(arg[name], value)
    network.training.to(getattr(torch, dtype))
    return network


# --- how far apart they are ----------------------------------------------------------------------


@dataclass(frozen=True)
class Apart:
    """Two results; each number is the norm of the difference over the norm of the tensor.

    Of a tensor as a whole: its elements are sums of many terms, which may cancel in single ones.
    """

    output: float
    gradients: Dict[str, float]
    statistics: float  # the worst

    @property
    def worst(self) -> Tuple[float, str]:
        """The gradient that differs most, and whose it is."""
        return max((far, name) for name, far in self.gradients.items())


def apart(ours: Found, theirs: Found, exact: Found) -> Apart:
    """Relative to what float64 gives; gammas that a symbol fixes have gradients on one side only.

    Gradients that are nought in exact arithmetic have no relative error: they are compared with a
    hundredth of the largest, so that 1e-4 means a millionth of that.
    """
    sizes = {name: np.linalg.norm(value) for name, value in exact.gradients.items()}
    largest = max(sizes.values())
    gradients = {}
    for name in ours.gradients.keys() & theirs.gradients.keys():
        far = np.linalg.norm(ours.gradients[name] - theirs.gradients[name].astype(np.float64))
        nought = sizes[name] < _NOUGHT * largest
        gradients[name] = float(far / (_NOUGHT_SCALE * largest if nought else sizes[name]))
    # Means of what has none, behind a BatchNorm whose beta is nought, are nought but for rounding.
    largest_kept = max((float(np.linalg.norm(v)) for v in exact.statistics.values()), default=0.0)
    least = 1e-6 * largest_kept
    moved = [_far(v, theirs.statistics[name], least) for name, v in ours.statistics.items()]
    return Apart(_far(ours.output, theirs.output), gradients, max(moved, default=0.0))


def _far(ours: np.ndarray, theirs: np.ndarray, least: float = 0.0) -> float:
    size = max(float(np.linalg.norm(theirs)), least)
    return float(np.linalg.norm(ours - theirs.astype(np.float64))) / size


# --- the table -----------------------------------------------------------------------------------

_HEAD = (
    f"{'network':20}{'pixels':>7}{'sure':>6}   "
    f"{'output':>8}{'gradient':>9}{'moving':>8}   {'MXNet':>8}{'PyTorch':>8}   "
    f"{'float64':>8}{'seconds':>8}"
)


def row(name: str) -> str:
    """One line of the table."""
    began = time.perf_counter()
    of = subject(name)
    exact = by_torch(of, "float64")
    ours, theirs = by_torch(of, "float32"), by_mxnet(of, "float32")
    between = apart(ours, theirs, exact)
    own = [apart(found, exact, exact).worst[0] for found in (theirs, ours)]
    same = apart(exact, by_mxnet(of, "float64"), exact)
    return (
        f"{name:20}{of.images.shape[2]:7}{of.certainty:6.1f}   "
        f"{between.output:8.1e}{between.worst[0]:9.1e}{between.statistics:8.1e}   "
        f"{own[0]:8.1e}{own[1]:8.1e}   {max(same.output, same.worst[0]):8.1e}"
        f"{time.perf_counter() - began:8.0f}  {between.worst[1]}"
    )


def run(names: Sequence[str] = ()) -> None:
    """Print the table, a line as soon as it is measured; by default of all networks.

    Raises InputError for a name that is none.
    """
    chosen = [symbols.find(name).name for name in names] or all_networks()
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, MXNet "
        f"{mx.__version__}, PyTorch {torch.__version__}"
    )
    print(_HEAD, flush=True)
    for name in chosen:
        print(row(name), flush=True)
        gc.collect()  # graphs hold themselves


def all_networks() -> List[str]:
    """Every network of the registry once."""
    return list(dict.fromkeys(symbols.find(name).name for name in symbols.names()))

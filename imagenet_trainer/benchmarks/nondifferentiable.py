"""Where a network has no derivative, and parameters nearby where it has one.

A unit that is nought but for rounding is on in one program and off in the other, two equal pixels
of a max pooling are told apart by their last bits, and from there on gradients differ by far more
than rounding: not because one program is wrong, but because there is no derivative to compare. Of
a million units some lie so near to their kink whatever the images are. So the biases (of
BatchNorm or convolution) in front of every rectifier are moved a little, channel by channel, to
where the nearest unit is as far from its kink as can be; everything else stays. Poolings have no
such handle: `certainty` measures them, and other images are taken where it is too small.
"""

import math
import operator
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from imagenet_trainer.engines.pytorch import arithmetic as torch_arithmetic
from imagenet_trainer.engines.pytorch import modes as torch_modes
from imagenet_trainer.engines.pytorch import operators as torch_operators
from imagenet_trainer.engines.pytorch.graph import Network

# How far a bias may move, in standard deviations of its channel over the batch.
REACH = 0.1
_BENT = {"relu": (0.0,), "leaky": (0.0,), "prelu": (0.0,)}  # by act_type


def move_away(network: Network, images: Tensor, labels: Tensor) -> None:
    """Move biases of a float64 network, in place, so that no unit is near a kink on this batch.

    Raises ValueError for a rectifier that no bias reaches.
    """
    with torch.no_grad():
        _Mover(network.training, garbage_collect_values=False).run(images, labels)


def certainty(exact: Network, rounded: Network, images: Tensor, labels: Tensor) -> float:
    """How sure float32 is of every decision of rectifiers and poolings on this batch.

    The distance of the unit nearest to a kink, and of the two largest pixels of a window that are
    nearest to each other, over the root mean square of what float32 is off by in that channel: the
    least of the whole network. At 5 or more two programs hardly ever decide differently.

    Parameters
    ----------
    exact, rounded
        the same network in float64 and in float32.
    images, labels
        float64 (n, c, h, w) and (n,).

    """
    kept: Dict[str, List[Tensor]] = {}
    _decided(rounded, images.float().to(memory_format=torch.channels_last), labels, kept)
    # What both programs are off by in the same way decides nothing: they add up the moments of a
    # BatchNorm one by one, pixels of a channels_last batch; planes are added up by halves.
    with _in_planes(rounded):
        _decided(rounded, images.float(), labels, kept)
    return _decided(exact, images, labels, kept)


# --- moving --------------------------------------------------------------------------------------


class _Mover(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        kinks = _kinks(n)
        if kinks:
            self._clear(n.args[0], kinks)  # type: ignore[arg-type]
        return super().run_node(n)

    def _clear(self, source: fx.Node, kinks: Tuple[float, ...]) -> None:
        """Move the channels of what a rectifier is given, and the bias that they have."""
        way = _way_to_bias(source, 1.0)
        if not way:
            raise ValueError(
                f"{source.meta.get('symbol', source)}: no bias in front of a rectifier"
            )
        value = self.env[source]
        rows = value.movedim(1, 0).flatten(1).numpy()
        shift = torch.tensor([_shift(row, kinks) for row in rows], dtype=value.dtype)
        for node, factor in way:
            part = shift / factor
            here = self.env[node]
            here.data.add_(
                part if here.dim() == 1 else part.reshape(1, -1, *[1] * (here.dim() - 2))
            )


def _kinks(node: fx.Node) -> Tuple[float, ...]:
    """Where along its input a node's slope jumps; nowhere for most operators."""
    if node.target is F.relu:
        return (0.0,)
    if node.target in (torch_operators.activation, torch_operators.leaky_relu):
        return _BENT.get(str(node.kwargs["act_type"]), ())
    if node.target is torch_operators.clip:
        return tuple(float(node.kwargs[end]) for end in ("a_min", "a_max"))  # type: ignore[arg-type]
    return ()


def _way_to_bias(node: fx.Node, factor: float) -> List[Tuple[fx.Node, float]]:
    """Nodes from here back to a parameter that is added to each channel, and the parameter itself.

    The second number is by how much a node is multiplied on its way here. Empty if there is none.
    """
    found: List[Tuple[fx.Node, float]] = []
    inner = node.args[0] if node.args else None
    if node.target is torch_modes.batch_norm:
        return [(node.args[2], factor)]  # type: ignore[list-item]
    if node.target in (torch_operators.convolution, torch_operators.fully_connected):
        biased = len(node.args) > 2 and node.args[2] is not None
        return [(node, factor), (node.args[2], factor)] if biased else []  # type: ignore[list-item]
    if node.target is operator.getitem:
        found = _way_to_bias(inner, factor)  # type: ignore[arg-type]
    elif node.target is torch_arithmetic.times_scalar:
        found = _way_to_bias(inner, factor * node.kwargs["scalar"])  # type: ignore[arg-type,operator]
    elif node.target is torch.add:
        ways = (_way_to_bias(side, factor) for side in reversed(node.args))  # type: ignore[arg-type]
        found = next((way for way in ways if way), [])
    return [(node, factor), *found] if found else []


def _shift(values: np.ndarray, kinks: Tuple[float, ...]) -> float:
    """What to add to a channel's values so that the nearest is as far from a kink as can be."""
    reach = REACH * max(float(values.std()), 1e-3)
    taken = np.concatenate([kink - values for kink in kinks])
    taken = np.sort(taken[np.abs(taken) < reach])
    ends = np.concatenate([[-reach], taken, [reach]])
    widest = int(np.diff(ends).argmax())
    return float(ends[widest] + ends[widest + 1]) / 2


# --- measuring -----------------------------------------------------------------------------------


@contextmanager
def _in_planes(network: Network) -> Iterator[None]:
    """While weights lie plane by plane PyTorch computes so."""
    held = [(value, value.data) for value in network.training.parameters()]
    for value, data in held:
        value.data = data.contiguous()
    yield
    for value, data in held:
        value.data = data


def _decided(
    network: Network, images: Tensor, labels: Tensor, kept: Dict[str, List[Tensor]]
) -> float:
    decisions = _Decisions(network.training, kept)
    with torch.no_grad():
        decisions.run(images, labels)
    return decisions.least


class _Decisions(fx.Interpreter):
    """Keeps what rectifiers and poolings are given; in the third run, compares the three."""

    def __init__(self, module: fx.GraphModule, kept: Dict[str, List[Tensor]]) -> None:
        super().__init__(module)
        self.least = math.inf
        self._kept = kept

    def run_node(self, n: fx.Node) -> Any:
        if _kinks(n) or _is_max_pool(n):
            value = self.env[n.args[0]]  # type: ignore[index]
            earlier = self._kept.setdefault(n.name, [])
            if len(earlier) < 2:
                earlier.append(value)
            else:
                programs, planes = earlier
                self.least = min(self.least, *_distances(n, programs, value, _off(value, planes)))
                del self._kept[n.name]
        return super().run_node(n)


def _is_max_pool(node: fx.Node) -> bool:
    return node.target is torch_operators.pooling and node.kwargs["pool_type"] == "max"


def _off(exact: Tensor, rounded: Tensor) -> Tensor:
    """Root mean square of the difference in each channel, as (1, c, ...)."""
    axes = [axis for axis in range(exact.dim()) if axis != 1]
    return (exact - rounded).square().mean(axes, keepdim=True).sqrt().clamp(min=1e-30)


def _distances(node: fx.Node, value: Tensor, exact: Tensor, off: Tensor) -> Iterator[float]:
    """Of the nearest unit from a kink; of the two largest pixels of a window from each other."""
    for kink in _kinks(node):
        yield ((value - kink) / off).abs().min().item()
    if _is_max_pool(node):
        for image, exact_image in zip(value / off, exact):
            gaps, exact_gaps = (_gaps(planes, node.kwargs) for planes in (image, exact_image))
            # Two that are equal in float64 are one: noughts behind a rectifier, or what an earlier
            # pooling took into two windows. They have the same gradients behind them.
            gaps = gaps[exact_gaps > 1e-9 * exact_image.abs().max()]
            yield gaps.min().item() if gaps.numel() else math.inf


def _gaps(planes: Tensor, how: Any) -> Tensor:
    """Between the two largest of every window of planes (c, h, w)."""
    height, width = planes.shape[1:]
    kernel = (height, width) if how["global_pool"] else how["kernel"]
    stride, pad = how["stride"] or (1, 1), how["pad"] or (0, 0)
    # Some windows hang over the edge (`full`); what is padded is never the largest.
    more = [
        -(size + 2 * p - k) % s if how["pooling_convention"] == "full" else 0
        for size, k, s, p in zip((height, width), kernel, stride, pad)
    ]
    edges = (pad[1], pad[1] + more[1], pad[0], pad[0] + more[0])
    windows = F.unfold(F.pad(planes.unsqueeze(1), edges, value=-math.inf), kernel, stride=stride)
    first, second = windows.topk(2, dim=1).values.unbind(1)
    return first - second

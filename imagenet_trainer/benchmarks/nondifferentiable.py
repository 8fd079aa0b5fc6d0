"""Move a network's parameters away from points at which it is not differentiable.

If the input of a rectifier is zero up to rounding, one program computes it as active and another
as inactive; two equal pixels of a max pooling are ordered by their last bits. From there on,
gradients differ by far more than rounding. Neither program is wrong: there is no derivative to
compare. Among a million units some are that close to a breakpoint for any images. So the biases
(of BatchNorm or convolution) before each rectifier are shifted slightly, channel by channel, to
where the nearest unit is as far from its breakpoint as possible; nothing else changes. Poolings,
and sums with squeeze and excitation, cannot be shifted: `certainty` measures them, and if it is too
small, other images are drawn.
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
from imagenet_trainer.engines.pytorch.graph import TorchNetwork

# Largest shift of a bias, in standard deviations of its channel over the batch.
REACH = 0.1
_BREAKPOINTS = {"relu": (0.0,), "leaky": (0.0,), "prelu": (0.0,)}  # by act_type


def move_away(network: TorchNetwork, images: Tensor, labels: Tensor) -> None:
    """Shift biases of a float64 network, in place, to keep all units of this batch off breakpoints.

    Raises ValueError for a rectifier without a bias before it.
    """
    with torch.no_grad():
        _Mover(network.training, garbage_collect_values=False).run(images, labels)


def certainty(exact: TorchNetwork, rounded: TorchNetwork, images: Tensor, labels: Tensor) -> float:
    """Return how certain every decision of rectifiers and poolings is in float32 on this batch.

    It is the smallest ratio, over the whole network, of two numbers. The first is the distance of
    a unit to its breakpoint, or of the two largest pixels of a pooling window to each other. The
    second is the root mean square of the float32 error in that channel. From 5 on, two programs
    hardly ever decide differently.

    Parameters
    ----------
    exact, rounded
        the same network in float64 and in float32.
    images, labels
        float64 (n, c, h, w) and (n,).

    """
    inputs: Dict[str, List[Tensor]] = {}
    _certainty_of_run(rounded, images.float().to(memory_format=torch.channels_last), labels, inputs)
    # Errors that two programs share change no decision: with channels_last both sum the moments of
    # a BatchNorm pixel by pixel, in planes pairwise. So float32 runs in both layouts.
    with _in_planes(rounded):
        _certainty_of_run(rounded, images.float(), labels, inputs)
    return _certainty_of_run(exact, images, labels, inputs)


# --- moving --------------------------------------------------------------------------------------


class _Mover(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        breakpoints = _breakpoints(n)
        if breakpoints:
            self._clear(n.args[0], breakpoints)  # type: ignore[arg-type]
        return super().run_node(n)

    def _clear(self, source: fx.Node, breakpoints: Tuple[float, ...]) -> None:
        """Shift the input of a rectifier, and the bias that it comes from, channel by channel."""
        path = _path_to_bias(source, 1.0)
        if not path and _is_weighted(source):
            return  # by other factors for each image, so no bias shifts them alike
        if not path:
            raise ValueError(f"{source.meta.get('symbol', source)}: no bias before this rectifier")
        value = self.env[source]
        rows = value.movedim(1, 0).flatten(1).numpy()
        shift = torch.tensor([_shift(row, breakpoints) for row in rows], dtype=value.dtype)
        for node, factor in path:
            part = shift / factor
            tensor = self.env[node]
            tensor.data.add_(
                part if tensor.dim() == 1 else part.reshape(1, -1, *[1] * (tensor.dim() - 2))
            )


def _breakpoints(node: fx.Node) -> Tuple[float, ...]:
    """Return the inputs at which a node's slope jumps; empty for most operators."""
    if node.target is F.relu:
        return (0.0,)
    if node.target in (torch_operators.activation, torch_operators.leaky_relu):
        return _BREAKPOINTS.get(str(node.kwargs["act_type"]), ())
    if node.target is torch_operators.clip:
        return tuple(float(node.kwargs[end]) for end in ("a_min", "a_max"))  # type: ignore[arg-type]
    if node.target is torch_operators.hard_sigmoid:
        slope, middle = (float(node.kwargs[name]) for name in ("alpha", "beta"))  # type: ignore[arg-type]
        return (-middle / slope, (1 - middle) / slope)
    return ()


def _path_to_bias(node: fx.Node, factor: float) -> List[Tuple[fx.Node, float]]:
    """Return the nodes from here back to a parameter that is added per channel, and the parameter.

    Each comes with the factor by which it is multiplied on the path. Empty if there is none.
    """
    path: List[Tuple[fx.Node, float]] = []
    inner = node.args[0] if node.args else None
    if node.target is torch_modes.batch_norm:
        return [(node.args[2], factor)]  # type: ignore[list-item]
    if node.target in (torch_operators.convolution, torch_operators.fully_connected):
        biased = len(node.args) > 2 and node.args[2] is not None
        return [(node, factor), (node.args[2], factor)] if biased else []  # type: ignore[list-item]
    if node.target is operator.getitem:
        path = _path_to_bias(inner, factor)  # type: ignore[arg-type]
    elif node.target is torch_arithmetic.times_scalar:
        path = _path_to_bias(inner, factor * node.kwargs["scalar"])  # type: ignore[arg-type,operator]
    elif node.target is torch.add:
        paths = (_path_to_bias(side, factor) for side in reversed(node.args))  # type: ignore[arg-type]
        path = next((one for one in paths if one), [])
    return [(node, factor), *path] if path else []


def _is_weighted(node: fx.Node) -> bool:
    """Whether squeeze and excitation makes the input, or a side of the sum that it is."""
    sides = node.args if node.target is torch.add else (node,)
    return any(side.target is torch.mul for side in sides)  # type: ignore[union-attr]


def _shift(values: np.ndarray, breakpoints: Tuple[float, ...]) -> float:
    """Return the shift that puts the nearest of a channel's values farthest from a breakpoint."""
    reach = REACH * max(float(values.std()), 1e-3)
    hits = np.concatenate([point - values for point in breakpoints])
    hits = np.sort(hits[np.abs(hits) < reach])
    ends = np.concatenate([[-reach], hits, [reach]])
    widest = int(np.diff(ends).argmax())
    return float(ends[widest] + ends[widest + 1]) / 2


# --- measuring -----------------------------------------------------------------------------------


@contextmanager
def _in_planes(network: TorchNetwork) -> Iterator[None]:
    """Store weights plane by plane, so that PyTorch computes in that layout."""
    stored = [(value, value.data) for value in network.training.parameters()]
    for value, data in stored:
        value.data = data.contiguous()
    yield
    for value, data in stored:
        value.data = data


def _certainty_of_run(
    network: TorchNetwork, images: Tensor, labels: Tensor, inputs: Dict[str, List[Tensor]]
) -> float:
    decisions = _Decisions(network.training, inputs)
    with torch.no_grad():
        decisions.run(images, labels)
    return decisions.least


class _Decisions(fx.Interpreter):
    """Store the inputs of rectifiers and poolings; in the third run, compare the three."""

    def __init__(self, module: fx.GraphModule, inputs: Dict[str, List[Tensor]]) -> None:
        super().__init__(module)
        self.least = math.inf
        self._inputs = inputs

    def run_node(self, n: fx.Node) -> Any:
        if _breakpoints(n) or _is_max_pool(n):
            value = self.env[n.args[0]]  # type: ignore[index]
            earlier = self._inputs.setdefault(n.name, [])
            if len(earlier) < 2:
                earlier.append(value)
            else:
                programs, planes = earlier
                self.least = min(
                    self.least, *_distances(n, programs, value, _rounding_error(value, planes))
                )
                del self._inputs[n.name]
        return super().run_node(n)


def _is_max_pool(node: fx.Node) -> bool:
    return node.target is torch_operators.pooling and node.kwargs["pool_type"] == "max"


def _rounding_error(exact: Tensor, rounded: Tensor) -> Tensor:
    """Root mean square of the difference in each channel, as (1, c, ...)."""
    axes = [axis for axis in range(exact.dim()) if axis != 1]
    return (exact - rounded).square().mean(axes, keepdim=True).sqrt().clamp(min=1e-30)


def _distances(node: fx.Node, value: Tensor, exact: Tensor, error: Tensor) -> Iterator[float]:
    """Distances of units to breakpoints, and of a window's two largest pixels, over the error."""
    for point in _breakpoints(node):
        yield ((value - point) / error).abs().min().item()
    if _is_max_pool(node):
        for image, exact_image in zip(value / error, exact):
            gaps, exact_gaps = (_gaps(planes, node.kwargs) for planes in (image, exact_image))
            # Two that are equal in float64 count as one: zeros after a rectifier, or a pixel that
            # an earlier pooling took into two windows. Their gradients are the same.
            gaps = gaps[exact_gaps > 1e-9 * exact_image.abs().max()]
            yield gaps.min().item() if gaps.numel() else math.inf


def _gaps(planes: Tensor, how: Any) -> Tensor:
    """Return the difference of the two largest pixels in every window of planes (c, h, w)."""
    height, width = planes.shape[1:]
    kernel = (height, width) if how["global_pool"] else how["kernel"]
    stride, pad = how["stride"] or (1, 1), how["pad"] or (0, 0)
    # With `full`, windows extend over the edge; padding is never the largest.
    more = [
        -(size + 2 * p - k) % s if how["pooling_convention"] == "full" else 0
        for size, k, s, p in zip((height, width), kernel, stride, pad)
    ]
    edges = (pad[1], pad[1] + more[1], pad[0], pad[0] + more[0])
    windows = F.unfold(F.pad(planes.unsqueeze(1), edges, value=-math.inf), kernel, stride=stride)
    first, second = windows.topk(2, dim=1).values.unbind(1)
    return first - second

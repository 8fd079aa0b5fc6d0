"""Activation checkpointing: activations are computed again in backward instead of kept.

The network is cut into parts (Chen et al. 2016, arXiv:1604.06174). Forward keeps only what crosses
a cut; backward computes one part again at a time. That takes one more forward pass, and the
gradients are the same bit for bit: BatchNorm's moving statistics are not written in forward, and
random numbers are drawn again from the same state.
"""

from itertools import accumulate
from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, fx, nn
from torch._subclasses import FakeTensorMode
from torch.fx.passes.split_module import split_module
from torch.utils.checkpoint import checkpoint

_MOST_PARTS = 32


def checkpointed(module: fx.GraphModule, data_shape: Tuple[int, ...], classes: int) -> nn.Module:
    """The same function of (data, label), which keeps fewer activations.

    `data_shape` is (n, c, h, w). Parameters are shared with the module.
    """
    place = _parts(list(module.graph.nodes), _bytes_of(module, data_shape, classes))
    # With this option nodes keep their order, so random numbers are drawn in the same order.
    split = split_module(module, module, lambda node: place[node], keep_original_order=True)
    names = [name for name, _ in split.named_children() if name.startswith("submod_")]
    for name in names:
        # The last part is the first in backward: nothing would be saved.
        setattr(split, name, _Part(split.get_submodule(name), name != names[-1]))
    return split


class _Part(nn.Module):
    def __init__(self, module: nn.Module, recomputed: bool) -> None:
        super().__init__()
        self.module, self._recomputed = module, recomputed

    def forward(self, *inputs: Any) -> Any:
        # Not `self.module(...)`, which prints its code if an error is raised in it.
        if self._recomputed:
            return checkpoint(self.module.forward, *inputs, use_reentrant=False)
        return self.module.forward(*inputs)


class _Sizes(fx.Interpreter):
    """Records the bytes of every node's output."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self.sizes: Dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        outputs = value if isinstance(value, tuple) else (value,)
        self.sizes[n] = sum(one.nbytes for one in outputs if isinstance(one, Tensor))
        return value


def _bytes_of(
    module: fx.GraphModule, data_shape: Tuple[int, ...], classes: int
) -> Dict[fx.Node, int]:
    """The bytes of every node's output, with distributions (n, classes), which all losses take."""
    device = next(module.parameters()).device
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        sizes = _Sizes(module)
        sizes.run(
            torch.empty(data_shape, device=device),
            torch.empty((data_shape[0], classes), device=device),
        )
    return sizes.sizes


def _parts(nodes: List[fx.Node], sizes: Dict[fx.Node, int]) -> Dict[fx.Node, int]:
    """The number of each node's part, with cuts for the smallest estimated peak of memory."""
    computed = [node for node in nodes if node.op == "call_function"]
    kept = [sizes[node] for node in computed]
    crossing = _crossing(computed, sizes)
    before = [0, *accumulate(kept)]
    candidates = (_cuts(before, crossing, count) for count in range(1, _MOST_PARTS + 1))
    cuts = min(candidates, key=lambda cuts: _peak(before, crossing, cuts))
    return {node: sum(cut <= i for cut in cuts) for i, node in enumerate(computed)}


def _crossing(computed: List[fx.Node], sizes: Dict[fx.Node, int]) -> List[int]:
    """Bytes that a cut before node i has to keep: outputs of earlier nodes that later ones use."""
    index = {node: i for i, node in enumerate(computed)}
    changes = [0] * (len(computed) + 1)
    for i, node in enumerate(computed):
        last = max((index[user] for user in node.users if user in index), default=i)
        changes[i + 1] += sizes[node]
        changes[last + 1] -= sizes[node]
    return list(accumulate(changes))


def _cuts(before: List[int], crossing: List[int], count: int) -> List[int]:
    """Cuts into `count` parts of about the same size, where little crosses them."""
    cuts = []
    for number in range(1, count):
        low, high = ((2 * number + way) * before[-1] / (2 * count) for way in (-1, 1))
        near = [i for i in range(1, len(before) - 1) if low <= before[i] < high]
        if near:
            cuts.append(min(near, key=lambda i: crossing[i]))
    return cuts


def _peak(before: List[int], crossing: List[int], cuts: List[int]) -> int:
    ends = [0, *cuts, len(before) - 1]
    largest = max(before[end] - before[begin] for begin, end in zip(ends, ends[1:]))
    return largest + sum(crossing[cut] for cut in cuts)

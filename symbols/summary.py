"""Summary of a network: layers, output shapes, parameters, multiply-adds, activations.

Works for any graph by a walk over its nodes; nothing is computed. One multiply-add
is one multiplication with its addition, as papers count them (the "4.1 GFLOPs" of ResNet-50 are
4.1 billion of these). Convolutions, dense layers and matrix products count; normalisation,
activations, pooling and sums, a few percent, do not.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, List, Sequence, Set, Tuple

from imagenet_trainer.graph import Node, as_graph
from imagenet_trainer.graph.inference import all_shapes

Shape = Tuple[int, ...]

# Operators whose output is a view of their input, or the input itself.
_VIEWS = ("Flatten", "Reshape", "expand_dims", "squeeze", "_copy", "BlockGrad")
_FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class Layer:
    """One operator, for one image."""

    name: str
    operator: str  # MXNet's name of it
    output: Shape  # of its first output, without the batch
    parameters: int  # learned or fixed; a shared parameter counts in the first layer that has it
    multiply_adds: int
    activation_bytes: int  # of all its outputs in float32; 0 if they are views of its inputs


@dataclass(frozen=True)
class Summary:
    """All operators of a symbol in the order of execution, and their totals."""

    layers: Tuple[Layer, ...]
    learned: int  # parameters that training updates
    fixed: int  # gammas that stay 1 (BatchNorm with fix_gamma)
    statistics: int  # moving means and variances

    @property
    def multiply_adds(self) -> int:
        """For the forward pass of one image; the backward pass takes twice as many."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """All outputs for one image in float32, which training keeps for the backward pass.

        MXNet allocates less where it computes in place, and more for gradients and workspaces.
        """
        return sum(layer.activation_bytes for layer in self.layers)


def summarise(symbol: Any, image_shape: Sequence[int]) -> Summary:
    """Summarise a graph, or an MXNet symbol, with an input `data` of shape (batch, *image_shape).

    Raises GraphError if shapes contradict each other, or one remains unknown.
    """
    symbol = as_graph(symbol)
    shapes = all_shapes(symbol.nodes, {"data": (1, *image_shape)})
    auxiliary = set(symbol.list_auxiliary_states())
    inputs = {"data", *(name for name in symbol.list_arguments() if name.endswith("label"))}
    counted: Set[str] = set()
    layers: List[Layer] = []
    learned = fixed = 0
    for node in symbol.nodes:
        if node.operator is None:
            continue
        new = {}
        for position, entry in enumerate(node.inputs):
            name = entry.node.name
            if entry.node.operator is None and name not in counted | auxiliary | inputs:
                new[position] = prod(shapes[id(entry.node), 0])
                counted.add(name)
        unlearned = sum(size for position, size in new.items() if _is_fixed(node, position))
        learned, fixed = learned + sum(new.values()) - unlearned, fixed + unlearned
        outputs = [shapes[id(node), number] for number in range(len(node.outputs))]
        layers.append(
            Layer(
                node.name,
                node.op,
                outputs[0][1:],
                sum(new.values()),
                _multiply_adds(
                    node, [shapes[id(one.node), one.output] for one in node.inputs], outputs[0]
                ),
                0 if node.op in _VIEWS else _FLOAT32 * sum(map(prod, outputs)),
            )
        )
    statistics = sum(prod(shapes[id(n), 0]) for n in symbol.nodes if n.name in auxiliary)
    return Summary(tuple(layers), learned, fixed, statistics)


def table(summary: Summary, batch_size: int = 1) -> str:
    """Text with one line per layer, followed by the totals, including memory for a batch."""
    head = ("layer", "operator", "output", "parameters", "multiply-adds", "activation MB")
    rows = [
        (
            layer.name,
            layer.operator,
            " x ".join(map(str, layer.output)),
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
            f"{layer.activation_bytes / 1e6:.3f}" if layer.activation_bytes else "",
        )
        for layer in summary.layers
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in (head, *rows)
    ]
    activations = summary.activation_bytes
    lines += [
        "",
        f"parameters: {summary.learned:,} learned, {summary.fixed:,} fixed, "
        f"{summary.statistics:,} statistics; "
        f"{_FLOAT32 * (summary.learned + summary.fixed + summary.statistics) / 1e6:.1f} MB in "
        "float32",
        f"multiply-adds: {summary.multiply_adds / 1e9:.3f} G per image forward, about "
        f"{3 * summary.multiply_adds / 1e9:.2f} G per image in training",
        f"activations: {activations / 1e6:.1f} MB per image in float32 kept by training, "
        f"{activations * batch_size / 1e9:.2f} GB for a batch of {batch_size}",
    ]
    return "\n".join(lines)


def _is_fixed(node: Node, position: int) -> bool:
    """Whether an input is a gamma that a BatchNorm treats as 1, which is MXNet's default."""
    return position == 1 and bool(node.values.get("fix_gamma"))


def _multiply_adds(node: Node, inputs: Sequence[Shape], output: Shape) -> int:
    """Multiply-adds of an operator for a batch of one."""
    # weight: (filters, channels / groups, *kernel)
    if node.op in ("Convolution", "Convolution_v1"):
        return prod(output) * prod(inputs[1][1:])
    if node.op == "Deconvolution":  # weight: (channels, filters / groups, *kernel)
        return prod(inputs[0]) * prod(inputs[1][1:])
    if node.op == "FullyConnected":  # weight: (units, inputs)
        return prod(output) * inputs[1][1]
    if node.op in ("dot", "batch_dot"):
        first = 1 if node.op == "batch_dot" else 0
        return prod(output) * inputs[0][first if node.values["transpose_a"] else -1]
    return 0

"""Summary of a network: layers, output shapes, parameters, multiply-adds, activations.

Works for any MXNet symbol by a walk over its JSON; nothing is bound or computed. One multiply-add
is one multiplication with its addition, as papers count them (the "4.1 GFLOPs" of ResNet-50 are
4.1 billion of these). Convolutions, dense layers and matrix products count; normalisation,
activations, pooling and sums, a few percent, do not.
"""

import json
from dataclasses import dataclass
from math import prod
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

Shape = Tuple[int, ...]

# Operators whose output is a view of their input, or the input itself.
_VIEWS = (
    "Flatten", "Reshape", "reshape", "expand_dims", "squeeze", "_copy", "identity", "BlockGrad",
)  # fmt: skip
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

    @property
    def largest_activation_bytes(self) -> int:
        """The largest output of one layer for one image in float32."""
        return max((layer.activation_bytes for layer in self.layers), default=0)


def summarise(symbol: Any, image_shape: Sequence[int], data: str = "data") -> Summary:
    """Summarise a symbol with an input `data` of shape (batch, *image_shape).

    Raises MXNet's error if a shape cannot be inferred, ValueError if one remains unknown.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    shapes = _shapes(symbol, {data: (1, *image_shape)})
    auxiliary = set(symbol.list_auxiliary_states())
    inputs = {data, *(name for name in symbol.list_arguments() if name.endswith("label"))}
    counted: Set[str] = set()
    layers: List[Layer] = []
    learned = fixed = 0
    for node in nodes:
        if node["op"] == "null":
            continue
        read = [nodes[entry[0]] for entry in node["inputs"]]
        new = [one["name"] for one in read if one["op"] == "null" and one["name"] not in counted]
        new = [name for name in dict.fromkeys(new) if name not in auxiliary | inputs]
        counted.update(new)
        sizes = [prod(shapes[name]) for name in new]
        unlearned = sum(size for name, size in zip(new, sizes) if _is_fixed(node, read, name))
        learned, fixed = learned + sum(sizes) - unlearned, fixed + unlearned
        outputs = _outputs(shapes, node["name"])
        layers.append(
            Layer(
                node["name"],
                node["op"],
                outputs[0][1:],
                sum(sizes),
                _multiply_adds(node, [_shape_of(shapes, one) for one in read], outputs[0]),
                0 if node["op"] in _VIEWS else _FLOAT32 * sum(map(prod, outputs)),
            )
        )
    statistics = sum(prod(shapes[name]) for name in auxiliary)
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


def _shapes(symbol: Any, known: Mapping[str, Shape]) -> Dict[str, Shape]:
    """Shapes of all variables and outputs by name."""
    internals = symbol.get_internals()
    _, outputs, _ = internals.infer_shape(**known)
    if outputs is None:
        raise ValueError(f"the shapes of the symbol cannot be inferred from {dict(known)}")
    return dict(zip(internals.list_outputs(), outputs))


def _outputs(shapes: Mapping[str, Shape], name: str) -> List[Shape]:
    """An operator's outputs, without those that only its own backward pass reads."""
    if f"{name}_output" in shapes:
        return [shapes[f"{name}_output"]]
    outputs: List[Shape] = []
    while f"{name}_output{len(outputs)}" in shapes:
        outputs.append(shapes[f"{name}_output{len(outputs)}"])
    if not outputs:
        raise ValueError(f"the symbol does not name the outputs of {name} as MXNet does")
    return outputs


def _shape_of(shapes: Mapping[str, Shape], node: Mapping[str, Any]) -> Shape:
    """The shape of a variable, or of an operator's first output."""
    return shapes[node["name"]] if node["op"] == "null" else _outputs(shapes, node["name"])[0]


def _is_fixed(node: Mapping[str, Any], read: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a parameter is a gamma that BatchNorm treats as 1, which is MXNet's default."""
    if node["op"] != "BatchNorm" or name != read[1]["name"]:
        return False
    return node.get("attrs", {}).get("fix_gamma", "True") in ("True", "1")


def _multiply_adds(node: Mapping[str, Any], inputs: Sequence[Shape], output: Shape) -> int:
    """Multiply-adds of an operator for a batch of one."""
    operator, attributes = node["op"], node.get("attrs", {})
    if operator == "Convolution":  # weight: (filters, channels / groups, *kernel)
        return prod(output) * prod(inputs[1][1:])
    if operator == "Deconvolution":  # weight: (channels, filters / groups, *kernel)
        return prod(inputs[0]) * prod(inputs[1][1:])
    if operator == "FullyConnected":  # weight: (units, inputs)
        return prod(output) * inputs[1][1]
    if operator in ("dot", "batch_dot"):
        transposed = attributes.get("transpose_a", "False") in ("True", "1")
        batch_dot = operator == "batch_dot"
        inner = inputs[0][1 if batch_dot else 0] if transposed else inputs[0][-1]
        return prod(output) * inner
    return 0

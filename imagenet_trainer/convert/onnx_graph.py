"""Translates a network to ONNX: every node becomes one or a few of ONNX's, for any batch size."""

from functools import partial
from typing import Any, Dict, List, Sequence, Set, Tuple

from imagenet_trainer.convert import onnx_arithmetic, onnx_layers
from imagenet_trainer.convert.graph import Model
from imagenet_trainer.convert.onnx_builder import Builder, Shape
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import GraphError, Symbol
from imagenet_trainer.graph.inference import all_shapes

PLANES, PROBABILITIES = "data", "probabilities"
OPSET, _IR = 13, 8  # operators and file format that all runtimes since 2021 support
TABLES = (onnx_arithmetic, onnx_layers)  # importing them fills the table of operators


def to_onnx_model(model: Model, image_shape: Sequence[int]) -> Any:
    """A network without label as an `onnx.ModelProto`.

    Its input is `data`, float32 (batch, channels, height, width), its output `probabilities`.
    Parameters are constants.

    Raises ArgumentError with the node for what ONNX does not have.
    """
    from onnx import TensorProto, helper, numpy_helper

    symbol, arg, aux = model
    shapes = _shapes(symbol, image_shape)
    builder = Builder({**arg, **aux}, (PLANES, PROBABILITIES))
    values: Dict[Tuple[int, int], str] = {}
    for node in symbol.nodes:
        own = [shapes[id(node), index] for index in range(len(node.outputs))]
        if node.operator is None:
            names = [node.name]
            builder.shapes[node.name] = own[0]
        else:
            inputs = [values[id(entry.node), entry.output] for entry in node.inputs]
            names = builder.translate(node, inputs, own)
        values.update({(id(node), index): name for index, name in enumerate(names)})
    (head,) = symbol.entries
    last = values[id(head.node), head.output]
    _name_output(builder, last)
    used = _inputs(builder)
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        builder.nodes,
        "network",
        [value(PLANES, shape=["batch", *image_shape])],
        [value(PROBABILITIES, shape=_declared(builder.shapes[last]))],
        [
            numpy_helper.from_array(array, name)
            for name, array in builder.constants.items()
            if name in used
        ],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=_IR)


def _shapes(symbol: Symbol, image_shape: Sequence[int]) -> Dict[Tuple[int, int], Shape]:
    """Shapes of all values, with None for lengths that depend on the batch size."""
    try:
        two, three = (all_shapes(symbol.nodes, {PLANES: (n, *image_shape)}) for n in (2, 3))
    except GraphError as error:
        raise ArgumentError(
            "to", "onnx", f"{error}; its batch size would have to be free; use mxnet"
        ) from error
    return {
        key: tuple(a if a == b else None for a, b in zip(shape, three[key]))
        for key, shape in two.items()
    }


def _name_output(builder: Builder, last: str) -> None:
    """Give the network's output its name."""
    if not any(last in node.output for node in builder.nodes):  # an input
        builder.add("Identity", last)
        last = builder.nodes[-1].output[0]
    for node in builder.nodes:
        for names in (node.input, node.output):
            names[:] = [PROBABILITIES if name == last else name for name in names]


def _inputs(builder: Builder) -> Set[str]:
    """The values that nodes read; ArgumentError if one is neither computed nor a parameter."""
    used = {name for node in builder.nodes for name in node.input if name}
    computed = {name for node in builder.nodes for name in node.output}
    for name in sorted(used - computed - builder.constants.keys() - {PLANES}):
        raise ArgumentError("to", "onnx", f"{name}: is neither the image nor a parameter")
    return used


def _declared(shape: Shape) -> List[Any]:
    """The lengths of axes as ONNX declares them; those that depend on the batch size are free."""
    first, *rest = shape
    return ["batch" if first is None else first, *rest]

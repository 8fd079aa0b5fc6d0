"""Networks as graphs: MXNet's symbols, without MXNet.

A graph has MXNet's operators, names of parameters and JSON, so that it loads in every MXNet 1.x
program, and the symbols of such programs load here. `sym` has a function for each operator, with
the name and the arguments that it has in `mx.sym`. A file that was written for MXNet needs one
other import:

    import imagenet_trainer.graph as mx  # instead of: import mxnet as mx

    x = mx.sym.Convolution(mx.sym.Variable("data"), num_filter=64, kernel=(7, 7), name="conv0")

`sym` makes symbols, `symbol` and `node` are what they consist of, `naming` finds automatic names.
`operators` is the table of operators with their inputs, attributes and defaults, `shapes` and
`layer_shapes` have the rules for the shapes of their outputs, `inference` applies these,
`attributes` reads the text of attributes. `reader` and `writer` are about JSON.

Nothing here computes: engines execute graphs.
"""

from imagenet_trainer.graph import naming as name
from imagenet_trainer.graph import sym
from imagenet_trainer.graph.naming import AttrScope
from imagenet_trainer.graph.node import Entry, Node
from imagenet_trainer.graph.operators import GraphError
from imagenet_trainer.graph.symbol import Group, Symbol, as_graph, load_json

symbol = sym

__all__ = [
    "AttrScope", "Entry", "GraphError", "Group", "Node", "Symbol", "as_graph", "load_json", "name",
    "sym", "symbol",
]  # fmt: skip

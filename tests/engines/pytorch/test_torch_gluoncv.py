"""GluonCV's classification networks in PyTorch: all operators, with MXNet's shapes."""

import pytest
from helpers.gluoncv_networks import CLASSES, classification_names, gluoncv, symbol_of  # noqa: F401

torch = pytest.importorskip("torch")

from imagenet_trainer.engines.pytorch import graph as torch_graph
from imagenet_trainer.engines.symbol import parameter_shapes

META = torch.device("meta")  # tensors without data: only shapes are computed
# The cheapest of several kinds; all of them in the slow test.
QUICK = ("cifar_resnet20_v1", "mobilenetv3_small", "resnet18_v1b", "squeezenet1.1")


class Shapes(torch.fx.Interpreter):
    """Runs a graph and records the shape of every node by its name in the symbol."""

    def __init__(self, module):
        super().__init__(module)
        self.seen = {}

    def run_node(self, n):
        value = super().run_node(n)
        if "symbol" in n.meta:
            first = value[0] if isinstance(value, (tuple, list)) else value
            # MXNet's names of operators are unique in a graph that was traced with fresh names.
            self.seen[n.meta["symbol"].split(": ")[0]] = tuple(first.shape)
        return value


def side_of(name):
    if name.startswith("cifar"):
        return 32
    return 299 if name.startswith(("inceptionv3", "xception")) else 224


def check(name):
    shape = (2, 3, side_of(name), side_of(name))
    symbol = symbol_of(name, shape[1:])
    network = torch_graph.load_graph(symbol, *parameter_shapes(symbol, shape[1:]), META)
    internals = symbol.get_internals()
    _, shapes, _ = internals.infer_shape(data=shape)
    wanted = dict(zip(internals.list_outputs(), shapes))
    for module, inputs in ((network.inference, ()), (network.training, (0,))):
        label = [torch.zeros(shape[0], dtype=torch.long, device=META) for _ in inputs]
        there = Shapes(module)
        with torch.no_grad():
            answer = there.run(torch.empty(shape, device=META), *label)
        outputs = answer[0] if label else answer
        assert [tuple(output.shape) for output in outputs] == [(shape[0], CLASSES)]
        compared = []
        for node, found in there.seen.items():
            key = next((k for k in (f"{node}_output", f"{node}_output0") if k in wanted), None)
            if key and not (label and key == "softmax_output"):
                assert found == wanted[key], node
                compared.append(node)
        assert len(compared) > len(there.seen) / 2


@pytest.mark.parametrize("name", QUICK)
def test_shapes_equal_mxnets(gluoncv, name):
    check(name)


@pytest.mark.slow
def test_all_networks_have_mxnets_shapes(gluoncv):
    wrong = {}
    names = classification_names()
    for name in names:
        try:
            check(name)
        except Exception as error:
            wrong[name] = repr(error)
    assert not wrong and len(names) > 120

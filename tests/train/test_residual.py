import pytest
from conftest import needs_mxnet
from helpers.gluoncv_networks import gluoncv  # noqa: F401

from imagenet_trainer import symbols
from imagenet_trainer.graph import as_graph
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.residual import branch_ends


@pytest.mark.parametrize(
    ("depth", "units", "last", "side"),
    [(18, (2, 2, 2, 2), 2, 64), (50, (3, 4, 6, 3), 3, 64), (20, (3, 3, 3), 2, 28)],
)
def test_units_of_resnet_v2_end_in_convolutions(depth, units, last, side):
    symbol = symbols.get_symbol("resnet", 10, (3, side, side), depth)
    wanted = [
        f"stage{stage}_unit{unit}_conv{last}_weight"
        for stage, count in enumerate(units, 1)
        for unit in range(1, count + 1)
    ]
    assert sorted(branch_ends(symbol)) == sorted(wanted)


@pytest.mark.parametrize("name", ["squeezenet1.0", "squeezenet1.1"])
def test_a_network_without_additions_has_none(name):
    assert branch_ends(symbols.get_symbol(name, 10)) == ()


@needs_mxnet
@pytest.mark.parametrize("name", ["resnet18_v1", "resnet50_v1b", "se_resnet50_v1"])
def test_gluoncvs_last_gammas_are_found(name, gluoncv):
    net = gluoncv.model_zoo.get_model(name, last_gamma=True, classes=10)
    net.initialize()
    net(mx.nd.zeros((1, 3, 64, 64)))
    wanted = [
        name
        for name, value in net.collect_params(".*gamma").items()
        if not value.data().asnumpy().any()
    ]
    assert len(wanted) >= 8
    assert sorted(branch_ends(as_graph(net(mx.sym.Variable("data"))))) == sorted(wanted)


@needs_mxnet
def test_linear_bottlenecks_end_in_the_batchnorm_of_their_projection():
    # Both sides of an addition may end in a BatchNorm: the unit before is the shallower one.
    net = mx.gluon.model_zoo.vision.mobilenet_v2_0_25(classes=10)
    net.initialize()
    graph = as_graph(net(mx.sym.Variable("data")))
    ends = branch_ends(graph)
    assert len(ends) == 10 and len(set(ends)) == 10  # units that keep their size, of 17
    assert all(name.endswith("gamma") for name in ends)


@needs_mxnet
def test_a_fixed_gamma_cannot_be_zero():
    data = mx.sym.Variable("data")
    branch = mx.sym.BatchNorm(mx.sym.Convolution(data, kernel=(1, 1), num_filter=3), fix_gamma=True)
    assert branch_ends(as_graph(data + branch)) == ()

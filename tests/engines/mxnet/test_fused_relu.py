import json

import pytest
from helpers.tiny_engine import CLASSES, SIDE, assert_same, batches, engine_of, train

from imagenet_trainer import symbols
from imagenet_trainer.engines.mxnet import engine as mxnet_engine
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.mxnet.fused_relu import with_fused_relu
from imagenet_trainer.graph import sym

X = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=6, name="conv")


def norm(x, **options):
    return sym.BatchNorm(x, fix_gamma=False, name="norm", **options)


def relu(x):
    return sym.Activation(x, act_type="relu", name="relu")


NORM = norm(X)


def is_fused(output):
    symbol = with_fused_relu(to_symbol(output), {"data": (2, 4, 8, 8)})
    nodes = {node["name"]: node["op"] for node in json.loads(symbol.tojson())["nodes"]}
    assert symbol.list_outputs() == output.list_outputs()
    assert symbol.list_arguments() == output.list_arguments()
    return nodes["norm"] == "_contrib_BatchNormWithReLU" and nodes["relu"] == "_copy"


def test_what_is_fused():
    assert is_fused(relu(norm(X)))
    depthwise = sym.Convolution(X, kernel=(3, 3), num_filter=6, num_group=6, name="depthwise")
    assert is_fused(relu(norm(depthwise)))


@pytest.mark.parametrize(
    "output",
    [
        relu(NORM) + NORM,
        sym.Group([relu(NORM), NORM]),
        sym.Activation(norm(X), act_type="tanh", name="relu"),
        relu(norm(X, use_global_stats=True)),
        relu(norm(X, axis=3)),
        relu(norm(sym.FullyConnected(X, num_hidden=5, name="fc"))),
        relu(norm(sym.Convolution(X, kernel=(1, 1), num_filter=6, num_group=2, name="grouped"))),
        sym.Pooling(relu(NORM), kernel=(1, 1), global_pool=True, pool_type="avg", name="pool"),
    ],
    ids=[
        "two readers",
        "an output",
        "tanh",
        "global statistics",
        "axis 3",
        "2-D",
        "grouped",
        "pooled",
    ],
)
def test_what_stays(output):
    assert not is_fused(output)


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}], ids=["whole", "accumulated"])
def test_training_and_prediction_have_the_bits_of_separate_operators(monkeypatch, cpus, options):
    network = symbols.get_symbol("resnet", CLASSES, (3, SIDE, SIDE), 8)
    used = []

    def trained(fuse):
        def counted(symbol, shapes):
            used.append(fuse(symbol, shapes))
            return used[-1]

        monkeypatch.setattr(mxnet_engine, "with_fused_relu", counted)
        engine = train(engine_of(network, cpus, **options), batches(4))
        return engine.get_params(), engine.get_state(), engine.predict(batches(1)[0][0])

    (ours, state, seen), (theirs, other, expected) = map(
        trained, (with_fused_relu, lambda symbol, shapes: symbol)
    )
    assert "BatchNormWithReLU" in used[0].tojson() and "WithReLU" not in used[1].tojson()
    assert_same(ours, theirs)
    assert_same(state, other)
    assert (seen == expected).all()

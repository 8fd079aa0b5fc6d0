"""Each operator in ONNX, run by onnxruntime, against MXNet, or PyTorch where MXNet is missing."""

import importlib.util

import numpy as np
import pytest
from helpers.operator_cases import EVERY_OPERATOR, SHAPE, P, X, convolutions, poolings

from imagenet_trainer.convert import onnx_file
from imagenet_trainer.convert.onnx_builder import OPERATORS
from imagenet_trainer.convert.onnx_graph import to_onnx_model
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import sym as S
from imagenet_trainer.system.mxnet_import import installation_problem

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
HAS_MXNET = installation_problem() is None
if not HAS_MXNET and importlib.util.find_spec("torch") is None:
    pytest.skip("there is no engine to compare with", allow_module_level=True)


def of_mxnet(symbol, arg, aux, data):
    from imagenet_trainer.engines.mxnet.arrays import to_mxnet, to_symbol
    from imagenet_trainer.system.mxnet_import import mx

    values = to_mxnet({**arg, "data": data})
    values.update(to_mxnet(labels_of(symbol, data.shape)))
    bound = to_symbol(symbol).bind(mx.cpu(), values, aux_states=to_mxnet(aux))
    return bound.forward(is_train=False)[0].asnumpy()


def labels_of(symbol, shape):
    shapes, _, _ = symbol.infer_shape(data=shape)
    named = zip(symbol.list_arguments(), shapes)
    return {name: np.zeros(size, np.float32) for name, size in named if name == "label"}


def of_torch(symbol, arg, aux, data):
    import torch

    from imagenet_trainer.engines.pytorch import graph

    shapes = ({name: value.shape for name, value in part.items()} for part in (arg, aux))
    network = graph.load_graph(symbol, *shapes, torch.device("cpu"))
    for part, tensors in ((arg, network.arg), (aux, network.aux)):
        for name, value in part.items():
            graph.to_tensor(value, tensors[name])
    with torch.no_grad():
        return network.inference(torch.from_numpy(data))[0].numpy()


def check(symbol, shape=SHAPE, positive=False):
    """The same for batches of one image and of three."""
    random = np.random.default_rng(0)
    arg, aux = (
        {name: random.random(size, np.float32) + 0.5 for name, size in part.items()}
        for part in parameter_shapes(symbol, shape)
    )
    arg.pop("label", None)
    model = to_onnx_model((symbol, arg, aux), shape)
    onnx.checker.check_model(model, full_check=True)
    for batch in (3, 1):
        data = random.standard_normal((batch, *shape), np.float32)
        data = np.abs(data) + np.float32(0.1) if positive else data
        wanted = (of_mxnet if HAS_MXNET else of_torch)(symbol, arg, aux, data)
        (found,) = onnx_file.predict(model, [data])
        assert found.shape == wanted.shape and found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5 * max(1, abs(wanted).max()))


@pytest.mark.parametrize("how", convolutions(), ids=str)
def test_convolution(how):
    check(S.Convolution(X, name="conv", **how))


def test_convolutions_of_one_and_three_dimensions():
    check(S.Convolution(X, kernel=(3,), num_filter=4, pad=(1,)), (3, 8))
    check(S.Convolution(X, kernel=(3, 2, 1), num_filter=4), (3, 5, 6, 4))


@pytest.mark.parametrize("group, adj", [(1, (0, 0)), (2, (1, 0))])
def test_deconvolution(group, adj):
    check(
        S.Deconvolution(
            X, kernel=(3, 4), stride=(2, 2), pad=(1, 1), adj=adj, num_filter=4, num_group=group
        )
    )


@pytest.mark.parametrize("how", poolings(), ids=str)
def test_pooling(how):
    check(S.Pooling(X, **how))


@pytest.mark.parametrize("include", [True, False])
def test_the_last_window_of_a_full_pooling_crosses_the_edge(include):
    how = {"kernel": (3, 3), "stride": (2, 2), "pooling_convention": "full"}
    for pad in ((0, 0), (1, 1)):
        for kind in ("max", "avg", "sum"):
            check(
                S.Pooling(X, pool_type=kind, pad=pad, count_include_pad=include, **how), (2, 8, 12)
            )


@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
def test_global_pooling(kind):
    check(S.Pooling(X, kernel=(1, 1), global_pool=True, pool_type=kind, pad=(2, 2)))


def test_pooling_of_one_and_three_dimensions():
    check(S.Pooling(X, kernel=(3,), stride=(2,), pool_type="max"), (3, 8))
    check(S.Pooling(X, kernel=(2, 2, 2), pad=(1, 0, 1), pool_type="avg"), (3, 5, 6, 4))


@pytest.mark.parametrize("fix_gamma", [False, True])
def test_batch_norm(fix_gamma):
    check(S.BatchNorm(X, fix_gamma=fix_gamma, eps=2e-5, name="bn"))
    check(S.BatchNorm(X, fix_gamma=fix_gamma, use_global_stats=True, name="bn"), (5,))


@pytest.mark.parametrize(
    "symbol",
    [
        *EVERY_OPERATOR,
        S.BlockGrad(X), S.Dropout(X, p=0.5) * 2.0, S.transpose(S.transpose(X)),
        *(S.Reshape(X, shape=codes)
          for codes in ((0, -1), (-1, 8, 63), (-2,), (0, -3, 0), (-3, -2), (0, 0, 7, -1))),
        S.Reshape(X, shape=(-1, 0), reverse=True),
        S.SoftmaxOutput(S.Flatten(X), S.Variable("label")),
        S.SoftmaxOutput(X, S.Variable("label"), multi_output=True),
    ],
    ids=lambda symbol: symbol.name,
)  # fmt: skip
def test_operator(symbol):
    check(symbol)


@pytest.mark.parametrize(
    "symbol", [S.log(X), S.sqrt(X), S.rsqrt(X), X**0.5, 2.0 / X, S.broadcast_power(X, P)]
)
def test_operators_of_positive_numbers(symbol):
    check(symbol, positive=True)


@pytest.mark.skipif(not HAS_MXNET, reason="PyTorch's engine does not have these operators")
@pytest.mark.parametrize(
    "symbol",
    [
        S.LeakyReLU(X, act_type="selu"), S.softmin(X, axis=1), S.softmax(X, temperature=3.0),
        *(getattr(S, kind)(X) for kind in ("sign", "sin", "cos", "floor", "ceil", "reciprocal")),
        S.min(X, axis=1), S.prod(X, axis=3, keepdims=True), S.InstanceNorm(X, name="in"),
        S.depth_to_space(X, block_size=2),
        S.space_to_depth(S.slice_axis(X, axis=3, begin=0, end=6)[0], block_size=1),
        S.space_to_depth(S.UpSampling(X, scale=2, sample_type="nearest", num_args=1) + 1.0,
                         block_size=2),
        S.broadcast_to(S.mean(X, axis=3, keepdims=True), shape=(0, 0, 0, 4)),
        S.broadcast_like(S.mean(X, axis=3, keepdims=True), X, lhs_axes=(3,), rhs_axes=(2,)),
        S._internal._rpower_scalar(X, scalar=2.0), S.BatchNorm_v1(X, name="bn"),
    ],
    ids=lambda symbol: symbol.name,
)  # fmt: skip
def test_operators_that_only_mxnet_has(symbol):
    check(symbol)


@pytest.mark.parametrize(
    "symbol, words",
    [
        (S.argmax(X, axis=1, name="it"), "it: argmax: this operator"),
        (S.LeakyReLU(X, act_type="rrelu", name="it")[0], "it: LeakyReLU: act_type rrelu"),
        (S.Cast(X, dtype="float16", name="it"), "it: Cast: dtype float16"),
        (S.BatchNorm(X, axis=3, name="it"), "it: BatchNorm: axis 3"),
        (S.Dropout(X, mode="always", name="it"), "it: Dropout: mode always"),
        (S.Convolution(X, kernel=(3, 3), num_filter=2, layout="NHWC", name="it"), "layout NHWC"),
        (S.Pooling(X, kernel=(2, 2), pad=(2, 2), name="it"), "it: Pooling: a window"),
        (S.Pooling(X, kernel=(2, 2), stride=(2, 2), pad=(1, 1), pooling_convention="full",
                   name="it"), "it: Pooling: a window"),
        (S.SoftmaxActivation(X, name="it"), "it: SoftmaxActivation: mode instance"),
        (S.contrib.BilinearResize2D(X, height=1, width=4, align_corners=False, name="it"),
         "it: _contrib_BilinearResize2D: .* one row"),
        (S.Reshape(X, shape=(1, 8, 63), name="it"), "it.*batch size"),
        (S.Pooling(S.transpose(X), kernel=(2, 1), name="it"), "it: Pooling: .*batch size"),
        (X + S.Variable("more", shape=(0, *SHAPE)), "more"),
    ],
    ids=str,
)  # fmt: skip
def test_what_onnx_does_not_have_is_refused_with_the_node(symbol, words):
    arg, aux = (
        {name: np.zeros(size) for name, size in part.items() if name != "more"}
        for part in parameter_shapes(symbol, SHAPE)
    )
    with pytest.raises(InputError, match=f"^to onnx: .*{words}"):
        to_onnx_model((symbol, arg, aux), SHAPE)


def test_every_operator_of_the_pytorch_engine_has_a_translation():
    operators = pytest.importorskip("imagenet_trainer.engines.pytorch.operators")
    pytest.importorskip("imagenet_trainer.engines.pytorch.arithmetic")
    others = {"BatchNorm", "Dropout", "SoftmaxOutput"}
    assert not {*operators.OPERATORS, *others} - OPERATORS.keys()


def test_names_of_the_network_may_be_names_that_the_translation_makes():
    one = S.broadcast_add(X, S.Variable("same_output", shape=(1, 8, 1, 1)), name="same")
    other = S.broadcast_mul(one, S.Variable("same_number", shape=(1, 8, 1, 1)), name="same")
    check(S.softmax(other * 2.0, axis=1, name="probabilities"))

"""Each of MXNet's operators in PyTorch, compared with MXNet."""

import re

import numpy as np
import pytest
from helpers import operator_cases
from helpers.operator_cases import EVERY_OPERATOR, X, convolutions, poolings

torch = pytest.importorskip("torch")

from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.engines.pytorch import graph as torch_graph
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import sym as S
from imagenet_trainer.system.mxnet_import import mx

CPU = torch.device("cpu")
SHAPE = (3, *operator_cases.SHAPE)


def graph_of(symbol, shape):
    arguments, _, auxiliary = symbol.infer_shape(data=shape)
    named = dict(zip(symbol.list_arguments(), arguments))
    labels = {name: named.pop(name) for name in list(named) if name.endswith("label")}
    named.pop("data")
    aux = dict(zip(symbol.list_auxiliary_states(), auxiliary))
    return torch_graph.load_graph(symbol, named, aux, CPU), labels


def values_for(network, random):
    for value in network.arg.values():
        torch_graph.to_tensor(random.randn(*value.shape), value)
    for value in network.aux.values():
        torch_graph.to_tensor(random.rand(*value.shape) + 0.5, value)


def close(ours, theirs, what, tolerance=1e-4):
    """Difference relative to the norm of the tensor, as elements may be sums that cancel."""
    assert ours.shape == theirs.shape, what
    size = np.linalg.norm(theirs)
    assert np.linalg.norm(ours - theirs) <= tolerance * size + 1e-7, (
        f"{what}: {np.linalg.norm(ours - theirs) / max(size, 1e-30):.2e}"
    )


def compare(symbol, shape=SHAPE, label=None, seed=0, is_train=True, positive=False):
    """Outputs, gradients of everything, and BatchNorm's moving statistics, on both sides."""
    random = np.random.RandomState(seed)
    network, labels = graph_of(symbol, shape)
    values_for(network, random)
    data = random.randn(*shape).astype(np.float32)
    if positive:
        data = np.abs(data) + 0.1
    bound = to_symbol(symbol).simple_bind(mx.cpu(), data=shape, grad_req="write")
    for name, value in network.arg.items():
        bound.arg_dict[name][:] = torch_graph.to_numpy(value)
    for name, value in network.aux.items():
        bound.aux_dict[name][:] = torch_graph.to_numpy(value)
    bound.arg_dict["data"][:] = data
    for name, wanted in labels.items():
        bound.arg_dict[name][:] = label.reshape(wanted)
    theirs = [output.asnumpy() for output in bound.forward(is_train=is_train)]
    images = torch.from_numpy(data)
    if images.dim() == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    images.requires_grad_(True)
    if not is_train:
        with torch.no_grad():
            for a, b in zip(network.inference(images), theirs):
                close(a.numpy(), b, "output")
        return
    target = None if label is None else torch.from_numpy(label)
    outputs, loss, moments = network.training(images, target)
    for a, b in zip(outputs, theirs):
        close(a.detach().numpy(), b, "output")
    heads = [random.randn(*output.shape).astype(np.float32) for output in theirs]
    bound.backward([mx.nd.array(head) for head in heads])
    if loss is None:
        loss = sum((a * torch.from_numpy(b)).sum() for a, b in zip(outputs, heads))
    wanted = {n: v for n, v in network.arg.items() if v.requires_grad}
    found = torch.autograd.grad(loss, [images, *wanted.values()], allow_unused=True)
    for name, gradient in zip(["data", *wanted], found):
        their = bound.grad_dict[name].asnumpy()
        our = np.zeros_like(their) if gradient is None else gradient.numpy()
        close(our, their, f"gradient of {name}")
    mx.nd.waitall()
    for statistic, (mean, variance) in zip(network.statistics, zip(moments[::2], moments[1::2])):
        for name, new in ((statistic.mean, mean), (statistic.variance, variance)):
            kept = statistic.momentum
            moving = kept * network.aux[name] + (1 - kept) * new
            close(moving.numpy(), bound.aux_dict[name].asnumpy(), name)


@pytest.mark.parametrize("how", convolutions(), ids=str)
def test_convolution(how):
    compare(S.Convolution(X, name="conv", **how))


def test_convolutions_of_one_and_three_dimensions():
    compare(S.Convolution(X, kernel=(3,), num_filter=4, pad=(1,)), (2, 3, 8))
    compare(S.Convolution(X, kernel=(3, 2, 1), num_filter=4), (2, 3, 5, 6, 4))


@pytest.mark.parametrize("group, adj", [(1, (0, 0)), (2, (1, 0))])
def test_deconvolution(group, adj):
    compare(
        S.Deconvolution(
            X, kernel=(3, 4), stride=(2, 2), pad=(1, 1), adj=adj, num_filter=4, num_group=group
        )
    )


@pytest.mark.parametrize("how", poolings(), ids=str)
def test_pooling(how):
    compare(S.Pooling(X, **how))


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_global_pooling(kind):
    compare(S.Pooling(X, kernel=(1, 1), global_pool=True, pool_type=kind, pad=(2, 2)))


def test_equal_maxima_give_the_gradient_to_the_same_element():
    # After a relu most windows hold several zeros.
    compare(S.Pooling(S.relu(X - 1.0), kernel=(3, 3), stride=(2, 2), pool_type="max"))
    compare(S.Pooling(S.relu(X - 1.0), kernel=(1, 1), global_pool=True, pool_type="max"))


@pytest.mark.parametrize(
    "symbol, why",
    [
        (S.Pooling(X, kernel=(2, 2), stride=(2, 2), pad=(1, 1), pooling_convention="full",
                   name="it"), "Pooling: .* last window .*"),
        (S.Pooling(X, kernel=(3, 2), pad=(2, 0), name="it"),
         "Pooling: .* pad .*"),
        (S.SoftmaxActivation(X, name="it"),
         "SoftmaxActivation: mode instance .*"),
        (S.contrib.BilinearResize2D(X, height=1, width=4, align_corners=False, name="it"),
         "_contrib_BilinearResize2D: .* one row .*"),
        (S.Pad(S.expand_dims(X, axis=4), mode="reflect", name="it",
               pad_width=(0, 0, 0, 0, 0, 0, 0, 0, 1, 1)),
         "Pad: .*Padding size should be less than .*"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_pytorch_computes_differently_is_refused(symbol, why):
    network, _ = graph_of(S.FullyConnected(symbol, num_hidden=2), (1, 1, 5, 5))
    with pytest.raises(InputError) as caught:
        torch_graph.check_shapes(network, (1, 5, 5))
    assert re.fullmatch(f"engine torch: it: {why}; use mxnet", str(caught.value))


@pytest.mark.parametrize("fix_gamma", [False, True])
@pytest.mark.parametrize("use_global_stats", [False, True])
def test_batch_norm(fix_gamma, use_global_stats):
    for momentum, eps in ((0.9, 2e-5), (0.5, 1e-3)):
        symbol = S.BatchNorm(
            X, fix_gamma=fix_gamma, use_global_stats=use_global_stats, eps=eps, momentum=momentum,
            name="bn",
        )  # fmt: skip
        compare(symbol)
        compare(symbol, is_train=False)
    compare(S.BatchNorm(X, fix_gamma=fix_gamma, name="bn"), (6, 5))


@pytest.mark.parametrize(
    "symbol",
    [
        *EVERY_OPERATOR, S.transpose(X), S.squeeze(S.mean(X, axis=2, keepdims=True)),
        X + S.Variable("b", shape=SHAPE), S.Dropout(X, p=0.0),
        sum(list(S.split(X, num_outputs=4, axis=1)), S.slice_axis(X, axis=1, begin=0, end=2)),
        S.split(X, num_outputs=3, axis=0, squeeze_axis=True)[1],
        S.slice(X, begin=(0, 1), end=(2, 7), step=(1, 2)),
    ],
    ids=lambda symbol: symbol.name,
)  # fmt: skip
def test_operator(symbol):
    compare(symbol)


@pytest.mark.parametrize(
    "symbol",
    [
        S._internal._maximum(X, S.ones(SHAPE) * X), S._internal._minimum(X, S.BlockGrad(X)),
        S.broadcast_maximum(S.BlockGrad(X), X), S.broadcast_minimum(S.zeros((1, 8, 1, 1)), X * 0.0),
        S.max(S.Concat(X, X, X, dim=2), axis=(1, 2)), S.max(X * 0.0, axis=1, keepdims=True),
    ],
    ids=lambda symbol: symbol.name,
)  # fmt: skip
def test_equal_elements_get_the_same_gradient(symbol):
    compare(symbol)


@pytest.mark.parametrize("symbol", [S.log(X), S.sqrt(X), S.rsqrt(X), X**0.5, 2.0 / X])
def test_operators_of_positive_numbers(symbol):
    compare(symbol, positive=True)


CODES = [
    (0, -1), (-1, 0), (0, 0, -1), (-2,), (0, -2), (-3, -2), (-3, -3), (0, -3, 0), (0, 0, -3),
    (-4, 2, 3, -2), (-4, -1, 2, -2), (0, -4, 2, -1, -2), (0, 2, -1, 1, 1), (24, 10), (0, 4, 10),
]  # fmt: skip
FROM_THE_RIGHT = [(-1, 0), (-1, 5, 0), (-2, 0), (-2, -3), (-1, 0, 0), (24, 5, 0)]


@pytest.mark.parametrize(
    "codes, reverse", [(c, False) for c in CODES] + [(c, True) for c in FROM_THE_RIGHT]
)
def test_reshape_codes(codes, reverse):
    compare(S.Reshape(X, shape=codes, reverse=reverse), (6, 4, 5, 2))


def softmaxes():
    for smooth in (0.0, 0.1):
        for ignore in (False, True):
            for normalization in ("null", "batch", "valid"):
                yield {
                    "smooth_alpha": smooth, "use_ignore": ignore, "ignore_label": 2,
                    "normalization": normalization, "grad_scale": 0.7,
                }  # fmt: skip


@pytest.mark.parametrize("how", softmaxes(), ids=str)
def test_softmax_output(how):
    label = np.array([0, 2, 4, 2, 1, 3], np.float32)
    symbol = S.SoftmaxOutput(S.FullyConnected(X, num_hidden=5), name="softmax", **how)
    compare(symbol, (6, 4), label)
    compare(symbol, (6, 4), label, is_train=False)


@pytest.mark.parametrize("smooth", [0.0, 0.1])
@pytest.mark.parametrize("normalization", ["null", "batch", "valid"])
def test_softmax_output_of_every_pixel(normalization, smooth):
    label = np.random.RandomState(0).randint(0, 8, (3, 9 * 7)).astype(np.float32)
    symbol = S.SoftmaxOutput(
        S.Reshape(S.Convolution(X, kernel=(1, 1), num_filter=8), shape=(0, 0, -1)),
        name="softmax", multi_output=True, normalization=normalization, smooth_alpha=smooth,
    )  # fmt: skip
    compare(symbol, label=label)


@pytest.mark.parametrize("how", softmaxes(), ids=str)
def test_softmax_output_of_distributions(how):
    # The targets of mixup and label smoothing. MXNet's smoothing, ignored labels and normalisation
    # apply to class indices only.
    shares = np.random.RandomState(0).dirichlet(np.ones(4), 6).astype(np.float32)
    label = S.Variable("softmax_label", shape=(6, 4))
    compare(S.SoftmaxOutput(X, label, name="softmax", **how), (6, 4), shares)


def test_dropout_keeps_the_mean_and_can_drop_whole_planes():
    torch.manual_seed(0)
    data = torch.ones(64, 32, 4, 4)
    for axes in ((), (2, 3)):
        network, _ = graph_of(S.Dropout(X, p=0.25, axes=axes), tuple(data.shape))
        dropped = network.training(data, None)[0][0]
        kept = dropped != 0
        assert dropped[kept].unique().tolist() == [pytest.approx(1 / 0.75)]
        assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
        assert bool((kept.all((2, 3)) | (~kept).all((2, 3))).all()) == bool(axes)
        assert torch.equal(network.inference(data)[0], data)
    always, _ = graph_of(S.Dropout(X, p=0.25, mode="always"), tuple(data.shape))
    assert (always.inference(data)[0] == 0).any()


def test_unsupported_operators_and_attributes_are_named():
    with pytest.raises(InputError, match="sorted: argmax: this operator"):
        graph_of(S.argmax(X, axis=1, name="sorted"), SHAPE)
    with pytest.raises(InputError, match="act1: LeakyReLU: act_type rrelu"):
        graph_of(S.LeakyReLU(X, act_type="rrelu", name="act1"), SHAPE)
    with pytest.raises(InputError, match="sure: softmax: use_length True"):
        graph_of(S.softmax(X, S.Variable("length"), use_length=True, name="sure"), (2, 5))
    with pytest.raises(InputError, match="half: Cast: dtype float16"):
        graph_of(S.Cast(X, dtype="float16", name="half"), SHAPE)
    with pytest.raises(InputError, match="old: Pooling_v1: this operator"):
        graph_of(S.Pooling_v1(X, kernel=(2, 2), name="old"), SHAPE)
    with pytest.raises(InputError, match="more: this network has an input"):
        torch_graph.load_graph(X + S.Variable("more"), {}, {}, CPU)


def test_names_that_are_not_python_identifiers():
    symbol = S.FullyConnected(X, num_hidden=2, name="stage1.fc/a-b")
    network, _ = graph_of(symbol, (2, 3))
    assert list(network.arg) == ["stage1.fc/a-b_weight", "stage1.fc/a-b_bias"]
    compare(symbol, (2, 3))

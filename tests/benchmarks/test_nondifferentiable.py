"""Where networks have no derivative, found and left."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer.benchmarks import nondifferentiable as kinks
from imagenet_trainer.benchmarks import parity
from imagenet_trainer.system.mxnet_import import mx

S = mx.sym


def networks(symbol, side=9, batch=8):
    """In float64 and float32, with random parameters, and a batch."""
    arguments, _, auxiliary = symbol.infer_shape(data=(1, 3, side, side))
    random = np.random.default_rng(0)
    arg = {n: random.normal(0, 0.5, s).astype(np.float32)
           for n, s in zip(symbol.list_arguments(), arguments)
           if n not in ("data", "softmax_label")}  # fmt: skip
    aux = {n: np.ones(s, np.float32) for n, s in zip(symbol.list_auxiliary_states(), auxiliary)}
    images = torch.from_numpy(random.normal(0, 1, (batch, 3, side, side)))
    made = [parity.torch_network(symbol, arg, aux, kind) for kind in ("float64", "float32")]
    return made, images, torch.from_numpy(random.integers(0, 2, batch))


def answered(x):
    return S.SoftmaxOutput(S.FullyConnected(S.Flatten(x), num_hidden=2), name="softmax")


def convolved(x, name, **more):
    return S.Convolution(x, kernel=(3, 3), num_filter=16, name=name, **more)


X = S.Variable("data")
NORMED = S.BatchNorm(convolved(X, "conv", no_bias=True), fix_gamma=False, name="bn")
CASES = {
    "convolution": S.relu(convolved(X, "conv")),
    "batch norm": S.Activation(NORMED, act_type="relu"),
    "two kinks": S.clip(NORMED, a_min=0, a_max=0.4),
    "dense": S.relu(S.FullyConnected(X, num_hidden=64, name="fc")),
    "sum": S.relu(S.relu(NORMED) + 0.2 * convolved(X, "other")),
}


@pytest.mark.parametrize("case", CASES)
def test_no_unit_stays_on_a_kink(case):
    (exact, _), images, labels = networks(answered(CASES[case]))
    before = {name: value.detach().clone() for name, value in exact.arg.items()}
    nearest = distances(exact, images, labels)
    kinks.move_away(exact, images, labels)
    assert min(distances(exact, images, labels)) > 5 * min(nearest)
    for name, value in exact.arg.items():
        if not name.endswith(("bias", "beta")):
            assert torch.equal(value, before[name])


def distances(network, images, labels):
    """Of the nearest unit to each kink, by looking at what rectifiers are given."""
    found = []

    class Look(torch.fx.Interpreter):
        def run_node(self, n):
            for kink in kinks._kinks(n):
                found.append((self.env[n.args[0]] - kink).abs().min().item())
            return super().run_node(n)

    with torch.no_grad():
        Look(network.training).run(images, labels)
    return found


def test_a_rectifier_that_no_bias_reaches_is_told():
    (exact, _), images, labels = networks(answered(S.relu(convolved(X, "conv", no_bias=True))))
    with pytest.raises(ValueError, match="no bias in front of a rectifier"):
        kinks.move_away(exact, images, labels)


def test_certainty_falls_where_a_unit_is_on_its_kink():
    (exact, rounded), images, labels = networks(answered(CASES["convolution"]))
    kinks.move_away(exact, images, labels)
    copy(exact, rounded)
    copy(rounded, exact)
    assert kinks.certainty(exact, rounded, images, labels) > 100
    with torch.no_grad():  # the first unit of the first channel onto nought
        inputs = torch.conv2d(images, exact.arg["conv_weight"], exact.arg["conv_bias"])
        exact.arg["conv_bias"][0] -= inputs[0, 0, 0, 0]
    copy(exact, rounded)
    copy(rounded, exact)
    assert kinks.certainty(exact, rounded, images, labels) < 5


def copy(source, target):
    with torch.no_grad():
        for name, value in target.arg.items():
            value.copy_(source.arg[name])


@pytest.mark.parametrize("convention, windows", [("valid", 4), ("full", 9)])
def test_the_gap_between_the_two_largest_of_a_window(convention, windows):
    planes = torch.arange(25.0, dtype=torch.float64).reshape(1, 5, 5) ** 2
    how = {"global_pool": False, "kernel": (2, 2), "stride": (2, 2), "pad": (0, 0),
           "pooling_convention": convention}  # fmt: skip
    gaps = kinks._gaps(planes, how)
    assert gaps.numel() == windows
    assert gaps.min() == 6**2 - 5**2
    assert torch.isinf(gaps).sum() == (convention == "full")  # the corner, a window of one


def test_certainty_falls_where_two_pixels_of_a_window_are_equal():
    pooled = S.Pooling(X, kernel=(3, 3), stride=(3, 3), pool_type="max")
    (exact, rounded), images, labels = networks(answered(convolved(pooled, "conv")))
    images = images.float().double()  # else what float32 is off by is seen already
    assert kinks.certainty(exact, rounded, images, labels) > 1e6
    images[0, 0, 0, :2] = torch.tensor([9.0, 9.0 + 1e-8], dtype=torch.float64)
    assert kinks.certainty(exact, rounded, images, labels) < 5
    images[0, 0, 0, :2] = 9.0  # to the last bit equal: the first is taken everywhere
    assert kinks.certainty(exact, rounded, images, labels) > 1e6

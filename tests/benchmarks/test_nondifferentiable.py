"""Points at which networks are not differentiable are found and avoided."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer.benchmarks import nondifferentiable, parity
from imagenet_trainer.graph import sym

S = sym


def networks(symbol, side=9, batch=8):
    """In float64 and float32, with random parameters, and a batch."""
    arguments, _, auxiliary = symbol.infer_shape(data=(1, 3, side, side))
    random = np.random.default_rng(0)
    arg = {n: random.normal(0, 0.5, s).astype(np.float32)
           for n, s in zip(symbol.list_arguments(), arguments)
           if n not in ("data", "softmax_label")}  # fmt: skip
    aux = {n: np.ones(s, np.float32) for n, s in zip(symbol.list_auxiliary_states(), auxiliary)}
    images = torch.from_numpy(random.normal(0, 1, (batch, 3, side, side)))
    both = [parity.torch_network(symbol, arg, aux, kind) for kind in ("float64", "float32")]
    return both, images, torch.from_numpy(random.integers(0, 2, batch))


def classified(x):
    return S.SoftmaxOutput(S.FullyConnected(S.Flatten(x), num_hidden=2), name="softmax")


def convolved(x, name, **more):
    return S.Convolution(x, kernel=(3, 3), num_filter=16, name=name, **more)


X = S.Variable("data")
NORMED = S.BatchNorm(convolved(X, "conv", no_bias=True), fix_gamma=False, name="bn")
CASES = {
    "convolution": S.relu(convolved(X, "conv")),
    "batch norm": S.Activation(NORMED, act_type="relu"),
    "two breakpoints": S.clip(NORMED, a_min=0, a_max=0.4),
    "dense": S.relu(S.FullyConnected(X, num_hidden=64, name="fc")),
    "sum": S.relu(S.relu(NORMED) + 0.2 * convolved(X, "other")),
}


@pytest.mark.parametrize("case", CASES)
def test_no_unit_stays_at_a_breakpoint(case):
    (exact, _), images, labels = networks(classified(CASES[case]))
    before = {name: value.detach().clone() for name, value in exact.arg.items()}
    nearest = distances(exact, images, labels)
    nondifferentiable.move_away(exact, images, labels)
    assert min(distances(exact, images, labels)) > 5 * min(nearest)
    for name, value in exact.arg.items():
        if not name.endswith(("bias", "beta")):
            assert torch.equal(value, before[name])


def distances(network, images, labels):
    """The distance of the nearest unit to each breakpoint, from the inputs of rectifiers."""
    result = []

    class Observer(torch.fx.Interpreter):
        def run_node(self, n):
            for point in nondifferentiable._breakpoints(n):
                result.append((self.env[n.args[0]] - point).abs().min().item())
            return super().run_node(n)

    with torch.no_grad():
        Observer(network.training).run(images, labels)
    return result


def test_a_rectifier_without_a_bias():
    (exact, _), images, labels = networks(classified(S.relu(convolved(X, "conv", no_bias=True))))
    with pytest.raises(ValueError, match="no bias"):
        nondifferentiable.move_away(exact, images, labels)


def test_certainty_is_low_if_a_unit_is_at_its_breakpoint():
    (exact, rounded), images, labels = networks(classified(CASES["convolution"]))
    nondifferentiable.move_away(exact, images, labels)
    copy(exact, rounded)
    copy(rounded, exact)
    assert nondifferentiable.certainty(exact, rounded, images, labels) > 100
    with torch.no_grad():  # move the first unit of the first channel to zero
        inputs = torch.conv2d(images, exact.arg["conv_weight"], exact.arg["conv_bias"])
        exact.arg["conv_bias"][0] -= inputs[0, 0, 0, 0]
    copy(exact, rounded)
    copy(rounded, exact)
    assert nondifferentiable.certainty(exact, rounded, images, labels) < 5


def copy(source, target):
    with torch.no_grad():
        for name, value in target.arg.items():
            value.copy_(source.arg[name])


@pytest.mark.parametrize("convention, windows", [("valid", 4), ("full", 9)])
def test_the_difference_of_the_two_largest_pixels_of_a_window(convention, windows):
    planes = torch.arange(25.0, dtype=torch.float64).reshape(1, 5, 5) ** 2
    how = {"global_pool": False, "kernel": (2, 2), "stride": (2, 2), "pad": (0, 0),
           "pooling_convention": convention}  # fmt: skip
    gaps = nondifferentiable._gaps(planes, how)
    assert gaps.numel() == windows
    assert gaps.min() == 6**2 - 5**2
    assert torch.isinf(gaps).sum() == (convention == "full")  # the corner, a window of one


def test_certainty_is_low_if_two_pixels_of_a_window_are_nearly_equal():
    pooled = S.Pooling(X, kernel=(3, 3), stride=(3, 3), pool_type="max")
    (exact, rounded), images, labels = networks(classified(convolved(pooled, "conv")))
    images = images.float().double()  # without their own rounding to float32
    assert nondifferentiable.certainty(exact, rounded, images, labels) > 1e6
    images[0, 0, 0, :2] = torch.tensor([9.0, 9.0 + 1e-8], dtype=torch.float64)
    assert nondifferentiable.certainty(exact, rounded, images, labels) < 5
    images[0, 0, 0, :2] = 9.0  # exactly equal: both programs take the first
    assert nondifferentiable.certainty(exact, rounded, images, labels) > 1e6

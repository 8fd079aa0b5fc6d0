import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import INITIALIZERS, Stream, initial_parameters

SHAPES = {"conv_weight": (64, 48, 3, 3), "fc_weight": (200, 300), "wide_weight": (40, 700)}
HE = {"name": "xavier", "rnd_type": "gaussian", "factor_type": "in", "magnitude": 2}
REFERENCES = {
    "xavier": mx.init.Xavier(),
    "he": mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2),
    "out": mx.init.Xavier(factor_type="out", magnitude=2.5),
    "msra": mx.init.MSRAPrelu(),
    "orthogonal": mx.init.Orthogonal(),
    "normal": mx.init.Normal(),
    "uniform": mx.init.Uniform(),
    "one": mx.init.One(),
    "zero": mx.init.Zero(),
}
DESCRIPTIONS = {
    **{name: name for name in REFERENCES},
    "he": HE,
    "out": {"name": "xavier", "factor_type": "out", "magnitude": 2.5},
}

# Drawn once with NumPy 1.26; they come from Philox4x64-10 with the key of sha256.
PINNED_UNIT = [0.16653495415073072, 0.7158899817505341]
PINNED_NORMAL = [-1.074135493717086, -0.34595263674386706, -0.13950367189202173]


def by_mxnet(reference, name, shape):
    values = mx.nd.zeros(shape)
    reference(mx.init.InitDesc(name), values)
    return values.asnumpy()


def moments(values):
    """Mean, deviation, and the kurtosis, which tells a normal from a uniform distribution."""
    spread = values.std()
    fourth = ((values - values.mean()) ** 4).mean() / spread**4 if spread else 0
    return values.mean(), spread, fourth


@pytest.mark.parametrize("initializer", REFERENCES)
@pytest.mark.parametrize("name", SHAPES)
def test_distribution_is_mxnets(initializer, name):
    ours = initial_parameters(SHAPES, {}, DESCRIPTIONS[initializer], 7)[0][name]
    mx.random.seed(3)
    theirs = by_mxnet(REFERENCES[initializer], name, SHAPES[name])
    assert ours.dtype == np.float32 and ours.shape == SHAPES[name]
    mean, spread, fourth = moments(theirs.astype(np.float64))
    our_mean, our_spread, our_fourth = moments(ours.astype(np.float64))
    # Five standard errors of a mean, of a deviation (under 1 / sqrt(2n)) and of a kurtosis.
    assert abs(our_mean - mean) <= 5 * spread * np.sqrt(2 / ours.size)
    assert our_spread == pytest.approx(spread, rel=5 / np.sqrt(ours.size))
    assert our_fourth == pytest.approx(fourth, abs=5 * np.sqrt(48 / ours.size))
    if initializer in ("xavier", "out", "uniform"):
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=2e-3)


def test_default_initializer_names_are_those_of_the_flag():
    assert set(INITIALIZERS) == set(REFERENCES) - {"he", "out"}


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (16, 4, 3, 3)])
def test_orthogonal_is_orthogonal(shape):
    weight = initial_parameters({"w_weight": shape}, {}, "orthogonal", 0)[0]["w_weight"]
    flat = weight.reshape(shape[0], -1).astype(np.float64)
    product = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(product, 1.414**2 * np.eye(len(product)), atol=1e-5)


def test_names_decide_as_in_mxnet():
    shapes = {f"layer_{end}": (4, 5) for end in ("weight", "bias", "gamma", "beta")}
    aux_shapes = {"bn_moving_mean": (4,), "bn_moving_var": (4,)}
    arg, aux = initial_parameters(shapes, aux_shapes, "one", 0)
    for name, values in arg.items():
        np.testing.assert_array_equal(values, by_mxnet(mx.init.One(), name, (4, 5)))
    assert not aux["bn_moving_mean"].any() and (aux["bn_moving_var"] == 1).all()
    scale = initial_parameters({"unit1_layer_scale": (4,)}, {}, "one", 0)[0]["unit1_layer_scale"]
    assert (scale == np.float32(1e-6)).all()
    with pytest.raises(ValueError, match="layer_state"):
        initial_parameters({"layer_state": (4,)}, {}, "one", 0)


@pytest.mark.parametrize("initializer", ["xavier", HE, "orthogonal"])
def test_a_parameter_depends_on_seed_and_name_alone(initializer):
    alone = initial_parameters({"fc_weight": (200, 300)}, {}, initializer, 7)[0]["fc_weight"]
    among = initial_parameters(SHAPES, {}, initializer, 7)[0]["fc_weight"]
    np.testing.assert_array_equal(alone, among)
    for name, seed in (("fc_weight", 8), ("fd_weight", 7)):
        other = initial_parameters({name: (200, 300)}, {}, initializer, seed)[0][name]
        assert abs(np.corrcoef(alone.ravel(), other.ravel())[0, 1]) < 0.02


def test_the_stream_does_not_depend_on_the_numpy_version():
    stream = Stream(0, "conv0_weight")
    np.testing.assert_array_equal(stream.unit(2), PINNED_UNIT)
    np.testing.assert_allclose(stream.normal(1, (3,)), PINNED_NORMAL, rtol=1e-12)


def test_normal_halves_are_independent():
    values = Stream(1, "w").normal(1, (100_000,))
    assert abs(np.corrcoef(values[:50_000], values[50_000:])[0, 1]) < 0.02
    assert np.isfinite(values).all() and 4 < np.abs(values).max() < 6


def test_invalid_initializers_are_refused():
    with pytest.raises(InputError, match=r"--initializer xavir: .* did you mean xavier"):
        initial_parameters({}, {}, "xavir", 0)
    with pytest.raises(TypeError, match="magnitud"):
        initial_parameters(SHAPES, {}, {"name": "xavier", "magnitud": 2}, 0)
    with pytest.raises(ValueError, match="two dimensions"):
        initial_parameters({"scale_weight": (3,)}, {}, "xavier", 0)


def test_a_weight_may_have_its_own_initializer():
    shapes = {"a_weight": (50, 40), "b_weight": (50, 40)}
    mixed = {"name": "uniform", "except": {"b_weight": {"name": "normal", "sigma": 3}}}
    arg = initial_parameters(shapes, {}, mixed, 7)[0]
    assert arg["b_weight"].std() == pytest.approx(3, rel=0.05)
    plain = initial_parameters(shapes, {}, "uniform", 7)[0]
    np.testing.assert_array_equal(arg["a_weight"], plain["a_weight"])

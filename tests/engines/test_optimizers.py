import numpy as np
import pytest
from conftest import ENGINES
from helpers.tiny_engine import (
    BATCH,
    batches,
    engine_of,
    first_parameters,
    gradients,
    logits,
    network,
    open_one,
    tensors_of,
    train,
)

torch = pytest.importorskip("torch")

DECAY = 1e-2


def torch_train(optimizer_of, symbol, updates=4):
    """The tensors after some updates of a PyTorch optimizer, biases and betas not decayed."""
    tensors = tensors_of(symbol)
    leaves = {name: value for name, value in tensors.items() if value.requires_grad}
    decayed = [v for n, v in leaves.items() if n.endswith(("weight", "gamma"))]
    others = [v for n, v in leaves.items() if not n.endswith(("weight", "gamma"))]
    optimizer = optimizer_of(
        [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0}]
    )
    for images, labels in batches(updates):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits(tensors, images), torch.tensor(labels)).backward()
        optimizer.step()
    return tensors


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("name", "rate", "reference"),
    [
        ("sgd", 0.05, lambda groups: torch.optim.SGD(groups, 0.05, momentum=0.9)),
        ("nag", 0.05, lambda groups: torch.optim.SGD(groups, 0.05, momentum=0.9, nesterov=True)),
        ("adam", 1e-3, lambda groups: torch.optim.Adam(groups, 1e-3)),
        ("adamw", 1e-3, lambda groups: torch.optim.AdamW(groups, 1e-3)),
        ("nadam", 1e-3, lambda groups: torch.optim.NAdam(groups, 1e-3, momentum_decay=0.004)),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_optimizers_equal_pytorchs(engine, name, rate, reference, batch_norm):
    symbol = network(batch_norm)
    engine = train(open_one(engine, symbol, name, decay=DECAY), batches(4), rate)
    tensors = torch_train(reference, symbol)
    for parameter, value in engine.get_params()[0].items():
        off = np.abs(value - tensors[parameter].detach().numpy()) > 2e-5
        # Adam and its kin make full steps for gradients that are rounding errors: those of a bias
        # before BatchNorm, and of some weights.
        if not ("adam" in name and batch_norm and parameter == "conv_bias"):
            assert off.mean() <= (0.03 if "adam" in name else 0), parameter
    moved = first_parameters(symbol)[0]["fc_weight"] - engine.get_params()[0]["fc_weight"]
    assert np.abs(moved).max() > 1e-3


def test_nesterov_without_momentum_is_sgd():
    rates = {"decay": DECAY, "momentum": 0.0}
    nag, sgd = (
        train(engine_of(network(), rule=name, **rates), batches(2), 0.05).get_params()[0]
        for name in ("nag", "sgd")
    )
    for name, value in nag.items():
        np.testing.assert_allclose(value, sgd[name], atol=1e-6, err_msg=name)


def numpy_train(step, updates=3):
    """Parameters after updates by `step(name, weight, gradient, decay, memory)`."""
    symbol = network()
    values, _ = first_parameters(symbol)
    memory = {name: {} for name in values}
    for images, labels in batches(updates):
        slopes = gradients(values, images, labels)
        for name in values:
            decay = DECAY if name.endswith("weight") else 0.0
            values[name] = step(name, values[name], slopes[name], decay, memory[name])
    return values


def assert_equal_to(engine, values, atol=1e-6):
    for name, value in engine.get_params()[0].items():
        np.testing.assert_allclose(value, values[name], atol=atol, err_msg=name)


@pytest.mark.parametrize("name", ["sgd", "nag", "adam"])
def test_gradients_are_clipped_element_by_element(name):
    limit, rate, m = 0.01, 0.05, 0.9

    def step(_, weight, slope, decay, memory):
        if name == "adam":
            slope = np.clip(slope + decay * weight, -limit, limit)
            t = memory["t"] = memory.get("t", 0) + 1
            mean = memory["a"] = 0.9 * memory.get("a", 0) + 0.1 * slope
            square = memory["b"] = 0.999 * memory.get("b", 0) + 0.001 * slope**2
            scale = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            return weight - scale * mean / (np.sqrt(square) + 1e-8)
        slope = np.clip(slope, -limit, limit) + decay * weight
        speed = memory["v"] = m * memory.get("v", 0) - rate * slope
        return weight + (m * speed - rate * slope if name == "nag" else speed)

    values = numpy_train(step)
    clipped = engine_of(network(), rule=name, decay=DECAY, options={"clip_gradient": limit})
    assert_equal_to(train(clipped, batches(3), rate), values, atol=2e-5)
    free = train(engine_of(network(), rule=name, decay=DECAY), batches(3), rate)
    assert np.abs(free.get_params()[0]["fc_weight"] - values["fc_weight"]).max() > 1e-3


@pytest.mark.parametrize("cpus", [1, 2])
def test_lbsgd_adapts_the_rate_of_every_layer(cpus):
    rate, m, seen = 1e-3, 0.9, []

    def step(name, weight, slope, decay, memory):
        squares = np.sum(weight**2), np.sum(slope**2)
        ratio = np.sqrt(squares[0] / (squares[1] + decay * squares[0] + 1e-18))
        seen.append(ratio)
        local = rate * np.clip(ratio, 0.01, 100)
        speed = memory["v"] = m * memory.get("v", 0) - local * (slope + decay * weight)
        return weight + speed

    values = numpy_train(step)
    engine = train(engine_of(network(), cpus, "lbsgd", decay=DECAY), batches(3), rate)
    assert_equal_to(engine, values)
    # Different ratios inside the limits. MXNet's own, of summed gradients, would be BATCH times
    # smaller.
    assert 1 < max(seen) < 100 and max(seen) > 2 * min(seen) and BATCH > 2


def test_gammas_without_decay():
    symbol = network(batch_norm=True)
    with_decay = train(engine_of(symbol, decay=0.5), batches(1), 0.1).get_params()[0]
    options = {"decay_gammas": False}
    without = train(engine_of(symbol, decay=0.5, options=options), batches(1), 0.1).get_params()[0]
    first = first_parameters(symbol)[0]
    for name, value in with_decay.items():
        difference = without[name] - value
        wanted = 0.1 * 0.5 * first[name] if name == "bn_gamma" else 0
        np.testing.assert_allclose(difference, wanted, atol=1e-6, err_msg=name)


def test_a_rate_factor_scales_the_steps_of_its_parameter():
    symbol = network()
    first = first_parameters(symbol)[0]
    whole = train(engine_of(symbol, decay=0), batches(1)).get_params()[0]
    options = {"rate_factors": {"fc_weight": 0.25}}
    factored = train(engine_of(symbol, decay=0, options=options), batches(1)).get_params()[0]
    for name, value in whole.items():
        share = 0.25 if name == "fc_weight" else 1
        np.testing.assert_allclose(
            factored[name] - first[name], share * (value - first[name]), atol=1e-7
        )


LOWER = ("conv_weight", "conv_bias", "bn_gamma", "bn_beta")


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_frozen_part_is_a_fixed_function(cpus):
    symbol = network(batch_norm=True)
    options = {"rate_factors": dict.fromkeys(LOWER, 0.0)}
    engine = engine_of(symbol, cpus, options=options, average_decay=0.5)
    before = engine.get_params()
    train(engine, batches(3))
    after = engine.get_params()
    for name in (*LOWER, "bn_moving_mean", "bn_moving_var"):
        kind = 1 if "moving" in name else 0
        np.testing.assert_array_equal(after[kind][name], before[kind][name])
    assert (after[0]["fc_weight"] != before[0]["fc_weight"]).any()
    # No gradient, no memory for one, no optimizer state.
    group = engine._module._exec_group
    unused = {n for n, g in zip(group.param_names, group.grad_arrays) if g[0] is None}
    assert unused == set(LOWER)
    assert not [key for key in engine.get_state() if key == "momentum:conv_weight"]


def test_a_frozen_batchnorm_normalises_with_its_moving_statistics():
    symbol = network(batch_norm=True)
    options = {"rate_factors": dict.fromkeys(LOWER, 0.0)}
    engine = train(engine_of(symbol, momentum=0, decay=0, options=options), batches(1), 0.1)
    tensors = tensors_of(symbol)
    images, labels = batches(1)[0]
    loss = torch.nn.functional.cross_entropy(
        logits(tensors, images, training=False), torch.tensor(labels)
    )
    loss.backward()
    wanted = tensors["fc_weight"] - 0.1 * tensors["fc_weight"].grad
    found = engine.get_params()[0]["fc_weight"]
    np.testing.assert_allclose(found, wanted.detach().numpy(), atol=1e-6)


def test_a_partly_frozen_batchnorm_uses_the_statistics_of_its_batch():
    symbol = network(batch_norm=True)
    options = {"rate_factors": {"bn_gamma": 0.0}}
    engine = train(engine_of(symbol, options=options), batches(1))
    assert (engine.get_params()[1]["bn_moving_mean"] != 0).all()

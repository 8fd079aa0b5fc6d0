"""MXNet's other optimizers in both engines, compared with their formulas in NumPy."""

import dataclasses
import math

import numpy as np
import pytest
from conftest import ENGINES, on_all_devices
from helpers.tiny_engine import (
    assert_same,
    batches,
    first_parameters,
    gradients,
    logits,
    network,
    open_one,
)

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.update_rules import (
    STATES,
    initial_state,
    nadam_momentum,
    renumbered,
    state_names,
)

torch = pytest.importorskip("torch")
from imagenet_trainer.engines.pytorch.update_rules import RULES, Step

DECAY, M = 0.02, 0.9
RATES = {"rmsprop": 1e-3, "rmsproptf": 1e-3, "rmsproptorch": 1e-3, "adagrad": 0.01,
         "adadelta": 1.0, "adamax": 2e-3, "nadam": 1e-3,
         "ftml": 2e-3, "signum": 1e-3, "lamb": 1e-3, "adamw": 1e-3, "lion": 1e-4}  # fmt: skip


def numpy_step(name, weight, g, decay, memory, t, rate, momentum, clip):
    """The formulas as the documentation of mx.optimizer has them, or the papers of the rules."""

    def old(key):
        return memory.get(key, 0.0)

    def clipped(x):
        return x if clip is None else np.clip(x, -clip, clip)

    h = clipped(g + decay * weight)
    if name == "rmsprop":
        memory["n"] = 0.9 * old("n") + 0.1 * h**2
        return weight - rate * h / np.sqrt(memory["n"] + 1e-8)
    if name == "rmsproptf":
        memory["n"] = 0.9 * memory.get("n", 1.0) + 0.1 * h**2
        memory["m"] = momentum * old("m") + rate * h / np.sqrt(memory["n"] + 1e-3)
        return weight - memory["m"]
    if name == "rmsproptorch":
        memory["n"] = 0.9 * old("n") + 0.1 * h**2
        memory["m"] = momentum * old("m") + h / (np.sqrt(memory["n"]) + 0.0316)
        return weight - rate * memory["m"]
    if name == "adagrad":
        memory["n"] = old("n") + clipped(g) ** 2
        return weight - rate * (clipped(g) / np.sqrt(memory["n"] + 1e-7) + decay * weight)
    if name == "adadelta":
        memory["n"] = 0.9 * old("n") + 0.1 * clipped(g) ** 2
        x = np.sqrt(old("x") + 1e-5) / np.sqrt(memory["n"] + 1e-5) * clipped(g)
        memory["x"] = 0.9 * old("x") + 0.1 * x**2
        return weight - x - decay * weight
    if name == "adamax":
        memory["a"] = 0.9 * old("a") + 0.1 * h
        memory["u"] = np.maximum(0.999 * old("u"), np.abs(h))
        step = np.divide(memory["a"], memory["u"], out=np.zeros_like(h), where=memory["u"] > 0)
        return weight - rate / (1 - 0.9**t) * step
    if name == "ftml":
        memory["v"] = 0.999 * old("v") + 0.001 * h**2
        d = (1 - 0.6**t) / rate * (np.sqrt(memory["v"] / (1 - 0.999**t)) + 1e-8)
        memory["z"] = 0.6 * old("z") + 0.4 * h - (d - 0.6 * old("d")) * weight
        memory["d"] = d
        return -memory["z"] / d
    if name == "signum" and not momentum:
        return weight - rate * (np.sign(g) + decay * weight)
    if name == "signum":
        memory["v"] = momentum * old("v") - (1 - momentum) * (clipped(g) + decay * weight)
        return weight + rate * np.sign(memory["v"])
    if name == "lamb":
        memory["a"] = 0.9 * old("a") + 0.1 * clipped(g)
        memory["b"] = 0.999 * old("b") + 0.001 * clipped(g) ** 2
        mean, square = memory["a"] / (1 - 0.9**t), memory["b"] / (1 - 0.999**t)
        x = mean / (np.sqrt(square) + 1e-6) + decay * weight
        norms = np.linalg.norm(weight), np.linalg.norm(x)
        return weight - rate * (norms[0] / norms[1] if min(norms) > 0 else 1) * x
    if name == "adamw":
        memory["a"] = 0.9 * old("a") + 0.1 * clipped(g)
        memory["b"] = 0.999 * old("b") + 0.001 * clipped(g) ** 2
        mean, square = memory["a"] / (1 - 0.9**t), memory["b"] / (1 - 0.999**t)
        return weight - rate * (mean / (np.sqrt(square) + 1e-8) + decay * weight)
    if name == "lion":
        x = np.sign(0.9 * old("a") + 0.1 * clipped(g)) + decay * weight
        memory["a"] = 0.99 * old("a") + 0.01 * clipped(g)
        return weight - rate * x
    raise AssertionError(name)


def engine_of(engine, name, momentum=M, **options):
    return open_one(engine, network(), name, momentum, DECAY, options)


CASES = [(name, M, None) for name in RATES if name != "nadam"]
CASES += [("signum", 0.0, None), ("rmsprop", M, 0.02), ("rmsproptf", M, 0.02),
          ("adagrad", M, 0.02), ("lamb", M, 0.02),
          ("adadelta", M, 0.02), ("adamax", M, 0.02), ("ftml", M, 0.02), ("adamw", M, 0.02),
          ("lion", M, 0.02)]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "momentum", "clip"), CASES)
def test_the_formulas(engine, name, momentum, clip):
    values, _ = first_parameters(network())
    memory = {key: {} for key in values}
    opened = engine_of(engine, name, momentum, clip_gradient=clip)
    for t, (images, labels) in enumerate(batches(3), 1):
        slopes = gradients(values, images, labels)
        for key, value in values.items():
            decay = DECAY if key.endswith("weight") else 0.0
            new = numpy_step(
                name, value, slopes[key], decay, memory[key], t, RATES[name], momentum, clip
            )
            values[key] = new.astype(np.float32)
        opened.train_batch(images, labels, RATES[name])
    for key, value in opened.get_params()[0].items():
        # Where a gradient is a rounding error its sign, and a full step, is too.
        off = np.abs(value - values[key]) > 3e-5
        assert off.mean() < 0.01, (key, off.mean())
    assert {key.partition(":")[0] for key in opened.get_state()} - {"updates"} == {
        *state_names(name, momentum)
    }


# Large, small and no gradients: the small constants in the denominators decide about the latter.
SLOPES = np.random.default_rng(1).normal(0, 1, (5, 8)) * [1, 1, 1, 1, 1e-4, 1e-8, 1e-9, 0]


def by_rule(name, momentum=M):
    """The weights after some updates in float64, by the rule of PyTorch's engine."""
    weight = torch.linspace(-1, 1, 8, dtype=torch.float64)
    state = [torch.full_like(weight, initial_state(name, n)) for n in state_names(name, momentum)]
    for t, slope in enumerate(SLOPES, 1):
        step = Step(RATES[name], DECAY, momentum, t, None)
        weight, *state = RULES[name](step, weight, torch.tensor(slope), *state)
    return weight.numpy()


@pytest.mark.parametrize(("name", "momentum", "clip"), [c for c in CASES[:10] if c[0] in RULES])
def test_a_rule_in_float64(name, momentum, clip):
    weight, memory = np.linspace(-1, 1, 8), {}
    for t, slope in enumerate(SLOPES, 1):
        weight = numpy_step(name, weight, slope, DECAY, memory, t, RATES[name], momentum, None)
    np.testing.assert_allclose(by_rule(name, momentum), weight, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("nadam", lambda one: torch.optim.NAdam(one, RATES["nadam"], momentum_decay=0.004)),
        ("rmsproptorch", lambda one: torch.optim.RMSprop(one, 1e-3, 0.9, 0.0316, momentum=M)),
    ],
)
def test_a_rule_of_pytorch_in_float64(name, reference):
    weight = torch.linspace(-1, 1, 8, dtype=torch.float64, requires_grad=True)
    optimizer = reference([{"params": [weight], "weight_decay": DECAY}])
    for slope in SLOPES:
        weight.grad = torch.tensor(slope)
        optimizer.step()
    np.testing.assert_allclose(by_rule(name), weight.detach().numpy(), rtol=1e-10)


def test_the_product_of_nadam_is_a_function_of_the_update():
    product = math.prod(0.9 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in range(1, 8))
    assert nadam_momentum(7)[2] == pytest.approx(product, rel=1e-12)
    assert nadam_momentum(7)[1] == nadam_momentum(8)[0]
    assert 1 - nadam_momentum(1000)[2] == 1


@pytest.mark.parametrize("limit", [0.05, 1e3])
@on_all_devices
def test_the_norm_of_all_gradients_is_limited_as_by_pytorch(engine, cpus, limit):
    opened = open_one(engine, network(), "sgd", 0, 0, {"clip_norm": limit}, devices={"cpus": cpus})
    images, labels = batches(1)[0]
    opened.train_batch(images, labels, 0.5)
    arg = first_parameters(network())[0]
    tensors = {key: torch.tensor(value, requires_grad=True) for key, value in arg.items()}
    torch.nn.functional.cross_entropy(logits(tensors, images), torch.tensor(labels)).backward()
    norm = torch.nn.utils.clip_grad_norm_(tensors.values(), limit)
    assert norm > 0.06
    for key, value in opened.get_params()[0].items():
        wanted = arg[key] - 0.5 * tensors[key].grad.numpy()
        np.testing.assert_allclose(value, wanted, atol=2e-6, err_msg=key)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", RATES)
def test_a_training_continues_bit_for_bit(engine, name):
    """From its state, from parameters alone, and from a state with fewer updates in an epoch."""
    new, later, again, resumed = (engine_of(engine, name) for _ in range(4))
    later.set_state({"updates": np.array(1000)})
    for images, labels in batches(3)[:2]:
        new.train_batch(images, labels, RATES[name])
        later.train_batch(images, labels, RATES[name])
    again.set_params(*later.get_params())
    again.set_state(renumbered(later.get_state(), 7))
    assert again.get_state()["updates"] == 7
    resumed.set_params(*new.get_params())
    resumed.set_state(new.get_state())
    for one in (new, later, again, resumed):
        one.train_batch(*batches(3)[2], RATES[name])
    for one in (later, again, resumed):
        assert_same(one.get_params(), new.get_params())


@pytest.mark.parametrize("engine", ENGINES)
def test_adamax_does_not_divide_zero_by_zero(engine):
    opened = engine_of(engine, "adamax")
    arg, aux = first_parameters(network())
    arg["conv_bias"] = np.full_like(arg["conv_bias"], -1e4)  # all units are dead
    opened.set_params(arg, aux)
    opened.train_batch(*batches(1)[0], 0.01)
    assert all(np.isfinite(value).all() for value in opened.get_params()[0].values())


def test_the_flag_names_the_rules():
    field = next(one for one in dataclasses.fields(FitSettings) if one.name == "optimizer")
    assert {*field.metadata["choices"]} == {*STATES}

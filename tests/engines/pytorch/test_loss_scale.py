"""Float16's loss scale on the device. CPUs train in float32 here, which also overflows."""

import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import (
    CLASSES,
    assert_near,
    assert_same,
    batches,
    everything,
    network,
    open_one,
    train,
)

from imagenet_trainer.engines import NonFiniteLossError
from imagenet_trainer.engines.loss_scale import LossScale
from imagenet_trainer.engines.pytorch.loss_scale import DeviceLossScale
from imagenet_trainer.graph import sym

HERE = torch.device("cpu")
# The squares of gradients that are this much larger are infinite in float32.
TOO_LARGE = 2.0**100
RULES = {
    "sgd": {}, "plain": {"momentum": 0.0}, "nag": {"rule": "nag"}, "adam": {"rule": "adam"},
    "lbsgd": {"rule": "lbsgd"}, "clipped": {"options": {"clip_gradient": 0.02}},
    "clipped adam": {"rule": "adam", "options": {"clip_gradient": 0.02}},
}  # fmt: skip


def scaled(symbol, scale=1024.0, **how):
    """An engine that scales its loss."""
    engine = open_one("torch", symbol, **how)
    engine._scale = DeviceLossScale(HERE)
    set_scale(engine, scale)
    return engine


def set_scale(engine, scale):
    engine._scale.set_state({"loss_scale": np.array([scale, 0, 0])})


def special():
    """A network with a fixed gamma, moving statistics, and rows of limited norm."""
    x = sym.BatchNorm(sym.Variable("data"), fix_gamma=True, name="bn_data")
    x = sym.BatchNorm(x, fix_gamma=False, name="bn")
    weight = sym.Variable("fc_weight", attr={"__max_norm__": "0.4"})
    x = sym.FullyConnected(sym.Flatten(x), weight, num_hidden=CLASSES, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def test_the_numbers_are_those_of_the_scale_on_the_host():
    random = np.random.default_rng(0)
    ours, theirs = DeviceLossScale(HERE), LossScale()
    start = {"loss_scale": np.array([64.0, 1990, 3])}
    ours.set_state(start)
    theirs.set_state(start)
    for update in range(60):
        overflowed = update > 20 and random.random() < 0.1
        found = ours.check([torch.ones(3), torch.tensor(np.inf if overflowed else 1.0)], update)
        assert found.scale == theirs.value and found.found == overflowed
        if overflowed and theirs.value == 1:
            with pytest.raises(NonFiniteLossError):
                ours.settle(0)
        else:
            theirs.adapt(overflowed, update, 0)
            ours.settle(0)
        np.testing.assert_array_equal(ours.state()["loss_scale"], theirs.state()["loss_scale"])
    assert theirs.skipped > 3


def test_the_scale_has_the_limits_of_the_one_on_the_host():
    ours = DeviceLossScale(HERE)
    ours.set_state({"loss_scale": np.array([2.0**24, 1999, 0])})
    ours.check([torch.ones(1)], 0)
    assert ours.state()["loss_scale"].tolist() == [2.0**24, 0, 0]
    ours.set_state({})
    assert ours.state()["loss_scale"].tolist() == [2.0**16, 0, 0]


@pytest.mark.parametrize("how", RULES.values(), ids=RULES)
def test_scaling_changes_no_bit(how):
    symbol = network(batch_norm=True)
    plain = everything(train(open_one("torch", symbol, **how), batches()))
    ours = everything(train(scaled(symbol, **how), batches()))
    assert ours.pop("loss_scale").tolist() == [1024, 6, 0]
    assert_same(plain, ours)


def test_averages_are_the_same_but_for_rounding():
    symbol = network(batch_norm=True)
    plain = train(open_one("torch", symbol, average_decay=0.9), batches())
    ours = train(scaled(symbol, average_decay=0.9), batches()).get_state()
    del ours["loss_scale"]
    assert_near(ours, plain.get_state(), 1e-7)


@pytest.mark.parametrize("how", RULES.values(), ids=RULES)
@pytest.mark.parametrize("made", [[], [0, 1]], ids=["at once", "later"])
def test_an_overflow_changes_nothing_but_the_scale(how, made):
    symbol = special()
    engine = train(scaled(symbol, average_decay=0.9, **how), [batches()[i] for i in made])
    before = everything(engine)
    set_scale(engine, TOO_LARGE)
    train(engine, batches()[2:3])
    after = everything(engine)
    state = {name: value for name, value in after.items() if name != "loss_scale"}
    assert after.pop("loss_scale").tolist() == [TOO_LARGE / 2, 0, 1]
    assert after.pop("updates") == before.pop("updates") + 1
    del before["loss_scale"]
    if not made:  # the optimizer's state now exists, and is zero
        after = {n: v for n, v in after.items() if n in before or v.any()}
    assert_same(before, after)
    # It continues as if that update had not been, which the bias corrections of Adam count.
    engine._scale.set_state({"loss_scale": np.array([1024.0, 0, 1])})
    state["updates"] = state["updates"] - 1
    plain = open_one("torch", symbol, average_decay=0.9, **how)
    plain.set_params(*[{name: before[name] for name in part} for part in plain.get_params()])
    plain.set_state(state)
    for each in (engine, plain):
        train(each, batches()[3:])
    ours, theirs = everything(engine), everything(plain)
    assert ours.pop("updates") == theirs.pop("updates") + 1
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_a_skipped_update_is_logged_later(caplog):
    engine = scaled(network(), TOO_LARGE)
    with caplog.at_level(logging.INFO, "imagenet_trainer"):
        train(engine, batches()[:1])
        assert not caplog.messages
        train(engine, batches()[1:2])
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith("Update 0 skipped: ")
        engine.read_counts()
        assert caplog.messages[1].startswith("Update 1 skipped: ")


@pytest.mark.parametrize("reads", ["train_batch", "read_counts", "get_params", "get_state"])
def test_an_overflow_at_the_smallest_scale_is_an_error(reads):
    engine = train(scaled(special(), average_decay=0.9), batches()[:2])
    before = everything(engine)
    set_scale(engine, 1.0)
    engine._scale.check([torch.tensor(np.inf)], 2)
    with pytest.raises(NonFiniteLossError) as caught:
        if reads == "train_batch":
            engine.train_batch(*batches()[3], 0.01)
        else:
            getattr(engine, reads)()
    assert caught.value.update == 2
    after = everything(engine)
    assert after.pop("loss_scale").tolist() == [1, 0, 0]
    del before["loss_scale"]
    assert_same(before, after)
    train(engine, batches()[3:])  # and it can go on
    assert engine.get_state()["updates"] == 5


def test_resuming_is_exact():
    symbol = special()
    straight = train(scaled(symbol, TOO_LARGE, average_decay=0.9), batches()[:1])
    params, state = straight.get_params(), straight.get_state()
    assert not any(name.startswith("average:") for name in state)
    resumed = scaled(symbol, average_decay=0.9)
    resumed.set_params(*params)
    resumed.set_state(state)
    for engine in (straight, resumed):
        set_scale(engine, 1024.0)
        train(engine, batches()[1:])
    assert_same(everything(straight), everything(resumed))

"""What both engines do alike."""

import numpy as np
import pytest
from conftest import ENGINES, on_all_devices
from helpers.tiny_engine import (
    BATCH,
    CLASSES,
    MEAN,
    SIDE,
    STD,
    assert_same,
    batches,
    everything,
    first_parameters,
    network,
    open_one,
    train,
)

from imagenet_trainer.engines import Devices, Mix, NonFiniteLossError
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.graph import sym
from imagenet_trainer.metrics import counts as metrics
from imagenet_trainer.system.machine import has_bfloat16

torch = pytest.importorskip("torch")
on_every_engine = pytest.mark.parametrize("engine", ENGINES)


@on_all_devices
@pytest.mark.parametrize("rule", ["sgd", "nag", "adam", "adamw", "lbsgd"])
def test_resuming_from_a_state_is_exact(engine, cpus, rule):
    symbol = network(batch_norm=True, dropout=0.5)
    shares = np.linspace(0.1, 1, BATCH, dtype=np.float32)
    mixes = [Mix(labels[::-1].copy(), shares) for _, labels in batches()]
    options = {
        "clip_gradient": None if rule == "sgd" else 0.05, "decay_gammas": False,
        "rate_factors": {"conv_weight": 0.1},
    }  # fmt: skip

    def opened():
        return open_one(
            engine, symbol, rule, options=options, devices={"cpus": cpus}, average_decay=0.9,
            accumulate=2, label_smoothing=0.1, mixup=True,
        )  # fmt: skip

    straight = train(opened(), batches()[:3], mixes=mixes[:3])
    resumed = opened()
    resumed.set_params(*straight.get_params())
    resumed.set_state(straight.get_state())
    for one in (straight, resumed):
        torch.rand(7)  # other random numbers have no effect
        train(one, batches()[3:], mixes=mixes[3:])
    assert_same(everything(straight), everything(resumed))


@on_all_devices
def test_counts_equal_those_of_metrics(engine, cpus):
    opened = open_one(engine, network(), devices={"cpus": cpus}, top_k=3)
    images, labels = batches()[0]
    wanted = metrics.score(opened.predict(images), labels, 3)
    opened.train_batch(images, labels, 0.01)
    count, rank1, rank5, loss, rank_k = opened.read_counts()
    assert (count, rank1, rank5, rank_k) == (BATCH, wanted.rank1, wanted.rank5, wanted.rank_k)
    assert loss == pytest.approx(wanted.loss, rel=1e-5)
    assert opened.read_counts() == (0, 0, 0, 0.0, 0)


@on_every_engine
def test_ties_count_as_in_metrics(engine):
    opened = open_one(engine, network())
    arg, aux = first_parameters(network())
    opened.set_params({name: np.zeros_like(value) for name, value in arg.items()}, aux)
    opened.train_batch(batches()[0][0], np.arange(BATCH), 0.01)
    assert opened.read_counts()[1:3] == (1, 5)


@on_every_engine
def test_predictions_do_not_depend_on_the_size_of_the_batch(engine):
    symbol = network(batch_norm=True)
    opened = open_engine(symbol, Devices(engine=engine), (BATCH, SIDE, SIDE, 3), MEAN, STD)
    opened.set_params(*first_parameters(symbol))
    images = batches()[0][0]
    whole = opened.predict(images)
    assert whole.shape == (BATCH, CLASSES) and whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(opened.predict(images[:3]), whole[:3])


@on_every_engine
def test_a_prediction_changes_no_parameter_that_was_read(engine):
    # MXNet writes ones to gammas that are fixed, which had decayed.
    x = sym.BatchNorm(sym.Variable("data"), fix_gamma=True, name="bn_data")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=CLASSES, name="fc")
    opened = train(open_one(engine, sym.SoftmaxOutput(x, name="softmax")), batches()[:2])
    before = opened.get_params()
    assert before[0]["bn_data_gamma"][0] != 1
    opened.predict(batches()[0][0])
    assert_same(opened.get_params(), before)


@on_every_engine
def test_a_loss_that_is_not_finite_stops_before_the_update(engine):
    # MXNet's forward has changed the moving statistics of a BatchNorm by then.
    symbol = network(batch_norm=engine == "torch")
    opened = train(open_one(engine, symbol), batches()[:2])
    arg, aux = opened.get_params()
    arg["fc_bias"][3] = np.nan
    opened.set_params(arg, aux)
    before = everything(opened)
    with pytest.raises(NonFiniteLossError) as caught:
        opened.train_batch(*batches()[2], 0.01)
    assert caught.value.update == 2
    assert_same(everything(opened), before)
    # Training can continue with other parameters.
    opened.set_params(*first_parameters(symbol))
    train(opened, batches()[2:3])
    assert opened.get_state()["updates"] == 3


@on_every_engine
@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_bfloat16_learns_as_float32_and_resumes_exactly(engine):
    symbol, how = network(batch_norm=True), {"devices": {"dtype": "bfloat16"}}
    full = train(open_one(engine, symbol), batches()).get_params()[0]
    half = train(open_one(engine, symbol, **how), batches()[:3])
    params, state = half.get_params(), half.get_state()
    assert all(value.dtype == np.float32 for value in params[0].values())
    train(half, batches()[3:])
    for name, value in half.get_params()[0].items():
        # bfloat16 has 8 bits of mantissa: the run is near the float32 run, but not equal.
        assert np.abs(value - full[name]).max() < 0.05 * np.abs(full[name]).max() + 0.01
    assert any((value != full[name]).any() for name, value in half.get_params()[0].items())
    resumed = open_one(engine, symbol, **how)
    resumed.set_params(*params)
    resumed.set_state(state)
    train(resumed, batches()[3:])
    assert_same(everything(half), everything(resumed))


@on_every_engine
@pytest.mark.parametrize("bce", [False, True])
def test_the_monitor_counts_updates_of_the_run_and_changes_no_number(engine, bce):
    straight, watched = (open_one(engine, network(), monitor=every, bce=bce) for every in (0, 3))
    for opened in (straight, watched):
        opened.set_state({"updates": np.array(2)})
        train(opened, batches()[:4])
    assert [update for update, _ in watched.read_statistics()] == [4]
    assert_same(everything(straight), everything(watched))


@on_every_engine
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_the_monitor_shows_the_cause_of_a_bad_loss(engine, value):
    opened = open_one(engine, network(), monitor=1)
    arg, aux = opened.get_params()
    arg["fc_bias"][0] = value
    opened.set_params(arg, aux)
    with pytest.raises(NonFiniteLossError):
        train(opened, batches()[:1])
    ((update, values),) = opened.read_statistics()
    odd = [name for name, value in values.items() if not np.isfinite(value)]
    assert update == 1 and odd[0] == "fc_output" and "fc_bias" in odd


@on_all_devices
def test_rows_are_limited_to_their_max_norm(engine, cpus):
    def opened(attributes, **options):
        weight = sym.Variable("fc_weight", attr=attributes)
        x = sym.Flatten(sym.Variable("data"))
        x = sym.FullyConnected(x, weight, num_hidden=CLASSES, name="fc")
        symbol = sym.SoftmaxOutput(x, name="softmax")
        return open_one(engine, symbol, devices={"cpus": cpus}, options=options)

    limit = {"__max_norm__": "1.04"}
    free, bound, frozen = opened({}), opened(limit), opened(limit, rate_factors={"fc_weight": 0.0})
    before = free.get_params()[0]["fc_weight"]
    for one in (free, bound, frozen):
        train(one, batches()[:1])
    unbound = free.get_params()[0]["fc_weight"].astype(np.float64)
    lengths = np.linalg.norm(unbound, axis=1, keepdims=True)
    assert (lengths > 1.04).any() and (lengths < 1.04).any()
    wanted = np.where(lengths > 1.04, unbound * 1.04 / lengths, unbound)
    found = bound.get_params()[0]["fc_weight"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert not np.array_equal(found, before)
    np.testing.assert_array_equal(frozen.get_params()[0]["fc_weight"], before)

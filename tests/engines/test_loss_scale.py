import logging

import numpy as np
import pytest
from helpers.mxnet_engine import BATCHES, engine_of, half, network
from helpers.tiny_engine import BATCH, MEAN, SIDE, STD, assert_same, first_parameters, train

from imagenet_trainer.engines import Devices, NonFiniteLossError
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.loss_scale import LossScale
from imagenet_trainer.engines.mxnet import engine as mxnet_engine
from imagenet_trainer.engines.mxnet.precision import all_finite, with_scaled_loss
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mixed_precision, mx

__all__ = ["half"]  # a fixture


# --- the scale ------------------------------------------------------------------------------------


def test_the_scale_halves_at_an_overflow_and_doubles_after_2000_updates():
    scale, values = LossScale(), []
    for overflowed in (False, True, True, *[False] * 1999):
        scale.adapt(overflowed, 0, 0)
        values.append(scale.value)
    assert values[:3] == [2.0**16, 2.0**15, 2.0**14] and set(values[3:]) == {2.0**14}
    scale.adapt(False, 0, 0)
    assert scale.value == 2.0**15 and scale.skipped == 2


def test_the_scale_stays_between_1_and_2_to_the_24th():
    scale = LossScale()
    for _ in range(16):
        scale.adapt(True, 0, 0)
    with pytest.raises(NonFiniteLossError):
        scale.adapt(True, 0, 0)
    assert scale.value == 1 and scale.skipped == 16
    for _ in range(25 * 2000):
        scale.adapt(False, 0, 0)
    assert scale.value == 2.0**24


def test_the_scale_continues_from_its_state():
    straight, resumed = LossScale(), LossScale()
    for overflowed in (True, *[False] * 1500):
        straight.adapt(overflowed, 0, 0)
    resumed.set_state(straight.state())
    for _ in range(500):
        straight.adapt(False, 0, 0)
        resumed.adapt(False, 0, 0)
    assert straight.value == resumed.value == 2.0**16
    assert (straight.state()["loss_scale"] == resumed.state()["loss_scale"]).all()
    resumed.set_state({})
    assert resumed.value == 2.0**16 and resumed.skipped == 0


# --- in the engine --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbsgd"])
@pytest.mark.parametrize("cpus", [1, 2])
def test_scaling_changes_no_bit(half, optimizer, cpus):
    # Powers of two: the update is the same to the last bit, unless something over- or underflows.
    symbol = network(batch_norm=True)
    plain = train(engine_of(symbol, cpus, optimizer), BATCHES)
    scaled = train(half(symbol, cpus, optimizer), BATCHES)
    assert scaled.get_state()["loss_scale"][0] == 2.0**16
    assert_same(plain.get_params(), scaled.get_params())
    assert plain.read_counts() == scaled.read_counts()


def test_an_overflow_skips_the_update_and_is_logged(half, caplog):
    engine = half(network())
    engine.set_state({"updates": np.array(0), "loss_scale": np.array([2.0**127, 0, 0])})
    before = engine.get_params()
    with caplog.at_level(logging.INFO, "imagenet_trainer"):
        train(engine, BATCHES[:1])
    assert_same(before, engine.get_params())
    assert "Update 0 skipped" in caplog.text and "1 skipped so far" in caplog.text
    state = engine.get_state()
    assert int(state["updates"]) == 1 and state["loss_scale"].tolist() == [2.0**126, 0, 1]
    assert engine.read_counts()[0] == BATCH  # its images count


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_with_skipped_updates_resumes_exactly(half, optimizer, monkeypatch):
    symbol = network(batch_norm=True)
    straight = half(symbol, 1, optimizer)
    with monkeypatch.context() as patch:
        patch.setattr(mxnet_engine, "all_finite", lambda module: False)
        train(straight, BATCHES[:1])
    train(straight, BATCHES[1:3])
    assert straight.get_state()["loss_scale"].tolist() == [2.0**15, 2, 1]
    params, state = straight.get_params(), straight.get_state()
    train(straight, BATCHES[3:])
    resumed = half(symbol, 1, optimizer)
    resumed.set_params(*params)
    resumed.set_state(state)
    train(resumed, BATCHES[3:])
    assert_same(straight.get_params(), resumed.get_params())
    assert_same(straight.get_state(), resumed.get_state())


def test_gradients_that_are_infinite_without_a_scale_stop(half):
    # Probabilities are uniform, so the loss is finite; 3e38 times pixels is not.
    x = mx.sym.Flatten(mx.sym.Variable("data"))
    x = mx.sym.FullyConnected(x, num_hidden=10, name="fc", no_bias=True)
    x = mx.sym.broadcast_mul(x, mx.sym.Variable("s_weight", shape=(1, 1)))
    symbol = mx.sym.SoftmaxOutput(x, name="softmax")
    engine = half(symbol)
    arg, _ = first_parameters(symbol)
    arg["s_weight"][:] = 3e38
    arg["fc_weight"][:] = 0
    engine.set_params(arg, {})
    engine.set_state({"updates": np.array(5), "loss_scale": np.array([1.0, 0, 0])})
    with pytest.raises(NonFiniteLossError) as caught:
        train(engine, BATCHES[:1])
    assert caught.value.update == 5


def test_gradients_of_all_devices_are_checked(half):
    engine = train(half(network(), cpus=2), BATCHES[:1])
    assert all_finite(engine._module)
    engine._module._exec_group.grad_arrays[-1][1][0] = np.inf
    assert not all_finite(engine._module)


def test_the_casts_leave_parameters_and_probabilities_in_float32():
    symbol = mxnet_engine.normalised(with_scaled_loss(network(batch_norm=True)), MEAN, STD)
    converted = mixed_precision().convert_symbol(symbol, target_dtype="float16")
    inner = converted.get_internals()
    for name in (*converted.list_arguments(), *converted.list_auxiliary_states()):
        if name != "data":
            inner[name]._set_attr(__dtype__="0")
    arguments, outputs, auxiliary = converted.infer_type(data=np.uint8)
    assert {np.dtype(kind) for kind in (*arguments[1:], *auxiliary)} == {np.dtype(np.float32)}
    assert outputs == [np.float32]
    _, kinds, _ = inner.infer_type(data=np.uint8)
    by_name = dict(zip(inner.list_outputs(), kinds))
    assert by_name["conv_output"] == by_name["fc_output"] == np.float16


def test_float16_where_it_is_not_supported():
    with pytest.raises(InputError, match=r"^dtype float16: .*bfloat16"):
        engine_of(network(), dtype="float16")
    regression = mx.sym.LinearRegressionOutput(mx.sym.Flatten(mx.sym.Variable("data")))
    with pytest.raises(InputError, match=r"^dtype float16: .*softmax"):
        with_scaled_loss(regression)
    with pytest.raises(InputError, match=r"^dtype float16"):
        open_engine(network(), Devices(dtype="float16"), (BATCH, SIDE, SIDE, 3), MEAN, STD)

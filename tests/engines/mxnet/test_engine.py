import numpy as np
import pytest
from helpers.mxnet_engine import BATCHES, engine_of, network
from helpers.tiny_engine import (
    BATCH,
    CLASSES,
    MEAN,
    SIDE,
    STD,
    assert_same,
    train,
)

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.mxnet.arrays import normalised
from imagenet_trainer.errors import InputError
from imagenet_trainer.system import machine
from imagenet_trainer.system.machine import has_bfloat16
from imagenet_trainer.system.mxnet_import import mx


def test_the_head_normalises_as_numpy_does():
    images = BATCHES[0][0]
    head = normalised(mx.sym.identity(mx.sym.Variable("data")), MEAN, STD)
    found = head.eval(data=mx.nd.array(images, dtype=np.uint8))[0].asnumpy()
    wanted = ((images.astype(np.float64) - MEAN) / STD).transpose(0, 3, 1, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_state_without_momentum_contains_only_updates():
    assert list(train(engine_of(network(), momentum=0.0), BATCHES).get_state()) == ["updates"]


def test_set_params_discards_values_computed_from_the_old_parameters():
    # A second checkpoint in the same engine gives the predictions of a fresh engine.
    symbol = network(batch_norm=True)
    images = BATCHES[0][0]
    trained = engine_of(symbol)
    reused = open_engine(symbol, Devices(), (BATCH, SIDE, SIDE, 3), MEAN, STD)
    for part in (BATCHES[:3], BATCHES[3:]):
        params = train(trained, part).get_params()
        reused.set_params(*params)
        fresh = open_engine(symbol, Devices(), (BATCH, SIDE, SIDE, 3), MEAN, STD)
        fresh.set_params(*params)
        np.testing.assert_array_equal(reused.predict(images), fresh.predict(images))
        np.testing.assert_allclose(reused.predict(images), trained.predict(images), atol=1e-5)


def test_another_number_of_devices_starts_from_the_average():
    symbol = network(batch_norm=True)
    two = train(engine_of(symbol, 2), BATCHES[:3])
    one = engine_of(symbol, 1)
    one.set_params(*two.get_params())
    one.set_state(two.get_state())
    assert_same(one.get_params()[1], two.get_params()[1])


def test_bfloat16_where_it_is_not_supported(monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    with pytest.raises(InputError, match=r"^dtype bfloat16: "):
        engine_of(network(), dtype="bfloat16")


def root_mean_square(values):
    return np.sqrt(np.mean(np.square(values, dtype=np.float64)))


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_monitor_returns_root_mean_squares(cpus):
    engine = engine_of(network(), cpus, monitor=2)
    (arg, _), (images, labels) = engine.get_params(), BATCHES[0]
    probabilities = engine.predict(images)
    train(engine, BATCHES[:3])
    # Of the first and the third update, after 1 and 3 updates.
    seen = engine.read_statistics()
    assert [update for update, _ in seen] == [1, 3]
    first = seen[0][1]
    assert first["data"] == pytest.approx(root_mean_square(images), rel=1e-4)
    assert first["softmax_output"] == pytest.approx(root_mean_square(probabilities), rel=1e-4)
    for name, value in arg.items():
        assert first[name] == pytest.approx(root_mean_square(value), rel=1e-4)
    # The gradient of the mean loss by the last bias: probability minus target.
    gradient = (probabilities - np.eye(CLASSES)[labels]).mean(axis=0)
    assert first["fc_bias_grad"] == pytest.approx(root_mean_square(gradient), rel=1e-3)
    assert {name for name in first if name.endswith("_grad")} == {f"{name}_grad" for name in arg}
    assert engine.read_statistics() == []


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_the_monitor_reads_bfloat16():
    # The outputs of ResNet's convolutions have the layout of MXNet's kernels.
    symbol = symbols.get_symbol("resnet", CLASSES, (3, SIDE, SIDE), 8)
    found = []
    for dtype in ("float32", "bfloat16"):
        engine = engine_of(symbol, dtype=dtype, monitor=1)
        train(engine, BATCHES[:1])
        found.append(engine.read_statistics()[0][1])
    for name in ("conv0_output", "stage3_unit1_conv2_output", "softmax_output", "fc1_bias_grad"):
        assert found[1][name] == pytest.approx(found[0][name], rel=0.05), name


def test_a_state_without_momentum_sets_momentum_to_zero():
    used, fresh = engine_of(network()), engine_of(network())
    train(used, BATCHES[:2])
    used.set_params(*fresh.get_params())
    used.set_state({"updates": np.array(0)})
    for engine in (used, fresh):
        train(engine, BATCHES[2:3])
    assert_same(fresh.get_params(), used.get_params())


def test_stages_of_an_update():
    straight, measured = engine_of(network(), 2), engine_of(network(), 2)
    measured.stage_seconds = {}
    for engine in (straight, measured):
        train(engine, BATCHES[:2])
    assert set(measured.stage_seconds) == {"copy", "compute", "metric", "update"}
    assert all(seconds > 0 for seconds in measured.stage_seconds.values())
    assert_same(straight.get_params(), measured.get_params())


def test_devices_that_do_not_exist():
    symbol = network()
    with pytest.raises(InputError, match=r"^batch_size 8: .*3 devices; use a multiple of 3"):
        engine_of(symbol, cpus=3)
    with pytest.raises(InputError, match=r"^kv_store nccl"):
        engine_of(symbol, 2, kv_store="nccl")
    with pytest.raises(InputError, match=r"^gc_type 2bit: .* dist_async .* dist_sync"):
        engine_of(symbol, 2, kv_store="dist_async", compression_threshold=0.5)
    with pytest.raises(InputError, match="gpus 97: "):
        open_engine(symbol, Devices((97,)), (BATCH, SIDE, SIDE, 3), MEAN, STD)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")
def test_bfloat16_where_a_concat_meets_both_types():
    """The float32 of a scaled residual beside a convolution's bfloat16, as in Inception-ResNet."""

    def convolution(x, name):
        return mx.sym.Convolution(x, kernel=(1, 1), num_filter=4, name=name)

    x = convolution(mx.sym.Variable("data"), "conv0")
    x = mx.sym.elemwise_add(x, convolution(x, "conv1") * 0.1)
    pooled = mx.sym.Pooling(x, kernel=(1, 1), pool_type="max")
    x = mx.sym.Concat(convolution(x, "conv2"), pooled, dim=1)
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=CLASSES, name="fc")
    symbol = mx.sym.SoftmaxOutput(x, name="softmax")
    losses = [
        train(engine_of(symbol, dtype=dtype), BATCHES).read_counts()[3]
        for dtype in ("float32", "bfloat16")
    ]
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)

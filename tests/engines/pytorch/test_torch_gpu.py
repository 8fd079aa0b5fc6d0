"""PyTorch's engine on a GPU compared with itself on the CPU; skipped without a GPU."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no GPU here", allow_module_level=True)

from helpers.tiny_engine import (
    assert_near,
    assert_same,
    batches,
    everything,
    first_parameters,
    network,
    open_one,
    train,
)

from imagenet_trainer.engines import NonFiniteLossError
from imagenet_trainer.graph import sym


def on_gpu(symbol, rule="sgd", **more):
    devices = {"gpus": (0,), **more.pop("devices", {})}
    return open_one("torch", symbol, rule, devices=devices, **more)


@pytest.mark.parametrize("fused", ["on", "off"], ids=["compiled", "eager"])
@pytest.mark.parametrize("rule", ["sgd", "nag", "adam", "adamw", "lbsgd"])
def test_training_equals_that_on_the_cpu(rule, fused):
    # Adam takes whole steps where a gradient is only rounding, as of a bias before a BatchNorm.
    symbol = network(batch_norm=rule not in ("adam", "adamw"))
    cpu = train(open_one("torch", symbol, rule), batches(), rate=0.003)
    ours = train(on_gpu(symbol, rule, devices={"compile": fused}), batches(), rate=0.003)
    assert_near(everything(ours), everything(cpu), 1e-4)
    assert ours.read_counts() == pytest.approx(cpu.read_counts(), rel=1e-4)


@pytest.mark.parametrize("fused", ["on", "off"], ids=["compiled", "eager"])
def test_fixed_gammas(fused):
    # PyTorch's BatchNorm has no gradient on GPUs for a beta without a gamma.
    x = sym.BatchNorm(sym.Variable("data"), fix_gamma=True, name="bn_data")
    x = sym.BatchNorm(x, fix_gamma=True, use_global_stats=True, name="bn")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=10, name="fc")
    symbol = sym.SoftmaxOutput(x, name="softmax")
    cpu = train(open_one("torch", symbol), batches(), rate=0.003)
    ours = train(on_gpu(symbol, devices={"compile": fused}), batches(), rate=0.003)
    assert_near(everything(ours), everything(cpu), 1e-4)


@pytest.mark.parametrize(
    "more", [{"accumulate": 2}, {"average_decay": 0.9}, {"checkpoint_activations": True}], ids=str
)
def test_options_mean_the_same(more):
    symbol = network(batch_norm=True)
    cpu = train(open_one("torch", symbol, **more), batches(), rate=0.003)
    ours = train(on_gpu(symbol, **more), batches(), rate=0.003)
    assert_near(everything(ours), everything(cpu), 1e-4)


@pytest.mark.parametrize("dtype", ["tf32", "bfloat16", "float16"])
def test_fewer_bits_learn_the_same_as_float32(dtype):
    symbol = network(batch_norm=True)
    full = train(on_gpu(symbol), batches()).get_params()[0]
    half = train(on_gpu(symbol, devices={"dtype": dtype}), batches()).get_params()[0]
    for name, value in half.items():
        assert np.abs(value - full[name]).max() < 0.05 * np.abs(full[name]).max() + 0.01


def test_batches_in_flight_do_not_mix():
    # Both pinned buffers are reused many times; the host's array is overwritten at once.
    symbol = network()
    data = batches(24)
    careful = train(on_gpu(symbol), data)
    ours, images = on_gpu(symbol), np.empty_like(data[0][0])
    for batch, labels in data:
        images[:] = batch
        ours.train_batch(images, labels, 0.01)
        images[:] = 255
    assert_near(everything(ours), everything(careful), 1e-5)


@pytest.mark.parametrize("fused", ["on", "off"], ids=["compiled", "eager"])
def test_a_loss_that_is_not_finite_stops_before_the_update(fused):
    symbol = network(batch_norm=True)
    engine = train(on_gpu(symbol, devices={"compile": fused}), batches()[:2])
    arg, aux = engine.get_params()
    arg["fc_bias"][3] = np.nan
    engine.set_params(arg, aux)
    before = everything(engine)
    with pytest.raises(NonFiniteLossError):
        engine.train_batch(*batches()[2], 0.01)
    assert_same(everything(engine), before)
    engine.set_params(*first_parameters(symbol))
    train(engine, batches()[2:3])


def test_dropout_follows_from_seed_and_update():
    symbol = network(dropout=0.5)
    one, two = (train(on_gpu(symbol), batches()) for _ in range(2))
    assert_near(everything(one), everything(two), 1e-5)


@pytest.mark.parametrize("fused", ["on", "off"], ids=["compiled", "eager"])
def test_a_deterministic_training_repeats_bit_for_bit(fused):
    symbol = network(batch_norm=True, dropout=0.5)
    how = {"deterministic": True, "compile": fused}
    one, two = (train(on_gpu(symbol, devices=how), batches()) for _ in range(2))
    assert_same(everything(one), everything(two))


def test_batches_in_pinned_memory_may_be_overwritten_after_the_update():
    symbol = network()
    data = batches(24)
    careful, ours = train(on_gpu(symbol), data), on_gpu(symbol)
    images = ours.host_memory(data[0][0].shape)
    assert torch.from_numpy(images).is_pinned()
    for batch, labels in data:
        images[:] = batch
        ours.train_batch(images, labels, 0.01)
        images[:] = 255
    assert_near(everything(ours), everything(careful), 1e-5)
    images[:] = data[0][0]
    np.testing.assert_allclose(ours.predict(images), ours.predict(data[0][0]), atol=1e-6)


def test_an_overflow_of_float16_changes_nothing_but_the_scale():
    engine = train(on_gpu(network(batch_norm=True), devices={"dtype": "float16"}), batches()[:2])
    before = everything(engine)
    engine._scale.set_state({"loss_scale": np.array([2.0**100, 0, 0])})
    train(engine, batches()[2:3])
    after = everything(engine)
    assert after.pop("loss_scale").tolist() == [2.0**99, 0, 1]
    assert after.pop("updates") == before.pop("updates") + 1
    del before["loss_scale"]
    assert_same(before, after)


def test_predictions_of_a_compiled_network():
    symbol = network(batch_norm=True)
    plain, fused = (on_gpu(symbol, devices={"compile": way}) for way in ("off", "on"))
    images = batches()[0][0]
    np.testing.assert_allclose(fused.predict(images), plain.predict(images), atol=1e-5)
    np.testing.assert_array_equal(fused.predict(images[:3]), fused.predict(images)[:3])

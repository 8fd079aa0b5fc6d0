"""PyTorch's engine on a GPU compared with MXNet on the CPU; skipped without a GPU."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no GPU here", allow_module_level=True)

from helpers.tiny_engine import assert_same, batches, first_parameters, network, train
from helpers.torch_engine import assert_near, everything, open_one

from imagenet_trainer.engines import NonFiniteLossError
from imagenet_trainer.system.mxnet_import import mx


def on_gpu(symbol, rule="sgd", **more):
    devices = {"gpus": (0,), **more.pop("devices", {})}
    return open_one("torch", symbol, rule, devices=devices, **more)


@pytest.mark.parametrize("fused", ["on", "off"])
@pytest.mark.parametrize("rule", ["sgd", "nag", "lbsgd"])
def test_training_equals_mxnets(rule, fused):
    symbol = network(batch_norm=True)
    mxnet = train(open_one("mxnet", symbol, rule), batches(), rate=0.003)
    ours = train(on_gpu(symbol, rule, devices={"compile": fused}), batches(), rate=0.003)
    assert_near(everything(ours), everything(mxnet), 1e-4)
    assert ours.read_counts() == pytest.approx(mxnet.read_counts(), rel=1e-4)


@pytest.mark.parametrize("fused", ["on", "off"])
def test_fixed_gammas(fused):
    # PyTorch's BatchNorm has no gradient on GPUs for a beta without a gamma.
    x = mx.sym.BatchNorm(mx.sym.Variable("data"), fix_gamma=True, name="bn_data")
    x = mx.sym.BatchNorm(x, fix_gamma=True, use_global_stats=True, name="bn")
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=10, name="fc")
    symbol = mx.sym.SoftmaxOutput(x, name="softmax")
    mxnet = train(open_one("mxnet", symbol), batches(), rate=0.003)
    ours = train(on_gpu(symbol, devices={"compile": fused}), batches(), rate=0.003)
    assert_near(everything(ours), everything(mxnet), 1e-4)


@pytest.mark.parametrize("more", [{"accumulate": 2}, {"average_decay": 0.9}], ids=str)
def test_options_mean_the_same(more):
    symbol = network(batch_norm=True)
    mxnet = train(open_one("mxnet", symbol, **more), batches(), rate=0.003)
    ours = train(on_gpu(symbol, **more), batches(), rate=0.003)
    assert_near(everything(ours), everything(mxnet), 1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bits_learn_the_same_as_float32(dtype):
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


@pytest.mark.parametrize("fused", ["on", "off"])
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

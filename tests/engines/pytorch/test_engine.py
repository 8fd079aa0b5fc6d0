import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import (
    CLASSES,
    MEAN,
    SIDE,
    STD,
    assert_near,
    batches,
    everything,
    first_parameters,
    network,
    open_one,
    train,
)

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.memory import DeviceMemoryError
from imagenet_trainer.engines.pytorch import engine as torch_engine
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import sym

RULES = ["sgd", "nag", "adam", "adamw", "lbsgd"]


def both(symbol, *words, **more):
    return (open_one(engine, symbol, *words, **more) for engine in ("mxnet", "torch"))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_engines_train_the_same(rule, batch_norm):
    if rule in ("adam", "adamw") and batch_norm:
        # A bias in front of a BatchNorm has no gradient but rounding, and adam takes whole steps.
        return
    mxnet, ours = both(network(batch_norm), rule)
    for engine in (mxnet, ours):
        train(engine, batches(), rate=0.003)
    assert_near(everything(ours), everything(mxnet), 1e-5)
    assert ours.read_counts() == pytest.approx(mxnet.read_counts(), rel=1e-5)
    images = batches()[0][0]
    np.testing.assert_allclose(ours.predict(images), mxnet.predict(images), atol=1e-5)


OPTIONS = [
    {"momentum": 0.0}, {"label_smoothing": 0.1, "bce_threshold": 0.05}, {"accumulate": 2},
    {"average_decay": 0.9},
    {"bce": True, "accumulate": 2},
    {"average_decay": 0.9, "average_warmup": True}, {"options": {"clip_norm": 0.05}},
    {"options": {"clip_gradient": 0.02}}, {"options": {"decay_gammas": False}},
    {"options": {"rate_factors": {"fc_weight": 0.5, "conv_weight": 0.0, "conv_bias": 0.0}}},
    {"options": {"rate_factors": {"bn_gamma": 0.0, "bn_beta": 0.0}}},
    {"rule": "adam", "options": {"clip_gradient": 0.02, "rate_factors": {"conv_bias": 0.0}}},
]  # fmt: skip


@pytest.mark.parametrize("more", OPTIONS, ids=str)
def test_options_mean_the_same(more):
    mxnet, ours = both(network(batch_norm=True), **more)
    for engine in (mxnet, ours):
        train(engine, batches(), rate=0.003)
    assert_near(everything(ours), everything(mxnet), 1e-5)
    assert ours.read_counts() == pytest.approx(mxnet.read_counts(), rel=1e-5)


def test_multipliers_of_the_symbol():
    weight = sym.Variable("fc_weight", lr_mult=0.1, wd_mult=3.0)
    bias = sym.Variable("fc_bias", wd_mult=2.0)
    x = sym.Flatten(sym.Variable("data"))
    x = sym.FullyConnected(x, weight, bias, num_hidden=CLASSES, name="fc")
    mxnet, ours = both(sym.SoftmaxOutput(x, name="softmax"))
    for engine in (mxnet, ours):
        train(engine, batches(), rate=0.1)
    assert_near(everything(ours), everything(mxnet), 1e-5)


def test_fixed_gammas_decay_as_in_mxnet():
    x = sym.BatchNorm(sym.Variable("data"), fix_gamma=True, name="bn_data")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=CLASSES, name="fc")
    mxnet, ours = both(sym.SoftmaxOutput(x, name="softmax"))
    for engine in (mxnet, ours):
        train(engine, batches(), rate=0.1)
    assert mxnet.get_params()[0]["bn_data_gamma"][0] != 1
    assert_near(everything(ours), everything(mxnet), 1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("first, second", [("mxnet", "torch"), ("torch", "mxnet")])
def test_a_run_continues_with_the_other_engine(first, second, rule):
    # The rate changes in between, to which torch.optim's momentum is sensitive.
    symbol = network(batch_norm=rule not in ("adam", "adamw"))
    original = train(open_one(first, symbol, rule, average_decay=0.9), batches()[:3], rate=0.003)
    resumed = open_one(second, symbol, rule, average_decay=0.9)
    resumed.set_params(*original.get_params())
    resumed.set_state(original.get_state())
    for engine in (original, resumed):
        train(engine, batches()[3:], rate=0.001)
    assert_near(everything(resumed), everything(original), 1e-5)


def test_fifty_updates_stay_within_a_thousandth():
    symbol = network(batch_norm=True)
    mxnet, ours = both(symbol)
    data = batches(50)
    for engine in (mxnet, ours):
        train(engine, data, rate=0.01)
    start = first_parameters(symbol)[0]
    for name, value in mxnet.get_params()[0].items():
        moved = np.linalg.norm(value - start[name])
        assert np.linalg.norm(ours.get_params()[0][name] - value) < 1e-3 * max(moved, 0.1), name


def test_batches_are_not_copied():
    # NHWC bytes are channels_last planes; the first array that is written is float32.
    images = torch.from_numpy(batches()[0][0])
    head = torch_engine.Head(MEAN, STD, torch.device("cpu"))
    assert images.permute(0, 3, 1, 2).is_contiguous(memory_format=torch.channels_last)
    made = head(images)
    assert made.is_contiguous(memory_format=torch.channels_last)
    wanted = ((batches()[0][0].astype(np.float64) - MEAN) / STD).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(made.numpy(), wanted, atol=1e-5)


def test_read_only_arrays():
    images, labels = batches()[0]
    images.setflags(write=False)
    open_one("torch", network()).train_batch(images, labels.astype(np.int32), 0.01)


def test_views_with_negative_strides():
    # Mirrored images and BGR are NumPy views with negative strides.
    images = batches()[0][0]
    engine = open_one("torch", network())
    mirrored = images[:, :, ::-1, ::-1]
    np.testing.assert_array_equal(engine.predict(mirrored), engine.predict(mirrored.copy()))
    assert np.abs(engine.predict(mirrored) - engine.predict(images)).max() > 1e-3


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_is_divided_among_devices_that_predict(monkeypatch, batch):
    monkeypatch.setattr(torch_engine, "devices_of", lambda devices: [torch.device("cpu")] * 2)
    symbol, images = network(), batches()[0][0]
    engine = open_engine(symbol, Devices(engine="torch"), (batch, SIDE, SIDE, 3), MEAN, STD)
    engine.set_params(*first_parameters(symbol))
    wanted = open_one("torch", symbol).predict(images)
    for count in range(1, batch + 1):
        found = engine.predict(images[:count])
        np.testing.assert_allclose(found, wanted[:count], atol=1e-6)
    assert len(engine._networks) == min(batch, 2)


@pytest.mark.parametrize("parts", [1, 2])
def test_the_monitor_equals_mxnets(parts):
    seen = []
    for engine in both(network(), monitor=2, accumulate=parts):
        train(engine, batches()[:3])
        seen.append(engine.read_statistics())
        assert engine.read_statistics() == []
    for (update, ours), (theirs_of, theirs) in zip(*reversed(seen)):
        assert update == theirs_of
        # MXNet's input normalisation is part of its symbol, and it reports BatchNorm's moments too.
        assert ours.keys() <= theirs.keys()
        assert {"fc_output", "softmax_output", "data", "fc_bias", "fc_bias_grad"} <= ours.keys()
        for name, value in ours.items():
            assert value == pytest.approx(theirs[name], rel=2e-3, abs=1e-7), name
    assert [update for update, _ in seen[1]] == [1, 3]


def test_full_memory_is_an_error_and_prints_nothing(capsys):
    # A matrix of 256 TiB, more than the address space.
    x = sym.Flatten(sym.Variable("data"))
    mean = sym.mean(x, keepdims=True)
    rows, columns = (sym.broadcast_axis(mean, axis=axis, size=1 << 23) for axis in (0, 1))
    matrix = sym.broadcast_add(rows, columns)
    x = sym.FullyConnected(x, num_hidden=10, name="fc")
    x = sym.broadcast_add(x, sym.mean(matrix, keepdims=True))
    engine = open_one("torch", sym.SoftmaxOutput(x, name="softmax"))
    images, labels = batches()[0]
    with pytest.raises(DeviceMemoryError, match="batch_size: 8 images at a time"):
        engine.train_batch(images, labels, 0.01)
    with pytest.raises(DeviceMemoryError, match="batch_size: 8 images at a time"):
        engine.predict(images)
    assert capsys.readouterr().err == ""  # torch.fx prints the position of errors in its code


def test_unsupported_options_are_refused():
    symbol = network()
    with pytest.raises(InputError, match=r"^gc_type 2bit"):
        open_one("torch", symbol, devices={"compression_threshold": 0.5})
    with pytest.raises(InputError, match=r"^kv_store dist_sync"):
        open_one("torch", symbol, devices={"kv_store": "dist_sync"})
    with pytest.raises(InputError, match=r"^batch_size 8: .*multiple of 3"):
        open_one("torch", symbol, accumulate=3)
    with pytest.raises(InputError, match=r"^dtype float16: .*bfloat16"):
        open_one("torch", symbol, devices={"dtype": "float16"})
    with pytest.raises(InputError, match=r"^sync_batch_norm 1: .*compile auto"):
        open_one("torch", symbol, devices={"compile": "on"}, sync_batch_norm=True)
    with pytest.raises(InputError, match="SoftmaxOutput"):
        open_one("torch", sym.FullyConnected(sym.Variable("data"), num_hidden=3))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"^gpus 0: PyTorch"):
            open_one("torch", symbol, devices={"gpus": (0,)})


@pytest.mark.slow
def test_a_compiled_step_trains_the_same():
    symbol = network(batch_norm=True, dropout=0.0)
    plain, fused = open_one("torch", symbol), open_one("torch", symbol, devices={"compile": "on"})
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    predicted = []
    for place, (images, labels) in enumerate(batches()):
        for engine in (plain, fused):
            engine.train_batch(images, labels, 0.01 / (1 + place))
            if place == 2:  # as at the end of an epoch
                engine.set_params(*engine.get_params())
                predicted.append(engine.predict(images[:3]))
    assert_near(everything(fused), everything(plain), 1e-5)
    np.testing.assert_allclose(*predicted, atol=1e-6)
    fused.predict(images)
    # Both compiled once, as a whole, although values change from update to update.
    counted = torch._dynamo.utils.counters
    assert counted["stats"]["unique_graphs"] == counted["frames"]["total"] == 2
    assert not counted["graph_break"]

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.mxnet_engine import BATCHES, engine_of, half, network
from helpers.tiny_engine import BATCH, MEAN, SIDE, STD, assert_same, first_parameters, train

from imagenet_trainer.engines.mxnet import compression
from imagenet_trainer.engines.mxnet.compression import TwoBit, describe_compression, digits_of
from imagenet_trainer.engines.mxnet.engine import normalised
from imagenet_trainer.engines.workers import ALONE
from imagenet_trainer.system.mxnet_import import mx

__all__ = ["half"]  # a fixture
SHAPES = {"a": (1,), "b": (3, 5), "c": (16,), "d": (17, 2, 3), "e": (1023,), "f": (2, 2)}
T = 0.3


class Module:
    """The part of a module that compression uses: gradients by parameter and device."""

    def __init__(self, devices, shapes=SHAPES, frozen=()):
        self._context = [mx.cpu(device) for device in range(devices)]
        arrays = [
            [None if name in frozen else mx.nd.zeros(shape, ctx=c) for c in self._context]
            for name, shape in shapes.items()
        ]
        self._exec_group = SimpleNamespace(param_names=list(shapes), grad_arrays=arrays)

    @property
    def gradients(self):
        group = self._exec_group
        return {n: g for n, g in zip(group.param_names, group.grad_arrays) if g[0] is not None}


class Times:
    """A kvstore whose workers all send the same values."""

    def __init__(self, workers):
        self._workers = workers

    def init(self, key, value):
        self.length = len(value)

    def pushpull(self, key, arrays, priority=0):
        total = mx.nd.add_n(*[a.as_in_context(arrays[0].context) for a in arrays]) * self._workers
        for array in arrays:
            total.copyto(array)


def quantised(kept, gradient):
    """The sent gradient and the residual of 2-bit compression, by NumPy, element by element."""
    kept, threshold = (kept + gradient).astype(np.float32), np.float32(T)
    sent = np.where(kept >= threshold, threshold, np.where(kept <= -threshold, -threshold, 0))
    return sent.astype(np.float32), (kept - sent).astype(np.float32)


def one_update(two_bit, module, seed):
    random = np.random.RandomState(seed)
    for gradients in module.gradients.values():
        for gradient in gradients:
            gradient[:] = random.normal(0, T, gradient.shape)
    two_bit.sum_gradients()
    return {name: gradients[0].asnumpy() for name, gradients in module.gradients.items()}


# --- the arithmetic -------------------------------------------------------------------------------


@pytest.mark.parametrize("devices, kv_store", [(1, ""), (2, "local"), (3, "device")])
def test_compression_follows_the_formula(devices, kv_store, monkeypatch):
    monkeypatch.setattr(compression, "_BUCKET_SIZE", 100)  # several arrays travel
    random, module = np.random.RandomState(0), Module(devices, frozen=("c",))
    kvstore = mx.kv.create(kv_store) if devices > 1 else None
    two_bit = TwoBit(T, module, kvstore, ALONE)
    kept = {(name, d): np.float32(0) for name in SHAPES for d in range(devices)}
    for update in range(9):
        scale, sums = 2.0 ** (update % 3), {}
        for name, gradients in module.gradients.items():
            sums[name] = 0
            for d, gradient in enumerate(gradients):
                value = random.normal(0, T, SHAPES[name]).astype(np.float32)
                gradient[:] = value * scale
                sent, kept[name, d] = quantised(kept[name, d], value)
                sums[name] = sums[name] + np.round(sent / np.float32(T))
        two_bit.sum_gradients(scale)
        for name, gradients in module.gradients.items():
            for gradient in gradients:
                wanted = sums[name] * np.float32(T * scale)
                np.testing.assert_array_equal(gradient.asnumpy(), wanted, name)
    state = two_bit.state()
    assert len(state) == 1 + devices * (len(SHAPES) - 1)
    for (name, d), value in kept.items():
        if name != "c":
            np.testing.assert_array_equal(state[f"kept:{d}:{name}"], value)


@pytest.mark.parametrize("devices", [1, 2, 4, 5, 16, 100, 127, 128, 2047, 2048, 2**23 - 1])
def test_sums_over_many_devices_are_exact(devices):
    base, digits = digits_of(devices)
    assert base > 2 * devices and base**digits <= 2**24 < base ** (digits + 1)
    module, kvstore = Module(1, {"w": (1000,)}), Times(devices)
    two_bit = TwoBit(T, module, kvstore, SimpleNamespace(rank=0, world_size=devices))
    assert kvstore.length == -(-1000 // digits)
    ((gradient,),) = module.gradients.values()
    signs = np.random.RandomState(0).randint(-1, 2, 1000)
    for values in (signs, np.ones(1000), -np.ones(1000), np.zeros(1000)):
        gradient[:] = values
        two_bit.set_state({})
        two_bit.sum_gradients()
        wanted = values.astype(np.float32) * np.float32(devices) * np.float32(T)
        np.testing.assert_array_equal(gradient.asnumpy(), wanted)


def test_describe_compression():
    assert "with 8 devices 32 bits hold 5 gradients" in describe_compression(8)
    assert "a single device sends nothing" in describe_compression(1)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_stay_not_finite(wrong):
    module = Module(2)
    two_bit = TwoBit(T, module, mx.kv.create("device"), ALONE)
    module.gradients["e"][1][500] = wrong
    two_bit.sum_gradients()
    assert all(np.isnan(g.asnumpy()[500]) for g in module.gradients["e"])


# --- residuals ------------------------------------------------------------------------------------


def test_a_state_continues_exactly_and_shared_residuals_are_saved_once():
    module = Module(2)
    two_bit = TwoBit(T, module, mx.kv.create("device"), ALONE)
    assert set(two_bit.state()) == {"kept_by", *(f"kept:{name}" for name in SHAPES)}
    for shared in (False, True):
        one_update(two_bit, module, 1)
        before = two_bit.state()
        if shared:
            two_bit.share()
        state = two_bit.state()
        assert len(state) == 1 + len(SHAPES) * (1 if shared else 2)
        if shared:
            both = [before[f"kept:{d}:e"].astype(np.float64) for d in range(2)]
            np.testing.assert_array_equal(state["kept:e"], (sum(both) / 2).astype(np.float32))
            two_bit.share()  # again changes nothing
        again = Module(2)
        resumed = TwoBit(T, again, mx.kv.create("local"), ALONE)
        resumed.set_state(state)
        assert_same(resumed.state(), state)
        assert_same(one_update(two_bit, module, 2), one_update(resumed, again, 2))
        assert_same(two_bit.state(), resumed.state())


@pytest.mark.parametrize("shared", [False, True])
def test_another_number_of_devices_keeps_the_sum_of_the_residuals(shared):
    module = Module(2)
    two_bit = TwoBit(T, module, mx.kv.create("device"), ALONE)
    one_update(two_bit, module, 1)
    if shared:
        two_bit.share()
    state = two_bit.state()
    keys = ("kept:{}", "kept:{}") if shared else ("kept:0:{}", "kept:1:{}")
    together = {name: sum(state[key.format(name)] for key in keys) for name in SHAPES}
    for devices in (1, 3):
        other = TwoBit(T, Module(devices), mx.kv.create("device"), ALONE)
        other.set_state(state)
        for name, value in together.items():
            found = other.state()[f"kept:{name}"]
            np.testing.assert_allclose(devices * found, value, rtol=1e-6)
    other.set_state({"updates": np.array(0)})
    assert not any(v.any() for name, v in other.state().items() if name != "kept_by")


# --- in an engine ---------------------------------------------------------------------------------


def test_two_devices_of_an_engine_follow_the_formula():
    symbol = network()
    engine = engine_of(symbol, 2, momentum=0.0, compression_threshold=T)
    arg, _ = first_parameters(symbol)
    kept = {(name, d): np.float32(0) for name in arg for d in range(2)}
    half = (BATCH // 2, SIDE, SIDE, 3)
    executor = normalised(symbol, MEAN, STD).simple_bind(
        mx.cpu(), data=half, softmax_label=half[:1], type_dict={"data": np.uint8}
    )
    moved = 0
    for images, labels in BATCHES:
        sums = {name: np.zeros_like(value) for name, value in arg.items()}
        for name, value in arg.items():
            executor.arg_dict[name][:] = value
        for d in range(2):
            part = slice(d * BATCH // 2, (d + 1) * BATCH // 2)
            executor.arg_dict["data"][:] = mx.nd.array(images[part], dtype=np.uint8)
            executor.forward(is_train=True, softmax_label=mx.nd.array(labels[part]))
            executor.backward()
            for name in arg:
                gradient = executor.grad_dict[name].asnumpy()
                sent, kept[name, d] = quantised(kept[name, d], gradient)
                sums[name] += sent
        engine.train_batch(images, labels, 0.01)
        moved += sum(np.count_nonzero(value) for value in sums.values())
        for name, value in arg.items():
            decay = 0.0 if name.endswith("bias") else 1e-3
            arg[name] = value - np.float32(0.01) * (sums[name] / BATCH + np.float32(decay) * value)
            np.testing.assert_allclose(engine.get_params()[0][name], arg[name], atol=1e-7)
        arg = engine.get_params()[0]
    assert moved > 100
    for (name, d), value in kept.items():
        np.testing.assert_allclose(engine.get_state()[f"kept:{d}:{name}"], value, atol=1e-5)


@pytest.mark.parametrize("cpus", [1, 2])
def test_an_engine_with_compression_resumes_exactly(cpus):
    symbol = network(batch_norm=True, dropout=0.5)

    def fresh():
        return engine_of(symbol, cpus, compression_threshold=T)

    straight = train(fresh(), BATCHES[:2])
    straight.set_params(*straight.get_params())  # the end of an epoch
    for more in ([], BATCHES[2:4]):  # a checkpoint there, and one inside the next
        train(straight, more)
        resumed = fresh()
        resumed.set_params(*straight.get_params())
        resumed.set_state(straight.get_state())
        assert_same(resumed.get_state(), straight.get_state())
    for engine in (straight, resumed):
        train(engine, BATCHES[4:])
    assert_same(resumed.get_params()[0], straight.get_params()[0])
    assert_same(resumed.get_state(), straight.get_state())


def test_a_scaled_loss_compresses_the_unscaled_gradient(half):
    plain = train(engine_of(network(), 2, compression_threshold=T), BATCHES)
    scaled = train(half(network(), 2, compression_threshold=T), BATCHES)
    assert_same(plain.get_params()[0], scaled.get_params()[0])

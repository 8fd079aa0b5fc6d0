"""The GPU of Apple silicon, on a machine without one: which device is chosen, and what it gets."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import batches, network, open_one, train
from torch.utils._python_dispatch import TorchDispatchMode

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.pytorch import devices as torch_devices
from imagenet_trainer.engines.pytorch.feed import Feed
from imagenet_trainer.errors import InputError

MPS = torch.device("mps", 0)


@pytest.fixture
def mac(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_gpu_0_of_a_mac(mac):
    assert torch_devices.devices_of(Devices((0,))) == [MPS]
    assert torch_devices.device_here(Devices((0,))) == MPS
    assert torch_devices.describe(MPS) == "the GPU of this Mac"
    assert torch_devices.devices_of(Devices()) == [torch.device("cpu")]
    with pytest.raises(InputError, match=r"^gpus 0,1: there is no GPU 1, a Mac has GPU 0 only"):
        torch_devices.devices_of(Devices((0, 1)))


def test_an_nvidia_gpu_comes_first(mac, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not torch_devices.is_mac()


def test_types_on_a_mac():
    assert torch_devices.autocast_type("float16", MPS) == torch.float16
    assert torch_devices.autocast_type("bfloat16", MPS) == torch.bfloat16
    with pytest.raises(InputError, match=r"^dtype tf32: only on NVIDIA"):
        torch_devices.autocast_type("tf32", MPS)


def test_without_a_type_no_autocast_is_entered():
    # Before PyTorch 2.5 there is none for mps, not even one that does nothing.
    with torch_devices.autocast(MPS, None):
        assert not torch.is_autocast_enabled()


def test_batches_are_moved_to_the_device():
    images, labels = batches()[0]
    moved = Feed(torch.device("meta")).to_device({"images": images, "labels": labels})
    assert {name: value.device.type for name, value in moved.items()} == dict.fromkeys(
        ("images", "labels"), "meta"
    )
    assert moved["images"].dtype == torch.uint8 and moved["labels"].shape == (8,)


class NoDouble(TorchDispatchMode):
    """Fails for an operator with a result in float64, which Metal does not have."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            assert not (isinstance(one, torch.Tensor) and one.dtype == torch.float64), func
        return result


@pytest.mark.parametrize("rule", ["sgd", "adam", "lbsgd"])
def test_nothing_on_the_device_is_float64(rule):
    with NoDouble():
        engine = open_one(
            "torch", network(batch_norm=True, dropout=0.5), rule, label_smoothing=0.1,
            average_decay=0.9, monitor=1,
        )  # fmt: skip
        train(engine, batches()[:2])
        engine.read_statistics()
        engine.predict(batches()[0][0])
        state, params = engine.get_state(), engine.get_params()
        engine.set_params(*params)
        engine.set_state(state)
    assert np.isfinite(engine.read_counts()).all()

"""Every tensor of an update is on the GPU: tried on `meta`, a device without memory or kernels.

There PyTorch computes shapes only. It does not compare devices, so the test does, and counts what
crosses between host and device: on a GPU each crossing lets the host wait for it.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import BATCH, CLASSES, batches, first_parameters, open_one
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from imagenet_trainer.engines import Mix
from imagenet_trainer.engines.pytorch import engine as engine_module
from imagenet_trainer.engines.pytorch import loss_scale
from imagenet_trainer.engines.pytorch.host_copy import HostCopy
from imagenet_trainer.engines.symbol import with_sigmoid
from imagenet_trainer.engines.update_rules import STATES
from imagenet_trainer.graph import sym

META = torch.device("meta")


class Crossings(TorchDispatchMode):
    """Records operators with tensors on two devices, and those whose result the host reads."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        # `meta` lacks the fused updates, which return nothing.
        result = None if "_fused_" in func.name() else func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, result)) if torch.is_tensor(one)]
        if len({one.device for one in tensors}) > 1 or "_local_scalar_dense" in func.name():
            self.names.append(func.name())
        return result


@pytest.fixture
def on_meta(monkeypatch):
    monkeypatch.setattr(engine_module, "device_here", lambda devices: META)
    monkeypatch.setattr(engine_module, "check_shapes", lambda network, shape: None)
    monkeypatch.setattr(HostCopy, "read", lambda copy: np.array([1.0, 0.0, 0.0, 0.0]))


def network():
    """A ResNet's first BatchNorm, moving statistics, a pooling, dropout and limited rows."""
    x = sym.BatchNorm(sym.Variable("data"), fix_gamma=True, name="bn_data")
    x = sym.Convolution(x, kernel=(3, 3), num_filter=8, no_bias=True, name="conv")
    x = sym.BatchNorm(x, fix_gamma=False, name="bn")
    x = sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
    x = sym.Dropout(sym.Activation(x, act_type="relu"), p=0.5)
    weight = sym.Variable("fc_weight", attr={"__max_norm__": "0.4"})
    x = sym.FullyConnected(sym.Flatten(x), weight, num_hidden=CLASSES, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def crossings_of_an_update(scaled, multi_label=False, mixup=False, teacher=False, **how):
    """What crosses in the second update, in which the optimizer's state exists."""
    symbol = with_sigmoid(network()) if multi_label else network()
    training = {"multi_label": multi_label, "mixup": mixup, "teacher_weight": 0.5 * teacher}
    engine = open_one("torch", symbol, **training, **how)
    if scaled:
        engine._scale = loss_scale.DeviceLossScale(META)
    engine.set_params(*first_parameters(symbol))
    images, labels = batches(1)[0]
    labels = np.eye(CLASSES, dtype=np.uint8)[labels] if multi_label else labels
    mix = Mix(labels[::-1].copy(), np.full(BATCH, 0.3, np.float32)) if mixup else None
    probabilities = np.full((BATCH, CLASSES), 0.1, np.float32) if teacher else None
    for _ in range(2):
        with Crossings() as found:
            engine.train_batch(images, labels, 0.01, mix, probabilities)
    assert all(value.device == META for value in engine._network.arg.values())
    return found.names


BATCH_ONLY = ["aten::_to_copy"]  # an array of the batch
TARGETS = {
    "smoothed, averaged, weights": {
        "label_smoothing": 0.1, "average_decay": 0.9, "class_weights": (0.5,) * CLASSES,
    },
    "mixed, in parts": {"mixup": True, "accumulate": 2},
    "of a teacher": {"teacher": True, "options": {"clip_norm": 1.0}},
    "several": {"multi_label": True, "mixup": True},
    "binary": {"bce": True, "bce_threshold": 0.2, "mixup": True},
}  # fmt: skip
ARRAYS = {"mixed, in parts": 4, "of a teacher": 3, "binary": 4}  # others have images and labels


@pytest.mark.parametrize("name", TARGETS)
def test_targets(on_meta, name):
    assert crossings_of_an_update(False, **TARGETS[name]) == BATCH_ONLY * ARRAYS.get(name, 2)


@pytest.mark.parametrize("rule", STATES)
def test_update_rules_of_float16(on_meta, rule):
    # Whether an update is skipped is decided on the GPU as well.
    options, average = {"clip_gradient": 0.5}, 0.9
    found = crossings_of_an_update(True, rule=rule, options=options, average_decay=average)
    assert found == BATCH_ONLY * 2


def test_a_constant_of_the_host_would_be_found():
    with Crossings() as found:
        torch.zeros(3, device=META) + torch.tensor(1.0)
        torch.tensor([1.0], device=META)
    assert found.names

"""MXNet's engine on a tiny network."""

import numpy as np
import pytest

from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.system.mxnet_import import mx

BATCH, SIDE, CLASSES = 8, 12, 10


MEAN, STD = (120.0, 110.0, 100.0), (58.0, 57.0, 56.0)


def network(batch_norm=False, dropout=0.0):
    x = mx.sym.Convolution(mx.sym.Variable("data"), kernel=(3, 3), num_filter=8, name="conv")
    if batch_norm:
        x = mx.sym.BatchNorm(x, fix_gamma=False, name="bn")
    x = mx.sym.Activation(x, act_type="relu")
    if dropout:
        x = mx.sym.Dropout(x, p=dropout)
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=CLASSES, name="fc")
    return mx.sym.SoftmaxOutput(x, name="softmax")


def engine_of(symbol, cpus=1, optimizer="sgd", momentum=0.9, monitor=0, top_k=5, **devices):
    how = Training(Optimizer(optimizer, momentum, 1e-3), monitor=monitor, top_k=top_k)
    where = Devices(cpus=cpus, **devices)
    engine = open_engine(symbol, where, (BATCH, SIDE, SIDE, 3), MEAN, STD, how)
    engine.set_params(*first_parameters(symbol))
    return engine


def first_parameters(symbol):
    random = np.random.RandomState(1)
    arg, aux = parameter_shapes(symbol, (3, SIDE, SIDE))
    values = {name: random.randn(*s) * 0.05 + name.endswith("gamma") for name, s in arg.items()}
    return (
        {name: value.astype(np.float32) for name, value in values.items()},
        {name: np.full(s, name.endswith("var"), np.float32) for name, s in aux.items()},
    )


@pytest.fixture(scope="module")
def batches():
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (6, BATCH, SIDE, SIDE, 3)).astype(np.uint8)
    return list(zip(images, random.randint(0, CLASSES, (6, BATCH))))


def train(engine, batches):
    for images, labels in batches:
        engine.train_batch(images, labels, 0.01)
    return engine


from imagenet_trainer.engines.mxnet import engine as mxnet_engine


@pytest.fixture
def half(monkeypatch):
    """float16 training without the casts, whose operators MXNet has on GPUs only."""
    monkeypatch.setattr(mxnet_engine, "in_16_bits", lambda symbol, *_: symbol)

    def engine(symbol, cpus=1, optimizer="sgd", **devices):
        return engine_of(symbol, cpus, optimizer, dtype="float16", **devices)

    return engine

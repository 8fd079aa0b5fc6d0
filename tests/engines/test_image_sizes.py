"""An engine that trains at several image sizes equals one that was bound to each size alone."""

import numpy as np
import pytest
from conftest import needs_mxnet, on_all_devices
from helpers.tiny_engine import (
    BATCH,
    CLASSES,
    MEAN,
    STD,
    assert_same,
    first_parameters,
)

from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.graph import sym

pytest.importorskip("torch")


def network():
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=8, name="conv")
    x = sym.BatchNorm(x, fix_gamma=False, name="bn")
    x = sym.Pooling(sym.relu(x), global_pool=True, pool_type="avg", kernel=(1, 1))
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=CLASSES, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def open_one(engine, cpus, side, **training):
    how = Training(Optimizer("sgd", 0.9, 1e-3), **training)
    where = Devices(engine=engine, cpus=cpus)
    return open_engine(network(), where, (BATCH, side, side, 3), MEAN, STD, how)


RANDOM = np.random.RandomState(0)
BATCHES = [
    (RANDOM.randint(0, 256, (BATCH, side, side, 3)).astype(np.uint8),
     RANDOM.randint(0, CLASSES, BATCH))
    for side in (12, 8, 8, 16, 12)
]  # fmt: skip
EVALUATED = RANDOM.randint(0, 256, (BATCH, 20, 20, 3)).astype(np.uint8)


@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "average_decay": 0.9}], ids=str)
@on_all_devices
def test_the_size_may_change_between_updates(engine, cpus, more):
    changing = open_one(engine, cpus, 20, **more)
    params, state = first_parameters(network()), None
    changing.set_params(*params)
    for images, labels in BATCHES:
        changing.train_batch(images, labels, 0.05)
        changing.predict(EVALUATED)
        bound = open_one(engine, cpus, images.shape[1], **more)
        bound.set_params(*params)
        if state is not None:
            bound.set_state(state)
        bound.train_batch(images, labels, 0.05)
        params, state = bound.get_params(), bound.get_state()
    assert_same(changing.get_params(), params)
    assert_same(changing.get_state(), state)
    fresh = open_one(engine, cpus, 20, **more)
    for one in (changing, fresh):  # the devices' statistics are averaged
        one.set_params(*params)
    np.testing.assert_array_equal(changing.predict(EVALUATED), fresh.predict(EVALUATED))


@needs_mxnet
def test_the_monitor_follows_a_new_binding():
    engine = open_one("mxnet", 1, 20, monitor=1)
    engine.set_params(*first_parameters(network()))
    for images, labels in BATCHES:
        engine.train_batch(images, labels, 0.05)
    names = [set(values) for _, values in engine.read_statistics()]
    assert len(names) == len(BATCHES) and all(one == names[0] for one in names)
    assert "conv_output" in names[0]

"""Training on label vectors: both engines have the loss of PyTorch's BCEWithLogitsLoss."""

import numpy as np
import pytest
from conftest import ENGINES
from helpers.tiny_engine import (
    BATCH,
    CLASSES,
    MEAN,
    SIDE,
    STD,
    assert_close,
    batches,
    first_parameters,
    logits,
    network,
    open_one,
    tensors_of,
)

from imagenet_trainer.engines import Devices, Mix, Optimizer, Training, mixed_vectors
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import with_sigmoid
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import as_graph, sym
from imagenet_trainer.metrics.counts import score_vectors
from imagenet_trainer.system.machine import has_bfloat16

torch = pytest.importorskip("torch")
RATE = 0.5


def some_vectors(seed=0):
    vectors = (np.random.RandomState(seed).rand(BATCH, CLASSES) < 0.3).astype(np.uint8)
    vectors[0] = 0
    return vectors


def a_mix():
    shares = np.linspace(0, 1, BATCH, dtype=np.float32)
    return Mix(some_vectors(1), shares)


def opened(kind, cpus=1, dtype="float32", **training):
    symbol, devices = with_sigmoid(network()), {"cpus": cpus, "dtype": dtype}
    return open_one(kind, symbol, "sgd", 0, 0, devices=devices, multi_label=True, **training)


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("mixup", [False, True])
def test_the_loss_and_its_gradient_are_pytorchs(kind, mixup):
    images, _ = batches(1)[0]
    mix = a_mix() if mixup else None
    targets = mixed_vectors(some_vectors(), mix)
    tensors = tensors_of(network())
    outputs = logits(tensors, images)
    loss = torch.nn.BCEWithLogitsLoss()(outputs, torch.tensor(targets))
    loss.backward()
    wanted = {name: one - RATE * one.grad for name, one in tensors.items()}
    engines = [opened(kind, mixup=mixup), opened(kind, mixup=mixup, accumulate=2)]
    for engine in [*engines, *([opened(kind, 2, mixup=mixup)] if kind == "mxnet" else [])]:
        engine.train_batch(images, some_vectors(), RATE, mix)
        assert_close(engine, wanted)
        scores = score_vectors(outputs.sigmoid().detach().numpy(), targets >= 0.5)
        count, rank1, rank5, summed, rank_k = engine.read_counts()
        assert (count, rank1, rank5, rank_k) == (BATCH, scores.rank1, scores.rank5, scores.rank5)
        assert summed / BATCH == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ENGINES)
def test_small_probabilities_are_in_order(kind):
    engine = opened(kind)
    arg, aux = engine.get_params()
    arg["fc_weight"][:] = 0
    arg["fc_bias"] = np.linspace(-20, -17, CLASSES, dtype=np.float32)
    engine.set_params(arg, aux)
    engine.train_batch(batches(1)[0][0], np.ones((BATCH, CLASSES), np.uint8), 0.0)
    assert engine.read_counts()[1] == BATCH  # hits of the most probable class


@pytest.mark.parametrize("kind", ENGINES)
def test_predictions_are_sigmoids(kind):
    symbol, (images, _) = with_sigmoid(network()), batches(1)[0]
    engine = open_engine(symbol, Devices(engine=kind), (BATCH, SIDE, SIDE, 3), MEAN, STD)
    engine.set_params(*first_parameters(symbol))
    wanted = logits(tensors_of(network()), images).sigmoid().detach().numpy()
    np.testing.assert_allclose(engine.predict(images), wanted, atol=1e-6)


@pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16")
@pytest.mark.parametrize("kind", ENGINES)
def test_bfloat16(kind):
    images, _ = batches(1)[0]
    exact, rounded = (opened(kind, dtype=dtype) for dtype in ("float32", "bfloat16"))
    for engine in (exact, rounded):
        engine.train_batch(images, some_vectors(), RATE)
    assert rounded.read_counts()[3] == pytest.approx(exact.read_counts()[3], rel=0.02)


@pytest.mark.parametrize("kind", ENGINES)
def test_networks_and_labels_must_fit(kind):
    one = network()
    for symbol, several in ((one, True), (with_sigmoid(one), False)):
        with pytest.raises(ArgumentError, match="ends in"):
            open_engine(
                symbol, Devices(engine=kind), (BATCH, SIDE, SIDE, 3), MEAN, STD,
                Training(Optimizer("sgd", 0, 0), multi_label=several),
            )  # fmt: skip
    with pytest.raises(ArgumentError, match="FullyConnected"):
        with_sigmoid(as_graph(sym.FullyConnected(sym.Variable("data"), num_hidden=3)))

import json

import numpy as np
import pytest
from conftest import ENGINES, needs_mxnet, on_all_devices
from helpers.tiny_engine import (
    BATCH,
    CLASSES,
    assert_close,
    batches,
    engine_of,
    first_parameters,
    logits,
    network,
    open_one,
    tensors_of,
    train,
)

from imagenet_trainer.engines import Mix
from imagenet_trainer.engines.symbol import frozen_in
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import sym
from imagenet_trainer.metrics import counts as metrics
from imagenet_trainer.system.machine import has_bfloat16

torch = pytest.importorskip("torch")


def a_mix(seed=0):
    random = np.random.RandomState(seed)
    shares = random.rand(BATCH).astype(np.float32)
    shares[:3] = 0.5, 1.0, 0.0
    return Mix(random.randint(0, CLASSES, BATCH), shares)


def soft_targets(labels, mix):
    one_hot = np.eye(CLASSES, dtype=np.float32)
    if mix is None:
        return one_hot[labels]
    share = mix.shares[:, None]
    return share * one_hot[labels] + (1 - share) * one_hot[mix.labels]


@on_all_devices
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixup", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_and_its_gradient_are_pytorchs(engine, cpus, weighted, smoothing, mixup):
    """Weights of classes with the sum over the batch; the logged loss stays without them."""
    symbol, rate = network(), 0.5
    images, labels = batches(1)[0]
    mix = a_mix() if mixup else None
    weights = np.random.RandomState(3).uniform(0.1, 3, CLASSES) if weighted else np.ones(CLASSES)
    opened = open_one(
        engine, symbol, "sgd", 0, 0, devices={"cpus": cpus}, label_smoothing=smoothing,
        mixup=mixup, **({"class_weights": tuple(weights.tolist())} if weighted else {}),
    )  # fmt: skip
    opened.train_batch(images, labels, rate, mix)
    tensors = tensors_of(symbol)
    out, wanted = logits(tensors, images), torch.tensor(soft_targets(labels, mix))
    criterion = torch.nn.CrossEntropyLoss(
        torch.tensor(weights, dtype=torch.float32), reduction="sum", label_smoothing=smoothing
    )
    (criterion(out, wanted) / BATCH).backward()
    plain = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(out, wanted)
    count, _, _, summed, _ = opened.read_counts()
    assert count == BATCH and summed / BATCH == pytest.approx(plain.item(), rel=1e-5)
    for value in tensors.values():
        value.data -= rate * value.grad
    assert_close(opened, tensors)


def test_a_hit_is_one_of_the_label_with_the_larger_share():
    engine = engine_of(network(), mixup=True, label_smoothing=0.1)
    images, labels = batches(1)[0]
    mix = a_mix()
    larger = np.where(mix.shares >= 0.5, labels, mix.labels)
    wanted = metrics.score(engine.predict(images), larger)
    engine.train_batch(images, labels, 0.01, mix)
    assert engine.read_counts()[1:3] == (wanted.rank1, wanted.rank5)


def test_labels_with_share_0_add_nothing_to_the_loss():
    # Logarithms of underflown probabilities are finite, and zero times them is zero.
    symbol = network()
    engine = engine_of(symbol, mixup=True, label_smoothing=0.1)
    arg, aux = first_parameters(symbol)
    arg["fc_bias"] = np.where(np.arange(CLASSES) == 3, 1e4, 0).astype(np.float32)
    engine.set_params(arg, aux)
    images, _ = batches(1)[0]
    threes = np.full(BATCH, 3)
    engine.train_batch(images, threes, 0.0, Mix(threes * 0, np.ones(BATCH, np.float32)))
    loss = engine.read_counts()[3]
    assert loss == pytest.approx(BATCH * 0.1 * 0.9 * -np.log(1.2e-38), rel=0.01)


def test_the_given_network_does_not_change():
    symbol = network(batch_norm=True)
    text = symbol.tojson()
    options = {"rate_factors": {"bn_gamma": 0.0, "bn_beta": 0.0}}
    engine_of(symbol, mixup=True, label_smoothing=0.1, options=options)
    assert symbol.tojson() == text


@needs_mxnet
@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"mixup": True}])
def test_targets_need_a_softmax(options):
    x = sym.FullyConnected(sym.Flatten(sym.Variable("data")), num_hidden=2, name="fc")
    symbol = sym.LinearRegressionOutput(x, sym.Variable("softmax_label"), name="softmax")
    with pytest.raises(InputError, match=r"^(label_smoothing|mixup): .*softmax"):
        engine_of(symbol, **options)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16 instructions")
def test_targets_in_bfloat16_stay_float32():
    symbol = network()
    losses = []
    for dtype in ("float32", "bfloat16"):
        engine = open_one(
            "auto", symbol, decay=0, devices={"dtype": dtype}, mixup=True, label_smoothing=0.1
        )
        train(engine, batches(3), mixes=[a_mix(n) for n in range(3)])
        losses.append(engine.read_counts()[3])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_only_fully_frozen_batchnorms_keep_their_statistics():
    x = sym.Variable("data")
    for name, fixed in (("all", False), ("beta", False), ("fixed", True), ("none", False)):
        x = sym.BatchNorm(x, fix_gamma=fixed, name=name)
    frozen = ["all_gamma", "all_beta", "beta_beta", "fixed_beta"]
    nodes = json.loads(frozen_in(x, frozen).tojson())["nodes"]
    kept = {n["name"] for n in nodes if n.get("attrs", {}).get("use_global_stats") == "True"}
    assert kept == {"all", "fixed"}


@pytest.mark.parametrize("threshold", [0.0, 0.2])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_binary_cross_entropy_is_pytorchs(engine, threshold):
    symbol, rate = network(), 0.5
    (images, labels), mix = batches(1)[0], a_mix()
    opened = open_one(
        engine, symbol, "sgd", 0, 0, mixup=True, label_smoothing=0.1, bce=True,
        bce_threshold=threshold,
    )  # fmt: skip
    before = opened.predict(images)
    opened.train_batch(images, labels, rate, mix)
    tensors = tensors_of(symbol)
    outputs = logits(tensors, images)
    np.testing.assert_allclose(before, outputs.detach().softmax(1), atol=1e-5)
    target = torch.tensor(soft_targets(labels, mix)) * 0.9 + 0.1 / CLASSES
    softmax = torch.nn.CrossEntropyLoss()(outputs, target)
    if threshold:
        target = (target > threshold).float()
    torch.nn.BCEWithLogitsLoss()(outputs, target).backward()
    assert opened.read_counts()[3] / BATCH == pytest.approx(softmax.item(), rel=1e-5)
    for value in tensors.values():
        value.data -= rate * value.grad
    assert_close(opened, tensors)


def test_bce_needs_a_softmax():
    x = sym.FullyConnected(sym.Flatten(sym.Variable("data")), num_hidden=2, name="fc")
    symbol = sym.LogisticRegressionOutput(x, sym.Variable("softmax_label"), name="softmax")
    with pytest.raises(InputError, match=r"softmax|Softmax|Logistic"):
        engine_of(symbol, bce=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_teacher_is_a_part_of_the_target(engine):
    symbol, rate = network(), 0.5
    (images, labels), mix = batches(1)[0], a_mix()
    theirs = np.random.RandomState(2).dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
    opened = open_one(
        engine, symbol, "sgd", 0, 0, mixup=True, label_smoothing=0.1, teacher_weight=0.7,
        accumulate=2,
    )  # fmt: skip
    opened.train_batch(images, labels, rate, mix, theirs)
    tensors = tensors_of(symbol)
    own = torch.tensor(soft_targets(labels, mix)) * 0.9 + 0.1 / CLASSES
    loss = torch.nn.CrossEntropyLoss()(
        logits(tensors, images), 0.3 * own + 0.7 * torch.tensor(theirs)
    )
    loss.backward()
    assert opened.read_counts()[3] / BATCH == pytest.approx(loss.item(), rel=1e-5)
    for value in tensors.values():
        value.data -= rate * value.grad
    assert_close(opened, tensors)
    assert opened.predict(images).shape == (BATCH, CLASSES)

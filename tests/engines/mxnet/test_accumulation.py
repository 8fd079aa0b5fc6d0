import numpy as np
import pytest
from helpers.tiny_engine import (
    BATCH,
    CLASSES,
    MEAN,
    STD,
    assert_same,
    batches,
    engine_of,
    first_parameters,
    network,
    train,
)

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices, Mix, NonFiniteLossError, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters


@pytest.mark.parametrize(
    ("parts", "cpus", "optimizer"), [(1, 2, "nag"), (8, 1, "sgd"), (2, 2, "adam"), (4, 2, "lbsgd")]
)
def test_parts_give_the_update_of_the_whole_batch(parts, cpus, optimizer):
    symbol = network()
    whole = train(engine_of(symbol, 1, optimizer), batches(4))
    inside = train(engine_of(symbol, cpus, optimizer, accumulate=parts), batches(4))
    for name, value in whole.get_params()[0].items():
        np.testing.assert_allclose(inside.get_params()[0][name], value, atol=2e-6, err_msg=name)
    ours, theirs = inside.read_counts(), whole.read_counts()
    assert ours[:3] == theirs[:3] and ours[3] == pytest.approx(theirs[3], rel=1e-5)


def test_soft_targets_are_split_with_their_images():
    mixes = [
        Mix(labels[::-1].copy(), np.linspace(0, 1, BATCH, dtype=np.float32))
        for _, labels in batches(3)
    ]
    how = {"mixup": True, "label_smoothing": 0.1}
    whole = train(engine_of(network(), **how), batches(3), mixes=mixes).get_params()[0]
    parts = train(engine_of(network(), accumulate=4, **how), batches(3), mixes=mixes)
    for name, value in parts.get_params()[0].items():
        np.testing.assert_allclose(value, whole[name], atol=1e-6)


@pytest.mark.parametrize("name, side", [("resnet8", 16), ("squeezenet1.1", 32)])
def test_gradients_of_parts_are_summed_in_real_networks(name, side):
    # With BatchNorm each part is normalised by itself, so the update is the mean of two updates
    # with half the batch, each from the same parameters.
    symbol = symbols.get_symbol(name, CLASSES, (3, side, side))
    symbol = mx.sym.load_json(symbol.tojson().replace('"p": "0.5"', '"p": "0"'))
    first = initial_parameters(*parameter_shapes(symbol, (3, side, side)), "xavier", 0)
    random = np.random.RandomState(3)
    images = random.randint(0, 256, (BATCH, side, side, 3)).astype(np.uint8)
    labels = random.randint(0, CLASSES, BATCH)

    def updated(images, labels, accumulate=1):
        how = Training(Optimizer("sgd", 0.0, 0.0), accumulate=accumulate)
        engine = open_engine(symbol, Devices(), images.shape, MEAN, STD, how)
        engine.set_params(*first)
        engine.train_batch(images, labels, 0.1)
        return engine.get_params()[0]

    whole = updated(images, labels, accumulate=2)
    half = BATCH // 2
    halves = [updated(images[:half], labels[:half]), updated(images[half:], labels[half:])]
    for key, value in whole.items():
        wanted = (halves[0][key] + halves[1][key]) / 2
        np.testing.assert_allclose(value, wanted, atol=1e-5, err_msg=key)


def test_statistics_are_updated_once_per_part():
    symbol = network(batch_norm=True)
    images, labels = batches(1)[0]
    engine = train(engine_of(symbol, accumulate=2), [(images, labels)], rate=0.0)
    found = engine.get_params()[1]["bn_moving_mean"]
    arg, _ = first_parameters(symbol)
    pixels = mx.nd.array(((images - np.array(MEAN)) / STD).transpose(0, 3, 1, 2))
    before = mx.nd.Convolution(
        pixels, mx.nd.array(arg["conv_weight"]), mx.nd.array(arg["conv_bias"]),
        kernel=(3, 3), num_filter=8,
    ).asnumpy()  # fmt: skip
    wanted = np.zeros(8)
    for part in (before[: BATCH // 2], before[BATCH // 2 :]):
        wanted = 0.9 * wanted + 0.1 * part.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_loss_that_is_not_finite_in_any_part_stops_before_the_update():
    symbol = network()
    engine = train(engine_of(symbol, accumulate=4, mixup=True), batches(1), mixes=[
        Mix(np.zeros(BATCH, np.int64), np.ones(BATCH, np.float32))
    ])  # fmt: skip
    before = engine.get_params(), engine.get_state()
    bad = np.ones(BATCH, np.float32)
    bad[-1] = np.nan
    with pytest.raises(NonFiniteLossError, match="update 1 "):
        engine.train_batch(*batches(1)[0], 0.1, Mix(np.zeros(BATCH, np.int64), bad))
    assert_same(engine.get_params(), before[0])
    assert_same(engine.get_state(), before[1])


def test_predictions_are_computed_in_parts_too():
    symbol = network(batch_norm=True)
    images = batches(1)[0][0]
    wanted = engine_of(symbol).predict(images)
    engine = engine_of(symbol, accumulate=4)
    for count in (BATCH, 5, 2, 1):
        np.testing.assert_allclose(engine.predict(images[:count]), wanted[:count], atol=1e-6)


def test_batches_that_cannot_be_split_evenly():
    with pytest.raises(InputError, match=r"^batch_size 8: .*3 accumulated parts.* multiple of 3"):
        engine_of(network(), accumulate=3)
    with pytest.raises(InputError, match=r"2 accumulated parts on 8 devices; .*multiple of 16"):
        engine_of(network(), 8, accumulate=2)

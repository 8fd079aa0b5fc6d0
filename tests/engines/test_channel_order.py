"""An engine of a network that takes blue, green, red gets the same bytes as any other."""

import numpy as np
import pytest
from conftest import ENGINES
from helpers.tiny_engine import MEAN, STD, assert_same, batches, everything, network, open_one


def engine_of(engine, mean=MEAN, std=STD, bgr=False):
    return open_one(engine, network(), mean=mean, std=std, bgr=bgr)


@pytest.mark.parametrize("bgr", [False, True])
def test_images_of_another_library_by_dlpack(bgr):
    # As those that DALI decodes.
    torch = pytest.importorskip("torch")
    ours, theirs = engine_of("torch", bgr=bgr), engine_of("torch", bgr=bgr)
    for images, labels in batches(2):
        ours.train_batch(torch.from_numpy(images), labels, 0.01)
        theirs.train_batch(images, labels, 0.01)
    assert_same(everything(ours), everything(theirs))


@pytest.mark.parametrize("plain", [False, True])  # mean 0 and deviation 1 are left out
@pytest.mark.parametrize("engine", ENGINES)
def test_bgr_is_a_reversed_image(engine, plain):
    mean, std = ((0, 0, 0), (1, 1, 1)) if plain else (MEAN, STD)
    ours = engine_of(engine, mean, std, bgr=True)
    theirs = engine_of(engine, mean[::-1], std[::-1])
    images, labels = batches(1)[0]
    probabilities = ours.predict(images)
    np.testing.assert_array_equal(probabilities, theirs.predict(images[..., ::-1].copy()))
    assert np.abs(probabilities - engine_of(engine, mean, std).predict(images)).max() > 1e-3
    for images, labels in batches(2):
        ours.train_batch(images, labels, 0.01)
        theirs.train_batch(images[..., ::-1].copy(), labels, 0.01)
    assert_same(ours.get_params(), theirs.get_params())
    assert ours.read_counts() == theirs.read_counts()

import numpy as np
import pytest

from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.views import Views, ViewTransform


def shown(image, shape, resize, views):
    transform = ViewTransform(shape, resize, views)
    out = np.empty((*transform.size, 3), np.uint8)
    transform.apply(image, None, 0, out)
    return out.reshape(views.places, *shape[1:], 3)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)


def test_the_centre_is_evaluations(image):
    for resize in (0, 24, 30):
        transform = EvalTransform((3, 20, 24), resize)
        wanted = np.empty((20, 24, 3), np.uint8)
        transform.apply(image, None, 0, wanted)
        for views in (Views(), Views(flip=True), Views(10)):
            found = shown(image, (3, 20, 24), resize, views)
            np.testing.assert_array_equal(found[0], wanted)


def test_corners(image):
    # 30 pixels high is the size asked for: nothing is resized.
    found = shown(image, (3, 20, 24), 30, Views(10))
    np.testing.assert_array_equal(found[0], image[5:25, 8:32])
    np.testing.assert_array_equal(found[1], image[:20, :24])
    np.testing.assert_array_equal(found[2], image[:20, -24:])
    np.testing.assert_array_equal(found[3], image[-20:, :24])
    np.testing.assert_array_equal(found[4], image[-20:, -24:])


def test_blue_green_red(image):
    found = shown(image, (3, 20, 24), 30, Views(10, bgr=True))
    np.testing.assert_array_equal(found[..., ::-1], shown(image, (3, 20, 24), 30, Views(10)))


@pytest.mark.parametrize(
    ("views", "places", "mirrored"),
    [(Views(), 1, False), (Views(flip=True), 1, True), (Views(10), 5, True),
     (Views(10, True), 5, True)],
)  # fmt: skip
def test_how_many(views, places, mirrored):
    assert (views.places, views.mirrored) == (places, mirrored)

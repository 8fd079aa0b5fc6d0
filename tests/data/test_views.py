import numpy as np
import pytest

from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.views import Views, ViewTransform


def shown(picture, shape, resize, views):
    transform = ViewTransform(shape, resize, views)
    out = np.empty((*transform.size, 3), np.uint8)
    transform.apply(picture, None, 0, out)
    return out.reshape(views.places, *shape[1:], 3)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)


def test_the_centre_is_evaluations(picture):
    for resize in (0, 24, 30):
        transform = EvalTransform((3, 20, 24), resize)
        wanted = np.empty((20, 24, 3), np.uint8)
        transform.apply(picture, None, 0, wanted)
        for views in (Views(), Views(flip=True), Views(10)):
            found = shown(picture, (3, 20, 24), resize, views)
            np.testing.assert_array_equal(found[0], wanted)


def test_corners(picture):
    # 30 pixels high is the size asked for: nothing is resized.
    found = shown(picture, (3, 20, 24), 30, Views(10))
    np.testing.assert_array_equal(found[0], picture[5:25, 8:32])
    np.testing.assert_array_equal(found[1], picture[:20, :24])
    np.testing.assert_array_equal(found[2], picture[:20, -24:])
    np.testing.assert_array_equal(found[3], picture[-20:, :24])
    np.testing.assert_array_equal(found[4], picture[-20:, -24:])


def test_blue_green_red(picture):
    found = shown(picture, (3, 20, 24), 30, Views(10, bgr=True))
    np.testing.assert_array_equal(found[..., ::-1], shown(picture, (3, 20, 24), 30, Views(10)))


@pytest.mark.parametrize(
    ("views", "places", "mirrored"),
    [(Views(), 1, False), (Views(flip=True), 1, True), (Views(10), 5, True),
     (Views(10, True), 5, True)],
)  # fmt: skip
def test_how_many(views, places, mirrored):
    assert (views.places, views.mirrored) == (places, mirrored)

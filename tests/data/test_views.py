import numpy as np
import pytest

from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.views import Views, ViewTransform


def views_of(image, shape, resize, views, interpolation="bilinear"):
    transform = ViewTransform(shape, resize, views, interpolation)
    out = np.empty((*transform.size, 3), np.uint8)
    transform.apply(image, None, 0, out)
    return out.reshape(views.positions, *shape[1:], 3)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "pil-bilinear"])
def test_the_first_view_is_that_of_evaluation(image, interpolation):
    for resize in (0, 24, 29, 30):
        transform = EvalTransform((3, 20, 24), resize, interpolation)
        expected = np.empty((20, 24, 3), np.uint8)
        transform.apply(image, None, 0, expected)
        for views in (Views(), Views(flip=True), Views(10)):
            result = views_of(image, (3, 20, 24), resize, views, interpolation)
            np.testing.assert_array_equal(result[0], expected)


def test_corners(image):
    # The image is 30 pixels high already: it is not resized.
    result = views_of(image, (3, 20, 24), 30, Views(10))
    np.testing.assert_array_equal(result[0], image[5:25, 8:32])
    np.testing.assert_array_equal(result[1], image[:20, :24])
    np.testing.assert_array_equal(result[2], image[:20, -24:])
    np.testing.assert_array_equal(result[3], image[-20:, :24])
    np.testing.assert_array_equal(result[4], image[-20:, -24:])


@pytest.mark.parametrize(
    ("views", "positions", "mirrored"),
    [(Views(), 1, False), (Views(flip=True), 1, True), (Views(10), 5, True),
     (Views(10, True), 5, True)],
)  # fmt: skip
def test_positions_and_mirrors(views, positions, mirrored):
    assert (views.positions, views.mirrored) == (positions, mirrored)


def test_one_view_needs_a_part_of_the_image_and_ten_need_all():
    for views, whole in ((Views(), False), (Views(flip=True), False), (Views(10), True)):
        steps = ViewTransform((3, 20, 20), 30, views).steps((30, 90), None, 0)
        assert (steps.needed((30, 90)) == (0, 0, 90, 30)) == whole
    assert Views() == Views(1, False)

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data import transforms
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.transforms import (
    Steps,
    execute,
    full_window,
    short_side_steps,
    short_side_to,
    unchanged,
    warp_of,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def result_of(steps, size, image=IMAGE):
    out = np.empty((*size, 3), np.uint8)
    execute(steps, image, out)
    return out


def test_the_order_of_crops_resize_and_mirror():
    steps = Steps((10, 5, 30, 20), (30, 45), (4, 3, 8, 9), mirror=True)
    resized = cv2.resize(IMAGE[5:25, 10:40], (45, 30), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(result_of(steps, (9, 8)), resized[3:12, 4:12][:, ::-1])


@pytest.mark.parametrize("sides", [((20, 30), True), ((21, 30), False), ((20, 31), False)], ids=str)
def test_areas_are_averaged_where_both_sides_halve(sides):
    size, averages = sides
    steps = Steps(full_window((40, 60)), size, full_window(size))
    assert steps.averages == averages
    method = cv2.INTER_AREA if averages else cv2.INTER_LINEAR
    assert np.array_equal(
        result_of(steps, size), cv2.resize(IMAGE, size[::-1], interpolation=method)
    )


def test_pixels_outside_the_image_are_filled():
    cut = result_of(Steps((-2, -3, 64, 46), (46, 64), full_window((46, 64)), fill=9), (46, 64))
    window = result_of(Steps(full_window((40, 60)), (40, 60), (-2, -3, 64, 46), fill=9), (46, 64))
    assert np.array_equal(cut, window)
    assert np.array_equal(cut[3:43, 2:62], IMAGE)
    assert (cut[:3] == 9).all() and (cut[:, 62:] == 9).all()


def test_the_colour_matrix_is_applied_with_rounding_and_clipping():
    colours = np.array([[0, 0, 1.5, 0], [0, 1, 0, -30.25], [1, 0, 0, 0.5]])
    expected = IMAGE.astype(np.float64) @ colours[:, :3].T + colours[:, 3]
    result = result_of(unchanged((40, 60))._replace(colours=colours), (40, 60))
    assert np.abs(result - expected.clip(0, 255)).max() <= 0.5


def test_a_warp_keeps_the_centre_of_its_window():
    matrix = warp_of((10, 6, 20, 14), (28, 40), np.array([[0.0, -1.0], [1.0, 0.0]]))
    centre = matrix @ (19.5, 13.5, 1)
    assert centre == pytest.approx((10 + 9.5, 6 + 6.5))
    right = matrix @ (20.5, 13.5, 1) - centre  # half a pixel of the image, downwards
    assert right == pytest.approx((0, 0.5))


@pytest.mark.parametrize("size", [(40, 60), (300, 200), (9, 900), (1000, 10)], ids=str)
def test_steps_give_the_resized_size(size):
    steps = short_side_steps(size, 32)
    assert min(steps.size) == 32 and max(steps.size) <= 16 * 32
    image = np.zeros((*size, 3), np.uint8)
    assert result_of(steps, steps.size, image).shape[:2] == steps.size


def test_an_image_of_the_right_size_is_not_copied():
    assert np.shares_memory(short_side_to(IMAGE, 40), IMAGE)
    assert not np.shares_memory(short_side_to(IMAGE, 39), IMAGE)


def test_only_a_strip_that_is_resized_is_cut():
    # Resized to 32 pixels, a strip of 1,000 x 10 would become 3,200 pixels long.
    assert short_side_steps((1000, 10), 32).cut == (0, 420, 10, 160)
    assert short_side_steps((1000, 10), 10) == unchanged((1000, 10))
    assert short_side_steps((160, 10), 32).cut == full_window((160, 10))


@given(
    st.integers(-9, 50), st.integers(-9, 30), st.integers(1, 70), st.integers(1, 50),
    st.tuples(st.integers(1, 60), st.integers(1, 60)), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_pixels_that_are_not_needed_do_not_matter(left, top, wide, high, size, warped, seed):
    random = np.random.default_rng(seed)
    x, y = (int(random.integers(side)) for side in size[::-1])
    window = (
        x,
        y,
        int(random.integers(1, size[1] - x + 1)),
        int(random.integers(1, size[0] - y + 1)),
    )
    out_size = (24, 20) if warped else (window[3], window[2])
    warp = warp_of(window, out_size, np.eye(2) * random.uniform(0.5, 2)) if warped else None
    steps = Steps((left, top, wide, high), size, window, warp, fill=3)
    column, row, columns, rows = steps.needed((40, 60))
    other = random.integers(0, 256, IMAGE.shape, np.uint8)
    part = slice(row, row + rows), slice(column, column + columns)
    other[part] = IMAGE[part]
    assert np.array_equal(result_of(steps, out_size, other), result_of(steps, out_size))
    if not warped:  # and not much more is needed than is read
        scale = high / size[0]
        assert rows <= max(1, math.ceil(window[3] * scale) + 2 * (transforms._MARGIN + 1))


@pytest.mark.parametrize(
    "settings",
    [
        AugmentSettings(brightness=0.3),
        AugmentSettings(random_resized_crop=False, random_crop=True, pad_size=3),
        AugmentSettings(max_random_rotate_angle=20),
        AugmentSettings(random_resized_crop=False, max_random_scale=1.5),
    ],
    ids=["area", "padded", "warped", "zoomed"],
)
def test_a_transform_executes_its_steps(settings):
    transform = TrainTransform(settings, (3, 48, 52), 1)
    drawn = transform.draw(np.arange(4), np.zeros(4, np.int64))
    for i in range(4):
        out = np.empty((48, 52, 3), np.uint8)
        transform.apply(IMAGE, drawn, i, out)
        steps = transform.steps((40, 60), drawn, i)
        assert np.array_equal(result_of(steps, (48, 52)), out)
        assert (steps.warp is None) == (settings.max_random_rotate_angle == 0
                                        and settings.max_random_scale == 1)  # fmt: skip


# --- images that are too long for OpenCV's warp ---------------------------------------------------


@pytest.mark.parametrize("window", [(400, 5, 30, 30), (-9, -9, 40, 40), (70, 2, 500, 36)])
def test_a_warp_of_a_long_image_is_that_of_the_part_it_shows(monkeypatch, window):
    image = cv2.resize(IMAGE, (900, 40), interpolation=cv2.INTER_LINEAR)
    angle = 0.3
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    steps = unchanged((40, 900))._replace(warp=warp_of(window, (24, 24), turn), fill=7)
    expected = result_of(steps, (24, 24), image)
    monkeypatch.setattr(transforms, "_LONGEST_WARPED", 899)
    assert np.array_equal(result_of(steps, (24, 24), image), expected)


def test_a_warp_that_shows_nothing_of_a_long_image():
    image = np.full((40, 40_000, 3), 200, np.uint8)
    for far in (-90_000, 90_000):
        steps = unchanged((40, 40_000))._replace(
            warp=np.array([[1.0, 0, far], [0, 1, far]]), fill=5
        )
        assert (result_of(steps, (24, 24), image) == 5).all()


def test_a_long_image_is_warped_as_a_whole():
    ramp = np.linspace(0, 255, 70_000).astype(np.uint8)
    image = np.repeat(np.repeat(ramp[None, :, None], 40, 0), 3, 2)
    whole = full_window((40, 70_000))
    steps = unchanged((40, 70_000))._replace(warp=warp_of(whole, (8, 50), np.eye(2)))
    result = result_of(steps, (8, 50), image)
    expected = cv2.resize(image, (50, 8), interpolation=cv2.INTER_AREA)
    assert np.abs(result.astype(int) - expected).max() <= 2


def test_what_opencv_refuses_is_a_value_error():
    steps = unchanged((40, 60))._replace(colours=np.zeros((3, 9)))
    with pytest.raises(ValueError, match="OpenCV cannot"):
        result_of(steps, (40, 60))

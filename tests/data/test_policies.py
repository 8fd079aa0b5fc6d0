"""Operations equal Pillow's, which torchvision uses; choices have torchvision's distribution."""

import math
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.erasing import draw_erased
from imagenet_trainer.data.policies import Policy, execute, magnitudes

MANY = 40_000
IMAGES, EPOCHS = np.arange(MANY), np.zeros(MANY, np.int64)


def smooth_image(height=60, width=75):
    """Not all values occur, so that stretching and equalising change something."""
    y, x = np.mgrid[:height, :width]
    planes = 30 + 2 * x, 200 - x - y, 90 + 40 * np.sin(x / 7) * np.cos(y / 5)
    return np.stack(planes, axis=2).clip(20, 230).astype(np.uint8)


def result_of(name, magnitude, image=None, fill=0):
    image = smooth_image() if image is None else image.copy()
    execute(((name, magnitude),), image, fill)
    return image


def enhanced(kind, magnitude, image):
    return kind(image).enhance(1 + magnitude)


REFERENCES = {
    "identity": lambda image, _: image,
    "brightness": lambda image, m: enhanced(ImageEnhance.Brightness, m, image),
    "colour": lambda image, m: enhanced(ImageEnhance.Color, m, image),
    "contrast": lambda image, m: enhanced(ImageEnhance.Contrast, m, image),
    "sharpness": lambda image, m: enhanced(ImageEnhance.Sharpness, m, image),
    "posterize": lambda image, m: ImageOps.posterize(image, int(m)),
    "solarize": lambda image, m: ImageOps.solarize(image, m),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "grey": lambda image, _: image.convert("L").convert("RGB"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "magnitude"), [
    ("identity", 0.0), ("brightness", 0.7), ("brightness", -0.99), ("colour", 0.9),
    ("colour", -0.6), ("contrast", 0.8), ("contrast", -0.99), ("sharpness", 0.99),
    ("sharpness", -0.99), ("posterize", 2.0), ("posterize", 8.0), ("solarize", 127.5),
    ("solarize", 0.0), ("solarize", 255.0), ("autocontrast", 0.0), ("equalize", 0.0),
    ("grey", 0.0),
])  # fmt: skip
def test_operations_on_colours_are_pillows(name, magnitude):
    wanted = np.asarray(REFERENCES[name](Image.fromarray(smooth_image()), magnitude))
    found = result_of(name, magnitude)
    # Pillow rounds down where OpenCV rounds; it rounds the smoothed image and the grey value too.
    assert np.abs(found.astype(int) - wanted).max() <= 2
    exact = name in ("identity", "posterize", "solarize", "autocontrast", "equalize")
    assert not exact or np.array_equal(found, wanted)


@pytest.mark.parametrize("value", [0, 77, 255])
@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_a_flat_image_stays(name, value):
    flat = np.full((5, 6, 3), value, np.uint8)
    assert np.array_equal(result_of(name, 0.0, flat), flat)


def by_pillow(matrix, fill=0):
    """Affine coefficients of torchvision's functional.affine and rotate, for pixel centres."""
    image = Image.fromarray(smooth_image())
    (a, b, c), (d, e, f) = matrix
    # Pillow samples at pixel centres: x + 1/2.
    moved = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
    how = Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR
    return np.asarray(image.transform(image.size, *how, fillcolor=(fill,) * 3))


@pytest.mark.parametrize(("name", "magnitude", "matrix"), [
    ("shear x", 0.3, [[1, 0.3, 0], [0, 1, 0]]), ("shear y", -0.4, [[1, 0, 0], [-0.4, 1, 0]]),
    ("translate x", 7.9, [[1, 0, -7], [0, 1, 0]]), ("translate y", -7.9, [[1, 0, 0], [0, 1, 7]]),
])  # fmt: skip
def test_operations_on_places_are_pillows(name, magnitude, matrix):
    found, wanted = result_of(name, magnitude, fill=9).astype(int), by_pillow(matrix, 9)
    assert (np.abs(found - wanted) > 2).mean() < 0.03  # the border is interpolated differently
    assert (found != smooth_image()).mean() > 0.3


def test_rotation_is_pillows():
    wanted = np.asarray(Image.fromarray(smooth_image()).rotate(30, Image.Resampling.BILINEAR))
    found = result_of("rotate", 30.0).astype(int)
    assert (np.abs(found - wanted) > 3).mean() < 0.05
    assert (np.abs(result_of("rotate", -30.0).astype(int) - wanted) > 3).mean() > 0.5


def test_the_blur_is_a_gaussian():
    point = np.zeros((21, 21, 3), np.uint8)
    point[10, 10] = 255
    found = result_of("blur", 1.5, point)[:, :, 0] / 255
    y, x = np.mgrid[-10:11, -10:11]
    wanted = np.exp(-(x**2 + y**2) / (2 * 1.5**2)) / (2 * math.pi * 1.5**2)
    assert np.abs(found - wanted).max() < 0.005
    assert (
        np.abs(
            result_of("blur", 2.0).astype(int)
            - Image.fromarray(smooth_image()).filter(ImageFilter.GaussianBlur(2.0))
        )[5:-5, 5:-5].max()
        <= 3
    )


# torchvision/transforms/autoaugment.py, _augmentation_space: the largest magnitudes and whether
# they have a sign, for images of 100 x 200 (height x width); 31 steps.
TRIVIAL = {
    "identity": (0, False), "shear x": (0.99, True), "shear y": (0.99, True),
    "translate x": (32, True), "translate y": (32, True), "rotate": (135, True),
    "brightness": (0.99, True), "colour": (0.99, True), "contrast": (0.99, True),
    "sharpness": (0.99, True), "posterize": (2, False), "solarize": (0, False),
    "autocontrast": (0, False), "equalize": (0, False),
}  # fmt: skip
RAND = {
    **{name: (0.3 * sign, True) for name, sign in (("shear x", 1), ("shear y", 1))},
    "translate x": (200 * 150 / 331, True), "translate y": (100 * 150 / 331, True),
    "rotate": (30, True), "brightness": (0.9, True), "colour": (0.9, True),
    "contrast": (0.9, True), "sharpness": (0.9, True), "posterize": (4, False),
    "solarize": (0, False),
}  # fmt: skip


@pytest.mark.parametrize(("policy", "table"), [("trivial", TRIVIAL), ("rand", RAND)])
def test_magnitudes_are_torchvisions(policy, table):
    found = magnitudes(policy, (100, 200))
    for name, values in found.items():
        assert len(values) == 31 and values[-1] == pytest.approx(table[name][0]), name
    assert found["solarize"][0] == 255 and found["rotate"][0] == 0
    posterize = [8 - round(k / (30 / (6 if policy == "trivial" else 4))) for k in range(31)]
    assert found["posterize"].tolist() == posterize


def test_trivial_augment_has_torchvisions_distribution():
    drawn = [one for (one,) in Policy("trivial", 9, (100, 200), 3).draw(IMAGES, EPOCHS)]
    counts = Counter(name for name, _ in drawn)
    expected = MANY / 14
    assert set(counts) == set(TRIVIAL)
    assert max(abs(n - expected) for n in counts.values()) < 5 * math.sqrt(expected)
    for name, (largest, signed) in TRIVIAL.items():
        values = np.array([m for one, m in drawn if one == name])
        strengths = np.unique(np.round(np.abs(values), 6))
        if name == "posterize":
            assert strengths.tolist() == [2, 3, 4, 5, 6, 7, 8]
        elif name in ("identity", "autocontrast", "equalize"):
            assert strengths.tolist() == [0]
        else:
            assert len(strengths) == 31 and np.abs(values).max() == pytest.approx(
                255 if name == "solarize" else largest
            )
            assert np.abs(values).mean() == pytest.approx(np.abs(values).max() / 2, rel=0.05)
        assert (values < 0).any() == signed
        if signed:
            assert (values > 0).mean() == pytest.approx(30 / 62, abs=0.05)


def test_rand_augment_makes_two_operations_of_one_strength():
    drawn = Policy("rand", 6, (100, 200), 3).draw(IMAGES, EPOCHS)
    assert {len(one) for one in drawn} == {2}
    firsts, seconds = ([one[k][0] for one in drawn] for k in range(2))
    counts = Counter(zip(firsts, seconds))
    assert len(counts) == 14 * 14  # with repetition, independent of each other
    expected = MANY / 14**2
    assert max(abs(n - expected) for n in counts.values()) < 6 * math.sqrt(expected)
    for name, magnitude in {one for pair in drawn for one in pair}:
        largest, _ = RAND.get(name, (0, False))
        if name == "solarize":
            assert magnitude == pytest.approx(255 * 0.8)
        elif name == "posterize":
            assert magnitude == 7
        else:
            assert abs(magnitude) == pytest.approx(largest * 0.2)


def test_three_augment():
    drawn = [one for (one,) in Policy("three", 9, (32, 32), 3).draw(IMAGES, EPOCHS)]
    counts = Counter(name for name, _ in drawn)
    assert set(counts) == {"grey", "solarize", "blur"}
    assert max(abs(n - MANY / 3) for n in counts.values()) < 5 * math.sqrt(MANY / 3)
    assert {m for name, m in drawn if name == "solarize"} == {128.0}
    radii = np.array([m for name, m in drawn if name == "blur"])
    assert (
        radii.min() >= 0.1 and radii.max() < 2.0 and radii.mean() == pytest.approx(1.05, abs=0.02)
    )


def test_random_erasing_has_torchvisions_distribution():
    size = (200, 300)
    found = draw_erased(0.25, size, 3, IMAGES, EPOCHS)
    erased = np.array([one for one in found if one is not None])
    left, top, wide, high = erased.T
    assert len(erased) / len(found) == pytest.approx(0.25, abs=0.012)
    area, ratio = wide * high / (size[0] * size[1]), high / wide
    assert area.min() > 0.0195 and area.max() < 0.335
    assert area.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.01)
    assert ratio.min() > 0.28 and ratio.max() < 3.4
    # Without the shapes that do not fit into the image, torchvision's logarithm would have mean 0.
    assert np.log(ratio).mean() == pytest.approx((math.log(0.3) + math.log(3.3)) / 2, abs=0.07)
    assert (left + wide <= 300).all() and (top + high <= 200).all()
    assert ((left + wide / 2) / 300).mean() == pytest.approx(0.5, abs=0.01)


def test_choices_depend_on_seed_epoch_and_image_alone():
    some = np.array([917, 3, 500])
    for draw in (
        lambda seed, images, epochs: Policy("trivial", 9, (32, 32), seed).draw(images, epochs),
        lambda seed, images, epochs: draw_erased(0.9, (32, 32), seed, images, epochs),
    ):
        whole = draw(5, IMAGES[:1000], EPOCHS[:1000])
        assert draw(5, some, np.zeros(3, np.int64)) == [whole[k] for k in some]
        for other in (
            draw(6, IMAGES[:1000], EPOCHS[:1000]),
            draw(5, IMAGES[:1000], EPOCHS[:1000] + 1),
        ):
            assert sum(a != b for a, b in zip(whole, other)) > 700


def test_the_order_of_crop_policy_colours_and_erasing():
    settings = AugmentSettings(
        auto_augment="three", random_erasing=1.0, brightness=0.5, train_interp="bicubic"
    )
    transform = TrainTransform(settings, (3, 40, 50), 1)
    drawn = transform.draw(IMAGES[:8], EPOCHS[:8])
    plain = TrainTransform(AugmentSettings(brightness=0.0, train_interp="bicubic"), (3, 40, 50), 1)
    bare = plain.draw(IMAGES[:8], EPOCHS[:8])
    for i in range(8):
        found, wanted = (np.empty((40, 50, 3), np.uint8) for _ in range(2))
        transform.apply(smooth_image(), drawn, i, found)
        plain.apply(smooth_image(), bare, i, wanted)
        execute(drawn.operations[i], wanted, 127)
        wanted = np.round(wanted * drawn.colours[i][0, 0]).clip(0, 255)
        left, top, wide, high = drawn.erased[i]
        wanted[top : top + high, left : left + wide] = 127
        assert np.abs(found - wanted).max() <= 1


def test_what_is_erased_of_a_tiny_image_has_pixels():
    found = draw_erased(1.0, (3, 3), 0, IMAGES, EPOCHS)
    sizes = np.array([one for one in found if one is not None])[:, 2:]
    assert (sizes > 0).all() and sizes.any()

"""The result from the part of an image that is needed is that from the whole image."""

import cv2
import numpy as np
import pytest
from helpers import jpegs
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.config.values import INTERPOLATIONS
from imagenet_trainer.data.augment import EvalTransform, TrainTransform, decode
from imagenet_trainer.data.decoded import decode_for
from imagenet_trainer.data.images import jpeg_window
from imagenet_trainer.data.transforms import size_of
from imagenet_trainer.data.views import Views, ViewTransform

SHAPE = (3, 24, 20)
TRANSFORMS = {
    "random areas": TrainTransform(AugmentSettings(), SHAPE, 1),
    "small areas": TrainTransform(AugmentSettings(max_random_area=0.2), SHAPE, 1),
    "padded area": TrainTransform(AugmentSettings(pad_size=9), SHAPE, 1),
    "colours": TrainTransform(AugmentSettings(brightness=0.4, pca_noise=0.1), SHAPE, 1),
    "exact": TrainTransform(AugmentSettings(random_resized_crop=False, random_crop=True), SHAPE, 1),
    "far outside": TrainTransform(
        AugmentSettings(random_resized_crop=False, random_crop=True, pad_size=90), SHAPE, 1
    ),
    "centre": TrainTransform(AugmentSettings(random_resized_crop=False), SHAPE, 1),
    "turned": TrainTransform(AugmentSettings(max_random_rotate_angle=30), SHAPE, 1),
    "bicubic": TrainTransform(AugmentSettings(train_interp="bicubic", pad_size=9), SHAPE, 1),
    "bicubic exact": TrainTransform(
        AugmentSettings(random_resized_crop=False, random_crop=True, train_interp="bicubic"),
        (3, 60, 50),
        1,
    ),
    "averaged": TrainTransform(
        AugmentSettings(train_interp="area", random_erasing=0.5, auto_augment="trivial"), SHAPE, 1
    ),
    "evaluation": EvalTransform(SHAPE),
    "resized": EvalTransform(SHAPE, 40),
    "one view": ViewTransform(SHAPE, 30, Views(flip=True)),
    "ten views": ViewTransform(SHAPE, 30, Views(10)),
    **{name: EvalTransform(SHAPE, 30, name) for name in INTERPOLATIONS[1:]},
    "view by Pillow": ViewTransform(SHAPE, 33, Views(), "pil-bicubic"),
}


@given(st.sampled_from(sorted(TRANSFORMS)), st.integers(1, 120), st.integers(1, 120),
       st.integers(0, 99))  # fmt: skip
def test_what_is_outside_the_needed_part_does_not_matter(kind, width, height, number):
    transform, image = TRANSFORMS[kind], jpegs.photo(width, height)
    drawn = transform.draw(np.array([number]), np.zeros(1, np.int64))
    steps = transform.steps((height, width), drawn, 0)
    left, top, wide, high = steps.needed((height, width))
    assert 0 <= left < left + wide <= width and 0 <= top < top + high <= height
    other = 255 - image
    other[top : top + high, left : left + wide] = image[top : top + high, left : left + wide]
    results = np.empty((2, *transform.size, 3), np.uint8)
    transform.apply(image, drawn, 0, results[0])
    transform.execute(steps, other, results[1])
    np.testing.assert_array_equal(*results)


def test_the_needed_part_is_small():
    transform = EvalTransform((3, 224, 224))
    _, _, wide, high = transform.steps((375, 500), None, 0).needed((375, 500))
    assert wide <= 340 and high <= 340
    transform, sizes = TRANSFORMS["small areas"], []
    drawn = transform.draw(np.arange(20), np.zeros(20, np.int64))
    for i in range(20):
        _, _, wide, high = transform.steps((375, 500), drawn, i).needed((375, 500))
        sizes.append(wide * high)
    assert max(sizes) <= 0.21 * 375 * 500


FILES = {
    "plain": jpegs.encoded(jpegs.photo(90, 70)),
    "restart markers": jpegs.encoded(jpegs.photo(90, 70), restart=2),
    "progressive": jpegs.encoded(jpegs.photo(90, 70), progressive=True),
    "CMYK": jpegs.by_pillow(jpegs.photo(90, 70), "CMYK"),
    "tiny": jpegs.encoded(jpegs.photo(1, 3)),
}


@pytest.mark.parametrize("enabled", [True, False], ids=["window", "whole"])
@pytest.mark.parametrize("name", FILES)
def test_batches_do_not_depend_on_the_decoder(monkeypatch, name, enabled):
    if enabled and not jpeg_window.enabled:
        pytest.skip("the decoder is not built")
    monkeypatch.setattr(jpeg_window, "enabled", enabled)
    file, image = FILES[name], decode(FILES[name])
    for transform in TRANSFORMS.values():
        drawn = transform.draw(np.arange(8), np.zeros(8, np.int64))
        for i in range(8):
            results = np.empty((2, *transform.size, 3), np.uint8)
            transform.apply(image, drawn, i, results[0])
            found, steps = decode_for(file, transform, drawn, i, trusted=bool(i % 2))
            assert size_of(found) == size_of(image)
            transform.execute(steps, found, results[1])
            np.testing.assert_array_equal(*results)


HALF = TrainTransform(AugmentSettings(decode_scale=True), SHAPE, 1)


def opencv_at_half_size(file):
    return cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1]


@pytest.mark.parametrize("name", ["plain", "restart markers", "progressive", "CMYK"])
def test_half_size_depends_on_header_and_crop_only(monkeypatch, name):
    """Not on whether windows are decoded, nor on checksums. Small crops are decoded as usual."""
    file, usual, halves = FILES[name], TRANSFORMS["random areas"], []
    drawn = HALF.draw(np.arange(30), np.zeros(30, np.int64))
    for i in range(30):
        results = np.empty((5, *SHAPE[1:], 3), np.uint8)
        usual.apply(decode(file), drawn, i, results[0])
        steps = usual.steps((70, 90), drawn, i)
        halves.append(steps.cut[2] >= 2 * SHAPE[2] and steps.cut[3] >= 2 * SHAPE[1])
        if halves[-1]:
            HALF.execute(steps.at_half_size(), opencv_at_half_size(file), results[1])
            assert (results[0] != results[1]).any()
        else:
            results[1] = results[0]
        for number, enabled in enumerate((jpeg_window.enabled, jpeg_window.enabled, False), 2):
            monkeypatch.setattr(jpeg_window, "enabled", enabled)
            image, steps = decode_for(file, HALF, drawn, i, trusted=number == 2)
            assert size_of(image) == ((35, 45) if halves[-1] else (70, 90))
            HALF.execute(steps, image, results[number])
            np.testing.assert_array_equal(results[number], results[1])
            monkeypatch.undo()
    assert 5 < sum(halves) < 25


def test_half_size_shows_the_same_part_of_the_image():
    image = cv2.resize(jpegs.photo(90, 70), (720, 560), interpolation=cv2.INTER_CUBIC)
    file, shape = jpegs.encoded(image), (3, 160, 120)
    half = TrainTransform(AugmentSettings(decode_scale=True, min_random_area=0.4), shape, 1)
    drawn = half.draw(np.arange(8), np.zeros(8, np.int64))
    results = np.empty((2, *shape[1:], 3), np.uint8)
    for i in range(8):
        small, steps = decode_for(file, half, drawn, i)
        assert size_of(small) == (280, 360)
        half.execute(steps, small, results[0])
        half.apply(decode(file), drawn, i, results[1])
        assert cv2.absdiff(*results).mean() < 2


def test_only_jpegs_are_decoded_at_half_size():
    file = cv2.imencode(".png", jpegs.photo(90, 70))[1].tobytes()
    drawn = HALF.draw(np.arange(9), np.zeros(9, np.int64))
    for i in range(9):
        image, steps = decode_for(file, HALF, drawn, i)
        assert size_of(image) == (70, 90) and steps == TRANSFORMS["random areas"].steps(
            (70, 90), drawn, i
        )


def test_damage_anywhere_is_an_error_unless_the_image_is_trusted():
    file = FILES["plain"]
    damaged, transform = file[:-300] + file[-2:], TRANSFORMS["small areas"]
    drawn = transform.draw(np.arange(20), np.zeros(20, np.int64))
    for i in range(20):
        for one in (transform, HALF):
            with pytest.raises(ValueError, match="premature end"):
                decode_for(damaged, one, drawn, i)
        remarks = []
        results = np.empty((2, *transform.size, 3), np.uint8)
        image, steps = decode_for(damaged, transform, drawn, i, remarks, trusted=True)
        transform.execute(steps, image, results[0])
        transform.apply(decode(damaged, trusted=True), drawn, i, results[1])
        np.testing.assert_array_equal(*results)


def test_a_file_that_is_no_image(tmp_path):
    for data in (b"", b"no image", b"\xff\xd8\xff\xd9"):
        with pytest.raises(ValueError):
            decode_for(data, TRANSFORMS["evaluation"], None, 0)

"""JPEGs and PNGs that cannot be complete, found by their header and their end."""

import io

import cv2
import numpy as np
import pytest
from helpers import jpegs
from PIL import Image

from imagenet_trainer.data.images.opencv import imdecode
from imagenet_trainer.data.images.plausible import check, jpeg_layout

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def saved(kind="JPEG", image=NOISE, **how):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **how)
    return file.getvalue()


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 1}])
def test_complete_images_of_one_colour_and_of_noise(how):
    for image in (NOISE, np.zeros((2000, 3000, 3), np.uint8), NOISE[:1, :1], NOISE[..., 0]):
        data = saved(image=image, **how)
        check(data)
        check(memoryview(data + b"appended by a camera"))
        assert jpeg_layout(memoryview(data)).size == image.shape[1::-1]


@pytest.mark.parametrize("progressive", [False, True])
def test_the_end_of_a_jpeg(progressive):
    thumbnail = saved(image=NOISE[:8, :8])
    exif = Image.Exif()
    exif[0x010E] = thumbnail.decode("latin-1")  # has an end marker of its own
    data = saved(progressive=progressive, exif=exif)
    assert data.count(b"\xff\xd9") >= 1
    scan = jpeg_layout(memoryview(data)).end
    stray = data[:2] + b"stray" + data[2:]  # libjpeg ignores it
    for length in (scan + 20, len(data) // 2, len(data) - 2, len(data) - 1):
        for whole in (data, stray):
            with pytest.raises(ValueError, match="cut short"):
                check(whole[:length])


@pytest.mark.parametrize("progressive", [False, True])
def test_a_header_that_declares_too_many_pixels(progressive):
    data = saved(progressive=progressive)
    with pytest.raises(ValueError, match="13000 x 13000 pixels"):
        check(jpegs.declaring(data, 13000, 13000))
    check(jpegs.declaring(data, 65, 48))  # not enough to be sure


def test_a_png_that_declares_too_many_pixels():
    data = saved("PNG")
    check(data)
    huge = data[:16] + (30000).to_bytes(4, "big") * 2 + data[24:]
    with pytest.raises(ValueError, match="30000 x 30000 pixels"):
        check(huge)
    check(saved("PNG", np.zeros((3000, 3000, 3), np.uint8)))  # deflate's best case


def test_other_data_is_left_to_the_decoder():
    for data in (b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG", saved()[:40], b"GIF89a"):
        check(data)


def test_random_changes_never_break_the_check():
    random = np.random.default_rng(1)
    data = saved(progressive=True)
    for _ in range(2000):
        bad = bytearray(data[: random.integers(2, len(data))])
        for at in random.integers(0, min(len(bad), 700), 4):
            bad[at] = random.integers(256)
        try:
            check(bytes(bad))
        except ValueError as error:
            assert str(error)


# --- OpenCV ---------------------------------------------------------------------------------------


def test_opencv_says_what_it_found():
    assert np.array_equal(imdecode(saved("PNG"), cv2.IMREAD_COLOR)[..., ::-1], NOISE)
    for data in (b"", b"no image", saved("PNG")[:60]):
        with pytest.raises(ValueError):
            imdecode(data, cv2.IMREAD_COLOR)
    # OpenCV raises its own error for more than 2^30 pixels.
    with pytest.raises(ValueError, match=r"OpenCV|too few"):
        imdecode(jpegs.declaring(saved(), 65000, 65000), cv2.IMREAD_COLOR)

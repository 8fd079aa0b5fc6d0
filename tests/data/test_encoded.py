import io

import cv2
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import TrainTransform, decode
from imagenet_trainer.data.encoded import Encoded, as_bitmap, plain_jpeg_size

PHOTO = next((ROOT / "imagenet_trainer/assets/photos").rglob("chelsea.jpg")).read_bytes()
SIZE = (256, 385)
RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def saved(mode="RGB", kind="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, kind, **options)
    return file.getvalue()


def with_marker(data, marker, body):
    """A JPEG with another segment at its beginning."""
    length = len(body) + 2
    return data[:2] + bytes([0xFF, marker, length >> 8, length & 255]) + body + data[2:]


def without(data, marker):
    """A JPEG without the first segment of this marker."""
    at = data.index(bytes([0xFF, marker]))
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def changed(data, offset, value):
    """A JPEG with another byte, `offset` after the marker of its frame (SOF0)."""
    at = data.index(b"\xff\xc0") + offset
    return data[:at] + bytes([value]) + data[at + 1 :]


@pytest.mark.parametrize(
    "data, size",
    [
        (PHOTO, SIZE),
        (saved(), (20, 30)),
        (saved("L"), (20, 30)),
        (saved(progressive=True), (20, 30)),
        (saved(subsampling=0, quality=100), (20, 30)),
        (with_marker(PHOTO, 0xE1, b"Exif\0\0" + bytes(300)), SIZE),
        (with_marker(PHOTO, 0xEE, b"Adobe" + bytes(6) + b"\1"), SIZE),  # YCbCr
        (PHOTO[:2] + b"\xff\xff" + PHOTO[2:], SIZE),  # padding before a marker
    ],
    ids=["photo", "colour", "grey", "progressive", "444", "exif", "adobe", "padding"],
)
def test_plain_jpegs(data, size):
    assert decode(data).shape[:2] == size
    assert plain_jpeg_size(data) == size
    assert plain_jpeg_size(memoryview(data)) == size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff\xd9",
        PHOTO[:-1],
        PHOTO[:3000],
        PHOTO + b"\0",
        PHOTO[:2] + b"stray" + PHOTO[2:],
        saved(kind="PNG"),
        saved("CMYK"),
        with_marker(without(saved(), 0xE0), 0xEE, b"Adobe" + bytes(7)),  # RGB
        changed(changed(changed(saved(), 10, 82), 13, 71), 16, 66),  # RGB by names
        changed(saved(), 1, 0xC9),  # arithmetic coding
        changed(saved(), 1, 0xC3),  # lossless
        changed(saved(), 4, 12),  # bits
        changed(changed(saved(), 5, 0), 6, 0),  # a height that is given later
        b"\xff\xd8" + bytes(50) + b"\xff\xd9",
        PHOTO[: PHOTO.index(b"\xff\xc0") + 5] + b"\xff\xd9",
    ],
    ids=[
        "nothing", "empty", "no end", "cut", "more", "stray", "png", "cmyk", "adobe rgb", "rgb",
        "arithmetic", "lossless", "12 bits", "no height", "no markers", "cut in the frame",
    ],
)  # fmt: skip
def test_data_that_opencv_must_decode(data):
    assert plain_jpeg_size(data) is None


def test_a_bitmap_has_the_decoded_pixels():
    for data in (saved(kind="PNG"), saved("CMYK"), PHOTO):
        bitmap, size = as_bitmap(data)
        assert np.array_equal(decode(bitmap), decode(data))
        assert decode(data).shape[:2] == size
    with pytest.raises(ValueError, match="cut short"):
        as_bitmap(PHOTO[:3000])


def test_an_encoded_batch_keeps_jpegs_and_decodes_other_images():
    transform = TrainTransform(AugmentSettings(), (3, 24, 24), 0)
    drawn = transform.draw(np.arange(2), np.zeros(2, np.int64))
    batch = Encoded([None] * 2, [None] * 2, transform.size)
    png = saved(kind="PNG")
    batch.put(0, memoryview(PHOTO), transform, drawn)
    batch.put(1, png, transform, drawn)
    assert batch.images[0].tobytes() == PHOTO
    assert np.array_equal(cv2.imdecode(batch.images[1], cv2.IMREAD_COLOR), RGB[..., ::-1])
    assert batch.steps == [transform.steps(SIZE, drawn, 0), transform.steps((20, 30), drawn, 1)]
    with pytest.raises(ValueError, match="not an image"):
        batch.put(1, b"not an image", transform, drawn)

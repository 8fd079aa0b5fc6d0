import io

import numpy as np
import pytest
from PIL import Image

from imagenet_trainer.data.images.headers import Header, read_header


def encoded(mode, kind, size=(31, 17)):
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "mode, kind",
    [
        ("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"),
        ("P", "PNG"), ("1", "PNG"), ("I;16", "PNG"), ("LA", "PNG"), ("P", "GIF"), ("RGB", "BMP"),
        ("RGB", "TIFF"), ("RGB", "WEBP"),
    ],
)  # fmt: skip
def test_size_mode_and_format(mode, kind):
    data = encoded(mode, kind)
    assert read_header(data) == Header(31, 17, mode, kind)
    assert read_header(memoryview(data)) == read_header(io.BytesIO(data))


def test_the_first_bytes_are_enough():
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", progressive=True)
    assert read_header(file.getvalue()[:1000]) == Header(400, 300, "RGB", "JPEG")


def test_large_images_are_not_decoded(monkeypatch):
    data = encoded("1", "PNG", (20_000, 5000))
    monkeypatch.setattr(Image.Image, "load", None)
    # Pillow's own limit, which packing lifts for the whole process.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89_478_485)
    with pytest.warns(Image.DecompressionBombWarning):
        assert read_header(data)[:2] == (20_000, 5000)


def test_bombs_are_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="decompression bomb"):
        read_header(encoded("RGB", "PNG"))


@pytest.mark.parametrize(
    "data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM" * 20]
)
def test_no_header(data):
    with pytest.raises(ValueError):
        read_header(data)

"""Unusual images: each is decoded correctly or refused with a reason."""

import io
import os
import struct
import zlib
from importlib import resources

import cv2
import numpy as np
import pytest
from conftest import needs_mxnet
from helpers import jpegs
from PIL import Image

from imagenet_trainer.data.images import opencv
from imagenet_trainer.data.images.decode import (
    check_decodable,
    decode,
    png_size,
    read_file,
)
from imagenet_trainer.data.images.headers import read_header
from imagenet_trainer.data.images.plausible import jpeg_size
from imagenet_trainer.data.kinds import kind_of
from imagenet_trainer.packing.conversion import Conversion, convert
from imagenet_trainer.system.mxnet_import import mx


@pytest.fixture(scope="module")
def photo():
    """A photograph as Pillow's RGB, 60 x 40."""
    file = resources.files("imagenet_trainer.assets") / "photos" / "n02123045" / "chelsea.jpg"
    return Image.open(io.BytesIO(file.read_bytes())).convert("RGB").resize((60, 40))


def saved(image, kind, **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def rgb(data, color=1):
    pixels = decode(data, color)
    return pixels[:, :, ::-1] if pixels.ndim == 3 else pixels


LOSSLESS = {
    "png": ("PNG", {}),
    "interlaced png": ("PNG", {"interlace": 1}),
    "webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "tiff": ("TIFF", {}),
    "tiff, packed": ("TIFF", {"compression": "tiff_lzw"}),
    "jpeg 2000": ("JPEG2000", {}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats(photo, name):
    kind, how = LOSSLESS[name]
    data = saved(photo, kind, **how)
    assert kind_of(data) == kind
    np.testing.assert_array_equal(rgb(data), np.asarray(photo))
    grey = cv2.cvtColor(np.asarray(photo), cv2.COLOR_RGB2GRAY)
    np.testing.assert_allclose(decode(data, 0), grey, atol=1)
    np.testing.assert_array_equal(rgb(data, -1), np.asarray(photo))


@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_every_colour_mode(photo, progressive):
    how = {"quality": 95, "progressive": progressive}
    for mode in ("RGB", "L", "CMYK"):
        data = saved(photo.convert(mode), "JPEG", **how)
        expected = np.asarray(photo.convert(mode).convert("RGB")).astype(int)
        assert abs(rgb(data).astype(int) - expected).mean() < 3


def test_ycck(photo):
    # Read as YCCK, the pixels of a CMYK file are those that Pillow makes of the same bytes.
    data = jpegs.ycck(np.asarray(photo)[..., ::-1])
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert abs(rgb(data).astype(int) - expected).mean() < 2
    assert abs(rgb(data).astype(int) - np.asarray(photo)).mean() > 10  # it is another image


def test_palettes(photo):
    palette = photo.quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        np.testing.assert_array_equal(rgb(saved(palette, kind)), expected)
    bits = photo.convert("1")
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(rgb(saved(bits, kind)), np.asarray(bits.convert("RGB")))


def test_the_upper_eight_of_sixteen_bits_are_kept(photo):
    high = np.asarray(photo)[:, :, 0]
    deep = high.astype(np.uint16) * 256 + 255
    tiff, pgm = (saved(Image.fromarray(deep), kind) for kind in ("TIFF", "PPM"))
    png = cv2.imencode(".png", deep)[1].tobytes()
    for data in (png, tiff, pgm):
        np.testing.assert_array_equal(decode(data, 0), high)
        np.testing.assert_array_equal(decode(data)[:, :, 2], high)
    colour = cv2.imencode(".png", cv2.merge([deep, deep, deep]))[1].tobytes()
    np.testing.assert_array_equal(decode(colour)[:, :, 1], high)
    # As stored, a PNG keeps its 16 bits; a JPEG cannot.
    assert decode(png, -1).dtype == np.uint16
    jpeg = convert(png, Conversion(color=-1))
    assert abs(decode(jpeg, 0).astype(int) - high).mean() < 3


def test_transparent_pixels_have_their_stored_colours(photo):
    alpha = Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1)))
    image = photo.copy()
    image.putalpha(alpha)
    for kind, how in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        data = saved(image, kind, **how)
        np.testing.assert_array_equal(rgb(data), np.asarray(photo))
        stored = cv2.cvtColor(decode(data, -1), cv2.COLOR_BGRA2RGBA)
        np.testing.assert_array_equal(stored, np.asarray(image))
    grey = photo.convert("L")
    grey.putalpha(alpha)
    np.testing.assert_array_equal(decode(saved(grey, "PNG"), 0), np.asarray(grey)[:, :, 0])
    holes = photo.quantize(8)
    data = saved(holes, "PNG", transparency=bytes([0, 255, 30, 255]))
    np.testing.assert_array_equal(rgb(data), np.asarray(holes.convert("RGB")))
    data = saved(holes, "GIF", transparency=2)
    np.testing.assert_array_equal(rgb(data), np.asarray(holes.convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_image_of_an_animation(photo, kind):
    how = {"lossless": True} if kind == "WEBP" else {}
    first = photo.quantize(32).convert("RGB") if kind == "GIF" else photo
    others = [first.transpose(Image.Transpose.ROTATE_180)] * 3
    data = saved(first, kind, save_all=True, append_images=others, **how)
    np.testing.assert_array_equal(rgb(data), np.asarray(first))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_ignored(photo, kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    for color in (-1, 0, 1):
        assert decode(saved(photo, kind, exif=exif), color).shape[:2] == (40, 60)


# --- refused -----------------------------------------------------------------------------------


def png_of(width, height):
    """A PNG whose header promises pixels that its 40 bytes do not have."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    crc = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + crc


def test_bombs_are_refused_by_their_header(photo):
    gif = b"GIF89a" + struct.pack("<HH", 60000, 60000) + saved(photo.quantize(4), "GIF")[10:]
    bmp = saved(photo, "BMP")
    bmp = bmp[:18] + struct.pack("<ii", 60000, 60000) + bmp[26:]
    for data in (
        png_of(60000, 60000),
        jpegs.declaring(saved(photo, "JPEG"), 60000, 60000),
        gif,
        bmp,
    ):
        with pytest.raises(ValueError, match=r"60000 x 60000 pixels, .* 178956970"):
            decode(data)
        with pytest.raises(ValueError, match=r"pixels|MXNet"):
            convert(data, Conversion(pass_through=True))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP"):
        data = saved(photo, kind)
        assert decode(data, max_pixels=2400).shape == (40, 60, 3)
        with pytest.raises(ValueError, match=r"60 x 40 pixels, .* 2399"):
            decode(data, max_pixels=2399)


def test_sizes_in_headers(photo):
    exif = Image.Exif()
    exif[0x010E] = "\xff\xc0 is not a marker here" * 20
    for how in ({}, {"progressive": True}, {"exif": exif}, {"restart_marker_blocks": 1}):
        assert jpeg_size(saved(photo, "JPEG", **how)) == (60, 40)
    assert png_size(saved(photo, "PNG")) == (60, 40)
    data = saved(photo, "JPEG")
    for length in (2, 10, 100):
        assert jpeg_size(data[:length]) == (0, 0)
    assert jpeg_size(b"\xff\xd8" + b"\xff" * 100) == (0, 0)
    assert jpeg_size(b"\xff\xd8\xff\x01\xff\xe0\0\0\xff\xe0") == (0, 0)
    assert png_size(b"\x89PNG") == (0, 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_truncated_images(photo, kind):
    data = saved(photo, kind)
    for length in (12, len(data) // 2):
        with pytest.raises(ValueError, match=r"damaged|cut short"):
            decode(data[:length])


@pytest.mark.parametrize("data", [b"", b"\xff", b"<html>", b"P7\n1 1", b"%!PS-Adobe", bytes(500)])
def test_data_that_is_not_an_image(data):
    for work in (decode, lambda data: convert(data, Conversion(pass_through=True))):
        with pytest.raises(ValueError, match=r"empty|not an image"):
            work(data)


def test_an_unknown_colour_mode(photo):
    data = saved(photo.convert("L").convert("F"), "TIFF")
    with pytest.raises(ValueError, match=r"mode F\b"):
        decode(data)


def test_noise_never_crashes(photo):
    random = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000"):
        data = saved(photo, kind)
        for _ in range(60):
            bad = bytearray(data)
            for position in random.integers(0, len(bad), 8):
                bad[position] = random.integers(256)
            try:
                pixels = decode(bytes(bad))
            except ValueError as error:
                assert str(error)
            else:
                assert pixels.dtype == np.uint8 and pixels.ndim == 3


def test_a_full_memory_is_no_damage(photo, monkeypatch):
    """Images would otherwise be rejected or skipped because of what else runs."""
    with pytest.raises(MemoryError, match="allocate"):  # more than the address space has
        opencv.call(cv2.resize, np.zeros((1, 1, 3), np.uint8), (1 << 26, 1 << 26))

    def full(*_, **__):
        raise MemoryError

    gif = saved(photo, "GIF")
    for name in ("load", "__enter__"):
        monkeypatch.setattr(Image.Image, name, full)
    for read in (decode, read_header):
        with pytest.raises(MemoryError):
            read(gif)


# --- not regular files -----------------------------------------------------------------------


def test_reading_what_is_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait forever
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(1 << 40)
    reasons = {
        "pipe.jpg": "not a file",
        "loop.jpg": "symbolic links",
        "folder.jpg": "a folder",
        "huge.jpg": "1099511627776 bytes",
        "gone.jpg": "No such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason):
            read_file(str(tmp_path / name))
    with pytest.raises(ValueError, match="not a file"):
        read_file("/dev/zero")


# --- pass-through ------------------------------------------------------------------------------


@needs_mxnet
def test_pass_through_accepts_what_mxnet_reads(photo):
    through = Conversion(pass_through=True)
    for kind in ("JPEG", "PNG"):
        for mode in ("RGB", "L"):
            data = saved(photo.convert(mode), kind)
            assert convert(data, through) == data
            theirs = mx.image.imdecode(data, to_rgb=1).asnumpy()
            np.testing.assert_array_equal(rgb(data), theirs)
    for kind in ("WEBP", "GIF", "BMP", "TIFF", "JPEG2000"):
        with pytest.raises(ValueError, match=f"^{kind} .*MXNet"):
            convert(saved(photo, kind), through)
        with pytest.raises(ValueError, match="damaged"):
            convert(saved(photo, kind)[:40], through)
        packed = convert(saved(photo, kind), Conversion(encoding=".png"))
        assert mx.image.imdecode(packed).shape == (40, 60, 3)


def test_check_decodable_finds_what_decoding_finds(photo):
    random = np.random.default_rng(0)
    refused = 0
    for progressive in (False, True):
        data = saved(photo, "JPEG", progressive=progressive)
        for trial in range(300):
            bad = bytearray(data)
            for position in random.integers(2, len(bad), 1 + trial % 5):
                bad[position] = random.integers(256)
            if trial % 3 == 0:
                bad = bad[: random.integers(2, len(bad))]
            try:
                decode(bytes(bad))
                whole = True
            except ValueError:
                whole = False
            try:
                check_decodable(bytes(bad))
                assert whole
            except ValueError:
                assert not whole
                refused += 1
    assert 50 < refused < 550

"""JPEGs of every kind that Pillow and OpenCV can write, and files that are put together by hand."""

import io
import random

import cv2
import numpy as np
from PIL import Image

SAMPLINGS = {"444": 0x111111, "422": 0x211111, "420": 0x221111, "440": 0x121111, "411": 0x411111}


def photo(width, height, seed=0):
    """A smooth image with noise, uint8 BGR (height, width, 3)."""
    noise = np.random.default_rng(seed)
    small = noise.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), np.uint8)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.add(image, noise.integers(0, 24, image.shape, np.uint8))


def encoded(image, sampling="420", restart=0, quality=90, progressive=False):
    """A JPEG by OpenCV; `restart`: MCUs between restart markers."""
    done, data = cv2.imencode(
        ".jpg", image,
        [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart,
         cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling],
         cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)],
    )  # fmt: skip
    assert done
    return data.tobytes()


def by_pillow(image, mode="RGB", **how):
    """A JPEG by Pillow, in one of its colour modes."""
    file = io.BytesIO()
    Image.fromarray(image[..., ::-1]).convert(mode).save(file, "JPEG", **how)
    return file.getvalue()


def turned():
    """EXIF data of a photograph for which the camera was turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def segments(data):
    """(marker, whole segment) up to the first scan, and all from its header on."""
    at, found = 2, []
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], data[at:end]))
        at = end
    return found, data[at:]


def with_frame(data, change):
    """The file with `change` applied to its frame header, a bytearray with marker and length."""
    at = min(at for at in (data.find(bytes((0xFF, m))) for m in (0xC0, 0xC1, 0xC2)) if at > 0)
    frame = bytearray(data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")])
    changed = change(frame) or frame
    return data[:at] + bytes(changed) + data[at + len(frame) :]


def declaring(data, width, height):
    """The file with another size in its frame header."""

    def resize(frame):
        frame[5:9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")

    return with_frame(data, resize)


def ycck(image):
    """Four components of which Adobe's marker says that they are YCCK."""
    data = by_pillow(image, "CMYK")
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def rgb(image):
    """Three components that are red, green and blue: they are named so, without a JFIF marker."""
    parts, scan = segments(encoded(image, "444"))
    parts = b"".join(part for marker, part in parts if marker != 0xE0)

    def rename(frame):
        frame[10::3] = b"RGB"

    names = bytearray(scan)
    names[5:11:2] = b"RGB"
    return with_frame(b"\xff\xd8" + parts, rename) + bytes(names)


def separate_scans(image):
    """Baseline, but with a scan for each component instead of one for all."""
    planes = [segments(encoded(np.ascontiguousarray(image[..., c]))) for c in range(3)]
    first = planes[0][0]
    frame = bytearray(next(part for marker, part in first if marker == 0xC0))
    frame = frame[:9] + b"\3" + b"".join(bytes((n, 0x11, 0)) for n in (1, 2, 3))
    frame[2:4] = (len(frame) - 2).to_bytes(2, "big")
    tables = b"".join(part for marker, part in first if marker not in (0xC0, 0xE0))
    scans = b""
    for number, (_, scan) in enumerate(planes, 1):
        scans += scan[:5] + bytes([number]) + scan[6:-2]
    return b"\xff\xd8" + tables + bytes(frame) + scans + b"\xff\xd9"


def wrong_restart_markers(data, missing=False):
    """The second restart marker has another number, or is missing."""
    at = data.index(b"\xff\xd1", len(data) - len(segments(data)[1]))
    return data[:at] + (b"" if missing else b"\xff\xd5") + data[at + 2 :]


BASES = [
    encoded(photo(40, 33, seed), sampling, restart, quality)
    for seed, (sampling, restart, quality) in enumerate(
        [("420", 0, 75), ("444", 0, 95), ("422", 3, 75), ("440", 1, 50), ("411", 2, 90)]
    )
] + [encoded(photo(70, 20)[..., 0].copy(), restart=2)]


def mutated(number):
    """File `number` of an endless sequence of damaged files."""
    draw = random.Random(number)
    file = bytearray(BASES[number % len(BASES)])
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(2, len(file))
        kind = draw.randrange(5)
        if kind == 0:
            file[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            file[at : at + 1] = draw.randbytes(draw.randrange(3))
        elif kind == 2:
            del file[at : at + draw.randrange(1, 80)]
        elif kind == 3:
            file[at:at] = bytes((0xFF, draw.randrange(256)))
        else:
            other = draw.randrange(2, len(file))
            file[at : at + 20] = file[other : other + 20]
    return bytes(file)

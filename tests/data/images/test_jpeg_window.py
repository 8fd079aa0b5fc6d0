"""A window of a JPEG has the pixels of the whole image, or is not decoded."""

import io
import random
import subprocess

import cv2
import numpy as np
import pytest
from conftest import ROOT, run
from helpers import jpegs
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagenet_trainer.data.images import jpeg_window, opencv, plausible

pytestmark = pytest.mark.skipif(not jpeg_window.enabled, reason="the decoder is not built")
FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
HALF = cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION
WHOLE = jpegs.photo(75, 53)


def whole(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS)


def windowed(data, window, to_end=False, half=False):
    """The window as it is decoded, or None."""
    size = jpeg_window.size(data)
    if size is None:
        return None
    if half:
        size = halved(size)
    image = jpeg_window.decode(data, size, window, to_end, half)
    return None if image is None else part(image, window)


def halved(size):
    return tuple((side + 1) // 2 for side in size)


def part(image, window):
    left, top, wide, high = window
    return image[top : top + high, left : left + wide]


@st.composite
def windows(draw, size):
    """Left, top, width, height inside an image; edges are often those of blocks."""
    spans = []
    for side in size:
        edges = st.integers(0, side) | st.integers(0, side // 8).map(lambda block: 8 * block)
        first = min(draw(edges), side - 1)
        spans.append((first, max(1, draw(edges) - first)))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


@given(st.data())
def test_every_sampling_size_and_window(data):
    size = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    sampling = data.draw(st.sampled_from(sorted(jpegs.SAMPLINGS)))
    restart, quality = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 100))
    image = jpegs.photo(*size)
    if data.draw(st.booleans()):
        image = np.ascontiguousarray(image[..., 0])  # grey
    file = jpegs.encoded(image, sampling, restart, quality)
    window, to_end = data.draw(windows(size)), data.draw(st.booleans())
    np.testing.assert_array_equal(windowed(file, window, to_end), part(whole(file), window))


@given(st.data())
def test_half_size_is_that_of_opencv_and_pillow(data):
    size = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    sampling = data.draw(st.sampled_from(sorted(jpegs.SAMPLINGS)))
    file = jpegs.encoded(jpegs.photo(*size), sampling, data.draw(st.integers(0, 9)))
    window, to_end = data.draw(windows(halved(size))), data.draw(st.booleans())
    found = windowed(file, window, to_end, half=True)
    expected = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
    np.testing.assert_array_equal(found, part(expected[..., ::-1], window))
    with Image.open(io.BytesIO(file)) as image:
        image.draft("RGB", halved(size))
        if image.size == halved(size):  # Pillow may take a scale between
            np.testing.assert_array_equal(found, part(np.asarray(image), window))


@pytest.mark.parametrize("sampling", sorted(jpegs.SAMPLINGS))
@pytest.mark.parametrize("restart", [0, 1])
def test_every_narrow_window(sampling, restart):
    """Upsampling differs at edges, and in parts of a few columns."""
    for width in (31, 32, 33, 34, 35, 36, 49, 66):
        image = jpegs.photo(width, width, width)
        grey = np.ascontiguousarray(image[..., 0])
        for file in (jpegs.encoded(one, sampling, restart) for one in (image, grey)):
            pixels = whole(file)
            for first in range(width):
                for window in ((first, 9, 1, 7), (11, first, 7, 1)):
                    np.testing.assert_array_equal(windowed(file, window), part(pixels, window))


LARGE = [
    jpegs.encoded(jpegs.photo(500, 375), sampling, restart)
    for sampling, restart in [(name, 0) for name in sorted(jpegs.SAMPLINGS)]
    + [("420", 1), ("420", 4), ("420", 32), ("420", 96), ("420", 5), ("444", 7), ("422", 8)]
]


@given(windows((500, 375)), st.sampled_from(LARGE))
def test_windows_of_a_photograph(window, file):
    np.testing.assert_array_equal(windowed(file, window), part(whole(file), window))


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
@pytest.mark.parametrize("restart", [1, 2, 4, 8, 16, 3])
def test_data_between_restart_markers_are_read_only_where_needed(grey, restart):
    image = jpegs.photo(128, 96)
    file = jpegs.encoded(image[..., 0].copy() if grey else image, "444", restart)
    start = len(file) - len(jpegs.segments(file)[1])
    first = file.index(b"\xff\xd0", start)
    damaged = file[: start + 20] + file[first:]  # the first part of the image is nearly empty
    for window in [(100, 40, 20, 30), (60, 80, 68, 16)]:
        expected = part(whole(file), window)
        np.testing.assert_array_equal(windowed(file, window), expected)
        np.testing.assert_array_equal(windowed(damaged, window), expected)
        assert windowed(damaged, window, to_end=True) is None
    assert windowed(damaged, (0, 0, 9, 9)) is None


DECODED = {
    "a second end": jpegs.encoded(WHOLE) + b"appended by a camera\xff\xd9",
    "RGB": jpegs.rgb(WHOLE),
    "optimised": jpegs.by_pillow(WHOLE, optimize=True),
    "restart markers by Pillow": jpegs.by_pillow(WHOLE, restart_marker_rows=1),
    "grey by Pillow": jpegs.by_pillow(WHOLE, "L"),
    "turned by EXIF": jpegs.by_pillow(WHOLE, exif=jpegs.turned()),
    "thumbnail": jpegs.by_pillow(WHOLE, comment=jpegs.encoded(WHOLE[:8, :8])),
}  # fmt: skip
MARKED = jpegs.encoded(WHOLE, restart=2)
REFUSED = {
    "trailing bytes": jpegs.encoded(WHOLE) + b"appended by a camera",
    "progressive": jpegs.encoded(WHOLE, progressive=True),
    "CMYK": jpegs.by_pillow(WHOLE, "CMYK"),
    "YCCK": jpegs.ycck(WHOLE),
    "a scan for each component": jpegs.separate_scans(WHOLE),
    "other numbers of restart markers": jpegs.wrong_restart_markers(MARKED),
    "without a restart marker": jpegs.wrong_restart_markers(MARKED, missing=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*DECODED, *REFUSED])
def test_other_kinds(kind):
    """All of them are images that OpenCV decodes."""
    file = DECODED.get(kind) or REFUSED[kind]
    expected = whole(file)
    assert expected.shape == WHOLE.shape
    window = (20, 11, 40, 38)
    for to_end in (False, True):
        found = windowed(file, window, to_end)
        assert (found is None) == (kind in REFUSED)
        if found is not None:
            np.testing.assert_array_equal(found, part(expected, window))


def test_kinds_that_libjpeg_alone_recognises():
    def of(change):
        file = jpegs.with_frame(jpegs.encoded(WHOLE), change)
        return windowed(file, (0, 0, 8, 8))

    def set_byte(at, value):
        def change(frame):
            frame[at] = value

        return change

    assert of(set_byte(4, 8)) is not None  # unchanged
    assert of(set_byte(4, 12)) is None  # bits of a value
    assert of(set_byte(1, 0xC9)) is None  # arithmetic coding
    assert of(set_byte(1, 0xC3)) is None  # lossless
    assert of(set_byte(10, 3)) is None  # a component that the scan does not know


def test_damage_after_the_window_is_noticed_on_request():
    file = jpegs.encoded(WHOLE)
    damaged = file[:-200] + file[-20:]  # the last rows are missing
    window = (0, 0, 30, 8)
    np.testing.assert_array_equal(windowed(damaged, window), part(whole(file), window))
    assert windowed(damaged, window, to_end=True) is None
    assert windowed(damaged, (0, 40, 75, 13)) is None
    extraneous = file[:-2] + b"\x5a" * 30 + file[-2:]
    assert windowed(extraneous, window, to_end=True) is None


def test_what_libjpeg_reports():
    def decode(file):
        return jpeg_window._jpeg_window.decode(
            file, np.empty(WHOLE.shape, np.uint8), 0, 0, 8, 8, True, 1
        )

    assert decode(jpegs.encoded(WHOLE)) == (True, 0, "")
    file = jpegs.encoded(WHOLE)
    done, warnings, message = decode(file[:-100] + file[-2:])
    assert not done and "premature end" in message
    assert decode(file + b"appended") == (True, 0, "")
    done, warnings, message = decode(file[:-2] + b"\x5a\x5a" + file[-2:])
    assert "extraneous" in message and (warnings or not done)
    done, warnings, message = decode(b"\xff\xd8\xff")
    assert not done and message
    assert decode(b"")[0] is False
    assert decode(jpegs.encoded(WHOLE[1:])) == (False, 0, "the image has another size")


@pytest.mark.parametrize(
    "window",
    [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 76, 5), (70, 0, 6, 5), (0, 50, 5, 4), (0, 0, 5, 1 << 62),
     (1 << 62, 0, 1 << 62, 5)],
)  # fmt: skip
def test_a_window_outside_the_image_is_an_error(window):
    with pytest.raises(ValueError):
        jpeg_window._jpeg_window.decode(
            jpegs.encoded(WHOLE), np.empty(WHOLE.shape, np.uint8), *window, False, 1
        )


@pytest.mark.parametrize(
    "image",
    [np.empty((53, 75), np.uint8), np.empty((53, 75, 4), np.uint8), np.empty((53, 75, 3), np.int16),
     np.empty((53, 75, 3), np.uint8)[:, ::-1], b"\0" * 75 * 53 * 3],
)  # fmt: skip
def test_another_array_is_an_error(image):
    with pytest.raises((ValueError, BufferError, TypeError)):
        jpeg_window._jpeg_window.decode(jpegs.encoded(WHOLE), image, 0, 0, 5, 5, False, 1)


# --- damaged files ------------------------------------------------------------------------------


def check_mutated(numbers):
    """Compare each with OpenCV; the number of files of which a window was decoded."""
    decoded = 0
    for number in numbers:
        file, draw = jpegs.mutated(number), random.Random(-number)
        size = jpeg_window.size(file)
        if size is None:
            continue
        layout = plausible.check(file)
        assert layout is not None and layout.size == size and layout.frame in (0xC0, 0xC1), number
        if size[0] * size[1] > 1 << 20:
            continue  # a damaged size: OpenCV would take seconds
        half = number % 4 == 0
        if half:
            size = halved(size)
        left, top = (draw.randrange(side) for side in size)
        window = (left, top, draw.randint(1, size[0] - left), draw.randint(1, size[1] - top))
        for to_end in (False, True):
            found = jpeg_window.decode(file, size, window, to_end, half)
            if found is None:
                continue
            decoded += 1
            remarks = []
            try:
                expected = opencv.imdecode(file, HALF if half else FLAGS, remarks, trusted=True)
            except ValueError:
                assert not to_end, number  # the damage is after the window
                continue
            expected = expected[..., ::-1] if half else expected
            assert not (to_end and remarks), (number, remarks)
            assert np.array_equal(part(found, window), part(expected, window)), number
    return decoded


def test_damaged_files():
    assert check_mutated(range(3000)) > 500


@pytest.mark.slow
def test_many_damaged_files():
    assert check_mutated(range(100_000)) > 20_000


SANITIZED = """
import importlib.util, sys
windows, restarts, *sys.path[:0] = sys.argv[1:]
for path in (windows, restarts):
    name = "imagenet_trainer.data.images." + path.split("/")[-1].split(".")[0]
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
import test_jpeg_restart, test_jpeg_window
assert test_jpeg_window.jpeg_window._jpeg_window.__file__ == windows
assert test_jpeg_restart.jpeg_restart._jpeg_restart.__file__ == restarts
print(test_jpeg_window.check_mutated(range(100_000)))
print(test_jpeg_restart.check_mutated(range(20_000)))
"""


@pytest.mark.slow
def test_nothing_outside_of_memory_is_touched(tmp_path):
    """The same files, with a decoder that stops at wrong accesses and undefined behaviour."""
    asan = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    flags = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    run("setup.py", "-q", "build_ext", "--build-lib", tmp_path, "--build-temp", tmp_path,
        env={"CFLAGS": flags, "LDFLAGS": flags})  # fmt: skip
    libraries = [next(tmp_path.rglob(f"_jpeg_{name}.*.so")) for name in ("window", "restart")]
    tests = ROOT / "tests"
    done = run(
        "-c", SANITIZED, *libraries, tests, tests / "data" / "images",
        env={"LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip
    windows, rewritten = map(int, done.stdout.split())
    assert windows > 20_000 and rewritten > 1000

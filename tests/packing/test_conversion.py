from importlib import resources

import cv2
import numpy as np
import pytest

from imagenet_trainer.packing.conversion import Conversion, convert
from imagenet_trainer.packing.im2rec import main

PHOTOS = [
    file.read_bytes()
    for folder in sorted((resources.files("imagenet_trainer.assets") / "photos").iterdir(), key=str)
    if folder.is_dir()
    for file in sorted(folder.iterdir(), key=str)
]


def pixels(data, **how):
    encoded = convert(data, Conversion(encoding=".png", quality=1, **how))
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "name, number",
    [("nearest", cv2.INTER_NEAREST), ("linear", cv2.INTER_LINEAR), ("cubic", cv2.INTER_CUBIC),
     ("area", cv2.INTER_AREA), ("lanczos", cv2.INTER_LANCZOS4)],
)  # fmt: skip
def test_interpolations_are_those_of_opencv(name, number):
    decoded = cv2.imdecode(np.frombuffer(PHOTOS[0], np.uint8), cv2.IMREAD_COLOR)
    height, width = decoded.shape[:2]
    size = [side * 50 // min(height, width) for side in (width, height)]
    wanted = cv2.resize(decoded, size, interpolation=number)
    np.testing.assert_array_equal(pixels(PHOTOS[0], resize=50, interp=name), wanted)


def test_interpolations_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(PHOTOS[0])
    assert main(["--list", "--recursive", "x", "."]) == 0
    capsys.readouterr()
    packs = {}
    for word in ("area", "3", "linear", "1"):
        assert main(["x", ".", "--resize", "50", "--interp", word]) == 0
        packs[word] = (tmp_path / "x.rec").read_bytes()
    assert packs["area"] == packs["3"] != packs["linear"] == packs["1"]
    for word in ("9", "bilinear", "-1"):
        with pytest.raises(SystemExit):
            main(["x", ".", f"--interp={word}"])
        error = capsys.readouterr().err
        assert f"--interp: '{word}': " in error and "nearest linear cubic area lanczos" in error
    for words in ([], ["--resize", "50", "--center-crop"]):
        assert main(["x", ".", "--fast-decode", *words]) == 2
        error = capsys.readouterr().err
        assert all(flag in error for flag in ("--fast-decode: ", "--resize", "--center-crop"))


@pytest.mark.parametrize("side", [30, 40, 60])
def test_fast_decoding_stays_within_its_tolerance(side):
    means = []
    for data in PHOTOS:
        full = pixels(data, resize=side, interp="area").astype(int)
        fast = pixels(data, resize=side, interp="area", fast_decode=True).astype(int)
        assert fast.shape == full.shape
        difference = abs(fast - full)
        means.append(difference.mean())
        assert means[-1] < 4 and np.percentile(difference, 99) < 25
    # At most two of the photographs are too small for a reduced decoding.
    assert np.count_nonzero(means) >= len(PHOTOS) - 2
    assert np.mean(means) < 1.5


def test_fast_decoding_does_not_change_small_images():
    decoded = cv2.imdecode(np.frombuffer(PHOTOS[0], np.uint8), cv2.IMREAD_COLOR)
    side = min(decoded.shape[:2]) // 4 + 1
    fast, full = (convert(PHOTOS[0], Conversion(resize=side, fast_decode=f)) for f in (True, False))
    assert fast == full
    png = cv2.imencode(".png", decoded)[1].tobytes()
    fast, full = (convert(png, Conversion(resize=20, fast_decode=f)) for f in (True, False))
    assert fast == full

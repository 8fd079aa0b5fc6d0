import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import one_line_failure
from helpers import jpegs
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.benchmarks.photographs import make_photographs
from imagenet_trainer.data.images import jpeg_restart
from imagenet_trainer.data.images.plausible import jpeg_layout
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.packing.conversion import Conversion, convert
from imagenet_trainer.packing.im2rec import main
from imagenet_trainer.packing.restart_markers import interval_for_opencv

INTERVAL = b"\xff\xdd\x00\x04"  # the segment that declares restart markers


@given(st.integers(1, 6000), st.integers(1, 6000), st.booleans(), st.integers(1, 100))
def test_a_row_has_a_whole_number_of_intervals(width, height, grey, quality):
    interval = interval_for_opencv((width, height), grey, quality)
    row = -(-width // (8 if grey else 16))
    assert 1 <= interval <= row and row % interval == 0


def test_usual_sizes():
    assert interval_for_opencv((500, 375), False, 95) == 4
    assert interval_for_opencv((341, 256), False, 95) == 2
    assert interval_for_opencv((256, 384), False, 95) == 2
    assert interval_for_opencv((2000, 1500), False, 95) >= 8
    assert interval_for_opencv((500, 375), False, 60) > 4


@pytest.mark.parametrize("how", [{}, {"color": 0}, {"quality": 60}], ids=str)
def test_markers_cost_little_and_change_no_pixel(tmp_path, how):
    make_photographs(tmp_path, 6)
    for resize, most in ((0, 0.015), (256, 0.025)):
        lengths = [0, 0]
        for path in sorted(tmp_path.glob("*.jpg")):
            plain, marked = (
                convert(path.read_bytes(), Conversion(resize=resize, restart=restart, **how))
                for restart in ("off", "auto")
            )
            decoded = [cv2.imdecode(np.frombuffer(one, np.uint8), -1) for one in (plain, marked)]
            np.testing.assert_array_equal(*decoded)
            assert INTERVAL in marked and INTERVAL not in plain
            lengths[0] += len(plain)
            lengths[1] += len(marked)
        assert lengths[0] < lengths[1] < (1 + most) * lengths[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "images" / "cat").mkdir(parents=True)
    for number in range(3):
        file = jpegs.encoded(jpegs.photo(200, 150, number))
        (tmp_path / "images" / "cat" / f"{number}.jpg").write_bytes(file)
    monkeypatch.chdir(tmp_path)
    assert main(["--list", "--recursive", "x", "images"]) == 0
    return tmp_path


def markers():
    with RecordFile("x.rec") as shard:
        return [INTERVAL in bytes(shard.record(n).image) for n in range(len(shard))]


@pytest.mark.parametrize(
    ("flags", "restart"),
    [([], "auto"), (["--restart", "off"], "off"), (["--pass-through"], "off"),
     (["--encoding", ".png", "--quality", "1"], "off")],
    ids=str,
)  # fmt: skip
def test_the_manifest_says_what_was_done(folder, flags, restart):
    assert main(["x", "images", *flags]) == 0
    assert read_manifest("x.rec").settings["restart"] == restart
    assert markers() == [restart == "auto"] * 3


def test_a_pack_from_before_there_were_markers_stays_valid(folder, capsys):
    assert main(["x", "images", "--restart", "off"]) == 0
    manifest = json.loads(Path("x.json").read_text())
    del manifest["settings"]["restart"]
    Path("x.json").write_text(json.dumps(manifest))
    before = Path("x.rec").read_bytes()
    capsys.readouterr()
    assert main(["x", "images"]) == 0
    assert "up to date" in capsys.readouterr().out
    Path("x.rec").write_bytes(before[:100] + b"?" + before[101:])
    assert main(["--repair", "x"]) == 0
    assert Path("x.rec").read_bytes() == before


# --- --pass-through --restart lossless -----------------------------------------------------------

KINDS = {
    "plain": jpegs.encoded(jpegs.photo(200, 150)),
    "progressive": jpegs.encoded(jpegs.photo(200, 150), progressive=True),
    "grey": jpegs.encoded(jpegs.photo(200, 150)[..., 0].copy()),
    "4:4:0": jpegs.encoded(jpegs.photo(200, 150), "440"),
    "RGB": jpegs.rgb(jpegs.photo(200, 150)),
    "CMYK": jpegs.by_pillow(jpegs.photo(200, 150), "CMYK"),
    "segments": jpegs.by_pillow(jpegs.photo(200, 150), exif=jpegs.turned(), comment=b"a comment"),
    "markers already": jpegs.encoded(jpegs.photo(200, 150), restart=7),
}


@pytest.fixture
def needs_module():
    if not jpeg_restart.available:
        pytest.skip("the module is not built")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_markers_has_the_same_pixels(needs_module, kind):
    file = KINDS[kind]
    marked = convert(file, Conversion(pass_through=True, restart="lossless"))
    for flags in (-1, cv2.IMREAD_COLOR):
        decoded = [cv2.imdecode(np.frombuffer(one, np.uint8), flags) for one in (file, marked)]
        np.testing.assert_array_equal(*decoded)
    assert INTERVAL in marked and len(marked) < 1.12 * len(file)
    assert (b"a comment" in marked) == (b"Exif" in marked) == (kind == "segments")
    layout = jpeg_layout(memoryview(marked))
    row = -(-200 // layout.mcu[0])
    at = marked.index(INTERVAL) + 4
    assert row % int.from_bytes(marked[at : at + 2], "big") == 0


def test_damaged_files_and_other_formats_stay_as_they_are(needs_module):
    file = KINDS["plain"]
    damaged = file[:-2] + b"\x5a" * 40 + file[-2:]
    png = cv2.imencode(".png", jpegs.photo(20, 20))[1].tobytes()
    for data in (damaged, png):
        assert convert(data, Conversion(pass_through=True, restart="lossless")) == data
    with pytest.raises(ValueError):
        jpeg_restart.rewrite(file[: len(file) // 2], 2)
    with pytest.raises(ValueError):
        jpeg_restart.rewrite(b"", 2)


def test_lossless_on_the_command_line(needs_module, folder, monkeypatch, capsys):
    fails = one_line_failure(main, "im2rec", capsys)
    assert "--restart lossless: " in fails("x", "images", "--restart", "lossless")
    assert main(["x", "images", "--pass-through", "--restart", "lossless"]) == 0
    assert markers() == [True] * 3
    assert read_manifest("x.rec").settings["restart"] == "lossless"
    monkeypatch.setattr(jpeg_restart, "available", False)
    line = fails("x", "images", "--pass-through", "--restart", "lossless")
    assert "--restart lossless: " in line and "pip install" in line

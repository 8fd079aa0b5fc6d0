import gzip
import io
import re
from contextlib import redirect_stdout

import numpy as np
import pandas
import pytest
from conftest import one_line_failure, write_records
from helpers.pages import Page
from PIL import Image

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import parse
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.explore import summary
from imagenet_trainer.explore.channels import Channels
from imagenet_trainer.explore.command import main
from imagenet_trainer.explore.page import contact_sheet
from imagenet_trainer.explore.sources import open_source
from imagenet_trainer.explore.summary import flag_line
from imagenet_trainer.explore.survey import survey

FILES = {"index.html", "table.csv", "sizes.png", "cloud.png", "classes.png", "colours.png",
         "extremes.png"}  # fmt: skip


def write(path, width, height, colour=(200, 100, 50), **words):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path, **words)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for number in range(12):
        write(root / "cats" / f"{number:02d}.png", 20 + number, 20)
    for number in range(3):
        write(root / "dogs <b>" / f"{number}.jpg", 30, 25)
    write(root / "dogs <b>" / "panorama.png", 300, 10)
    write(root / "dogs <b>" / "tower.png", 10, 90)
    (root / "dogs <b>" / "notes <i>.txt").write_text("no image")
    return root


@pytest.fixture(scope="module")
def explored(tree, tmp_path_factory):
    output = tmp_path_factory.mktemp("explored") / "new"
    with redirect_stdout(io.StringIO()) as printed:
        assert main([str(tree), "--output", str(output), "--sample", "0"]) == 0
    return output, printed.getvalue()


@pytest.fixture
def fails(capsys):
    return one_line_failure(main, "explore", capsys)


def test_files(explored):
    output, _ = explored
    assert {path.name for path in output.iterdir()} == FILES


def test_the_printed_summary(explored, tree):
    output, printed = explored
    lines = printed.splitlines()
    assert lines[0].startswith(f"{tree}: 17 images of 2 classes, 0.0 MB")
    assert re.fullmatch(r"width +10 +10 +27 +300 +300", lines[2])
    assert re.fullmatch(r"height +10 +10 +20 +90 +90", lines[3])
    assert "of 17 images" in lines[6]
    assert lines[7].startswith("--rgb-mean 200.") and "--rgb-std 1.000," in lines[7]
    assert lines[8] == "unreadable: dogs <b>/notes <i>.txt: not an image"
    assert lines[9].startswith(f"{output}/index.html")


def test_the_table(explored):
    table = pandas.read_csv(explored[0] / "table.csv").set_index("picture")
    assert len(table) == 18
    panorama = table.loc["dogs <b>/panorama.png"]
    assert (panorama.width, panorama.height, panorama.aspect) == (300, 10, 30)
    assert (panorama.label, panorama["class"], panorama.format) == (1, "dogs <b>", "PNG")
    text = table.loc["dogs <b>/notes <i>.txt"]
    assert text.problem == "not an image" and np.isnan(text.width) and np.isnan(text.aspect)
    assert table.problem.notna().sum() == 1


def test_the_page_needs_no_other_file_and_escapes_names(explored):
    page = Page((explored[0] / "index.html").read_text())
    assert len(page.sources) == 5
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "i" not in page.tags and "script" not in page.tags and "link" not in page.tags
    for words in ("dogs <b>/notes <i>.txt", "not an image", "dogs <b>", "cats", "17"):
        assert words in page.text


def test_extremes(tree):
    source = open_source(str(tree))
    sheet = dict(contact_sheet(source, survey(source, 1, lambda _: None)))
    captions = {title: [one.caption.split("\n")[1] for one in row] for title, row in sheet.items()}
    assert captions["Most elongated"][:2] == ["panorama.png", "tower.png"]
    assert captions["Smallest"][:2] == ["00.png", "01.png"]
    assert captions["Largest"][0] == "panorama.png"
    assert {len(row) for row in sheet.values()} == {10}
    first = sheet["Most elongated"][0].pixels
    assert first.shape == (10, 300, 3) and (first == (200, 100, 50)).all()


def test_images_of_one_size_have_no_extremes(tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.png", 9, 9)
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:45])
    source = open_source(str(tmp_path))
    ((title, row),) = contact_sheet(source, survey(source, 1, lambda _: None))
    assert "one size" in title
    assert [one.pixels is None for one in row] == [True, False, False]


def test_every_colour_mode_has_a_thumbnail(tmp_path):
    ramp = np.tile(np.arange(0, 256, 2, np.uint8), (40, 1))
    grey = Image.fromarray(ramp)
    deep = Image.fromarray(ramp.astype(np.uint16) * 256)
    for name, image in {
        "grey.png": grey, "deep.png": deep, "alpha.png": grey.convert("LA"),
        "cmyk.jpg": grey.convert("CMYK"), "palette.gif": grey.convert("P"),
        "bits.png": grey.convert("1"),
    }.items():  # fmt: skip
        image.save(tmp_path / name)
    source = open_source(str(tmp_path))
    result = survey(source, 1, lambda _: None)
    ((_, row),) = contact_sheet(source, result)
    for name, one in zip(result.names, row):
        assert one.pixels is not None and one.pixels.shape == (40, 128, 3), name
        assert one.pixels[:, -20:].mean() > one.pixels[:, :20].mean() + 150, name


def test_list_and_shards(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(summary, "write_page", lambda *_: "index.html")
    words = [str(packed / "train.lst"), "--root", str(packed / "pictures" / "train")]
    flags = {}
    for name, source in {"list": words, "shards": [str(packed / "train.rec")]}.items():
        assert main([*source, "--output", str(tmp_path / name), "--sample", "0"]) == 0
        printed = capsys.readouterr().out
        assert "60 images of 3 classes" in printed
        flags[name] = re.search("--rgb-mean .*", printed).group()
    assert flags["list"] == flags["shards"]


def test_the_flags_are_those_of_fit_and_a_deviation_of_zero_is_one():
    line = flag_line(Channels((1.0, 2.5, 3.25), (0.0, 60.1234, 1.5), np.zeros((3, 256))))
    assert line == "--rgb-mean 1.000,2.500,3.250 --rgb-std 1.000,60.123,1.500"
    settings = parse(FitSettings, line.split(), "fit", "")
    assert settings.rgb_mean == (1, 2.5, 3.25) and settings.rgb_std == (1, 60.123, 1.5)


def test_only_unreadable_files(tmp_path, fails):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    message = fails(f"{tmp_path}/images", "--output", str(tmp_path / "out"))
    assert message.startswith(f"{tmp_path}/images: ") and "a.jpg: the file is empty" in message


def test_an_output_among_the_images(tree, fails, monkeypatch):
    """Its plots would be images of the next run, and of packing."""
    monkeypatch.chdir(tree)
    for output in ("explored", str(tree / "cats"), "."):
        assert fails(".", "--output", output).startswith(f"--output {output}: is in ., the folder")


def test_unusable_sources(fails, tmp_path):
    empty = write_records(tmp_path / "a.rec", [pack_header(1.0, 0)])
    assert fails(str(empty)) == f"{empty}: none of its 1 records has an image"
    (tmp_path / "a.tgz").write_bytes(gzip.compress(b"tar"))
    assert fails(f"{tmp_path}/a.tgz").endswith("gunzip it first")
    for name in ("nowhere", "nothing.tar", "nothing.rec"):
        assert fails(name).startswith(f"{name}: ")
    assert fails("x.lst").startswith("x.lst: ") and "--root" in fails("x.lst")
    assert fails(".", "--root", "pictures").startswith("--root pictures: ")

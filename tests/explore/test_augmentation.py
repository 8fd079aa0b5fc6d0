import numpy as np
import pytest
from conftest import one_line_failure, write_images, write_records
from PIL import Image

from imagenet_trainer.data.augment import EvalTransform, TrainTransform, decode
from imagenet_trainer.data.mixup import Mixup
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.explore.augmentation import main
from imagenet_trainer.explore.flags import SheetSettings
from imagenet_trainer.explore.sheet import changed_flags
from imagenet_trainer.explore.sources import open_source

WORDS = ["--show", "--image-shape", "3,32,40", "--seed", "5"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    write_images(folder, 2)
    return folder


def cells(path, columns):
    """The images of a sheet of 32 x 40 pixels each: (rows, columns, 32, 40, 3)."""
    sheet = np.asarray(Image.open(path))
    rows = [sheet[top : top + 32] for top in range(len(sheet) - 36, 0, -36)]
    lefts = [4, *(12 + 44 * column for column in range(1, columns))]
    return np.array([[row[:, left : left + 40] for left in lefts] for row in rows[::-1]])


def test_the_sheet_shows_what_training_sees(tmp_path, images, capsys):
    path = tmp_path / "sheet.png"
    words = ["--max-random-rotate-angle", "30", "--max-random-channel-shift", "40"]
    assert main([str(images), *WORDS, *words, "--pictures", "3", "--epochs", "4",
                 "--output", str(path)]) == 0  # fmt: skip
    assert "3 images of" in capsys.readouterr().out
    settings = SheetSettings(max_random_rotate_angle=30, max_random_channel_shift=40)
    train = TrainTransform(settings, (3, 32, 40), 5)
    source = open_source(str(images))
    chosen = (0, 2, 5)  # of six, evenly
    for number, row in zip(chosen, cells(path, 5)[-3:]):
        image, out = decode(source.read(number)), np.empty((32, 40, 3), np.uint8)
        EvalTransform((3, 32, 40)).apply(image, None, 0, out)
        assert np.array_equal(row[0], out)
        for epoch in range(4):
            train.apply(image, train.draw(np.array([number]), np.array([epoch])), 0, out)
            assert np.array_equal(row[1 + epoch], out)


def test_the_sheet_shows_pairs_as_they_are_mixed(tmp_path, images):
    path = tmp_path / "sheet.png"
    words = ["--mixup", "0.4", "--cutmix", "1", "--auto-augment", "trivial"]
    assert main([str(images), *WORDS, *words, "--pictures", "4", "--epochs", "3",
                 "--output", str(path)]) == 0  # fmt: skip
    train = TrainTransform(SheetSettings(auto_augment="trivial"), (3, 32, 40), 5)
    source, chosen = open_source(str(images)), np.array([0, 1, 3, 5])  # of six, evenly
    found = cells(path, 4)[-4:]
    for epoch in range(3):
        epochs, out = np.full(4, epoch), np.empty((4, 32, 40, 3), np.uint8)
        drawn, mixture = (
            train.draw(chosen, epochs),
            Mixup(0.4, 5, 1.0).draw(chosen, epochs, (32, 40)),
        )
        for i, number in enumerate(chosen):
            train.apply(decode(source.read(number)), drawn, i, out[i])
        Mixup.mix(out, mixture.shares, mixture.cuts)
        assert np.array_equal(found[:, 1 + epoch], out)


def test_images_that_packing_converts(tmp_path):
    """The sheet shows them as packing would, also those that OpenCV does not decode."""
    row = np.arange(0, 240, 4, np.uint8)
    ramp = np.tile(row, (45, 1))
    (tmp_path / "images").mkdir()
    for name in ("a.gif", "b.tif"):
        Image.fromarray(ramp).save(tmp_path / "images" / name)
    path = tmp_path / "sheet.png"
    assert main([f"{tmp_path}/images", *WORDS, "--random-resized-crop", "0", "--random-mirror", "0",
                 "--epochs", "1", "--output", str(path)]) == 0  # fmt: skip
    crop = np.tile(row[10:50, None], (32, 1, 3))
    assert (cells(path, 2)[-2:, 1] == crop).all()


def test_the_title_names_the_changed_flags():
    assert changed_flags(SheetSettings()) == "the defaults"
    settings = SheetSettings(max_random_h=10, random_mirror=False, seed=3)
    assert changed_flags(settings) == "--random-mirror 0 --max-random-h 10"


def test_errors_are_one_line(tmp_path, images, capsys):
    fails = one_line_failure(main, "augment", capsys)
    assert fails(str(images)).startswith("--show: ")
    path = f"{images}/sheet.png"
    assert fails(str(images), "--show", "--output", path).startswith(f"--output {path}: is in")
    assert fails(str(images), "--show", "--cutmix", "1", "--pictures", "3").startswith("--pictures")
    assert "nowhere: " in fails(str(tmp_path / "nowhere"), "--show")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "odd.jpg").write_bytes(b"no image")
    assert "cat/odd.jpg: " in fails(str(tmp_path), "--show")
    empty = write_records(tmp_path / "a.rec", [pack_header(1.0, 0)])
    assert "a.rec: none of its 1 records has an image" in fails(str(empty), "--show")

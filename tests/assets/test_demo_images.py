import importlib.resources
import os

import cv2
import numpy as np
import pytest

from imagenet_trainer.assets import demo_images
from imagenet_trainer.assets.demo_images import folder_name, main

DRAWN = 20  # classes of drawings
NAMES = [
    "t-shirt-top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle-boot",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new" / "images"
    assert main(["--drawings", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def data():
    path = importlib.resources.files("imagenet_trainer.assets") / "fashion_mnist_small.npz"
    with np.load(str(path)) as file:
        return dict(file)


@pytest.mark.parametrize("part, count", [("train", 3000), ("val", 1000)])
def test_every_image_is_in_the_folder_of_its_class(folder, data, part, count):
    found = (path for name in NAMES for path in (folder / part / name).glob("*.png"))
    paths = sorted(found, key=lambda path: path.name)
    assert [path.stem for path in paths] == [f"{number:04d}" for number in range(count)]
    assert [path.parent.name for path in paths] == [NAMES[i] for i in data[f"{part}_labels"]]
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]  # grey stays (28, 28)
    assert np.array_equal(np.stack(images), data[f"{part}_images"])


def test_no_other_files_are_left(folder):
    assert sorted(os.listdir(folder)) == ["train", "val"]
    names = os.listdir(folder / "train")
    assert set(NAMES) < set(names) and len(names) == len(NAMES) + DRAWN
    assert sorted(names) == sorted(os.listdir(folder / "val"))


def test_drawings_are_in_one_set_each_and_none_is_empty(folder):
    images = []
    for name in set(os.listdir(folder / "train")) - set(NAMES):
        train, val = (list((folder / part / name).glob("*.png")) for part in ("train", "val"))
        assert len(train) >= 28 and len(val) >= 9
        assert not {path.name for path in train} & {path.name for path in val}
        images += [cv2.imread(str(path)) for path in train + val]
    assert all(image.shape == (28, 28, 3) and image.std() > 5 for image in images)
    assert len({image.tobytes() for image in images}) == len(images) == 1118


def test_complete_folders_are_not_changed(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main(["--drawings", str(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    train, val = capsys.readouterr().out.splitlines()
    assert train == f"3,841 images in {folder / 'train'}"
    assert val == f"1,277 images in {folder / 'val'}"


def test_a_killed_command_starts_again(tmp_path, monkeypatch, data):
    from PIL import Image

    some = {name: one if name == "class_names" else one[:30] for name, one in data.items()}
    np.savez(tmp_path / "some.npz", **some)
    monkeypatch.setattr(demo_images, "_IMAGES", tmp_path / "some.npz")
    save, paths = Image.Image.save, []

    def killed(image, path):
        paths.append(path)
        if len(paths) > 20:
            raise KeyboardInterrupt
        save(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", killed)
        assert main([str(tmp_path / "new")]) == 130
    assert not (tmp_path / "new" / "train").exists()
    (tmp_path / "new" / "train").mkdir()  # an empty folder is filled
    assert main([str(tmp_path / "new")]) == 0
    assert len(list((tmp_path / "new" / "train").glob("*/*.png"))) == 30
    assert sorted(os.listdir(tmp_path / "new")) == ["train", "val"]


def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path, capsys):
    mine = tmp_path / "train" / "cat" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "train") in line and "choose another folder" in line
    assert mine.read_bytes() == b"mine"


def test_a_file_in_the_way_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main([str(tmp_path / "file")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file") in line


def test_folder_names_of_classes():
    assert folder_name("T-shirt/top") == "t-shirt-top"
    assert folder_name("../Ankle boot ") == "ankle-boot"

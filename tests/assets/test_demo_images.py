import importlib.resources
import os

import cv2
import numpy as np
import pytest

from imagenet_trainer.assets.demo_images import folder_name, main

NAMES = [
    "t-shirt-top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle-boot",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new" / "images"
    assert main([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def data():
    path = importlib.resources.files("imagenet_trainer.assets") / "fashion_mnist_small.npz"
    with np.load(str(path)) as file:
        return dict(file)


@pytest.mark.parametrize("part, count", [("train", 3000), ("val", 1000)])
def test_every_image_is_in_the_folder_of_its_class(folder, data, part, count):
    paths = sorted((folder / part).glob("*/*.png"), key=lambda path: path.name)
    assert [path.stem for path in paths] == [f"{number:04d}" for number in range(count)]
    assert [path.parent.name for path in paths] == [NAMES[i] for i in data[f"{part}_labels"]]
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]  # grey stays (28, 28)
    assert np.array_equal(np.stack(images), data[f"{part}_images"])


def test_no_other_files_are_left(folder):
    assert sorted(os.listdir(folder)) == ["train", "val"]
    assert sorted(os.listdir(folder / "train")) == sorted(NAMES)


def test_complete_folders_are_not_changed(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main([str(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    train, val = capsys.readouterr().out.splitlines()
    assert train == f"3,000 images in {folder / 'train'}"
    assert val == f"1,000 images in {folder / 'val'}"


def test_a_killed_command_starts_again(tmp_path, monkeypatch):
    from PIL import Image

    save, paths = Image.Image.save, []

    def killed(image, path):
        paths.append(path)
        if len(paths) > 20:
            raise KeyboardInterrupt
        save(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", killed)
        assert main([str(tmp_path)]) == 130
    assert not (tmp_path / "train").exists()
    assert main([str(tmp_path)]) == 0
    assert len(list((tmp_path / "train").glob("*/*.png"))) == 3000
    assert sorted(os.listdir(tmp_path)) == ["train", "val"]


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

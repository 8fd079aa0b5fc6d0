import importlib.resources
import os
import subprocess
import sys

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
    folder = tmp_path_factory.mktemp("demo") / "new" / "pictures"
    assert main([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def shipped():
    path = importlib.resources.files("imagenet_trainer.assets") / "fashion_mnist_small.npz"
    with np.load(str(path)) as data:
        return dict(data)


@pytest.mark.parametrize("part, count", [("train", 3000), ("val", 1000)])
def test_every_image_lies_in_the_folder_of_its_class(folder, shipped, part, count):
    paths = sorted((folder / part).glob("*/*.png"), key=lambda path: path.name)
    assert [path.stem for path in paths] == [f"{place:04d}" for place in range(count)]
    assert [path.parent.name for path in paths] == [NAMES[i] for i in shipped[f"{part}_labels"]]
    found = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]  # grey stays (28, 28)
    assert np.array_equal(np.stack(found), shipped[f"{part}_images"])


def test_nothing_else_is_left_there(folder):
    assert sorted(os.listdir(folder)) == ["train", "val"]
    assert sorted(os.listdir(folder / "train")) == sorted(NAMES)


def test_what_is_there_is_left_alone(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main([str(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    train, val = capsys.readouterr().out.splitlines()
    assert train == f"3,000 images in {folder / 'train'}"
    assert val == f"1,000 images in {folder / 'val'}"


def test_a_killed_run_is_begun_again(tmp_path, monkeypatch):
    from PIL import Image

    save, saved = Image.Image.save, []

    def killed(image, path):
        saved.append(path)
        if len(saved) > 20:
            raise KeyboardInterrupt
        save(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", killed)
        assert main([str(tmp_path)]) == 130
    assert not (tmp_path / "train").exists()
    assert main([str(tmp_path)]) == 0
    assert len(list((tmp_path / "train").glob("*/*.png"))) == 3000
    assert sorted(os.listdir(tmp_path)) == ["train", "val"]


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path, capsys):
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


def test_class_names_become_names_of_folders():
    assert folder_name("T-shirt/top") == "t-shirt-top"
    assert folder_name("../Ankle boot ") == "ankle-boot"


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from imagenet_trainer.assets import demo_images as d\n"
        "try: d.main(['--help'])\n"
        "finally: print([m for m in ('numpy', 'PIL', 'cv2', 'mxnet') if m in sys.modules])"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert text.endswith("[]\n") and "FOLDER" in text.upper()

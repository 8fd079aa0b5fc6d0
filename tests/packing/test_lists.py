import os
import runpy
import sys
from pathlib import Path

import pytest
from conftest import needs_mxnet

from imagenet_trainer.data.records.lst import ImageList, read_list
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.folders import NoClassFolders, NoImages, OnlyFolders, StrayImages
from imagenet_trainer.packing.lists import Shares, check_files, make_lists
from imagenet_trainer.system.mxnet_import import mx

ENDINGS = [".jpeg", ".jpg", ".png"]


@pytest.fixture
def root(tmp_path):
    """Three classes, one of them nested, with files that are no images between them."""
    root = tmp_path / "root"
    for folder, count in (("b", 7), ("a", 5), ("a/inner", 4), ("c", 3)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number}.{('jpg', 'PNG', 'jpeg')[number % 3]}").touch()
    (root / "a" / "notes.txt").touch()
    (root / "empty").mkdir()
    return root


def make(prefix, root, **flags):
    flags = {"recursive": True, "flat": False, "extensions": ENDINGS, **flags}
    return make_lists(str(prefix), str(root), **flags)


@needs_mxnet
@pytest.mark.parametrize(
    "flags, words",
    [
        ({}, []),
        ({"shuffle": False}, ["--no-shuffle"]),
        ({"shares": Shares(3)}, ["--chunks", "3"]),
        ({"shares": Shares(1, 0.6, 0.2)}, ["--train-ratio", ".6", "--test-ratio", ".2"]),
        ({"shares": Shares(2, 0.5)}, ["--chunks", "2", "--train-ratio", ".5"]),
    ],
)
def test_the_lists_are_those_of_mxnet(root, tmp_path, monkeypatch, capsys, flags, words):
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    files, classes = make(tmp_path / "ours" / "x", root, **flags)
    tool = Path(mx.__file__).parent / "tools" / "im2rec.py"
    command = ["im2rec", "--list", "--recursive", *words, str(tmp_path / "theirs" / "x"), str(root)]
    monkeypatch.setattr(sys, "argv", command)
    runpy.run_path(str(tool), run_name="__main__")
    theirs = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    assert theirs == {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    assert {os.path.basename(path) for path, _ in files} == set(theirs)
    assert classes == [("a", 5), ("a/inner", 4), ("b", 7), ("c", 3)]


def test_no_image_is_lost_where_training_and_test_are_all(root, tmp_path):
    files, _ = make(tmp_path / "x", root, shares=Shares(1, 0.9, 0.1))  # 17.1 and 1.9 of 19
    assert [(os.path.basename(path), lines) for path, lines in files] == [
        ("x_train.lst", 18), ("x_test.lst", 1)
    ]  # fmt: skip


def test_no_empty_list_is_written(root, tmp_path):
    with pytest.raises(InputError, match=r"x_train\.lst: would have no images"):
        make(tmp_path / "x", root, shares=Shares(1, 0.05))
    assert not list(tmp_path.glob("*.lst"))


def test_another_seed_is_another_order(root, tmp_path):
    orders = []
    for seed in (1, 1, 2):
        make(tmp_path / "x", root, seed=seed)
        orders.append(read_list(tmp_path / "x.lst").paths)
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_a_list_read_back(root, tmp_path):
    make(tmp_path / "x", root, shuffle=False)
    images = read_list(tmp_path / "x.lst")
    assert list(images.indices) == list(range(19))
    assert images.labels == [(0.0,)] * 5 + [(1.0,)] * 4 + [(2.0,)] * 7 + [(3.0,)] * 3
    assert images.paths[5] == "a/inner/0.jpg"
    check_files("x.lst", str(root), images)


def test_names_that_are_not_utf8(tmp_path):
    (tmp_path / "root" / "a").mkdir(parents=True)
    name = os.fsencode(tmp_path / "root" / "a") + b"/caf\xe9.jpg"
    with open(name, "wb"):
        pass
    make(tmp_path / "x", tmp_path / "root")
    images = read_list(tmp_path / "x.lst")
    assert os.fsencode(images.paths[0]) == b"a/caf\xe9.jpg"
    check_files("x.lst", str(tmp_path / "root"), images)


def test_a_flat_folder_needs_the_flag(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "1.jpg").touch()
    for recursive in (False, True):
        with pytest.raises(NoClassFolders, match="1 image"):
            make(tmp_path / "x", root, recursive=recursive)
    assert not (tmp_path / "x.lst").exists()
    make(tmp_path / "x", root, recursive=False, flat=True)
    assert read_list(tmp_path / "x.lst") == ImageList([0], [(0.0,)], ["1.jpg"])


def test_folders_that_are_not_laid_out(root, tmp_path):
    with pytest.raises(OnlyFolders, match="in 3 folders, a first"):
        make(tmp_path / "x", root, recursive=False)
    (root / "stray.jpg").touch()
    with pytest.raises(StrayImages, match=r"stray\.jpg"):
        make(tmp_path / "x", root)
    for recursive in (False, True):
        with pytest.raises(NoImages, match=r"empty: .*\.jpeg \.jpg"):
            make(tmp_path / "x", root / "empty", recursive=recursive)
    with pytest.raises(InputError, match=r"nowhere: "):
        make(tmp_path / "x", root / "nowhere")
    with pytest.raises(InputError, match=r"stray\.jpg: "):
        make(tmp_path / "x", root / "stray.jpg")


def test_links(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    make(tmp_path / "x", tmp_path / "root")
    assert read_list(tmp_path / "x.lst").paths == ["a/1.jpg"]
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "root")
    with pytest.raises(InputError, match=r"a/round.*: a link"):
        make(tmp_path / "x", tmp_path / "root")


def test_rejected_names(tmp_path):
    folder = tmp_path / "root" / "a"
    folder.mkdir(parents=True)
    for name in ("a\tb.jpg", "a\nb.jpg", "b.jpg", "c d.jpg", "e.jpg"):
        (folder / name).touch()
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "up").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe")  # not opened to look whether it is an image
    rejected = {}
    _, classes = make(tmp_path / "x", tmp_path / "root", reject=rejected.__setitem__, shuffle=False)
    assert read_list(tmp_path / "x.lst").paths == ["a/b.jpg", "a/c d.jpg", "a/e.jpg"]
    assert classes == [("a", 3)]
    assert {os.path.basename(path): reason.split(";")[0] for path, reason in rejected.items()} == {
        "a\tb.jpg": "a list cannot contain names with tabs, line breaks or blanks at the ends",
        "a\nb.jpg": "a list cannot contain names with tabs, line breaks or blanks at the ends",
        "gone.jpg": "a link that leads nowhere",
        "loop.jpg": "Too many levels of symbolic links",
        "pipe.jpg": "not a file",
        "up": "a link to a parent folder",
    }
    with pytest.raises(InputError, match="root"):
        make(tmp_path / "x", tmp_path / "root")


def test_blanks_inside_a_path_do_no_harm(tmp_path):
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / " a.jpg").touch()
    (tmp_path / "root" / " b").mkdir()
    make(tmp_path / "x", tmp_path / "root")
    assert read_list(tmp_path / "x.lst").paths == ["a/ a.jpg"]


def test_missing_files(root):
    paths = ["a/0.jpg", "b/gone.jpg", "nowhere/0.jpg", "zero\0/0.jpg"]
    images = ImageList(range(4), [(0.0,)] * 4, paths)
    with pytest.raises(InputError, match=r"x\.lst: b/gone\.jpg is not in .*\(3 of 4 are missing\)"):
        check_files("x.lst", str(root), images)

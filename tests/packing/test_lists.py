import os
import runpy
import sys
from pathlib import Path

import pytest

from imagenet_trainer.data.records.lst import ImageList, read_list
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.lists import check_files, make_lists
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


@pytest.mark.parametrize(
    "flags, words",
    [
        ({}, []),
        ({"shuffle": False}, ["--no-shuffle"]),
        ({"chunks": 3}, ["--chunks", "3"]),
        ({"train_ratio": 0.6, "test_ratio": 0.2}, ["--train-ratio", ".6", "--test-ratio", ".2"]),
        ({"chunks": 2, "train_ratio": 0.5}, ["--chunks", "2", "--train-ratio", ".5"]),
        ({"train_ratio": 0.9, "test_ratio": 0.1}, ["--train-ratio", ".9", "--test-ratio", ".1"]),
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


def test_another_seed_is_another_order(root, tmp_path):
    orders = []
    for seed in (1, 1, 2):
        make(tmp_path / "x", root, seed=seed)
        orders.append(read_list(tmp_path / "x.lst").paths)
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_chunks_that_the_images_do_not_fill(root, tmp_path):
    with pytest.raises(InputError, match="--chunks 12: 19 images fill only 10; give 10"):
        make(tmp_path / "x", root, chunks=12)
    assert not list(tmp_path.glob("*.lst"))
    make(tmp_path / "x", root, chunks=10)
    assert [len(read_list(tmp_path / f"x_{n}.lst")) for n in range(10)] == [2] * 9 + [1]


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


def test_a_flat_folder_has_to_be_meant(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "1.jpg").touch()
    for recursive in (False, True):
        with pytest.raises(InputError, match=r"no class folders.*cat/1\.jpg.*--flat"):
            make(tmp_path / "x", root, recursive=recursive)
    assert not (tmp_path / "x.lst").exists()
    make(tmp_path / "x", root, recursive=False, flat=True)
    assert read_list(tmp_path / "x.lst") == ImageList([0], [(0.0,)], ["1.jpg"])


def test_folders_that_are_not_laid_out(root, tmp_path):
    with pytest.raises(InputError, match=r"no images but 4 folders, a first; give --recursive"):
        make(tmp_path / "x", root, recursive=False)
    (root / "stray.jpg").touch()
    with pytest.raises(InputError, match=r"stray\.jpg and 0 more images lie beside the class"):
        make(tmp_path / "x", root)
    for recursive in (False, True):
        with pytest.raises(InputError, match=r"root .*empty: no images in it .*\.jpeg \.jpg"):
            make(tmp_path / "x", root / "empty", recursive=recursive)
    with pytest.raises(InputError, match=r"root .*nowhere: no such folder"):
        make(tmp_path / "x", root / "nowhere")
    with pytest.raises(InputError, match=r"stray\.jpg: not a tar, or damaged"):
        make(tmp_path / "x", root / "stray.jpg")
    with pytest.raises(InputError, match=r"--train-ratio 0\.8 and --test-ratio 0\.3: more than 1"):
        make(tmp_path / "x", root, train_ratio=0.8, test_ratio=0.3)


def test_links(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    make(tmp_path / "x", tmp_path / "root")
    assert read_list(tmp_path / "x.lst").paths == ["a/1.jpg"]
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "root")
    with pytest.raises(InputError, match=r"a/round.*: a link to a folder around it"):
        make(tmp_path / "x", tmp_path / "root")


def test_names_that_are_left_out(tmp_path):
    folder = tmp_path / "root" / "a"
    folder.mkdir(parents=True)
    for name in ("a\tb.jpg", "a\nb.jpg", "b.jpg", "c d.jpg", "e.jpg"):
        (folder / name).touch()
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "up").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    told = {}
    _, classes = make(tmp_path / "x", tmp_path / "root", reject=told.__setitem__, shuffle=False)
    assert read_list(tmp_path / "x.lst").paths == ["a/b.jpg", "a/c d.jpg", "a/e.jpg"]
    assert classes == [("a", 3)]
    assert {os.path.basename(path): reason.split(";")[0] for path, reason in told.items()} == {
        "a\tb.jpg": "a list cannot hold a name with a tab, a line break or blanks at its ends",
        "a\nb.jpg": "a list cannot hold a name with a tab, a line break or blanks at its ends",
        "loop.jpg": "Too many levels of symbolic links",
        "pipe.jpg": "not a file",
        "up": "a link to a folder around it",
    }
    with pytest.raises(InputError, match=r"cannot hold a name|links|not a file|around it"):
        make(tmp_path / "x", tmp_path / "root")


@pytest.mark.parametrize("name", ["a\tb.jpg", "a\nb.jpg", " a.jpg"])
def test_names_that_a_list_cannot_hold(tmp_path, name):
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / name).touch()
    (tmp_path / "root" / " b").mkdir()
    if name != " a.jpg":
        with pytest.raises(InputError, match=r"cannot hold a name"):
            make(tmp_path / "x", tmp_path / "root")
    else:  # blanks inside the path do no harm
        make(tmp_path / "x", tmp_path / "root")
        assert read_list(tmp_path / "x.lst").paths == [f"a/{name}"]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("1 0 a.jpg", "fewer than two tabs"),
        ("1\t0", "fewer than two tabs"),
        ("x\t0\ta.jpg", "index 'x' is not a whole number"),
        ("1.5\t0\ta.jpg", "index '1.5' is not a whole number"),
        ("-1\t0\ta.jpg", "index -1 is not from 0"),
        ("7\t0\ta.jpg", "index 7 comes a second time"),
        ("1\tcat\ta.jpg", "label 'cat' is not a number"),
        ("1\t0\tnan\ta.jpg", "label 'nan' is not a number"),
        ("1\t1e39\ta.jpg", "label '1e39' is not a number"),
        ("1\t0\t ", "the path is empty"),
        ("1\t0\t/etc/a.jpg", "/etc/a.jpg lies outside"),
        ("1\t0\t../a.jpg", "../a.jpg lies outside"),
        ("1\t0\ta/../../b.jpg", "a/../../b.jpg lies outside"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    (tmp_path / "x.lst").write_text(f"7\t0\tgood.jpg\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_list(tmp_path / "x.lst")
    assert f"x.lst: line 2: {reason}" in str(caught.value)


def test_lines_as_people_and_other_systems_write_them(tmp_path):
    (tmp_path / "x.lst").write_bytes(b"3 \t 1 \t a b.jpg\r\n\r\n4\t1\t2.5\tc/../d.jpg")
    expected = ImageList([3, 4], [(1.0,), (1.0, 2.5)], ["a b.jpg", "c/../d.jpg"])
    assert read_list(tmp_path / "x.lst") == expected


def test_a_list_that_is_none(tmp_path):
    (tmp_path / "x.lst").write_text("\n")
    with pytest.raises(InputError, match=r"x\.lst: the list is empty; make it with --list"):
        read_list(tmp_path / "x.lst")
    with pytest.raises(InputError, match=r"y\.lst: No such file"):
        read_list(tmp_path / "y.lst")
    (tmp_path / "z.lst").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"z\.lst: line 1"):
        read_list(tmp_path / "z.lst")


def test_files_that_are_not_there(root):
    paths = ["a/0.jpg", "b/gone.jpg", "nowhere/0.jpg", "zero\0/0.jpg"]
    images = ImageList(range(4), [(0.0,)] * 4, paths)
    with pytest.raises(InputError, match=r"x\.lst: b/gone\.jpg is not in .*\(3 of 4 are missing\)"):
        check_files("x.lst", str(root), images)

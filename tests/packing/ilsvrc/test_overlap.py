from pathlib import Path

import pytest
from helpers import miniature

from imagenet_trainer.packing.folders import Tree
from imagenet_trainer.packing.ilsvrc.labelled import by_folder, group
from imagenet_trainer.packing.ilsvrc.overlap import shared_images

FILES = {"cat/1.jpg": b"tabby", "cat/2.jpg": b"manx", "dog/1.jpg": b"poodle"}
OTHERS = {
    "cat/1.jpg": b"tabby",  # the same
    "cat/2.jpg": b"coon",  # of the same length
    "cat/3.jpg": b"tabby",  # under another name
    "dog/1.jpg": b"a longer file",
    "fox/1.jpg": b"tabby",  # of another class
}


def classes(root):
    paths = Tree(str(root), [".jpg"]).paths()
    return str(root), group(str(root), paths, by_folder(paths), "")


@pytest.mark.parametrize("tars", [False, True])
def test_the_same_file_under_the_same_name(tmp_path, tars):
    if tars:
        roots = tmp_path / "a.tar", tmp_path / "b.tar"
        for root, files in zip(roots, (FILES, OTHERS)):
            root.write_bytes(miniature.tar_of(files))
    else:
        roots = tmp_path / "a", tmp_path / "b"
        for root, files in zip(roots, (FILES, OTHERS)):
            miniature.write_files(root, files)
    assert shared_images(*classes(roots[0]), *classes(roots[1])) == ["cat/1.jpg"]


def test_nested_folders_and_missing_files(tmp_path):
    miniature.write_files(tmp_path / "a", {"cat/x/1.jpg": b"tabby", "cat/2.jpg": b"manx"})
    miniature.write_files(tmp_path / "b", FILES)
    ours = {"cat": ["cat/x/1.jpg", "cat/2.jpg"]}
    theirs = {"cat": ["cat/1.jpg", "cat/2.jpg"]}
    Path(tmp_path / "b/cat/2.jpg").unlink()
    assert shared_images(str(tmp_path / "a"), ours, str(tmp_path / "b"), theirs) == ["cat/x/1.jpg"]


def test_nothing_is_opened_if_no_name_occurs_twice():
    assert shared_images("gone", {"cat": ["cat/1.jpg"]}, "gone", {"cat": ["cat/2.jpg"]}) == []

import pytest
from helpers import miniature

from imagenet_trainer.packing.folders import NoClassFolders
from imagenet_trainer.packing.ilsvrc.splits import (
    Naming,
    NoLabels,
    NoPatternMatch,
    read_test,
    read_train,
    read_val,
)

FOLDERS = Naming([".jpg"], "")
NAMES = Naming([".jpg"], r"^(\w+)\.")


def write(root, *paths):
    miniature.write_files(root, {path: path.encode() for path in paths})
    return str(root)


def test_training_by_folder_or_by_name(tmp_path):
    root = write(tmp_path / "a", "b/2.jpg", "a/1.jpg", "a/x.txt")
    assert read_train(root, FOLDERS) == {"a": ["a/1.jpg"], "b": ["b/2.jpg"]}
    root = write(tmp_path / "b", "dog.1.jpg", "cat.1.jpg")
    assert read_train(root, NAMES) == {"cat": ["cat.1.jpg"], "dog": ["dog.1.jpg"]}
    with pytest.raises(NoClassFolders, match=r"cat\.1\.jpg and 1 more: "):
        read_train(root, FOLDERS)
    write(tmp_path / "b", "of no class.jpg")
    with pytest.raises(NoPatternMatch, match=r"of no class\.jpg: "):
        read_train(root, NAMES)


def test_validation_by_labels(tmp_path):
    root = write(tmp_path / "val", "ILSVRC2012_val_00000001.jpg", "other.jpg")
    table = tmp_path / "LOC_val_solution.csv"
    table.write_text("ILSVRC2012_val_00000001,n01751748\nother,n09193705\n")
    classes = read_val(root, FOLDERS, [str(table)])
    assert classes == {"n01751748": ["ILSVRC2012_val_00000001.jpg"], "n09193705": ["other.jpg"]}
    with pytest.raises(NoLabels, match=r"2 images"):
        read_val(root, FOLDERS, [])
    # A single folder is not a class if there are labels.
    root = write(tmp_path / "inside", "val/ILSVRC2012_val_00000001.jpg", "val/other.jpg")
    assert set(read_val(root, FOLDERS, [str(table)])) == {"n01751748", "n09193705"}
    root = write(tmp_path / "other", "val/1.jpg", "val/2.jpg")
    assert set(read_val(root, FOLDERS, [])) == {"val"}


def test_test_images(tmp_path):
    known = {"cat": ["x"], "dog": ["y"]}
    root = write(tmp_path / "test", "cat/1.jpg")
    assert read_test(root, FOLDERS, known) == ({"cat": ["cat/1.jpg"]}, None)
    write(tmp_path / "test", "fox/1.jpg")
    assert read_test(root, FOLDERS, known) == ({}, 2)
    (tmp_path / "empty").mkdir()
    assert read_test(str(tmp_path / "empty"), FOLDERS, known) == ({}, None)
    assert read_test("", FOLDERS, known) == ({}, None)

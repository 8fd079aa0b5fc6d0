import shutil

import pytest
from conftest import write_pack, write_records

from imagenet_trainer.data.dataset import Dataset, default_classes, open_dataset
from imagenet_trainer.data.matching import open_matching_dataset, with_classes_of
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing import im2rec


def test_the_same_classes(packed):
    dataset = open_dataset(str(packed / "val.rec"))
    same = open_matching_dataset(str(packed / "train.rec"), "", dataset.classes, "val.rec")
    assert len(same) == 60
    # Only the ids must agree.
    with_classes_of(dataset, tuple((name, "another name") for name, _ in dataset.classes), "x")


def test_classes_without_names_match_any(packed, tmp_path):
    train = open_dataset(str(packed / "train.rec"))
    shard = write_records(
        tmp_path / "val.rec", [pack_header(n % 3, n) + b"image" for n in range(6)]
    )
    val = open_matching_dataset(str(shard), "", train.classes, train.path)
    assert len(val.classes) == 3 and not val.has_manifest
    names = (("a", "ant"), ("b", "bee"), ("c", "cat"))
    assert with_classes_of(val, names, "a network").classes == names  # its labels are theirs
    open_matching_dataset(str(packed / "val.rec"), "", default_classes(3), "train.rec")


def test_other_classes(packed, tmp_path):
    classes = open_dataset(str(packed / "train.rec")).classes
    other = write_pack(tmp_path, ("circle", "disc", "square"), "val")
    with pytest.raises(InputError, match=r"val\.rec: .*train\.rec: disc;"):
        open_matching_dataset(other, "", classes, "train.rec")


def test_another_number_of_classes(packed):
    with pytest.raises(InputError, match=r"val\.rec: has 3 classes .*train\.rec has 4"):
        open_matching_dataset(str(packed / "val.rec"), "", default_classes(4), "train.rec")


def test_labels_that_count_fewer_classes_are_matched_by_name(packed, tmp_path):
    train = open_dataset(str(packed / "train.rec"))
    path = write_pack(tmp_path, ("circle", "left", "square"), "val")
    shutil.rmtree(tmp_path / "images" / "left")
    for one in tmp_path.glob("val.*"):
        one.unlink()
    words = [str(tmp_path / "val"), str(tmp_path / "images")]
    assert im2rec.main(["--list", "--recursive", *words]) == 0
    assert im2rec.main([*words, "--encoding", ".png", "--classes-from", "none"]) == 0
    val = open_matching_dataset(path, "", train.classes, "train.rec")
    assert val.classes == train.classes and "2 of the 3 classes" in val.note
    labels = [val.shards.record(n).label for n in range(len(val))]
    found = [val.shards.class_of(n, [label], 3) for n, label in enumerate(labels)]
    assert sorted(found) == [0, 0, 2, 2]
    assert found == [{0: 0, 1: 2}[int(label)] for label in labels]


def test_the_right_labels_of_fewer_classes_are_kept(packed):
    val = open_dataset(str(packed / "val.rec"))
    more = (*val.classes, ("star", "star"))
    found = with_classes_of(val, more, "net")
    assert found.classes == more and "3 of the 4 classes" in found.note
    assert found.shards.class_of(0, [2.0], 4) == 2
    # Classes without an image have no name in a list.
    partly = ((val.classes[0][0], "circle"), ("class_1", "class_1"), *val.classes[2:])
    found = with_classes_of(Dataset("val", val.shards, partly, "", True), val.classes, "net")
    assert found.classes == val.classes and not found.note

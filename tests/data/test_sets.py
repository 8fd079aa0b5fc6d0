import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_images

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.sets import (
    check_same_classes,
    open_set,
    open_training_set,
    open_validation_set,
)
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing import im2rec


def refused(*words, **flags):
    """The message, one line, of `open_training_set` or, given words, of `open_set`."""
    with pytest.raises(InputError) as caught:
        open_set(*words) if words else open_training_set(FitSettings(**flags))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_shard(path: Path, count: int, first: int = 0) -> str:
    """A shard without manifest, as MXNet's tool leaves it."""
    with RecordWriter(path, path.with_suffix(".idx")) as writer:
        for number in range(count):
            writer.write(first + number, pack_header(number % 3, first + number) + b"picture")
    return str(path)


@pytest.fixture
def copy(packed, tmp_path):
    """A copy of the packed sets that may be damaged."""
    for path in packed.glob("*.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


# --- as packed ------------------------------------------------------------------------------------


def test_a_packed_set(packed):
    images = open_training_set(FitSettings(data_train=str(packed / "train.rec")))
    assert len(images) == 60 and images.has_manifest
    assert images.classes == (("circle", "circle"), ("cross", "cross"), ("square", "square"))
    val = FitSettings(data_val=str(packed / "val.rec"))
    assert len(open_validation_set(val, images.classes, images.path)) == 15


def test_flags_that_agree(packed):
    right = FitSettings(data_train=str(packed / "train.rec"), num_classes=3, num_examples=60)
    assert len(open_training_set(right)) == 60


def test_flags_that_disagree(packed):
    rec = str(packed / "train.rec")
    text = refused(data_train=rec, num_classes=4)
    assert "--num-classes 4" in text and "has 3 classes; leave the flag away" in text
    text = refused(data_train=rec, num_examples=61)
    assert "--num-examples 61" in text and "holds 60" in text and "leave the flag away" in text


def test_the_fingerprint_changes_with_the_images(packed, tmp_path):
    train, val = (open_set("--data", str(packed / f"{n}.rec"), "", None) for n in ("train", "val"))
    assert train.fingerprint != val.fingerprint
    again = open_set("--data", str(packed / "train.rec"), "", None)
    assert again.fingerprint == train.fingerprint
    # Without a manifest too, for shards with the same keys.
    shards = [write_shard(tmp_path / f"{name}.rec", 5) for name in "ab"]
    with RecordWriter(tmp_path / "c.rec", tmp_path / "c.idx") as writer:
        for number in range(5):
            writer.write(number, pack_header(0, number) + b"other image")
    a, b, c = (open_set("--data", x, "", 3) for x in [*shards, str(tmp_path / "c.rec")])
    assert a.fingerprint == b.fingerprint != c.fingerprint


# --- shards without manifest ----------------------------------------------------------------------


def test_a_shard_of_mxnets_has_imagenets_classes(tmp_path):
    images = open_set("--data-train", write_shard(tmp_path / "train.rec", 6), "", None)
    assert len(images.classes) == 1000 and not images.has_manifest
    assert images.classes[281] == ("n02123045", "tabby, tabby cat")


def test_a_shard_of_mxnets_with_another_number_of_classes(tmp_path):
    images = open_set("--data-train", write_shard(tmp_path / "train.rec", 6), "", 3)
    assert [name for name, _ in images.classes] == ["class_0", "class_1", "class_2"]


def test_a_shard_of_mxnets_validates_any_classes(packed, tmp_path):
    train = open_set("--data-train", str(packed / "train.rec"), "", None)
    settings = FitSettings(data_val=write_shard(tmp_path / "val.rec", 6))
    val = open_validation_set(settings, train.classes, train.path)
    assert len(val.classes) == 3 and not val.has_manifest


def test_a_set_validates_what_was_trained_on_a_shard_of_mxnets(packed, tmp_path):
    train = open_set("--data-train", write_shard(tmp_path / "train.rec", 6), "", 3)
    settings = FitSettings(data_val=str(packed / "val.rec"))
    assert len(open_validation_set(settings, train.classes, train.path)) == 15


# --- validation -----------------------------------------------------------------------------------


def pack(folder, classes, name):
    write_images(folder / "pictures", 2)
    for old, new in zip(("circle", "cross", "square"), classes):
        (folder / "pictures" / old).rename(folder / "pictures" / new)
    words = [str(folder / name), str(folder / "pictures")]
    assert im2rec.main(["--list", "--recursive", *words]) == 0
    assert im2rec.main([*words, "--encoding", ".png", "--classes-from", "none"]) == 0
    return str(folder / f"{name}.rec")


def test_validation_with_other_classes(packed, tmp_path):
    train = open_set("--data-train", str(packed / "train.rec"), "", None)
    settings = FitSettings(data_val=pack(tmp_path, ("circle", "disc", "square"), "val"))
    with pytest.raises(InputError, match=r"val.rec: class 1 is disc where .*train.rec has cross"):
        open_validation_set(settings, train.classes, train.path)


def test_validation_with_another_number_of_classes(packed, tmp_path):
    settings = FitSettings(data_val=str(packed / "val.rec"))
    four = tuple((name, name) for name in "abcd")
    with pytest.raises(InputError, match=r"val.rec: has 3 classes, not 4; .*pack the same classes"):
        open_validation_set(settings, four, "train.rec")


def test_names_of_the_same_ids_may_differ(packed):
    val = open_set("--data-val", str(packed / "val.rec"), "", None)
    check_same_classes(val, tuple((name, "in other words") for name, _ in val.classes), "train")


# --- several shards -------------------------------------------------------------------------------


def test_several_shards_are_one_set(tmp_path):
    one, two = write_shard(tmp_path / "a.rec", 4), write_shard(tmp_path / "b.rec", 3, 4)
    for value in (f"{one},{two}", str(tmp_path / "*.rec")):
        images = open_set("--data-train", value, "", 3)
        assert len(images) == 7
        assert [images.shards.record(i).id for i in range(7)] == list(range(7))
    assert open_set("--data-train", f"{two},{one}", "", 3).fingerprint != images.fingerprint


def test_indexes_of_several_shards(tmp_path):
    one, two = write_shard(tmp_path / "a.rec", 4), write_shard(tmp_path / "b.rec", 3)
    moved = [shutil.move(tmp_path / f"{name}.idx", tmp_path / f"{name}.index") for name in "ab"]
    indexes = ",".join(map(str, moved))
    assert len(open_set("--data-val", f"{one},{two}", indexes, 3)) == 7
    text = refused("--data-val", f"{one},{two}", str(moved[0]), 3)
    assert "--data-val-idx" in text and "1 indexes for 2 shards" in text
    text = refused("--data-val", f"{one},{two}", "", 3)
    assert "a.idx is missing" in text and "--rebuild-index" in text


def test_packed_chunks_are_one_set(packed, tmp_path):
    images, prefix = str(packed / "pictures" / "train"), str(tmp_path / "train")
    assert im2rec.main(["--list", "--recursive", "--chunks", "2", prefix, images]) == 0
    assert im2rec.main(["--chunks", "2", prefix, images, "--encoding", ".png"]) == 0
    both = open_set("--data-train", f"{prefix}_0.rec,{prefix}_1.rec", "", None)
    assert len(both) == 60 and both.has_manifest and len(both.classes) == 3
    one = open_set("--data-train", f"{prefix}_0.rec", "", None)
    assert len(one) == 30 and one.fingerprint != both.fingerprint
    (tmp_path / "train_1.json").unlink()
    assert "train_1.json is missing" in refused(
        "--data-train", f"{prefix}_0.rec,{prefix}_1.rec", "", None
    )


def test_shards_of_different_classes(packed, tmp_path):
    other = pack(tmp_path, ("circle", "disc", "square"), "train")
    text = refused("--data-train", f"{packed / 'train.rec'},{other}", "", None)
    assert "different classes" in text


# --- damage ---------------------------------------------------------------------------------------


def test_no_such_shard(tmp_path):
    text = refused(data_train=str(tmp_path / "train.rec"))
    assert "--data-train" in text and "run first: python tools/im2rec.py" in text


def test_an_index_shorter_than_the_manifest(copy):
    index = copy / "train.idx"
    index.write_text("".join(index.read_text().splitlines(True)[:-1]))
    # Now its last record seems to reach to the end of the shard.
    assert "train.rec: record" in refused(data_train=str(copy / "train.rec"))


def test_another_shard_under_the_manifest(copy):
    for suffix in (".rec", ".idx"):
        shutil.copy(copy / f"val{suffix}", copy / f"train{suffix}")
    text = refused(data_train=str(copy / "train.rec"))
    assert "the index has 15 images, the manifest 60" in text and "pack again" in text


def test_the_index_of_another_shard(copy):
    rec = str(copy / "train.rec")
    text = refused(data_train=rec, data_train_idx=str(copy / "val.idx"))
    assert "train.rec" in text and "val.idx" in text and "--rebuild-index" in text
    text = refused("--data-val", str(copy / "val.rec"), str(copy / "train.idx"), None)
    assert "val.rec" in text and "train.idx" in text


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.9999])
def test_a_shard_cut_short(copy, share):
    path = copy / "train.rec"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    text = refused(data_train=str(path))
    assert "train.rec: record " in text and "byte" in text


def test_a_damaged_manifest(copy):
    (copy / "train.json").write_text('{"format": 1')
    text = refused(data_train=str(copy / "train.rec"))
    assert "train.json" in text and "damaged" in text and "pack again" in text


def test_labels_that_are_no_classes(packed, tmp_path):
    images = packed / "pictures" / "val"
    lines = [
        f"{number}\t{number % 3}.5\t{path.relative_to(images)}"
        for number, path in enumerate(sorted(images.glob("*/*.png")))
    ]
    (tmp_path / "train.lst").write_text("\n".join(lines) + "\n")
    assert im2rec.main([str(tmp_path / "train"), str(images), "--encoding", ".png"]) == 0
    text = refused(data_train=str(tmp_path / "train.rec"))
    assert "labels are no classes" in text and "pack" in text


def test_images_come_as_they_were_packed(packed):
    images = open_set("--data-val", str(packed / "val.rec"), "", None)
    labels = [images.shards.record(i).label for i in range(len(images))]
    assert np.bincount(np.array(labels, int)).tolist() == [5, 5, 5]


def test_a_share_of_the_training_images(packed):
    path = str(packed / "train.rec")
    tenth, third = (
        open_training_set(FitSettings(data_train=path, num_examples=60, train_fraction=share))
        for share in (0.1, 0.3)
    )
    assert len(tenth) == 6 and len(third) == 18 and len(third.shards) == 60
    assert set(tenth.chosen.tolist()) < set(third.chosen.tolist()) < set(range(60))
    other = open_training_set(FitSettings(data_train=path, seed=1, train_fraction=0.3))
    assert other.chosen.tolist() != third.chosen.tolist()
    assert open_training_set(FitSettings(data_train=path)).chosen is None

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import message_of, write_pack, write_records

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.matching import with_classes_of
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing import im2rec


def refused(*arguments):
    return message_of(open_dataset, *map(str, arguments))


def write_shard(path: Path, count: int, first: int = 0) -> str:
    """A shard without a manifest, as MXNet's tool leaves it."""
    payloads = [pack_header(n % 3, first + n) + b"image" for n in range(count)]
    return str(write_records(path, payloads, range(first, first + count)))


@pytest.fixture
def copy(packed, tmp_path):
    """A copy of the packed sets that a test may damage."""
    for path in packed.glob("*.*"):
        shutil.copy(path, tmp_path)
    return tmp_path


# --- with a manifest ------------------------------------------------------------------------------


def test_a_packed_dataset(packed):
    dataset = open_dataset(str(packed / "val.rec"))
    assert len(dataset) == 15 and dataset.has_manifest
    assert dataset.classes == (("circle", "circle"), ("cross", "cross"), ("square", "square"))
    labels = [dataset.shards.record(i).label for i in range(len(dataset))]
    assert np.bincount(np.array(labels, int)).tolist() == [5, 5, 5]


def test_the_fingerprint_changes_with_the_images(packed):
    train, val = (open_dataset(str(packed / f"{name}.rec")) for name in ("train", "val"))
    assert train.fingerprint != val.fingerprint
    again = open_dataset(str(packed / "train.rec"))
    assert again.fingerprint == train.fingerprint


# --- without a manifest ---------------------------------------------------------------------------


def test_shards_without_a_manifest_have_imagenets_classes(tmp_path):
    dataset = open_dataset(write_shard(tmp_path / "train.rec", 6))
    assert len(dataset.classes) == 1000 and not dataset.has_manifest
    assert dataset.classes[281] == ("n02123045", "tabby, tabby cat")


# --- the classes of a reference -------------------------------------------------------------------


# --- several shards -------------------------------------------------------------------------------


def test_several_shards_are_one_dataset(tmp_path):
    one, two = write_shard(tmp_path / "a.rec", 4), write_shard(tmp_path / "b.rec", 3, 4)
    for value in (f"{one},{two}", str(tmp_path / "*.rec")):
        dataset = open_dataset(value, "", 3)
        assert len(dataset) == 7
        assert [dataset.shards.record(i).id for i in range(7)] == list(range(7))
    assert open_dataset(f"{two},{one}", "", 3).fingerprint != dataset.fingerprint


def test_indexes_of_several_shards(tmp_path):
    one, two = write_shard(tmp_path / "a.rec", 4), write_shard(tmp_path / "b.rec", 3)
    moved = [shutil.move(tmp_path / f"{name}.idx", tmp_path / f"{name}.index") for name in "ab"]
    indexes = ",".join(map(str, moved))
    assert len(open_dataset(f"{one},{two}", indexes, 3)) == 7
    text = refused(f"{one},{two}", moved[0])
    assert text.startswith(one) and f"expected 2, got 1 ({moved[0]})" in text
    text = refused(f"{one},{two}", f"{moved[0]},gone.idx")
    assert "gone.idx" in text


def test_a_shard_without_its_index(packed, tmp_path):
    for name in ("train.rec", "train.json"):
        shutil.copy(packed / name, tmp_path / name)
    path = str(tmp_path / "train.rec")
    made = open_dataset(path)
    assert f"{tmp_path / 'train.idx'}: was missing" in made.note
    assert (tmp_path / "train.idx").read_bytes() == (packed / "train.idx").read_bytes()
    again = open_dataset(path)
    assert again.note == "" and again.fingerprint == made.fingerprint
    fewer = with_classes_of(made, (*made.classes, ("star", "star")), "val.rec")
    assert "was missing" in fewer.note and "3 of the 4 classes" in fewer.note


def test_packed_chunks_are_one_dataset(packed, tmp_path):
    images, prefix = str(packed / "pictures" / "train"), str(tmp_path / "train")
    assert im2rec.main(["--list", "--recursive", "--chunks", "2", prefix, images]) == 0
    assert im2rec.main(["--chunks", "2", prefix, images, "--encoding", ".png"]) == 0
    both = open_dataset(f"{prefix}_0.rec,{prefix}_1.rec")
    assert len(both) == 60 and both.has_manifest and len(both.classes) == 3
    one = open_dataset(f"{prefix}_0.rec")
    assert len(one) == 30 and one.fingerprint != both.fingerprint
    (tmp_path / "train_1.json").unlink()
    assert "train_1.json is missing" in refused(f"{prefix}_0.rec,{prefix}_1.rec")


def test_shards_of_different_classes(packed, tmp_path):
    other = write_pack(tmp_path, ("circle", "disc", "square"), "train")
    text = refused(f"{packed / 'train.rec'},{other}")
    assert other in text and "different classes" in text


# --- damage ---------------------------------------------------------------------------------------


def test_an_index_shorter_than_the_manifest(copy):
    index = copy / "train.idx"
    index.write_text("".join(index.read_text().splitlines(True)[:-1]))
    # Now its last record seems to reach to the end of the shard.
    assert "train.rec: record" in refused(copy / "train.rec")


def test_labels_that_are_not_classes(packed, tmp_path):
    images = packed / "pictures" / "val"
    lines = [
        f"{number}\t{number % 3}.5\t{path.relative_to(images)}"
        for number, path in enumerate(sorted(images.glob("*/*.png")))
    ]
    (tmp_path / "train.lst").write_text("\n".join(lines) + "\n")
    assert im2rec.main([str(tmp_path / "train"), str(images), "--encoding", ".png"]) == 0
    assert re.search(r"train\.rec: its labels .*--label-index", refused(tmp_path / "train.rec"))


# --- what is checked before the images are read ---------------------------------------------------


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def test_records_are_compared_with_the_manifest(copy):
    dataset = open_dataset(str(copy / "val.rec"))
    offset = int(dataset.shards.files[0].offsets[3])
    overwrite(copy / "val.rec", offset + 8 + 4 + 2, b"\x41")  # a bit of the label
    with pytest.raises(InputError, match=rf"record 3 at byte {offset}: .*--repair .*val$"):
        dataset.shards.record(3)
    dataset.shards.record(4)


@pytest.mark.parametrize("length", [-4, 4])
def test_a_shard_of_another_length_than_in_its_manifest(copy, length):
    path = copy / "val.rec"
    data = path.read_bytes()
    path.write_bytes(data[:length] if length < 0 else data + bytes(length))
    text = refused(path)
    assert "val.rec" in text and ("--repair" in text or "--rebuild-index" in text)


def test_a_renamed_pack_keeps_its_manifest(copy):
    for kind in ("rec", "idx", "json"):
        (copy / f"val.{kind}").rename(copy / f"renamed.{kind}")
    assert open_dataset(str(copy / "renamed.rec")).shards.files[0].has_checksums
    shutil.copy(copy / "train.json", copy / "renamed.json")
    assert "the manifest 60" in refused(copy / "renamed.rec")


def test_the_lines_of_an_index_are_in_the_order_of_the_records(copy):
    index = copy / "val.idx"
    first, second, *rest = index.read_text().splitlines(keepends=True)
    index.write_text("".join([second, first, *rest]))
    assert "--rebuild-index" in refused(copy / "val.rec")


@pytest.mark.parametrize("change", ["class", "checksum", "length"])
def test_a_manifest_that_contradicts_itself(copy, change):
    path = copy / "val.json"
    text = path.read_text()
    checksums = re.search(r'"crc32": "(.+)"', text)[1]
    path.write_text({
        "class": text.replace('"id": "cross"', '"id": "crass"'),
        "checksum": text.replace(checksums, checksums[:-8]),
        "length": text.replace(checksums, checksums[:-1]),
    }[change])  # fmt: skip
    assert "manifest is damaged" in refused(copy / "val.rec")


@pytest.mark.parametrize("label", [3.0, -1.0, 1.5, float("nan"), [1.0, 2.0]])
def test_all_labels_of_shards_without_a_manifest_are_classes(tmp_path, label):
    labels = [1, 1, 1, label, 1]
    write_records(tmp_path / "a.rec", [pack_header(one, 0) + b"image" for one in labels])
    good = write_shard(tmp_path / "good.rec", 4)
    offset = int(open_dataset(str(tmp_path / "a.rec"), "", 3, False).shards.files[0].offsets[3])
    with pytest.raises(InputError, match=rf"a\.rec: record 3 at byte {offset}: its? ") as caught:
        open_dataset(f"{good},{tmp_path / 'a.rec'}", "", 3)
    assert "label" in str(caught.value)


def test_records_without_an_image_are_left_out(tmp_path):
    # Sets for face recognition: flag 2, the first key of an identity and the one behind the last
    # image; then the images; then a record for each identity with its range of keys.
    images = [pack_header(label, key) + b"image" for key, label in ((1, 2.0), (2, 0.0), (3, 1.0))]
    records = [pack_header([4.0, 6.0], 0), *images, pack_header([1.0, 3.0], 4), pack_header(0, 5)]
    path = write_records(tmp_path / "a.rec", records)
    other = write_shard(tmp_path / "b.rec", 4)
    found = open_dataset(f"{path},{other}", "", 3)
    assert len(found) == 7 and "left out 3 of 10 records" in found.note
    assert [found.shards.record(number).labels for number in range(3)] == [(2,), (0,), (1,)]
    assert found.shards.keys.tolist()[:3] == [1, 2, 3]
    assert found.shards.locate(3) == (other, 0)
    with pytest.raises(InputError, match=r"record 0 .*label 2"):
        open_dataset(str(path), "", 2)
    empty = write_records(tmp_path / "c.rec", [pack_header([1.0, 1.0], 0)])
    with pytest.raises(InputError, match=r"c\.rec: none of its 1 records"):
        open_dataset(str(empty), "", 3)


def test_the_fingerprint_without_a_manifest_has_all_bytes_of_a_small_set(tmp_path):
    path = Path(write_shard(tmp_path / "a.rec", 6))
    before = open_dataset(str(path), "", 3)
    overwrite(path, int(before.shards.files[0].offsets[2]) + 8 + 24 + 1, b"M")
    after = open_dataset(str(path), "", 3)
    assert after.fingerprint != before.fingerprint
    # Runs of older versions know that of the index.
    assert after.old_fingerprint == before.old_fingerprint != ""


# --- fewer classes than the reference -------------------------------------------------------------

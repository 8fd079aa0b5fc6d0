"""Records as other programs write them."""

import os
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import write_records

from imagenet_trainer.data import EvaluationLoader, Loader, RecordDataset
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.headers import read_headers
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.data.records.recordio import pack_header, unpack
from imagenet_trainer.data.records.sequential import rebuild_index, scan
from imagenet_trainer.errors import InputError
from imagenet_trainer.explore.sources import NO_CLASS, open_source
from imagenet_trainer.packing import im2rec

IMAGE = cv2.imencode(".jpg", np.full((20, 24, 3), 90, np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.full((20, 24, 3), 90, np.uint8))[1].tobytes()


def packed_64(label, id, image):
    """What a copy of mxnet.recordio with `_IR_FORMAT = "IdQQ"` packs: C's alignment."""
    if isinstance(label, (int, float)):
        return struct.pack("IdQQ", 0, label, id, 0) + image
    return struct.pack("IdQQ", len(label), 0, id, 0) + np.array(label, np.float64).tobytes() + image


def face_set(folder, pack, identities=((4, 3), (2, 1))):
    """A set as insightface's face2rec writes it: a range, images, and a record per identity."""
    count = sum(map(len, identities))
    images = [pack(float(label), 0, IMAGE) for label, of in enumerate(identities) for _ in of]
    records = [pack([count + 1.0, count + 3.0], 0, b""), *images]
    records += [pack([1.0, 3.0], 0, b""), pack([3.0, 5.0], 0, b"")]
    (folder / "property").write_text("2,20,24\n")
    return write_records(folder / "train.rec", records, range(len(records)))


def packed_32(label, id, image):
    return pack_header(label, id) + image


# --- float64 labels -------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [3.0, 25_130_987.0, [1.0, 2.0, 16_777_217.0]], ids=str)
@pytest.mark.parametrize("image", [IMAGE, PNG, b""], ids=["jpeg", "png", "none"])
def test_float64_headers_are_recognised(label, image):
    record = unpack(packed_64(label, 12, image))
    assert list(record.labels) == (label if isinstance(label, list) else [label])
    assert (record.id, bytes(record.image), record.dtype) == (12, image, "<f8")


@pytest.mark.parametrize("label", [0.0, 3.0, [1.0, 2.0], [0.0] * 9], ids=str)
@pytest.mark.parametrize("image", [IMAGE, PNG, b"", b"unknown image", bytes(40)], ids=len)
def test_headers_of_mxnet_are_not_mistaken(label, image):
    for id in (0, 7, 2**63):
        record = unpack(pack_header(label, id) + image)
        assert list(record.labels) == (label if isinstance(label, list) else [label])
        assert (record.id, bytes(record.image), record.dtype) == (id, image, "<f4")


def test_a_shard_with_float64_headers(tmp_path):
    payloads = [packed_64(n % 3, n, IMAGE) for n in range(5)]
    payloads.append(packed_64([2.0] * 5, 5, PNG))
    path = write_records(tmp_path / "a.rec", payloads)
    with RecordFile(path) as file:
        headers = read_headers(file)
        assert headers.labels[:5].tolist() == [0, 1, 2, 0, 1] and np.isnan(headers.labels[5])
        assert read_headers(file, 4).labels[5] == 2
        assert [file.record(n).id for n in range(6)] == list(range(6))
    (tmp_path / "a.idx").unlink()
    assert rebuild_index(path) == 6
    assert [id for _, id in scan(path)] == list(range(6))


# --- sets for face recognition --------------------------------------------------------------------


@pytest.mark.parametrize("pack", [packed_32, packed_64])
def test_a_set_of_insightface(tmp_path, pack):
    path = face_set(tmp_path, pack)
    dataset = open_dataset(str(path))
    assert len(dataset) == 4 and len(dataset.classes) == 2
    assert "3 of 7 records" in dataset.note and "property: 2 classes" in dataset.note
    with RecordDataset(path) as records:
        assert [label for _, label in map(records.__getitem__, range(4))] == [0, 0, 1, 1]
        assert records[3][0] == IMAGE
    with Loader(path, 2, (3, 16, 16), threads=1) as loader:
        assert sorted(np.concatenate([labels for _, labels in loader])) == [0, 0, 1, 1]
    source = open_source(str(path))
    assert [source.info(n).label for n in range(len(source))] == [0, 0, 1, 1]


@pytest.mark.parametrize("text", ["", "2", "a,b,c", "1,2,3", "-5,1,1", "9" * 60, "2,20,24,1"])
def test_a_property_file_of_something_else(tmp_path, text):
    path = face_set(tmp_path, packed_32)
    (tmp_path / "property").write_text(text)
    assert len(open_dataset(str(path)).classes) == 1000


def test_the_property_must_fit_the_labels(tmp_path):
    path = face_set(tmp_path, packed_32, identities=((1,), (1,), (1,)))
    with pytest.raises(InputError, match="label 2 is not a class of 0 to 1"):
        open_dataset(str(path))
    assert len(open_dataset(str(path), num_classes=3).classes) == 3


# --- several labels -------------------------------------------------------------------------------


@pytest.fixture
def vectors(tmp_path):
    """Records of three labels: class, class of another kind, a quantity."""
    labels = [[n % 2, n % 3, n / 10] for n in range(6)]
    payloads = [pack_header(one, n) + IMAGE for n, one in enumerate(labels)]
    return SimpleNamespace(
        path=str(write_records(tmp_path / "v.rec", payloads)), labels=np.array(labels, np.float32)
    )


def test_one_of_several_labels(vectors):
    for index in (0, 1):
        expected = vectors.labels[:, index].astype(int).tolist()
        with RecordDataset(vectors.path, num_classes=3, label_index=index) as records:
            assert [records[n][1] for n in range(6)] == expected
        with EvaluationLoader(
            vectors.path, 4, (3, 16, 16), num_classes=3, label_index=index, threads=1
        ) as loader:
            assert np.concatenate([labels for _, labels in loader]).tolist() == expected
        source = open_source(vectors.path, label_index=index)
        assert [source.info(n).label for n in range(6)] == expected
    folder = open_source(os.path.dirname(vectors.path), label_index=1)
    assert [folder.info(n).label for n in range(6)] == vectors.labels[:, 1].tolist()
    one, two = (open_dataset(vectors.path, "", 3, label_index=n) for n in (0, 1))
    assert one.fingerprint != two.fingerprint


def test_all_labels(vectors):
    with RecordDataset(vectors.path, all_labels=True) as records:
        for number, expected in enumerate(vectors.labels):
            image, labels = records[number]
            np.testing.assert_array_equal(labels, expected)
            assert labels.dtype == np.float32 and image == IMAGE


def test_several_labels_without_a_choice(vectors):
    with pytest.raises(InputError, match=r"3 labels .*--label-index 0 to 2"):
        open_dataset(vectors.path)
    with pytest.raises(InputError, match=r"3 labels and none of index 3"):
        open_dataset(vectors.path, label_index=3)
    with pytest.raises(InputError, match=r"record 1 .*label 0.1 is not a class"):
        open_dataset(vectors.path, label_index=2)
    source = open_source(vectors.path)
    assert "3 labels" in source.note and source.info(0).label == NO_CLASS


def test_several_labels_in_a_pack_of_ours(packed, tmp_path):
    images = packed / "pictures" / "val"
    paths = sorted(images.glob("*/*.png"))
    lines = [f"{n}\t{n % 4}\t{n % 2}.5\t{one.relative_to(images)}" for n, one in enumerate(paths)]
    (tmp_path / "v.lst").write_text("\n".join(lines) + "\n")
    assert im2rec.main([str(tmp_path / "v"), str(images), "--pack-label", "--pass-through"]) == 0
    path = str(tmp_path / "v.rec")
    with pytest.raises(InputError, match="--label-index"):
        open_dataset(path)
    dataset = open_dataset(path, "", 4, label_index=0)
    assert (len(dataset), len(dataset.classes)) == (len(paths), 4)
    with pytest.raises(InputError, match=r"label 3 is not a class of 0 to 2"):
        open_dataset(path, "", 3, label_index=0)
    with RecordDataset(path, all_labels=True) as records:
        assert records[5][1].tolist() == [1, 1.5]


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys", [[5, 6, 7], [1, 1, 1], [40, 3, 900], [2**63, 2**64 - 1, 0]], ids=str
)
def test_keys_of_any_kind(tmp_path, keys, capsys):
    path = write_records(tmp_path / "a.rec", [packed_32(n, keys[n], IMAGE) for n in range(3)], keys)
    for _ in range(2):  # with the index that was there, and with one made from the ids
        with RecordDataset(path, num_classes=3) as records:
            assert [records[n] for n in range(3)] == [(IMAGE, n) for n in range(3)]
        assert im2rec.main(["--verify", str(tmp_path / "a")]) == 0
        assert "other ids" not in capsys.readouterr().out
        (tmp_path / "a.idx").unlink()


def test_ids_are_unpacked_as_names(tmp_path):
    keys = [2**63 + 1, 4]
    write_records(tmp_path / "a.rec", [packed_32(0, key, IMAGE) for key in keys], keys)
    assert im2rec.main(["--unpack", str(tmp_path / "a"), str(tmp_path / "out")]) == 0
    names = {one.name for one in (tmp_path / "out").rglob("*.jpg")}
    assert names == {f"{2**63 + 1}.jpg", "00000004.jpg"}


# --- verification ---------------------------------------------------------------------------------


def verified(path, capsys, code=0):
    assert im2rec.main(["--verify", str(path)]) == code
    done = capsys.readouterr()
    return done.out if code == 0 else done.err


def test_undamaged_shards_of_others(tmp_path, capsys):
    images = [packed_32(n % 2, n, IMAGE) for n in range(4)]
    path = write_records(tmp_path / "own.rec", images)
    assert "whole, written by an unknown program" in verified(path, capsys)
    lines = [f"{n}\t{n % 2}.000000\t{n}.jpg\n" for n in range(4)]
    (tmp_path / "own.lst").write_text("".join(lines))
    assert "im2rec.py" in verified(path, capsys)
    (tmp_path / "own.lst").write_text("".join(reversed(lines)))
    assert "unknown" in verified(path, capsys)
    # All ids are 0, as many writers leave them.
    write_records(tmp_path / "own.rec", [packed_32(n % 2, 0, IMAGE) for n in range(4)], range(4))
    assert "3 records have other ids" in verified(path, capsys)
    (tmp_path / "own.idx").unlink()
    assert "whole" in verified(path, capsys)


@pytest.mark.parametrize("pack", [packed_32, packed_64])
def test_an_undamaged_set_of_insightface(tmp_path, capsys, pack):
    out = verified(face_set(tmp_path, pack), capsys)
    assert "whole, written by a tool of insightface" in out and "3 records have no image" in out
    assert ("float64" in out) == (pack is packed_64)


def test_damage_of_shards_of_others(tmp_path, capsys):
    broken = IMAGE[:200] + bytes(100) + IMAGE[300:]
    path = write_records(tmp_path / "a.rec", [packed_32(0, 0, IMAGE), packed_32(1, 1, b"text")])
    assert "record 1" in verified(path, capsys, 2)
    path = write_records(
        tmp_path / "a.rec", [packed_32(0, 0, IMAGE), packed_32(1, 1, broken[:250])]
    )
    assert "record 1" in verified(path, capsys, 2)
    path.write_bytes(path.read_bytes()[:-8])
    assert "damaged" in verified(path, capsys, 2)


def test_a_list_with_several_labels(packed, tmp_path, capsys):
    # As SageMaker's channels train_lst and validation_lst may have it.
    images = packed / "pictures" / "val"
    paths = sorted(images.glob("*/*.png"))
    lines = [f"{n}\t{n % 4}\t{n % 2}\t{one.relative_to(images)}\n" for n, one in enumerate(paths)]
    (tmp_path / "v.lst").write_text("".join(lines))
    words = [str(tmp_path / "v"), str(images), "--pass-through"]
    for index, classes in ((0, 4), (1, 2)):
        assert im2rec.main([*words, "--label-index", str(index)]) == 0
        with RecordDataset(tmp_path / "v.rec") as records:
            assert [records[n][1] for n in range(5)] == [n % classes for n in range(5)]
    before = (tmp_path / "v.rec").read_bytes()
    (tmp_path / "v.rec").write_bytes(before[:99] + b"\0\1" + before[101:])
    assert im2rec.main(["--repair", str(tmp_path / "v")]) == 0
    assert (tmp_path / "v.rec").read_bytes() == before
    for wrong in (["--label-index", "2"], ["--label-index", "0", "--pack-label"]):
        assert im2rec.main([*words, *wrong]) == 2
        assert "--label-index" in capsys.readouterr().err

"""Packs to the formats of other programs and back, and files of these programs."""

import gzip
import importlib.util
import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_images
from helpers import miniature

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.manifest import known_synsets, read_manifest
from imagenet_trainer.packing import im2rec
from imagenet_trainer.packing.formats import parquet, tfrecord, webdataset
from imagenet_trainer.packing.formats.collection import class_names, open_collection
from imagenet_trainer.packing.formats.crc32c import masked

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is missing"
)
PARQUET = pytest.param("parquet", marks=needs_pyarrow)
JPEG = cv2.imencode(".jpg", np.full((20, 24, 3), 90, np.uint8))[1].tobytes()


def content(prefix):
    """(image, label) of all records in their order, and the classes."""
    dataset = open_dataset(f"{prefix}.rec")
    with dataset.shards as shards:
        records = [shards.record(number) for number in range(len(shards))]
        return [(bytes(one.image), one.label) for one in records], dataset.classes


@pytest.fixture
def pack(tmp_path):
    """Nine files in three folders, as they are, in a shuffled order; the prefix of the pack."""
    write_images(tmp_path / "images", 3)
    prefix = str(tmp_path / "data" / "train")
    assert im2rec.main(["--list", "--recursive", prefix, str(tmp_path / "images")]) == 0
    assert im2rec.main(["--pass-through", prefix, str(tmp_path / "images")]) == 0
    return prefix


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["webdataset", PARQUET])
def test_a_pack_goes_there_and_back(tmp_path, pack, to, monkeypatch, capsys):
    module = {"webdataset": webdataset, "parquet": parquet}[to]
    monkeypatch.setattr(module, "_MOST_IMAGES", 4)  # three files
    out, again = str(tmp_path / "out"), str(tmp_path / "again" / "train")
    assert im2rec.main(["--unpack", pack, out, "--to", to]) == 0
    assert len([name for name in os.listdir(out) if name != "classes.txt"]) == 3
    assert im2rec.main([again, out, "--pass-through", "--num-thread", "2"]) == 0
    assert content(again) == content(pack)
    source = read_manifest(f"{again}.rec").source
    assert source["kind"] == module.KIND and len(source["files"]) == 3
    assert read_manifest(f"{pack}.rec").source == {}
    # The same commands again find that all is done.
    capsys.readouterr()
    assert im2rec.main([again, out, "--pass-through"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert im2rec.main(["--unpack", pack, out, "--to", to]) == 0
    assert "0 images from" in capsys.readouterr().out
    # A list can be made alone, too, and repair reads the images from the files.
    assert im2rec.main(["--list", "--recursive", again, out]) == 0
    before = Path(f"{again}.rec").read_bytes()
    Path(f"{again}.rec").write_bytes(before[:300] + b"\0\1\2" + before[303:])
    assert im2rec.main(["--repair", again]) == 0
    assert Path(f"{again}.rec").read_bytes() == before


@pytest.mark.parametrize("to", ["webdataset", PARQUET])
def test_an_interrupted_command_continues_and_other_content_is_refused(
    tmp_path, pack, to, monkeypatch, fails
):
    module = {"webdataset": webdataset, "parquet": parquet}[to]
    monkeypatch.setattr(module, "_MOST_IMAGES", 4)
    out = tmp_path / "out"
    assert im2rec.main(["--unpack", pack, str(out), "--to", to]) == 0
    files = {path: path.read_bytes() for path in out.iterdir()}
    first, second = sorted(files)[-3:-1]
    second.unlink()
    assert im2rec.main(["--unpack", pack, str(out), "--to", to]) == 0
    assert {path: path.read_bytes() for path in out.iterdir()} == files
    first.write_bytes(files[second])
    assert "exists with other content" in fails("--unpack", pack, out, "--to", to)


def test_the_libraries_read_what_was_written(tmp_path, pack):
    wds = pytest.importorskip("webdataset")
    im2rec.main(["--unpack", pack, str(tmp_path), "--to", "webdataset"])
    samples = [*wds.WebDataset(str(tmp_path / "train-000000.tar"), shardshuffle=False)]
    images, _ = content(pack)
    assert [(one["png"], float(one["cls"])) for one in samples] == images
    datasets = pytest.importorskip("datasets")
    im2rec.main(["--unpack", pack, str(tmp_path), "--to", "parquet"])
    rows = datasets.Dataset.from_parquet(str(tmp_path / "*.parquet"), cache_dir=str(tmp_path))
    assert rows.features["label"].names == ["circle", "cross", "square"]
    assert [one["label"] for one in rows] == [label for _, label in images]
    assert rows[0]["image"].size == (20, 20)
    raw = rows.cast_column("image", datasets.Image(decode=False))
    assert [one["image"]["bytes"] for one in raw] == [data for data, _ in images]


# --- files of other programs ----------------------------------------------------------------------


def write_tar(path, files):
    path.write_bytes(miniature.tar_of(dict(files)))
    return path


def test_a_webdataset_keeps_its_order_and_names(tmp_path, capsys):
    files = [
        ("b.json", b"{}"), ("b.jpg", JPEG), ("b.cls", b"1\n"), ("dir/a.x.JPEG", JPEG),
        ("dir/a.jpeg", JPEG), ("dir/a.cls", b"0"), ("._b.jpg", b"x"), ("__key__.txt", b"x"),
    ]  # fmt: skip
    write_tar(tmp_path / "train-0.tar", files)
    prefix = tmp_path / "out"
    assert im2rec.main(["--list", str(prefix), str(tmp_path / "train-0.tar")]) == 0
    lines = [line.split("\t") for line in (tmp_path / "out.lst").read_text().splitlines()]
    assert [(int(float(label)), path) for _, label, path in lines] == [
        (1, "train-0.tar/b.jpg"), (0, "train-0.tar/dir/a.jpeg"),
    ]  # fmt: skip
    (tmp_path / "._train-0.tar").write_bytes(b"of macOS")
    for root in (tmp_path, f"{tmp_path}/train-*.tar,{tmp_path}/train-0.tar"):
        assert im2rec.main(["--list", str(tmp_path / "again"), str(root)]) == 0
        assert (tmp_path / "again.lst").read_bytes() == (tmp_path / "out.lst").read_bytes()
    assert im2rec.main([str(prefix), str(tmp_path / "train-*.tar")]) == 0
    assert content(prefix)[1] == (("class_0", "class_0"), ("class_1", "class_1"))


def varint(number):
    data = b""
    while number >= 0x80:
        data, number = data + bytes([number & 0x7F | 0x80]), number >> 7
    return data + bytes([number])


def field(number, data):
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def example(image, label, synset="", name="a.JPEG"):
    """A tf.train.Example as slim's build_imagenet_data.py writes it, and some of its other fields.

    The label is not packed, as old versions of protocol buffers write it, if it is odd.
    """
    values = b"".join([b"\x08", varint(label)]) if label % 2 else field(1, varint(label))
    features = {
        "image/encoded": field(1, field(1, image)), "image/class/label": field(3, values),
        "image/class/synset": field(1, field(1, synset.encode())),
        "image/filename": field(1, field(1, name.encode())),
        "image/height": field(3, field(1, varint(20))),
        "image/object/bbox/xmin": field(2, field(1, struct.pack("<2f", 0.1, 0.9))),
        "image/object/bbox/label": field(3, b""),
    }  # fmt: skip
    return field(1, b"".join(
        field(1, field(1, key.encode()) + field(2, value)) for key, value in features.items()
    ))  # fmt: skip


def record(data):
    head = struct.pack("<Q", len(data))
    return b"".join([head, struct.pack("<I", masked(head)), data, struct.pack("<I", masked(data))])


def test_tfrecords_of_imagenet(tmp_path, capsys):
    images = [cv2.imencode(".jpg", np.full((9, 9, 3), n, np.uint8))[1].tobytes() for n in range(5)]
    names = ["n01440764", "n01443537", "n01484850"]
    rows = [(2, 0), (1, 1), (3, 2), (1, 3), (3, 4)]
    data = [
        record(example(images[n], label, names[label - 1], f"{names[label - 1]}_{n}.JPEG"))
        for label, n in rows
    ]
    (tmp_path / "train-00000-of-00002").write_bytes(b"".join(data[:3]))
    (tmp_path / "train-00001-of-00002").write_bytes(b"".join(data[3:]))
    prefix = tmp_path / "own" / "train"
    assert im2rec.main([str(prefix), str(tmp_path), "--pass-through"]) == 0
    assert "label 1 is class 0" in capsys.readouterr().out
    packed, classes = content(prefix)
    assert packed == [(images[n], float(label - 1)) for label, n in rows]
    assert [one for one, _ in classes] == names and classes[0][1].startswith("tench")
    # Unpacked, the files have the names that the records hold.
    assert im2rec.main(["--unpack", str(prefix), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / names[1] / f"{names[1]}_0.JPEG").read_bytes() == images[0]


def test_tfrecords_of_another_writer(tmp_path):
    library = pytest.importorskip("tfrecord")
    writer = library.TFRecordWriter(str(tmp_path / "a.tfrecord"))
    for label in (0, 300, 2):
        row = {"image/encoded": (JPEG, "byte"), "image/class/label": (label, "int")}
        writer.write(row)
    writer.close()
    rows = tfrecord.TFRecords([str(tmp_path / "a.tfrecord")])
    images = [*rows.images()]
    assert [label for _, label in images] == [0, 300, 2] and not rows.note
    assert all(rows.read(path) == JPEG for path, _ in images)


def test_a_parquet_without_metadata(tmp_path):
    pa = pytest.importorskip("pyarrow")
    rows = [{"image": {"bytes": JPEG, "path": None}, "label": n} for n in (1, 0, 2)]
    rows.append({"image": {"bytes": None, "path": "elsewhere.jpg"}, "label": 1})
    parquet.library().write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    prefix = str(tmp_path / "x")
    words = [prefix, str(tmp_path / "a.parquet"), "--max-rejected", "1", "--pass-through"]
    assert im2rec.main(words) == 1
    packed, classes = content(prefix)
    assert packed == [(JPEG, 1), (JPEG, 0), (JPEG, 2)] and len(classes) == 3
    assert "only a path" in read_manifest(f"{prefix}.rec").rejected[0].reason


class Named:
    """A set of which only the names of the classes are asked."""

    def __init__(self, names):
        self.names = dict(enumerate(names))

    def class_names(self, examples):
        return self.names


def test_names_of_imagenet_become_wordnet_ids():
    known = known_synsets()
    titles = [*known.values()]
    assert class_names(Named(titles), {}) == dict(enumerate(known))
    titles[7] = "another spelling"
    assert class_names(Named(titles), {}) == dict(enumerate(known))
    some = ["tench, Tinca tinca", "tabby, tabby cat"]
    assert class_names(Named(some), {}) == {0: "n01440764", 1: "n02123045"}
    for other in ([*some, "a dog of mine"], titles[::-1], titles[:999], ["cat", "dog"]):
        assert class_names(Named(other), {}) == dict(enumerate(other))


# --- wrong and hostile files ----------------------------------------------------------------------


def hostile_tfrecords():
    whole = record(example(JPEG, 1))
    head = struct.pack("<Q", 1 << 62)
    other = record(example(JPEG, 2, "n02", ""))
    yield "declared length", head + struct.pack("<I", masked(head)) + b"x" * 40, "are more than"
    yield "checksum of the length", b"\1" + whole[1:], "wrong checksum"
    yield "cut short", whole[:-9], "are more than|ends inside"
    yield "no example", record(b"\xff" * 20), "not a tf.train.Example"
    yield "length of a field", record(field(1, b"\x0a\xff\xff\xff\xff\x0f")), "not a tf.train"
    yield "no label", record(b""), "image/class/label"
    yield "two names", record(example(JPEG, 2, "n01")) + other, "'n02' there and 'n01' before"
    yield "empty", b"", "is empty"
    yield "compressed", gzip.compress(whole), "gunzip"


@pytest.mark.parametrize(
    ("data", "message"), [pytest.param(*one[1:], id=one[0]) for one in hostile_tfrecords()]
)
def test_hostile_tfrecords(tmp_path, fails, data, message):
    (tmp_path / "a.tfrecord").write_bytes(data)
    line = fails(tmp_path / "x", tmp_path / "a.tfrecord")
    assert any(part in line for part in message.split("|")), line
    assert not (tmp_path / "x.lst").exists()


def test_examples_of_random_bytes():
    random = np.random.default_rng(0)
    whole = np.frombuffer(example(b"image", 3, "n01440764"), np.uint8)
    parsed = 0
    for _ in range(2000):
        data = whole.copy()
        data[random.integers(len(data), size=random.integers(1, 4))] = random.integers(256)
        try:
            tfrecord.parse_example(data[: random.integers(len(data) + 1)].tobytes())
            parsed += 1
        except (ValueError, IndexError):  # which the reader reports
            pass
    assert 0 < parsed < 2000


def test_changed_bytes_of_a_tfrecord_are_rejected(tmp_path):
    data = bytearray(record(example(JPEG, 0)) + record(example(JPEG, 1)))
    data[60] ^= 1  # of the first image
    (tmp_path / "a.tfrecord").write_bytes(data)
    words = [str(tmp_path / "x"), str(tmp_path / "a.tfrecord"), "--max-rejected", "1"]
    assert im2rec.main(words) == 1
    assert "CRC-32C" in read_manifest(str(tmp_path / "x.rec")).rejected[0].reason


def test_names_cannot_lead_out_of_a_folder(tmp_path):
    rows = [record(example(JPEG, n, name=name)) for n, name in enumerate(
        ["../../a.jpg", "..", "/etc/b.jpg", "c\td\n.jpg", "..\\e.jpg"])]  # fmt: skip
    (tmp_path / "a.tfrecord").write_bytes(b"".join(rows))
    assert im2rec.main([str(tmp_path / "x"), str(tmp_path / "a.tfrecord")]) == 0
    assert im2rec.main(["--unpack", str(tmp_path / "x"), str(tmp_path / "out")]) == 0
    names = {one.name for one in (tmp_path / "out").rglob("*.*")}
    assert {"a.jpg", "b.jpg", "c_d_.jpg", "e.jpg"} < names and len(names) == 5
    assert {one.name for one in tmp_path.iterdir()} == {
        "a.tfrecord", "out", "x.idx", "x.json", "x.lst", "x.rec"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("a.jpg", JPEG), ("a.cls", b"cat")], "number of a class"),
        ([("a.jpg", JPEG), ("a.cls", b"1" * 200)], "number of a class"),
        ([("a.jpg", JPEG), ("a.cls", b"1"), ("b.jpg", JPEG)], "sample b has no .cls"),
        ([("a.jpg", JPEG), ("a.cls", b"1"), ("../b.jpg", JPEG)], ".."),
    ],
)
def test_wrong_webdatasets(tmp_path, fails, files, message):
    write_tar(tmp_path / "a.tar", files)
    assert message in fails(tmp_path / "x", tmp_path / "a.tar")
    data = write_tar(tmp_path / "a.tar", files[:2]).read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:1100])
    assert fails(tmp_path / "x", tmp_path / "a.tar")


def test_classes_that_are_too_few(tmp_path, fails):
    write_tar(tmp_path / "a.tar", [("a.jpg", JPEG), ("a.cls", b"2")])
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert "classes.txt: has 2 classes" in fails(tmp_path / "x", tmp_path / "a.tar")


@needs_pyarrow
def test_wrong_parquet_files(tmp_path, fails, monkeypatch):
    import pyarrow as pa

    path = tmp_path / "a.parquet"

    def refused(rows, metadata=None):
        table = pa.Table.from_pylist(rows).replace_schema_metadata(metadata)
        parquet.library().write_table(table, path)
        line = fails(tmp_path / "x", path)
        assert not (tmp_path / "x.lst").exists()
        return line

    good = {"image": {"bytes": JPEG, "path": "a.jpg"}, "label": 1}
    assert "'label' (ClassLabel of datasets), and has none" in refused([{"image": good["image"]}])
    assert "structure of bytes and path" in refused([{**good, "image": JPEG}])
    assert "no number of a class" in refused([{**good, "label": "cat"}])
    assert "has no label (-1)" in refused([good, {**good, "label": -1}])
    features = {name: {"_type": "ClassLabel"} for name in ("fine", "coarse")}
    two = {"huggingface": json.dumps({"info": {"features": features}})}
    assert "several (fine, coarse)" in refused([{**good, "fine": 1, "coarse": 0}], two)
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "_MOST_GROUP", 100)
        assert "smaller row groups" in refused([good])
    for broken in ("no JSON", "[]", '{"info": 3}'):
        table = pa.Table.from_pylist([good]).replace_schema_metadata({"huggingface": broken})
        parquet.library().write_table(table, path)
        assert [label for _, label in open_collection(str(path)).images()] == [1]
    features = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    named = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.Table.from_pylist([good]).replace_schema_metadata(named)
    parquet.library().write_table(table, tmp_path / "b.parquet")
    assert "other classes than" in fails(tmp_path / "x", f"{path},{tmp_path / 'b.parquet'}")
    data = path.read_bytes()
    for damaged in (data[:-20], data[:40] + bytes(60) + data[100:], b"PAR1", b""):
        path.write_bytes(damaged)
        assert str(path) in fails(tmp_path / "x", path)


def test_roots_that_are_no_set(tmp_path, fails):
    for name in ("train-0.tar", "val-0.tar"):
        write_tar(tmp_path / name, [("a.jpg", JPEG), ("a.cls", b"0")])
    assert "several sets" in fails(tmp_path / "x", tmp_path)
    assert "no such folder" in fails("--list", tmp_path / "x", tmp_path / "none-*.tar")
    (tmp_path / "a.beton").write_bytes(b"x")
    assert "ffcv" in fails(tmp_path / "x", tmp_path / "a.beton")
    assert "--flat" in fails("--list", "--flat", tmp_path / "x", tmp_path / "val-0.tar")
    assert "--unpack" in fails("--verify", tmp_path / "x", "--to", "parquet")
    other = f"{tmp_path / 'train-0.tar'},{tmp_path / 'b.tfrecord'}"
    (tmp_path / "b.tfrecord").write_bytes(record(example(JPEG, 0)))
    assert "several formats" in fails(tmp_path / "x", other)


def test_a_missing_library_is_one_line(tmp_path, fails, monkeypatch, pack):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    assert "pip install" in fails("--unpack", pack, tmp_path / "out", "--to", "parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert "pip install" in fails(tmp_path / "x", tmp_path / "a.parquet")


def test_labels_of_a_reference_follow_changed_names(tmp_path):
    write_tar(
        tmp_path / "a.tar", [("a.jpg", JPEG), ("a.cls", b"0"), ("b.jpg", JPEG), ("b.cls", b"1")]
    )
    (tmp_path / "reference.txt").write_text("dog\nfox\ncat\n")
    words = ["--pass-through", "--classes-from", str(tmp_path / "reference.txt")]
    for names, labels in (("cat\ndog\n", [2, 0]), ("dog\ncat\n", [0, 2])):
        (tmp_path / "classes.txt").write_text(names)
        assert im2rec.main([str(tmp_path / "x"), str(tmp_path / "a.tar"), *words]) == 0
        assert [label for _, label in content(tmp_path / "x")[0]] == labels


def test_a_changed_source_is_packed_again(tmp_path, capsys):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", JPEG), ("a.cls", b"0")])
    words = [str(tmp_path / "x"), str(path), "--pass-through"]
    assert im2rec.main(words) == 0 == im2rec.main(words)
    assert "up to date" in capsys.readouterr().out
    larger = cv2.imencode(".jpg", np.full((99, 99, 3), 9, np.uint8))[1].tobytes()
    write_tar(path, [("a.jpg", larger), ("a.cls", b"0")])
    assert im2rec.main(words) == 0
    assert "up to date" not in capsys.readouterr().out
    assert content(tmp_path / "x")[0] == [(larger, 0.0)]
    manifest = read_manifest(str(tmp_path / "x.rec"))
    assert replace(manifest, source={}) != manifest

"""Packs from idx files, and damaged ones."""

import gzip
import struct

import cv2
import numpy as np
import pytest

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.packing import im2rec
from imagenet_trainer.packing.formats import idx
from imagenet_trainer.packing.formats.collection import open_collection

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 4), np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2, 2], np.uint8)


def encoded(array):
    """An array as idx files have it."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Seven images in two sets, the first compressed."""
    for name, (images, labels) in {
        "train": (IMAGES[:4], LABELS[:4]),
        "t10k": (IMAGES, LABELS),
    }.items():
        pack, end = (gzip.compress, ".gz") if name == "train" else (bytes, "")
        (tmp_path / f"{name}-images-idx3-ubyte{end}").write_bytes(pack(encoded(images)))
        (tmp_path / f"{name}-labels-idx1-ubyte{end}").write_bytes(pack(encoded(labels)))
    return tmp_path


def packed(prefix):
    """The images and labels of a pack in their order, and the names of its classes."""
    dataset = open_dataset(f"{prefix}.rec")
    with dataset.shards as shards:
        records = [shards.record(number) for number in range(len(shards))]
        pixels = [
            cv2.imdecode(np.frombuffer(one.image, np.uint8), cv2.IMREAD_UNCHANGED)
            for one in records
        ]
        return np.stack(pixels), [one.label for one in records], dataset.classes


@pytest.mark.parametrize(
    ("root", "count"),
    [
        ("train*", 4), ("t10k-images-idx3-ubyte", 7), ("t10k-labels-idx1-ubyte", 7),
        ("t10k-images-idx3-ubyte,t10k-labels-idx1-ubyte", 7),
    ],
)  # fmt: skip
def test_pixels_labels_and_order_stay(folder, root, count, capsys):
    prefix = folder / "data" / "x"
    where = ",".join(str(folder / one) for one in root.split(","))
    assert im2rec.main([str(prefix), where, "--pass-through"]) == 0
    pixels, labels, classes = packed(prefix)
    np.testing.assert_array_equal(pixels, IMAGES[:count])
    assert labels == LABELS[:count].tolist()
    assert [one for one, _ in classes] == ["0", "1", "2"]
    source = read_manifest(f"{prefix}.rec").source
    assert source["kind"] == "idx" and len(source["files"]) == 2
    capsys.readouterr()
    assert im2rec.main([str(prefix), where, "--pass-through"]) == 0
    assert "up to date" in capsys.readouterr().out


def test_names_of_classes(folder, fails, monkeypatch):
    images = str(folder / "t10k-images-idx3-ubyte")
    (folder / "classes.txt").write_text("zero\none\ntwo\n")
    assert open_collection(images).class_names({2: "x"}) == {0: "zero", 1: "one", 2: "two"}
    (folder / "classes.txt").write_text("zero\none\n")
    assert "2 classes" in fails(folder / "x", images)
    (folder / "classes.txt").unlink()
    digest = idx.hashlib.sha256(encoded(LABELS)).hexdigest()
    monkeypatch.setattr(idx, "_FASHION_LABELS", (digest,))
    assert open_collection(images).class_names({2: "x"})[9] == "ankle-boot"


def test_a_folder_of_both_sets_needs_a_pattern(folder, fails):
    assert "train*" in fails(folder / "x", folder)


def damaged():
    whole = encoded(IMAGES)
    yield "cut short", whole[:-3], "only 137"
    yield "too long", whole + b"x", "more"
    yield "other axes", encoded(IMAGES[0]), "no idx file"
    yield "integers", whole[:2] + b"\x0c" + whole[3:], "no idx file"
    yield "empty", b"", "no idx file"
    yield "no images", encoded(IMAGES[:0]), "0 x 5 x 4"
    yield "huge", whole[:4] + b"\xff" * 12 + whole[16:], "4294967295"
    yield "fewer", encoded(IMAGES[:6]), "7 labels"


@pytest.mark.parametrize(
    ("data", "message"), [pytest.param(*one[1:], id=one[0]) for one in damaged()]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files(tmp_path, fails, data, message, compressed):
    pack, end = (gzip.compress, ".gz") if compressed else (bytes, "")
    images = tmp_path / f"t-images-idx3-ubyte{end}"
    images.write_bytes(pack(data))
    (tmp_path / f"t-labels-idx1-ubyte{end}").write_bytes(pack(encoded(LABELS)))
    assert message in fails(tmp_path / "x", images)
    assert not (tmp_path / "x.lst").exists()


def test_a_missing_partner_and_a_damaged_archive(folder, fails):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert "cannot be unpacked" in fails(folder / "x", path)
    path.write_bytes(b"\x1f\x8b" + b"\xff" * 20)
    assert "cannot be unpacked" in fails(folder / "x", path)
    path.write_bytes(b"no gzip")
    assert "cannot be unpacked" in fails(folder / "x", path)
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    assert "train-labels-idx1-ubyte.gz is missing" in fails(folder / "x", path)

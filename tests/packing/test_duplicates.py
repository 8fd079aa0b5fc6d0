import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_records

from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.packing.duplicates import difference_hash, looks_same, near_pairs
from imagenet_trainer.packing.im2rec import main


def photograph(seed, size=(120, 160)):
    """Soft blobs, as different from each other as photographs are."""
    random = np.random.default_rng(seed)
    return cv2.resize(
        random.integers(0, 256, (6, 8, 3), dtype=np.uint8),
        size[::-1],
        interpolation=cv2.INTER_CUBIC,
    )


def encode(pixels, quality=95):
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Training and validation sets with copies of some images, packed."""
    monkeypatch.chdir(tmp_path)
    images = {
        "train/ant/0.jpg": encode(photograph(0)),
        "train/ant/1.jpg": encode(photograph(1)),
        "train/ant/copy of 1.jpg": encode(photograph(1)),
        "train/bee/2.jpg": encode(photograph(2)),
        "train/bee/3.jpg": encode(photograph(3)),
        "train/bee/flat.jpg": encode(np.full((50, 50, 3), 90, np.uint8)),
        "train/bee/flatter.jpg": encode(np.full((50, 50, 3), 80, np.uint8)),
        "val/ant/2.jpg": encode(photograph(2)),  # with another label
        "val/ant/4.jpg": encode(photograph(4)),
        "val/bee/small 3.jpg": encode(cv2.resize(photograph(3), (100, 75)), 70),
    }
    for name, data in images.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)
    for name, shards in (("train", "3"), ("val", "1")):
        assert main(["--list", "--recursive", f"data/{name}", name]) == 0
        assert main([f"data/{name}", name, "--pass-through", "--shards", shards]) == 0
    return tmp_path


def test_copies_within_and_between_sets(folder, capsys):
    capsys.readouterr()
    assert main(["--duplicates", "data/train", "data/val"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines[:2]) == [
        "same bytes (labels 0, 1): data/train: bee/2.jpg = data/val: ant/2.jpg",
        "same bytes: data/train: " + " = data/train: ".join(
            sorted(["ant/1.jpg", "ant/copy of 1.jpg"], key=order("data/train"))
        ),
    ]  # fmt: skip
    assert lines[2].startswith("same bytes: 2 groups of 4 images, 1 of them across sets, 1 with")
    assert lines[3].startswith("data/train.duplicates.json: ")
    report = json.loads(Path("data/train.duplicates.json").read_text())
    assert {place["path"] for group in report["same_bytes"] for place in group} == {
        "ant/1.jpg", "ant/copy of 1.jpg", "bee/2.jpg", "ant/2.jpg",
    }  # fmt: skip
    assert report["look_alike"] == []


def order(prefix):
    """A key that sorts as the list of a pack."""
    paths = [line.split("\t")[2] for line in Path(f"{prefix}.lst").read_text().splitlines()]
    return paths.index


def test_a_set_without_copies(folder, capsys):
    capsys.readouterr()
    assert main(["--duplicates", "data/val.rec"]) == 0
    assert capsys.readouterr().out.startswith("same bytes: 0 groups of 0 images")
    # Records without an image, as other programs write them, are no copies of each other.
    write_records(Path("data/faces.rec"), [pack_header([1.0, 2.0], key) for key in range(2)])
    assert main(["--duplicates", "data/faces"]) == 0


def test_similar_images(folder, capsys):
    capsys.readouterr()
    Path("data/val.lst").unlink()
    assert main(["--near-duplicates", "4", "data/train", "data/val", "--num-thread", "3"]) == 1
    lines = [one for one in capsys.readouterr().out.splitlines() if one.startswith("similar")]
    report = json.loads(Path("data/train.duplicates.json").read_text())
    (group,) = report["look_alike"]
    assert group[0]["path"] == "bee/3.jpg" and group[1]["set"] == "data/val"
    assert lines[0] == f"similar: data/train: bee/3.jpg = data/val: index {group[1]['id']}"
    assert lines[1].startswith("similar: 1 group of 2 images, 1 of them across sets")


def test_hashes_of_changed_images_stay_near():
    hashes = np.array(
        [
            difference_hash(memoryview(data))
            for seed in range(40)
            for data in (
                encode(photograph(seed)),
                encode(cv2.resize(photograph(seed), (90, 70)), 60),
            )
        ],
        np.uint64,
    )
    pairs = near_pairs(hashes, 6)
    assert set(pairs) <= {(2 * n, 2 * n + 1) for n in range(40)} and len(pairs) >= 36
    assert difference_hash(memoryview(b"no image")) == 0


@pytest.mark.parametrize("most", [0, 1, 2, 5, 16])
def test_near_pairs_are_those_of_all_pairs(most):
    random = np.random.default_rng(most)
    base = random.integers(0, 1 << 63, 40, dtype=np.uint64) * np.uint64(2)
    flips = np.zeros(160, np.uint64)
    for _ in range(most + 1):
        flips ^= np.uint64(1) << random.integers(0, 64, 160, dtype=np.uint64)
    hashes = np.concatenate([base, np.tile(base, 4) ^ flips, [np.uint64(0)] * 3])
    ones = [bin(int(value)).count("1") for value in hashes]
    wanted = [
        (a, b)
        for a in range(len(hashes))
        for b in range(a + 1, len(hashes))
        if bin(int(hashes[a] ^ hashes[b])).count("1") <= most
        and all(8 <= ones[n] <= 56 for n in (a, b))
    ]
    assert near_pairs(hashes, most) == wanted and wanted


def test_images_that_look_the_same():
    """In another size and compression, also where they are flat; not shapes of one outline."""
    photo = photograph(1)
    flag = np.repeat(np.array([[[0, 90, 0]], [[90, 0, 0]], [[200, 200, 200]]], np.uint8), 40, 0)
    flag = np.repeat(flag, 160, 1)
    for image in (photo, flag):
        half = cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA)
        assert looks_same(encode(image), encode(half, 80))
    assert not looks_same(encode(flag), encode(flag[::-1]))
    assert not looks_same(encode(photo), encode(photo[:, ::-1]))
    # Half of it has less contrast, so its hash is the same.
    pale = np.where(np.arange(120)[:, None, None] < 60, photo, photo // 3 + 170).astype(np.uint8)
    hashes = difference_hash(encode(photo)), difference_hash(encode(pale))
    assert bin(hashes[0] ^ hashes[1]).count("1") <= 6
    assert not looks_same(encode(photo), encode(pale))

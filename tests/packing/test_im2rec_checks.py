import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.packing.im2rec import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve images of three classes, packed into data/train-*-of-00004.rec."""
    random = np.random.default_rng(0)
    for name in ("ant", "bee", "cat"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / "pics" / name / f"{number}.jpg"), pixels)
    monkeypatch.chdir(tmp_path)
    assert main(["--list", "--recursive", "data/train", "pics"]) == 0
    assert main(["data/train", "pics", "--shards", "4"]) == 0
    return tmp_path


def files():
    return {path.name: path.read_bytes() for path in Path("data").iterdir()}


def damage(number):
    path = f"data/train-{number:05d}-of-00004.rec"
    offset = int(RecordFile(path).offsets[1])
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(b"\0")
    return path, offset


def test_packed_into_shards(folder, capsys):
    assert sorted(files())[0] == "train-00000-of-00004.idx" and len(files()) == 10
    capsys.readouterr()
    assert main(["data/train", "pics", "--shards", "4"]) == 0
    assert "data/train.rec: up to date" in capsys.readouterr().out
    assert main(["data/train", "pics", "--shard-size", "1M"]) == 0
    assert "12 images of 3 classes in 1 shard, " in capsys.readouterr().out
    assert Path("data/train-00000-of-00001.rec").exists() and len(files()) == 4


@pytest.mark.parametrize(
    "words, start",
    [
        (["--shards", "13"], "--shards 13: data/train.lst has 12 images"),
        (["--shards", "2", "--shard-size", "1G"], "--shards --shard-size: "),
    ],
)
def test_impossible_layouts(folder, capsys, words, start):
    assert main(["data/train", "pics", *words]) == 2
    assert start in capsys.readouterr().err


@pytest.mark.parametrize("size", ["1K", "x", "-1G", "G", "nan", "infG"])
def test_invalid_shard_sizes(capsys, size):
    with pytest.raises(SystemExit) as caught:
        main(["data/train", "pics", f"--shard-size={size}"])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and "--shard-size" in error and error.count("\n") == 1


def test_verify_over_shards(folder, capsys):
    capsys.readouterr()
    assert main(["--verify", "data/train"]) == 0
    assert capsys.readouterr().out == "data/train: 4 shards: intact\n"
    assert main(["--verify", "data/train-00002-of-00004.rec"]) == 0
    assert capsys.readouterr().out == "data/train-00002-of-00004.rec: intact\n"
    damaged = [damage(number) for number in (1, 3)]
    assert main(["--verify", "data/train", "--num-thread", "3"]) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [path, f"record 1 at byte {offset}"] for path, offset in damaged
    ]
    assert last.startswith("im2rec: error: 2 of data/train: 4 shards: ")
    assert last.endswith("--repair data/train")
    assert main(["--verify", "data/gone"]) == 2
    assert "data/gone.rec: " in capsys.readouterr().err


def test_verify_several_packs(folder, capsys):
    Path("data/val.lst").write_text("0\t0\tant/0.jpg\n")
    assert main(["data/val", "pics", "--classes-from", "none"]) == 0
    Path("data/other.tar").touch()
    capsys.readouterr()
    # A ROOT left over from the packing command is not a pack.
    for root in ("pics", "data/other.tar"):
        assert main(["data/train", root, "--verify"]) == 0
        assert capsys.readouterr().out == "data/train: 4 shards: intact\n"
    for _ in range(2):
        assert main(["--verify", "data/train", "data/val"]) == 0
        assert capsys.readouterr().out == "data/train: 4 shards: intact\ndata/val.rec: intact\n"
        Path("data/val").mkdir(exist_ok=True)  # a folder of its name changes nothing
    Path("data/val.idx").unlink()
    damage(1)
    assert main(["--verify", "data/train", "data/val"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "data/train-00001-of-00004.rec: damaged" in error and "data/val.rec: damaged" in error


@pytest.mark.parametrize(
    "words, start",
    [
        (["--verify", "--output", "x.json"], "--output: is for --duplicates; "),
        (["--verify", "--to", "parquet"], "--to: is for --unpack; "),
        (["--verify", "--label-index", "0"], "--label-index: is for --unpack; "),
        (["--unpack", "--verify"], "--unpack --verify: "),
        (["--drop", "r.csv", "--near-duplicates", "0"], "--drop --near-duplicates: "),
    ],
)
def test_flags_that_would_do_nothing(fails, words, start):
    assert fails(*words, "data/train", "new").startswith(start)


def test_a_manifest_without_shards(folder, fails):
    path = Path("data/train.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "shards": [], "fingerprint": None}))
    assert "data/train.json: the manifest is damaged (it has no shards)" in fails(
        "--verify", "data/train"
    )


def test_repair_takes_one_pack(folder, capsys):
    damage(1)
    assert main(["--repair", "data/train", "data/val"]) == 2
    assert "root data/val: " in capsys.readouterr().err
    assert main(["--repair", "data/train", "pics", "more"]) == 2
    assert "--repair data/train pics more: " in capsys.readouterr().err


def test_repair(folder, capsys):
    before = files()
    path = damage(2)[0]
    capsys.readouterr()
    assert main(["--repair", "data/train"]) == 0
    assert capsys.readouterr().out == f"{path}: repaired, 3 images\n"
    assert files() == before
    assert main(["--repair", "data/train"]) == 0
    assert capsys.readouterr().out == "data/train: 4 shards: intact\n"
    Path("pics").rename("moved")
    damage(2)
    assert main(["--repair", "data/train"]) == 2
    assert "pics: " in capsys.readouterr().err
    assert main(["--repair", "data/train", "moved"]) == 0
    assert files() == before
    Path("data/train.json").unlink()
    damage(2)
    assert main(["--repair", "data/train"]) == 2
    assert "data/train.json: " in capsys.readouterr().err


def test_a_repair_on_a_read_only_disk(folder, capsys, monkeypatch):
    def refused(*_):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    before = files()
    path = damage(2)[0]
    damaged = Path(path).read_bytes()
    monkeypatch.setattr(os, "replace", refused)
    assert main(["--repair", "data/train"]) == 2
    assert f"{path}: Permission denied; " in capsys.readouterr().err
    assert sorted(files()) == sorted(before) and Path(path).read_bytes() == damaged


def test_indexes_of_all_shards(folder, capsys):
    before = files()
    for path in Path("data").glob("*.idx"):
        path.unlink()
    assert main(["--rebuild-index", "data/train"]) == 0
    assert files() == before


def test_duplicates_of_a_read_only_pack(folder, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    capsys.readouterr()
    assert main(["--duplicates", "data/train"]) == 2
    output, error = capsys.readouterr()
    assert "same bytes: " in output and "--output" in error
    assert main(["--duplicates", "data/train", "pics", "--output", "found.json"]) in (0, 1)
    assert "found.json: complete list" in capsys.readouterr().out
    assert Path("found.json").exists()

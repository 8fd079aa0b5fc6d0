import os
from pathlib import Path

import pytest
from conftest import payloads_of, write_records

from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.errors import InputError


def test_records_outside_the_shard(tmp_path):
    shards = Shards([write_records(tmp_path / "a.rec", payloads_of(3))])
    for record in (-1, 3):
        with pytest.raises(IndexError):
            shards.read(record)
        with pytest.raises(IndexError):
            shards.files[0].read(record)


def test_several_shards_are_one_sequence(tmp_path):
    paths = [
        write_records(
            tmp_path / f"{n}.rec", payloads_of(count, start), keys=range(start, start + count)
        )
        for n, (start, count) in enumerate([(0, 3), (3, 1), (4, 5)])
    ]
    with Shards(paths) as shards:
        assert len(shards) == 9
        assert [shards.record(n).id for n in range(9)] == list(range(9))
        assert shards.keys.tolist() == list(range(9))
        assert shards.locate(3) == (str(paths[1]), 0)
        assert shards.locate(8) == (str(paths[2]), 4)
        assert "2.rec: record 4 at byte" in str(shards.error(8, "reason"))


def test_shards_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train.rec", "a.rec", "b.rec", "c[1].rec"):
        write_records(tmp_path / name, payloads_of(1))
    for number in range(3):
        write_records(tmp_path / f"val-0000{number}-of-00003.rec", payloads_of(1))
    assert find_shards("train.rec") == ["train.rec"]
    assert find_shards("b.rec, a.rec") == ["b.rec", "a.rec"]
    assert find_shards("[ab].rec") == ["a.rec", "b.rec"]
    assert find_shards("c[1].rec") == ["c[1].rec"]
    parts = [f"val-0000{number}-of-00003.rec" for number in range(3)]
    assert find_shards("val.rec") == parts
    assert find_shards("val-*.rec") == parts


def test_shards_that_do_not_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^data/train\.rec: .*tools/im2rec\.py .* data/train "):
        find_shards("data/train.rec")
    with pytest.raises(InputError, match=r"^x\*\.rec: .*tools/im2rec\.py .* PREFIX "):
        find_shards("x*.rec")
    with pytest.raises(InputError, match=r"^',': "):
        find_shards(",")
    write_records(tmp_path / "val-00000-of-00002.rec", payloads_of(1))
    with pytest.raises(InputError, match=r"^val-\*,val-.*names val-0.* 2 times; give each"):
        find_shards("val-*,val-00000-of-00002.rec")  # its images would count twice
    with pytest.raises(InputError, match=r"^val\.rec: .* val-\*\.rec "):
        find_shards("val.rec")
    (tmp_path / "new.json.partial").touch()
    with pytest.raises(InputError, match=r"^new\.rec: .*not finished; run .*tools/im2rec\.py"):
        find_shards("new.rec")


def test_a_folder_stands_for_the_shards_of_one_set(tmp_path):
    # A channel of SageMaker: the folder `train` with several files.
    for name in ("part_1.rec", "part_0.rec"):
        write_records(tmp_path / name, payloads_of(1))
    found = find_shards(str(tmp_path))
    assert [os.path.basename(one) for one in found] == ["part_0.rec", "part_1.rec"]
    assert find_shards(f"{tmp_path}/") == found
    write_records(tmp_path / "val.rec", payloads_of(1))
    with pytest.raises(InputError, match=r"several sets .*part_0\.rec.*val\.rec"):
        find_shards(str(tmp_path))


@pytest.mark.parametrize("name", ["d[1]", "d*", "d?", "d,e"])
def test_names_that_look_like_patterns_or_lists(tmp_path, name):
    expected = []
    for folder in ("d1", "d", "dx", name):  # the other ones match the pattern
        (tmp_path / folder).mkdir()
        expected = [str(tmp_path / folder / f"t-0000{n}-of-00002.rec") for n in range(2)]
        for path in (*expected, str(tmp_path / folder / "whole.rec")):
            write_records(Path(path), payloads_of(1))
    assert find_shards(str(tmp_path / name / "t.rec")) == expected
    assert find_shards(str(tmp_path / name / "whole.rec")) == [str(tmp_path / name / "whole.rec")]
    assert find_shards(str(tmp_path / name))[:2] == expected


def test_paths_that_are_not_shards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("cats")
    with pytest.raises(InputError, match=r"^cats: is a folder; .* data/cats cats;"):
        find_shards("cats")
    write_records(tmp_path / "cats" / "all.rec", payloads_of(1))
    with pytest.raises(InputError, match=r"^cats/all: .* cats/all\.rec\?"):
        find_shards("cats/all")
    (tmp_path / "cats" / "all.lst").write_text("0\t1.0\ta.jpg\n")
    with pytest.raises(InputError, match=r"^cats/all\.lst: "):
        Shards(["cats/all.lst"])

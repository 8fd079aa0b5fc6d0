"""im2rec --drop and --relabel: a reviewed list applied to a pack."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import write_images

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.packing import im2rec


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack of 12 images in two shards, and its records by key."""
    folder = tmp_path_factory.mktemp("pack")
    write_images(folder / "images", 4)
    prefix = str(folder / "train")
    assert im2rec.main(["--list", "--recursive", prefix, str(folder / "images")]) == 0
    words = [prefix, str(folder / "images"), "--encoding", ".png", "--shards", "2"]
    assert im2rec.main(words) == 0
    return prefix


def records_of(prefix):
    with open_dataset(prefix + ".rec").shards as shards:
        return {
            int(key): (shards.record(n).label, shards.record(n).id, bytes(shards.record(n).image))
            for n, key in enumerate(shards.keys)
        }


def reviews(path, *rows, head="key,file,given,proposed,verdict,quality"):
    path.write_text("\n".join([head, *rows]) + "\n")
    return str(path)


CLASSES = ("circle", "cross", "square")
# Keys 0 to 3 are circles, 4 to 7 crosses, 8 to 11 squares.


def test_a_list_that_drops_and_relabels(pack, tmp_path, capsys):
    listed = reviews(
        tmp_path / "r.csv",
        "0,,circle,square,wrong,0.1",
        "5,,cross,circle,ok,0.2",
        "6,,cross,,wrong,0.2",
        "9,,square,cross,ambiguous,0.3",
        "10,,square,cross,,0.3",
    )
    new = str(tmp_path / "new")
    assert im2rec.main(["--drop", listed, f"--relabel={listed}", pack, new]) == 0
    assert "10 images" in capsys.readouterr().out
    before, after = records_of(pack), records_of(new)
    expected = {key: value for key, value in before.items() if key not in (6, 9)}
    expected[0] = (2.0, *before[0][1:])
    assert after == expected
    assert im2rec.main(["--verify", new]) == 0
    images = read_list(new + ".lst")
    assert dict(zip(images.indices, (label for (label,) in images.labels))) == {
        key: label for key, (label, _, _) in expected.items()
    }
    old, made = (json.loads(Path(f"{p}.json").read_text()) for p in (pack, new))
    assert [one["pictures"] for one in made["classes"]] == [3, 3, 4]
    assert len(made["shards"]) == 2
    assert made["settings"]["reviewed"]["relabelled"] == 1
    assert made["settings"]["reviewed"]["dropped"] == 2
    assert old["settings"].keys() == made["settings"].keys() - {"reviewed"}
    # A shard of the new pack is rebuilt from the images, with the new labels.
    shard = f"{new}-00000-of-00002.rec"
    content = Path(shard).read_bytes()
    with open(shard, "r+b") as file:
        file.seek(40)
        file.write(b"damage")
    assert im2rec.main(["--repair", new]) == 0
    assert Path(shard).read_bytes() == content


def test_a_call_that_is_killed_at_a_rename_is_made_again(pack, tmp_path, monkeypatch):
    """Between the name of a shard and the manifest it was refused: the pack existed."""
    listed, real = reviews(tmp_path / "r.csv", "0,,circle,square,wrong,0.1"), os.replace
    one = str(tmp_path / "one")  # a pack in one shard
    assert im2rec.main(["--list", "--recursive", one, f"{Path(pack).parent}/images"]) == 0
    assert im2rec.main([one, f"{Path(pack).parent}/images", "--encoding", ".png"]) == 0
    for of, renames in ((one, 4), (pack, 6)):  # list and manifest, .idx and .rec of each shard
        for at in range(renames):
            new, left = f"{of}-{renames}-{at}-{tmp_path.name}", [at]

            def killed(source, target, left=left):
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                real(source, target)

            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", killed)
                assert im2rec.main(["--relabel", listed, of, new]) == 130
            assert im2rec.main(["--relabel", listed, of, new]) == 0
            assert records_of(new)[0][0] == 2.0
            assert im2rec.main(["--verify", new]) == 0
            assert im2rec.main(["--relabel", listed, of, new]) == 2


def test_each_flag_alone(pack, tmp_path):
    rows = ("0,,circle,square,wrong", "6,,cross,,wrong", "9,,square,cross,ambiguous")
    listed = reviews(tmp_path / "r.csv", *rows, head="key,file,given,proposed,verdict")
    dropped, relabelled = str(tmp_path / "dropped"), str(tmp_path / "relabelled")
    assert im2rec.main(["--drop", listed, pack, dropped]) == 0
    assert im2rec.main(["--relabel", listed, pack, relabelled]) == 0
    before = records_of(pack)
    assert records_of(dropped) == {k: v for k, v in before.items() if k not in (0, 6, 9)}
    assert records_of(relabelled) == {**before, 0: (2.0, *before[0][1:])}


def test_a_pack_without_its_list(pack, tmp_path, capsys):
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    for path in Path(pack).parent.glob("train*.[rij]*"):
        shutil.copy(path, tmp_path / path.name.replace("train", "old"))
    manifest = Path(old + ".json")
    manifest.write_text(manifest.read_text().replace('"train-', '"old-'))
    listed = reviews(tmp_path / "r.csv", "0,,circle,square,wrong,0.1")
    assert im2rec.main(["--relabel", listed, old, new]) == 0
    assert records_of(new)[0][0] == 2.0
    shutil.copy(pack + ".lst", new + ".lst")  # has the old label
    Path(f"{new}-00000-of-00002.rec").write_bytes(b"damage")
    assert im2rec.main(["--repair", new]) == 2
    assert "its images are not known" in capsys.readouterr().err.splitlines()[-1]


def test_images_by_their_names(pack, tmp_path):
    listed = reviews(tmp_path / "r.csv", "cross/002.png,cross,wrong", head="file,given,verdict")
    assert im2rec.main(["--drop", listed, pack, str(tmp_path / "new")]) == 0
    assert records_of(pack).keys() - records_of(str(tmp_path / "new")).keys() == {6}


def test_a_list_that_the_report_saved(pack, tmp_path):
    """Its classes are numbers."""
    rows = ("3,0,0,wrong label,2", "7,6,1,wrong label,", "9,9,2,ambiguous,")
    listed = reviews(tmp_path / "r.csv", *rows, head="image,key,label,verdict,class")
    new = str(tmp_path / "new")
    assert im2rec.main(["--drop", listed, "--relabel", listed, pack, new]) == 0
    before = records_of(pack)
    expected = {key: value for key, value in before.items() if key not in (6, 9)}
    assert records_of(new) == {**expected, 0: (2.0, *before[0][1:])}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,,cross,square,wrong,0", "line 2: the image has the class circle .* not cross"),
        ("0,,circle,triangle,wrong,0", "line 2: triangle is not a class"),
        ("99,,circle,cross,wrong,0", "line 2: the pack has no image key 99"),
        ("0,,circle,cross,bad,0", "line 2: the verdict 'bad' is not ok, wrong or ambiguous"),
        ("x,,circle,cross,wrong,0", "line 2: 'x' is not the key"),
        ("0,,circle,cross,,0", "no row has a verdict"),
    ],
)
def test_lists_that_are_refused(pack, tmp_path, fails, row, message):
    listed = reviews(tmp_path / "r.csv", row)
    assert re.search(message, fails("--relabel", listed, pack, str(tmp_path / "new")))
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize(
    "label, words", [("9\t{}", ["--label-index", "1"]), ("{}", ["--classes-from", "classes.txt"])]
)
def test_the_new_list_has_the_new_labels(pack, tmp_path, monkeypatch, label, words):
    """So that the new pack is repaired with them, and packing its list again gives them."""
    monkeypatch.chdir(tmp_path)
    Path("classes.txt").write_text("other\n" + "\n".join(CLASSES))
    lines = Path(pack + ".lst").read_text().splitlines()
    (key, _, path), *_ = fields = [line.split("\t") for line in lines]
    Path("one.lst").write_text(
        "".join(f"{key}\t{label.format(number)}\t{path}\n" for key, number, path in fields)
    )
    images = tmp_path / "images"
    shutil.copytree(Path(pack).parent / "images", images)
    (images / path).write_bytes(b"no image")  # rejected
    assert im2rec.main(["one", "images", "--encoding", ".png", *words]) == 1
    listed = reviews(tmp_path / "r.csv", "6,,cross,circle,wrong,0.1")
    assert im2rec.main(["--relabel", listed, "one", "new"]) == 0
    expected = records_of("new")
    with open("new.rec", "r+b") as file:
        file.write(b"damage")
    assert im2rec.main(["--repair", "new"]) == 0
    assert records_of("new") == expected
    new = read_list("new.lst")
    labels = dict(zip(new.indices, new.labels))
    same_class = next(k for k, _, one in fields[1:] if Path(one).parent == Path(path).parent)
    assert labels.pop(int(key)) == labels[int(same_class)]
    assert labels == {k: (label,) for k, (label, _, _) in expected.items()}


def test_other_refusals(pack, tmp_path, fails):
    everything = [f"{key},,{CLASSES[key // 4]},,wrong,0" for key in range(12)]
    all_wrong = reviews(tmp_path / "all.csv", *everything)
    assert "would have no images" in fails("--drop", all_wrong, pack, str(tmp_path / "new"))
    assert not list(tmp_path.glob("new*"))
    listed = reviews(tmp_path / "r.csv", "0,,circle,square,wrong,0")
    assert "exists" in fails("--drop", listed, pack, pack)
    assert "takes PREFIX and a new prefix" in fails("--drop", listed, pack)
    other = reviews(tmp_path / "other.csv", "1", head="a")
    assert "is not a list of reviewed labels" in fails("--drop", other, pack, str(tmp_path / "n"))

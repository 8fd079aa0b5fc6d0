"""Images in one folder whose names contain their classes: im2rec --by-name."""

import cv2
import numpy as np
import pytest

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.packing.file_names import NoClassNames, find_pattern
from imagenet_trainer.packing.im2rec import main


def numbered(*formats, count=10):
    return [one.format(number) for one in formats for number in range(count)]


@pytest.mark.parametrize(
    "formats, classes",
    [
        (("cat.{}.jpg", "dog.{}.jpg"), ("cat", "dog")),
        (("cat_{:03}.jpg", "dog_{:03}.jpg"), ("cat", "dog")),
        (("cat ({}).jpg", "dog ({}).JPG"), ("cat", "dog")),
        (("cat{}.jpg", "n01440764_{}.JPEG"), ("cat", "n01440764")),
        (("beagle_2_{}.png", "american_bulldog_{}.png"), ("american_bulldog", "beagle_2")),
        (("x/{}-cat.jpg", "{:04}_red cat.jpg"), ("cat", "red cat")),
        (("größe-{}.jpg", "猫{}.jpg"), ("größe", "猫")),
        (("train/cat.{}.jpg", "train/dog.{}.jpg"), ("cat", "dog")),
    ],
)
def test_patterns(formats, classes):
    assert find_pattern(numbered(*formats)).counts == dict.fromkeys(classes, 10)


@pytest.mark.parametrize(
    "names, reason",
    [
        (numbered("IMG_{:04}.jpg"), "one class, IMG"),
        (numbered("{:04}.jpg"), "10 of 10 names"),
        ([*numbered("cat.{}.jpg", "dog.{}.jpg"), "fox.jpg"], r"1 of 21 names.*fox\.jpg"),
        ([f"{chr(97 + n)}{k}.jpg" for n in range(20) for k in range(4)], "20 classes"),
        (numbered("cat.{}.jpg", "Cat.{}.jpg"), "Cat and cat.*case"),
    ],
)
def test_names_without_a_pattern(names, reason):
    with pytest.raises(NoClassNames, match=reason):
        find_pattern(names)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder `my photos` with 20 cats and 10 dogs."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my photos"
    folder.mkdir()
    for number, name in enumerate([*numbered("cat.{}.png", count=20), *numbered("dog.{}.png")]):
        image = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), image)
    return folder


def test_one_command_packs_both_sets_and_the_refusals_propose_it(photos, fails, capsys):
    for words in (["--list", "data/x"], ["--list", "--recursive", "data/x"], ["data/x"]):
        line = fails(*words, photos.name)
        assert "cat 20, dog 10" in line and "--by-name data/train 'my photos'" in line
    assert main(["--by-name", "data/train", photos.name]) == 0
    sets = {name: read_list(f"data/{name}.lst") for name in ("train", "val")}
    count = {name: sorted(one[0] for one in images.labels) for name, images in sets.items()}
    assert count == {"train": [0] * 16 + [1] * 8, "val": [0] * 4 + [1] * 2}  # a fifth of each
    paths = sets["train"].paths + sets["val"].paths
    assert sorted(paths) == sorted(path.name for path in photos.iterdir())
    for name in sets:
        assert [one.id for one in read_manifest(f"data/{name}.rec").classes] == ["cat", "dog"]
    capsys.readouterr()
    assert main(["--by-name", "data/train", photos.name]) == 0
    assert capsys.readouterr().out.count("up to date") == 2
    # An image that is added later does not exchange the sets of the others.
    (photos / "cat.20.png").write_bytes((photos / "cat.0.png").read_bytes())
    assert main(["--list", "--by-name", "data/train", photos.name]) == 0
    assert len(set(sets["val"].paths) & set(read_list("data/val.lst").paths)) >= 5


def test_a_folder_in_the_folder_is_not_taken_for_the_only_class(photos, capsys):
    photos.rename(photos.parent / "train")
    assert main(["--list", "--recursive", "data/train", "."]) == 0
    error = capsys.readouterr().err
    assert "one class, train" in error and "--by-name data/train ./train" in error
    assert main(["--by-name", "--dry-run", "data/train", "."]) == 0
    assert not list(photos.parent.glob("data/val.*"))


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--flat", "data/train"], "--by-name --flat"),
        (["--train-ratio", ".5", "data/train"], "--by-name --train-ratio"),
        (["data/pets"], "name it train"),
        # A val.lst of an earlier run would be packed, with images of the new training set.
        (["--val-ratio", ".01", "data/train"], "--val-ratio 0.01: is no image"),
    ],
)
def test_what_by_name_excludes(photos, fails, words, reason):
    assert reason in fails("--by-name", *words, photos.name)


def test_a_name_without_a_class_is_named(photos, fails):
    (photos / "cover.png").touch()
    assert "cover.png" in fails("--by-name", "data/train", photos.name)
    assert "cover.png" not in fails("data/train", photos.name)

from pathlib import Path

import pytest
from helpers import miniature

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.ilsvrc.layout import (
    Parts,
    about_balance,
    about_classes,
    about_names,
    about_numbers,
    check_apart,
    find_parts,
    is_whole,
)

SYNSETS = list(known_synsets())


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


# --- where the parts are -----------------------------------------------------------------------


def test_the_forms_in_which_it_is_handed_out(here):
    miniature.write_downloads("tars")
    miniature.write_flat("flat")
    miniature.write_kaggle("kaggle")
    assert find_parts("tars", "", "", "") == Parts(
        "tars/ILSVRC2012_img_train.tar", "tars/ILSVRC2012_img_val.tar", "",
        ("tars/ILSVRC2012_devkit_t12.tar.gz",),
    )  # fmt: skip
    assert find_parts("flat", "", "", "") == Parts(
        "flat/train", "flat/val", "", ("flat/ILSVRC2012_devkit_t12",)
    )
    inside = "kaggle/ILSVRC/Data/CLS-LOC"
    assert find_parts("kaggle", "", "", "") == Parts(
        f"{inside}/train", f"{inside}/val", f"{inside}/test", ("kaggle/LOC_val_solution.csv",)
    )
    assert find_parts("kaggle/ILSVRC", "", "", "").train == f"{inside}/train"
    assert find_parts(inside, "", "", "").labels == ()


def test_folders_before_tars_and_flags_before_both(here):
    touch("a/train/1.jpg", "a/ILSVRC2012_img_train.tar", "a/val.tar", "b/c/1.jpg", "l.csv")
    assert find_parts("a", "", "", "") == Parts("a/train", "a/val.tar", "", ())
    assert find_parts("a", "b/c", "none", "l.csv") == Parts("b/c", "", "", ("l.csv",))
    assert find_parts("a", "none", "", "") == Parts("", "a/val.tar", "", ())


def test_any_other_folder_is_the_training_set(here):
    touch("pets/cat/1.jpg")
    for val in ("", "none"):
        assert find_parts("pets", "", val, "") == Parts("pets", "", "", ())


def test_what_is_not_there(here):
    touch("pets/cat/1.jpg")
    for words in (("x", "", "", ""), ("pets", "x", "", ""), ("pets", "", "x", ""),
                  ("pets", "", "", "x")):  # fmt: skip
        with pytest.raises(InputError, match=r"x: no such folder or file"):
            find_parts(*words)
    with pytest.raises(InputError, match="--train none: no validation images"):
        find_parts("pets", "none", "", "")


def test_sets_that_share_images(here):
    touch("a/train/1.jpg", "a/val/1.jpg")
    Path("link").symlink_to("a")
    check_apart("a/train", "a/val")
    check_apart("a/train", "")
    for train, val in (("a", "a"), ("a", "a/val"), ("a/val", "a"), ("link", "a/val")):
        with pytest.raises(InputError, match=r"one lies in the other"):
            check_apart(train, val)


# --- what must hold ----------------------------------------------------------------------------


def whole(train_in_last=1300, val_in_last=50):
    """ILSVRC2012's number of images: 732 in the first class, 1,300 in most."""
    counts = [732, *[1300] * 895, *[1124] * 103, 1]
    counts[-1] = 1_281_167 - sum(counts[:-1]) + train_in_last - 1300
    train = {name: [f"{name}/{k}.jpg" for k in range(n)] for name, n in zip(SYNSETS, counts)}
    val = {name: ["x"] * 50 for name in SYNSETS}
    val[SYNSETS[-1]] = ["x"] * val_in_last
    return train, val


def test_the_known_numbers():
    train, val = whole()
    assert is_whole(list(train)) and list(about_numbers(train, val)) == []
    short, val = whole(train_in_last=1300 - 732)
    (warning,) = about_numbers(short, val)
    assert warning.startswith("train: 1,280,435 images, but ILSVRC2012 has 1,281,167; ")
    train, val = whole(val_in_last=49)
    assert list(about_numbers(train, val)) == [
        "val: 49,999 images, but ILSVRC2012 has 50,000; unusual classes: n15075141 49; compare "
        "the download with the checksums of image-net.org"
    ]


def test_classes_of_unusual_size_in_the_right_total():
    train, val = whole()
    val[SYNSETS[3]], val[SYNSETS[7]] = ["x"] * 49, ["x"] * 51
    (warning,) = about_numbers(train, val)
    odd = f"unusual classes: {SYNSETS[3]} 49, {SYNSETS[7]} 51; "
    assert warning.startswith(f"val: 50,000 images, but ILSVRC2012 has 50,000; {odd}")


def test_other_sets_have_other_numbers():
    some = {name: ["x"] for name in SYNSETS[:10]}
    assert list(about_numbers(some, some)) == [] == list(about_classes(list(some)))
    assert list(about_numbers({"cat": ["x"]}, {})) == [] == list(about_classes(["cat"]))


def test_classes_that_are_missing_or_foreign():
    assert list(about_classes(SYNSETS)) == []
    assert not is_whole(SYNSETS[::-1])
    (warning,) = about_classes(SYNSETS[:-2])
    assert warning.startswith("2 of ILSVRC2012's 1,000 classes are missing (n13133613, n15075141)")
    (warning,) = about_classes([*SYNSETS, "n99999999"])
    assert warning.startswith("no classes of ILSVRC2012: n99999999; ")


def test_images_in_the_wrong_place():
    right = {"n01440764": ["n01440764/n01440764_1.JPEG", "n01440764/other.jpg"]}
    assert list(about_names(right)) == [] == list(about_names({"cat": ["cat/n01440764_1.JPEG"]}))
    wrong = {"n01440764": ["a/n01443537_1.JPEG", "a/ILSVRC2012_val_00000001.JPEG"]}
    strangers, validation = about_names(wrong)
    assert strangers.endswith("named as another class than their folder: a/n01443537_1.JPEG")
    assert "validation images among training's: a/ILSVRC2012_val_00000001.JPEG" in validation


def test_classes_without_validation():
    train = {"a": ["x"], "b": ["x"]}
    assert list(about_balance(train, {})) == []
    assert list(about_balance(train, {"a": ["x"], "b": []})) == ["val: no images of b"]
    many = {str(k): ["x"] for k in range(9)}
    assert list(about_balance(many, {"a": []})) == ["val: no images of 0, 1, 2, 3, 4 and 4 more"]

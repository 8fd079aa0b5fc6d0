from pathlib import Path

from helpers import miniature

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.packing.ilsvrc.layout import (
    Parts,
    are_nested,
    balance_warnings,
    class_warnings,
    count_warnings,
    find_parts,
    foreign_classes,
    is_complete,
    name_warnings,
)

SYNSETS = list(known_synsets())


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


# --- where the parts are -----------------------------------------------------------------------


def test_a_folder_in_kaggles_archive(here):
    miniature.write_kaggle("kaggle")
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
    assert find_parts("pets", "none", "", "") == Parts("", "", "", ())


def test_nested_folders(here):
    touch("a/train/1.jpg", "a/val/1.jpg")
    Path("link").symlink_to("a")
    assert not are_nested("a/train", "a/val") and not are_nested("a/train", "")
    for train, val in (("a", "a"), ("a", "a/val"), ("a/val", "a"), ("link", "a/val")):
        assert are_nested(train, val)


# --- checks ------------------------------------------------------------------------------------


def complete(train_in_last=1300, val_in_last=50):
    """ILSVRC2012's number of images: 732 in the first class, 1,300 in most."""
    counts = [732, *[1300] * 895, *[1124] * 103, 1]
    counts[-1] = 1_281_167 - sum(counts[:-1]) + train_in_last - 1300
    train = {name: ["x"] * count for name, count in zip(SYNSETS, counts)}
    val = {name: ["x"] * 50 for name in SYNSETS}
    val[SYNSETS[-1]] = ["x"] * val_in_last
    return train, val


def test_numbers_of_images():
    train, val = complete()
    assert is_complete(list(train)) and list(count_warnings(train, val)) == []
    short, val = complete(train_in_last=1300 - 732)
    (warning,) = count_warnings(short, val)
    assert warning.startswith("train: 1,280,435 images, ") and "1,281,167" in warning
    train, val = complete(val_in_last=49)
    (warning,) = count_warnings(train, val)
    assert warning.startswith("val: 49,999 images, ") and "n15075141 49; " in warning


def test_classes_of_unusual_size_in_the_right_total():
    train, val = complete()
    val[SYNSETS[3]], val[SYNSETS[7]] = ["x"] * 49, ["x"] * 51
    (warning,) = count_warnings(train, val)
    assert f"{SYNSETS[3]} 49, {SYNSETS[7]} 51" in warning


def test_other_sets_have_other_numbers():
    some = {name: ["x"] for name in SYNSETS[:10]}
    assert list(count_warnings(some, some)) == [] == list(class_warnings(list(some)))
    assert list(count_warnings({"cat": ["x"]}, {})) == [] == list(class_warnings(["cat"]))


def test_missing_and_foreign_classes():
    assert list(class_warnings(SYNSETS)) == []
    assert not is_complete(SYNSETS[::-1])
    (warning,) = class_warnings(SYNSETS[:-2])
    assert warning.startswith("2 of ILSVRC2012's") and "n13133613, n15075141" in warning
    assert foreign_classes([*SYNSETS, "n99999999"]) == ["n99999999"]
    assert foreign_classes(SYNSETS) == foreign_classes([*SYNSETS[:10], "cat"]) == []


def test_images_in_the_wrong_place():
    right = {"n01440764": ["n01440764/n01440764_1.JPEG", "n01440764/other.jpg"]}
    assert (
        list(name_warnings(right)) == [] == list(name_warnings({"cat": ["cat/n01440764_1.JPEG"]}))
    )
    wrong = {"n01440764": ["a/n01443537_1.JPEG", "a/ILSVRC2012_val_00000001.JPEG"]}
    misplaced, validation = name_warnings(wrong)
    assert misplaced.endswith("folder: a/n01443537_1.JPEG")
    assert "a/ILSVRC2012_val_00000001.JPEG" in validation


def test_classes_without_validation():
    train = {"a": ["x"], "b": ["x"]}
    assert list(balance_warnings(train, {})) == ["val: no images of a, b"]
    assert list(balance_warnings(train, {"a": ["x"], "b": []})) == ["val: no images of b"]
    many = {str(k): ["x"] for k in range(9)}
    assert list(balance_warnings(many, {"a": []})) == ["val: no images of 0, 1, 2, 3, 4 and 4 more"]

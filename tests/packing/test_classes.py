import pytest

from imagenet_trainer.data.classes import OtherClasses
from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.manifest import ClassName, name_classes
from imagenet_trainer.packing.classes import classes_of_pack, take_classes


def test_validation_takes_the_classes_of_training():
    reference = name_classes(["ant", "bee", "cat"])
    for folders in (["ant", "bee", "cat"], ["ant", None, "cat"], ["ant"], [None] * 3):
        assert take_classes(folders, reference, "val.lst", "train.json") == reference


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["ant", "cat"], "^val.lst: class 1 is cat, .*bee in train.json"),
        (["ant", "bee", "cat", "dog"], "^val.lst: class 3 is dog, .*train.json has 3 "),
        ([None] * 4, "^val.lst: class 3 .*train.json has 3 "),
    ],
)
def test_other_classes_are_refused(folders, message):
    with pytest.raises(OtherClasses, match=message):
        take_classes(folders, name_classes(["ant", "bee", "cat"]), "val.lst", "train.json")


def test_a_folder_whose_name_is_not_utf_8():
    # As os.listdir returns the name of a folder from an old archive.
    (named,) = name_classes(["K\udce4tzchen"])
    assert named == ClassName("K\\xe4tzchen", "K\\xe4tzchen")
    assert take_classes(["K\udce4tzchen"], [named], "a.lst", "b.json") == (named,)


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("cat\ncow\ndog\n", ["cat", "cow", "dog"]),
        ("bee\ncow\ndog\n", ["cat", "class_1", "dog"]),  # of another set: its first class differs
    ],
)
def test_names_of_classes_without_images(tmp_path, listed, names):
    (tmp_path / "classes.txt").write_text(listed)
    images = ImageList([0, 1], [(0.0,), (2.0,)], ["cat/1.jpg", "dog/1.jpg"])
    found = classes_of_pack(str(tmp_path / "val"), [images])
    assert [one.id for one in found.classes] == names

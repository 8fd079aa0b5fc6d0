import pytest

from imagenet_trainer.data.classes import OtherClasses
from imagenet_trainer.data.records.manifest import ClassName, name_classes
from imagenet_trainer.packing.classes import take_classes


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

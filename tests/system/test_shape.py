import pytest

from imagenet_trainer.system.shape import NUMBER, check

SHAPE = {
    "epoch": int, "mean": [NUMBER] * 3, "classes": [[str, str]], "note?": str,
    "intervals?": {"*": [(int, float, type(None))] * 2},
}  # fmt: skip
GOOD = {"epoch": 3, "mean": [1, 2.5, 3], "classes": [["a", "b"]], "more": object}


@pytest.mark.parametrize(
    "changed",
    [{}, {"note": None}, {"note": "x"}, {"classes": []}, {"intervals": {"rank1": [0.5, None]}}],
)
def test_values_of_the_shape(changed):
    check({**GOOD, **changed}, SHAPE)


@pytest.mark.parametrize(
    ("changed", "place"),
    [({"epoch": "3"}, "epoch is not a number"), ({"epoch": True}, "epoch is true"),
     ({"epoch": 1.5}, "epoch is not a number"), ({"mean": 1}, "mean is not a list"),
     ({"mean": [1, 2]}, "mean has 2 values instead of 3"),
     ({"classes": [[1, "b"]]}, r"classes\[0\]\[0\] is not text"),
     ({"classes": ["ab"]}, r"classes\[0\] is not a list"), ({"note": 1}, "note is not text"),
     ({"classes": [["a", "b", "c"]]}, r"classes\[0\] has 3 values instead of 2"),
     ({"intervals": {"rank1": [1]}}, r"intervals\.rank1 has 1 values instead of 2")],
)  # fmt: skip
def test_the_place_of_another_value(changed, place):
    with pytest.raises(ValueError, match=place):
        check({**GOOD, **changed}, SHAPE)


def test_what_is_missing():
    with pytest.raises(ValueError, match="epoch is missing"):
        check({}, SHAPE)
    with pytest.raises(ValueError, match="it is not an object"):
        check([], SHAPE)

import pytest

from imagenet_trainer.graph import sym
from imagenet_trainer.graph.implementations import (
    Implementations,
    UnsupportedError,
    supported_values,
)

TABLE = Implementations()
X = sym.Variable("data")


@TABLE.of("Convolution Convolution_v1", "num_filter no_bias workspace", {"num_group": (1,)})
def convolution(x, weight, bias=None, *, kernel, stride):
    return x, weight, bias, kernel, stride


def values_of(**attributes):
    symbol = sym.Convolution(X, num_filter=2, kernel=(3, 3), **attributes)
    node = symbol.entries[0].node
    return supported_values(node, TABLE.find(node))


def test_keywords_are_the_attributes_that_a_function_takes():
    assert TABLE["Convolution"] is not TABLE["Convolution_v1"]
    assert TABLE["Convolution_v1"].compute is convolution
    assert values_of(no_bias=True, workspace=7) == {"kernel": (3, 3), "stride": ()}
    assert values_of(stride=(2, 2), num_group=1)["stride"] == (2, 2)


@pytest.mark.parametrize(
    "attributes, words",
    [({"num_group": 2}, "num_group 2"), ({"dilate": (2, 2)}, "attribute dilate")],
)
def test_what_has_an_effect_that_a_function_does_not_have_is_refused(attributes, words):
    with pytest.raises(UnsupportedError, match=words):
        values_of(**attributes)


def test_an_operator_without_a_function_is_refused():
    with pytest.raises(UnsupportedError, match="operator"):
        TABLE.find(sym.Flatten(X).entries[0].node)

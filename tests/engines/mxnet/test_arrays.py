import pytest
from conftest import needs_mxnet

from imagenet_trainer import graph
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.errors import InputError

pytestmark = needs_mxnet


def test_a_graph_that_mxnet_does_not_read_is_one_line():
    made = graph.sym.Variable("data", attr={"remark": "\x1b"})
    with pytest.raises(InputError, match="MXNet does not read the network") as caught:
        to_symbol(made)
    assert "\n" not in str(caught.value)

"""Checks of what a run continues from."""

import numpy as np
import pytest

from imagenet_trainer import symbols
from imagenet_trainer.engines.symbol import check_state, parameter_shapes
from imagenet_trainer.errors import InputError

SHAPE = (3, 28, 28)


@pytest.fixture
def training():
    """A network with fixed gammas (bn_data), its parameters, and the state of its training."""
    symbol = symbols.get_symbol("resnet8", 10, SHAPE)
    arg, aux = (
        {name: np.zeros(shape, np.float32) for name, shape in part.items()}
        for part in parameter_shapes(symbol, SHAPE)
    )
    state = {f"momentum:{name}": value for name, value in arg.items()}
    state.update({f"average:arg:{name}": value for name, value in arg.items()})
    state.update({f"statistics:1:{name}": value for name, value in aux.items()})
    state["updates"] = np.array(7)
    return symbol, arg, aux, state


def test_a_whole_state_is_accepted(training):
    symbol, arg, aux, state = training
    check_state(symbol, arg, aux, state, [], "x")
    # PyTorch's engine has no momentum for gammas that are treated as 1.
    del state["momentum:bn_data_gamma"]
    check_state(symbol, arg, aux, state, [], "x")
    # Frozen parameters have none.
    for name in [one for one in arg if one.startswith("stage1")]:
        del state[f"momentum:{name}"]
    check_state(symbol, arg, aux, state, [n for n in arg if n.startswith("stage1")], "x")
    # Neither has a training without momentum.
    check_state(symbol, arg, aux, {"updates": np.array(7)}, [], "x")


@pytest.mark.parametrize("key", ["momentum:conv0_weight", "momentum:fc1_bias", "updates"])
def test_a_missing_array_is_named(training, key):
    symbol, arg, aux, state = training
    del state[key]
    with pytest.raises(InputError) as refused:
        check_state(symbol, arg, aux, state, [], "run/model-0007.npz")
    assert "run/model-0007.npz" in str(refused.value)
    assert key.partition(":")[2] in str(refused.value)


@pytest.mark.parametrize(
    "key", ["momentum:fc1_weight", "average:arg:conv0_weight", "statistics:1:bn1_moving_mean"]
)
def test_an_array_of_another_shape_or_network_is_named(training, key):
    symbol, arg, aux, state = training
    whole = dict(state)
    state[key] = np.zeros((2, 2), np.float32)
    with pytest.raises(InputError) as refused:
        check_state(symbol, arg, aux, state, [], "x")
    assert key in str(refused.value)
    whole[key.rpartition(":")[0] + ":other"] = np.zeros(3, np.float32)
    with pytest.raises(InputError):
        check_state(symbol, arg, aux, whole, [], "x")

"""fast-cnn against the same layers in PyTorch's own functions."""

import numpy as np
import pytest
from helpers.networks import first_parameters

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.symbol import parameter_shapes

torch = pytest.importorskip("torch")


def reference(images, arg, aux):
    """Probabilities, float32 (batch, classes), of normalised images (batch, 3, h, w)."""
    x = torch.from_numpy(images)
    for number, stride in enumerate((2, 1, 2, 1, 2, 1)):
        name = f"conv{number}"
        values = {key: torch.from_numpy(one) for key, one in {**arg, **aux}.items()}
        x = torch.nn.functional.conv2d(x, values[f"{name}_weight"], None, stride, 1)
        x = torch.nn.functional.batch_norm(
            x, values[f"{name}_bn_moving_mean"], values[f"{name}_bn_moving_var"], None,
            values[f"{name}_bn_beta"], False, 0, 1e-5,
        ).relu()  # fmt: skip
    logits = x.amax((2, 3)) @ values["fc1_weight"].T / 4
    return torch.softmax(logits, 1).numpy()


@pytest.mark.parametrize("side", [28, 15])
def test_outputs_equal_a_plain_implementation(side):
    from imagenet_trainer.engines.factory import open_engine

    shape = (3, side, side)
    symbol = symbols.get_symbol("fast-cnn", 5, shape)
    arg, aux = first_parameters(*parameter_shapes(symbol, shape))
    random = np.random.default_rng(0)
    for name in arg:
        if name.endswith("beta"):
            arg[name] = random.normal(0, 0.3, arg[name].shape).astype(np.float32)
    for name in aux:
        aux[name] = random.uniform(0.5, 1.5, aux[name].shape).astype(np.float32)
    images = random.integers(0, 256, (3, side, side, 3), np.uint8)
    engine = open_engine(
        symbol, Devices(engine="torch"), (3, side, side, 3), (73.0,) * 3, (90.0,) * 3
    )
    engine.set_params(arg, aux)
    normalised = ((images.astype(np.float32) - 73) / 90).transpose(0, 3, 1, 2)
    expected = reference(np.ascontiguousarray(normalised), arg, aux)
    np.testing.assert_allclose(engine.predict(images), expected, rtol=1e-4, atol=1e-6)

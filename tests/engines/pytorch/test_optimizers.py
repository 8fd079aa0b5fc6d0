import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import assert_same, batches, everything, network, open_one, train

from imagenet_trainer.engines.pytorch.optimizers import _as_laid_out


def test_gradients_of_1_x_1_kernels_are_not_copied():
    # Both describe the same layout, and fused updates accept equal strides only.
    weight = torch.zeros(4, 3, 1, 1).to(memory_format=torch.channels_last)
    gradient = torch.arange(24.0)[12:].reshape(4, 3, 1, 1)
    assert gradient.stride() != weight.stride()
    ours = _as_laid_out(gradient, weight)
    assert ours.stride() == weight.stride() and ours.data_ptr() == gradient.data_ptr()
    assert torch.equal(ours, gradient)


def test_gradients_in_another_layout_are_copied():
    weight = torch.zeros(4, 3, 2, 2).to(memory_format=torch.channels_last)
    gradient = torch.arange(48.0).reshape(4, 3, 2, 2)
    ours = _as_laid_out(gradient, weight)
    assert ours.stride() == weight.stride() and torch.equal(ours, gradient)
    same = gradient.to(memory_format=torch.channels_last)
    assert _as_laid_out(same, weight) is same


@pytest.mark.parametrize("rule", ["sgd", "nag", "lbsgd", "adam", "adamw", "ftml"])
def test_a_rate_of_zero_changes_no_parameter(rule):
    engine = open_one("torch", network(batch_norm=True), rule)
    before = engine.get_params()[0]
    train(engine, batches()[:2], rate=0.0)
    assert_same(engine.get_params()[0], before)
    assert all(np.isfinite(value).all() for value in everything(engine).values())

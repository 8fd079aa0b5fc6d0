"""`benchmark parity`: its measure, and its table."""

import numpy as np
import pytest

pytest.importorskip("torch")

import symbols
from imagenet_trainer import benchmark
from imagenet_trainer.benchmarks import parity


def found(**gradients):
    return parity.Found(np.ones((2, 2)), gradients, {"mean": np.ones(3)})


def test_what_counts_is_the_difference_over_the_tensor():
    exact = found(a=np.array([3.0, 4.0]))
    ours = found(a=np.array([3.0, 4.0 + 5e-3]))
    apart = parity.apart(ours, exact, exact)
    assert apart.worst == (pytest.approx(1e-3), "a")
    assert apart.output == apart.statistics == 0


def test_a_gradient_of_nought_is_compared_with_the_largest():
    exact = found(a=np.array([3.0, 4.0]), b=np.array([1e-16, 0]))
    ours = found(a=np.array([3.0, 4.0]), b=np.array([5e-6, 0]))
    assert parity.apart(ours, exact, exact).worst == (pytest.approx(1e-4), "b")
    small = found(a=np.array([3.0, 4.0]), b=np.array([1e-6, 0]))
    assert parity.apart(ours, small, small).worst == (pytest.approx(4), "b")


def test_every_network_takes_one_of_the_sizes():
    assert {symbols.find(name).name for name in symbols.names()} == set(parity.all_networks())


def test_the_table(capsys):
    assert benchmark.main(["parity", "--network", "mobilenet0.25,one-stage-cnn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, name, pixels in zip(lines[2:], ("mobilenet0.25", "one-stage-cnn"), ("40", "40")):
        words = line.split()
        assert words[:2] == [name, pixels]
        output, gradient, moving, _, _, double = (float(word) for word in words[3:9])
        assert 0 < output < 1e-4 and 0 < gradient < 1e-4 and moving < 1e-4 and double < 1e-9


def test_a_name_that_is_none(capsys):
    assert benchmark.main(["parity", "--network", "mobilenet0.25,resnet-21"]) == 2
    assert "--network resnet-21: no such network" in capsys.readouterr().err

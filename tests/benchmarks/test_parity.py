"""`benchmark parity`: how differences are measured, and the table."""

import numpy as np
import pytest

pytest.importorskip("torch")

from imagenet_trainer import benchmark, symbols
from imagenet_trainer.benchmarks import parity


def results(**gradients):
    return parity.Results(np.ones((2, 2)), gradients, {"mean": np.ones(3)})


def test_differences_are_relative_to_the_whole_tensor():
    exact = results(a=np.array([3.0, 4.0]))
    ours = results(a=np.array([3.0, 4.0 + 5e-3]))
    difference = parity.difference(ours, exact, exact)
    assert difference.worst == (pytest.approx(1e-3), "a")
    assert difference.output == difference.statistics == 0


def test_a_zero_gradient_is_compared_with_the_largest():
    exact = results(a=np.array([3.0, 4.0]), b=np.array([1e-16, 0]))
    ours = results(a=np.array([3.0, 4.0]), b=np.array([5e-6, 0]))
    assert parity.difference(ours, exact, exact).worst == (pytest.approx(1e-4), "b")
    small = results(a=np.array([3.0, 4.0]), b=np.array([1e-6, 0]))
    assert parity.difference(ours, small, small).worst == (pytest.approx(4), "b")


def test_a_gradient_that_is_no_number_is_the_worst():
    exact = results(a=np.ones(2), b=np.ones(2), c=np.ones(2))
    ours = results(a=np.ones(2), b=np.full(2, np.nan), c=np.full(2, 1.5))
    ours.statistics.update(mean=np.ones(3), variance=np.full(3, np.nan))
    exact.statistics["variance"] = np.ones(3)
    difference = parity.difference(ours, exact, exact)
    assert difference.worst[1] == "b" and np.isnan(difference.worst[0])
    assert np.isnan(difference.statistics)


def test_every_network_is_in_the_table():
    assert {symbols.find(name).name for name in symbols.names()} == set(parity.all_networks())


def test_the_table(capsys):
    assert benchmark.main(["parity", "--network", "mobilenet0.25,one-stage-cnn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, name, pixels in zip(lines[2:], ("mobilenet0.25", "one-stage-cnn"), ("40", "40")):
        words = line.split()
        assert words[:2] == [name, pixels]
        output, gradient, moving, _, _, double = (float(word) for word in words[3:9])
        assert 0 < output < 1e-4 and 0 < gradient < 1e-4 and moving < 1e-4 and double < 1e-9


def test_an_unknown_network(capsys):
    assert benchmark.main(["parity", "--network", "mobilenet0.25,resnet-21"]) == 2
    assert "--network resnet-21: " in capsys.readouterr().err

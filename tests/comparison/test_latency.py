import numpy as np
import pytest

from imagenet_trainer.comparison.latency import TURNS, summary, take_turns


class Machine:
    """Networks that need some seconds, on a machine that becomes slower with every call."""

    def __init__(self, *seconds):
        self.now, self.load, self.order = 0.0, 1.0, []
        self.calls = [lambda number, n=n, s=s: self.call(n, s) for n, s in enumerate(seconds)]

    def call(self, network, seconds):
        self.order.append(network)
        self.now += self.load * seconds
        self.load *= 1.01


@pytest.mark.parametrize(("rounds", "turns", "size"), [(100, 10, 10), (25, 10, 3), (3, 3, 1)])
def test_networks_take_turns(rounds, turns, size):
    machine = Machine(1, 2)
    times = take_turns(machine.calls, rounds, lambda: machine.now)
    assert times.shape == (2, turns, size)
    changes = [b for a, b in zip([None, *machine.order], machine.order) if a != b]
    # The order is reversed in every second turn.
    assert changes == [0, *(1 - turn % 2 for turn in range(turns))]


def test_load_that_changes_does_not_decide():
    machine = Machine(1.2, 1)
    slow, quick = take_turns(machine.calls, 10 * TURNS, lambda: machine.now)
    assert np.median(slow[0]) < np.median(quick[-1])  # the load is greater than the difference
    medians = np.array(summary(slow)["medians"]) / summary(quick)["medians"]
    assert np.median(medians) == pytest.approx(1.2, rel=0.1)


def test_the_99th_percentile_is_a_measured_time():
    assert summary(np.arange(200.0).reshape(10, 20))["high"] == 197

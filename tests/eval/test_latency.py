import numpy as np

from imagenet_trainer.eval import latency


def test_median_and_99th_percentile():
    times = iter(np.random.default_rng(0).permutation(np.arange(1, 101)) / 1000)
    now, calls = [0.0], []

    def clock():
        return now[0]

    def call(number):
        calls.append(number)
        if len(calls) > latency.WARM_UP:
            now[0] += next(times)

    measured = latency.measure("network", 4, call, 100, clock)
    assert calls == [*range(latency.WARM_UP), *range(100)]
    np.testing.assert_allclose([measured.median, measured.high], [50.5, 99])
    lines = latency.table("CPU", [measured]).splitlines()
    assert lines[0] == "CPU; 100 calls each, milliseconds"
    assert lines[2].split() == ["network", "4", "50.50", "99.00", "12.62", "79.2"]


def test_few_rounds_have_a_short_warm_up():
    calls = []
    found = latency.measure("x", 1, calls.append, 3)
    assert len(calls) == 6 and found.rounds == 3 and found.high >= found.median

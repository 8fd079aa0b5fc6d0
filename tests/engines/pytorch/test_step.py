import numpy as np
import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer.engines.pytorch.step import StepResult


class SlowWorkers:
    """Two workers whose sum is ready when somebody waits for it."""

    world_size = 2

    def __init__(self):
        self.waits = 0

    def begin_sum(self, values):
        self._values, self._others = values, torch.full_like(values, 10.0)
        return self

    def wait(self):
        if not self.waits:
            self._values += self._others
        self.waits += 1


def test_the_sum_over_the_workers_runs_beside_backward():
    workers = SlowWorkers()
    result = StepResult(torch.tensor([1.0, 2.0, 3.0, 5.0]), torch.tensor([4.0, 6.0]), workers)
    assert not workers.waits  # backward begins now
    np.testing.assert_array_equal(result.counts(), [11, 12, 13, 15])
    assert workers.waits == 1
    np.testing.assert_array_equal(result.moments(), [7, 8])


def test_one_worker_sums_nothing():
    result = StepResult(torch.tensor([1.0, 2.0, 3.0, 5.0]), torch.tensor([4.0, 6.0]), None)
    np.testing.assert_array_equal(result.counts(), [1, 2, 3, 5])
    np.testing.assert_array_equal(result.moments(), [4, 6])

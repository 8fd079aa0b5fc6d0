import math

import pytest

from imagenet_trainer.comparison.measure import throughput
from imagenet_trainer.comparison.results import epoch_of
from imagenet_trainer.engines.memory import DeviceMemoryError


class Clock:
    """A device that runs a batch in a known time, and its clock."""

    def __init__(self, seconds, memory=math.inf):
        self.now, self.seconds, self.memory, self.sizes = 0.0, seconds, memory, []

    def call_of(self, size):
        if size > self.memory:
            raise DeviceMemoryError(size, "the device")
        self.sizes.append(size)

        def call():
            self.now += self.seconds(size)

        return call

    def speeds(self, largest):
        return [*throughput(self.call_of, largest, lambda: self.now)]


def test_batch_sizes_double_up_to_the_largest():
    speeds = Clock(lambda size: 1 + size).speeds(20)
    assert [one.size for one in speeds] == [1, 2, 4, 8, 16]
    assert [one.images_per_second for one in speeds] == pytest.approx(
        [size / (1 + size) for size in (1, 2, 4, 8, 16)]
    )


def test_it_stops_after_two_sizes_that_are_no_faster():
    seconds = {1: 1, 2: 3, 4: 2, 8: 8, 16: 16}
    assert [one.size for one in Clock(seconds.get).speeds(64)] == [1, 2, 4, 8, 16]


def test_it_stops_when_memory_is_full_or_a_call_takes_long():
    assert [one.size for one in Clock(lambda size: 0.01, memory=5).speeds(64)] == [1, 2, 4]
    assert [one.size for one in Clock(lambda size: 4.0 * size**0.9).speeds(64)] == [1, 2, 4]


def test_a_row_of_history():
    row = {"epoch": "3", "train_loss": "0.5", "val_rank1": "", "seconds": "2"}
    epoch = epoch_of(row)
    assert (epoch.epoch, epoch.train_loss, epoch.seconds) == (3, 0.5, 2)
    assert math.isnan(epoch.val_rank1) and math.isnan(epoch.val_loss)

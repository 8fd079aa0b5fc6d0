import math

import pytest

from imagenet_trainer.comparison.measure import throughput
from imagenet_trainer.comparison.results import epoch_of
from imagenet_trainer.engines.memory import DeviceMemoryError


class Clock:
    """A device that answers a batch in a known time, and the clock beside it."""

    def __init__(self, seconds, memory=math.inf):
        self.now, self.seconds, self.memory, self.sizes = 0.0, seconds, memory, []

    def call_of(self, size):
        if size > self.memory:
            raise DeviceMemoryError(size, "the device")
        self.sizes.append(size)

        def call():
            self.now += self.seconds(size)

        return call

    def found(self, largest):
        return [*throughput(self.call_of, largest, lambda: self.now)]


def test_sizes_are_doubled_up_to_the_largest():
    found = Clock(lambda size: 1 + size).found(20)
    assert [one.size for one in found] == [1, 2, 4, 8, 16]
    assert [one.images_per_second for one in found] == pytest.approx(
        [size / (1 + size) for size in (1, 2, 4, 8, 16)]
    )


def test_it_ends_when_two_sizes_in_turn_are_no_faster():
    seconds = {1: 1, 2: 3, 4: 2, 8: 8, 16: 16}
    assert [one.size for one in Clock(seconds.get).found(64)] == [1, 2, 4, 8, 16]


def test_it_ends_where_memory_does_or_a_call_takes_long():
    assert [one.size for one in Clock(lambda size: 0.01, memory=5).found(64)] == [1, 2, 4]
    assert [one.size for one in Clock(lambda size: 4.0 * size**0.9).found(64)] == [1, 2, 4]


def test_a_row_of_history():
    row = {"epoch": "3", "train_loss": "0.5", "val_rank1": "", "seconds": "2"}
    found = epoch_of(row)
    assert (found.epoch, found.train_loss, found.seconds) == (3, 0.5, 2)
    assert math.isnan(found.val_rank1) and math.isnan(found.val_loss)

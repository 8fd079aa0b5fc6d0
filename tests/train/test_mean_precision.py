import threading
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from imagenet_trainer.train.multi_label import MeanPrecision


class Together:
    """Workers in threads, whose sums wait for each other."""

    def __init__(self, size):
        self._barrier, self._values = threading.Barrier(size), [None] * size

    def sum(self, rank, values):
        self._values[rank] = values
        self._barrier.wait()
        total = np.sum(self._values, axis=0)
        self._barrier.wait()
        return total


@pytest.mark.parametrize("world", [1, 3])
def test_it_is_scikit_learns_over_all_workers(world, monkeypatch):
    monkeypatch.setattr("imagenet_trainer.train.multi_label._BLOCK", 40)
    random = np.random.default_rng(0)
    vectors = (random.random((31, 4)) < 0.4).astype(np.uint8)
    vectors[:, 2] = 0  # a class without images does not count
    p = random.random((31, 4)).astype(np.float32).round(1)  # with equal ones
    together, results = Together(world), [0.0] * world

    def work(rank):
        engine = SimpleNamespace(
            rank=rank, world_size=world,
            sum_over_workers=lambda values: together.sum(rank, values),
        )  # fmt: skip
        mean = MeanPrecision()
        ends = [0, 7, 7, 31] if world == 3 else [0, 31]  # one has no images
        mine = np.arange(ends[rank], ends[rank + 1])
        for part in np.array_split(mine, 2):
            mean.add(p[part], vectors[part])
        results[rank] = mean.result(engine, 4)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    wanted = average_precision_score(vectors[:, [0, 1, 3]], p[:, [0, 1, 3]], average="macro")
    assert results == pytest.approx([wanted] * world)

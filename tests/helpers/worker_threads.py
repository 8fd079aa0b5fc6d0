"""Workers as threads of this process."""

import threading

import numpy as np


class Threads:
    """Workers that are threads of this process."""

    def __init__(self, count):
        self.world_size = count
        self._barrier = threading.Barrier(count, timeout=30)
        self._values = [None] * count
        self._here = threading.local()

    @property
    def rank(self):
        return self._here.rank

    def sum(self, values):
        self._values[self.rank] = np.asarray(values, np.float64)
        self._barrier.wait()
        total = np.sum(self._values, axis=0)
        self._barrier.wait()
        return total

    def run(self, work):
        """The result of each rank, or the error that it raised."""
        results = [None] * self.world_size

        def one(rank):
            self._here.rank = rank
            try:
                results[rank] = work(self)
            except BaseException as error:
                results[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

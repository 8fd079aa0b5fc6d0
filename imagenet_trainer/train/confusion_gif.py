"""`fit --confusion-gif`: the confusion matrix of every epoch so far, as a GIF.

The matrix of each epoch is stored beside the checkpoints, as `confusion-0003.fit.npz`. After an
epoch the GIF is drawn again from all matrices up to that epoch. So a run that was interrupted or
rolled back ends with the same GIF as one that was not.
"""

import io
from typing import Callable, Iterator

import numpy as np

from imagenet_trainer.metrics.counts import confusion_top, top_classes
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.arrays import write_arrays
from imagenet_trainer.viz.confusion import SIDE, Frame, draw, draw_gif, pixels_of


class ConfusionGif:
    """Counts the predictions of a validation, batch by batch, and draws all epochs so far.

    `counts` is the matrix of the current validation, int64 (classes, classes); with more classes
    than pixels, the counts of the pixels.
    """

    def __init__(self, run: Run, classes: int) -> None:
        self._run, self._classes = run, classes
        side = min(classes, SIDE)
        self._place = pixels_of(classes, side)
        self.counts = np.zeros((side, side), np.int64)

    def begin(self) -> None:
        """Set all counts to 0."""
        self.counts[:] = 0

    def count(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Add a batch: float32 (n, classes) and int64 (n,)."""
        top = top_classes(probabilities, confusion_top(self._classes))
        np.add.at(self.counts, (self._place[labels][:, None], self._place[top]), 1)

    def sum_workers(self, sum_over_workers: Callable[[np.ndarray], np.ndarray]) -> None:
        """Add up the counts of all workers; `sum_over_workers` sums float64 (k,)."""
        total = sum_over_workers(self.counts.ravel().astype(np.float64))
        self.counts[:] = total.reshape(self.counts.shape)

    def draw(self, epoch: int, rank1: float) -> None:
        """Store the counts as those of the epoch and draw all up to it; errors: `atomic_write`."""
        self._run.refuse_other_folder()
        small = self.counts.astype(np.min_scalar_type(self.counts.max(initial=0)))
        path = self._run.confusion_path(epoch, ".fit.npz")
        write_arrays(path, {"matrix": small, "rank1": np.array(rank1, np.float64)})
        draw_gif(self._run.training_gif_path, self._frames(epoch))

    def png(self) -> bytes:
        """The matrix of the latest validation as a PNG file."""
        buffer = io.BytesIO()
        draw(self.counts).save(buffer, "PNG")
        return buffer.getvalue()

    def _frames(self, last: int) -> Iterator[Frame]:
        for epoch in range(1, last + 1):
            path = self._run.confusion_path(epoch, ".fit.npz")
            if not path.exists():
                continue  # trained without the GIF
            try:
                stored = read_arrays(path)
                frame = Frame(epoch, stored["matrix"], float(stored["rank1"]))
            except (ValueError, KeyError):
                continue  # damaged: a missing frame must not end a long training
            if frame.matrix.shape == self.counts.shape:
                yield frame

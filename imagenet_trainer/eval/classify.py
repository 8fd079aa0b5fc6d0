"""Classifies image files, in any number, with a trained network."""

from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import PredictSettings
from imagenet_trainer.data.image_files import ImageFile, ImageViews, decoded_files
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.engines import Engine
from imagenet_trainer.engines.symbol import ends_in_sigmoid
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.inference import check_finite, predict_views, share_of_batch
from imagenet_trainer.eval.network import Log, devices_of, open_network, views_of
from imagenet_trainer.runs.run import Run


class FilePrediction(NamedTuple):
    """The prediction for one file."""

    path: str
    probabilities: np.ndarray  # float32 (classes,)
    size: Tuple[int, int]  # height, width of the file


class Classifier:
    """A trained network that classifies files.

    Parameters
    ----------
    settings
        Epoch, views, devices and batch size.
    run
        The run of the network.
    images
        The largest number of images; batches are not larger.
    log
        Called with a line for everything that the user should know.

    """

    def __init__(self, settings: PredictSettings, run: Run, images: int, log: Log):
        views = views_of(settings)
        devices = len(settings.gpus) or settings.cpus
        least = -(-min(settings.batch_size, max(1, images)) // devices) * devices
        self.batch, engine_batch = share_of_batch(least * views.positions, views, devices)
        self.engine: Engine
        # Compiling takes longer than classifying thousands of files.
        self.engine, symbol, checkpoint = open_network(
            run, settings.epoch, devices_of(settings, few=True), engine_batch, settings, log
        )
        how = checkpoint.known_preprocessing
        self.has_several = ends_in_sigmoid(symbol)  # classes in an image
        self.prefix, self.epoch = run.prefix, checkpoint.progress.epoch
        self.classes, self.image_shape = checkpoint.classes, how.image_shape
        self.transform = ViewTransform(how.image_shape, how.val_resize, views, how.val_interp)
        self.threads = loader_threads(settings.data_nthreads, bool(settings.gpus)).count

    def predict(self, views: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, positions x height, width, 3)."""
        probabilities = predict_views(self.engine, views, self.transform.views)
        check_finite(probabilities)
        return probabilities

    def classify(
        self, files: Sequence[ImageFile], damaged: Optional[Callable[[InputError], object]] = None
    ) -> Iterator[FilePrediction]:
        """The predictions for files, in order; errors of damaged files go to `damaged`.

        Raises InputError for a damaged file that the user named, and for every damaged file if
        `damaged` is None.
        """
        batch: List[ImageViews] = []
        decoded = decoded_files(files, self.transform, self.threads, 2 * self.batch)
        for file, one in zip(files, decoded):
            if isinstance(one, InputError):
                if file.named or damaged is None:
                    raise one
                damaged(one)
                continue
            batch.append(one)
            if len(batch) == self.batch:
                yield from self._named(batch)
                batch = []
        if batch:
            yield from self._named(batch)

    def _named(self, batch: Sequence[ImageViews]) -> Iterator[FilePrediction]:
        probabilities = self.predict(np.stack([one.views for one in batch]))
        for one, row in zip(batch, probabilities):
            yield FilePrediction(one.path, row, one.size)

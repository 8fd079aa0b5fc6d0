"""A network's probabilities for image files, however many they are."""

from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import PredictSettings
from imagenet_trainer.data.image_files import ImageFile, ImageViews, decoded_files
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.engines import Devices, Engine
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.inference import check_finite, predict_views, share_of_batch
from imagenet_trainer.eval.network import Tell, open_network, views_of
from imagenet_trainer.runs.run import Run


class FilePrediction(NamedTuple):
    """What a network says of one file."""

    path: str
    probabilities: np.ndarray  # float32 (classes,)
    size: Tuple[int, int]  # height, width of the file


class Classifier:
    """A trained network that is shown files.

    Parameters
    ----------
    settings
        which views, devices and batch.
    run
        the network; `settings.epoch` or its newest.
    images
        how many there will be at most; a batch is not larger.
    tell
        is given a line for everything that the user should know.

    """

    def __init__(self, settings: PredictSettings, run: Run, images: int, tell: Tell):
        views = views_of(settings)
        devices = len(settings.gpus) or settings.cpus
        least = -(-min(settings.batch_size, max(1, images)) // devices) * devices
        self.batch, engine_batch = share_of_batch(least * views.positions, views, devices)
        where = Devices(settings.gpus, settings.cpus, engine=settings.engine)
        self.engine: Engine
        self.engine, _, checkpoint = open_network(
            run, settings.epoch, where, engine_batch, settings, tell
        )
        how = checkpoint.preprocessing
        assert how is not None
        self.classes, self.image_shape = checkpoint.classes, how.image_shape
        self.transform = ViewTransform(how.image_shape, how.val_resize, views)
        self.threads = loader_threads(settings.data_nthreads, bool(settings.gpus)).count

    def ask(self, views: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of uint8 (n, positions x height, width, 3)."""
        probabilities = predict_views(self.engine, views, self.transform.views)
        check_finite(probabilities)
        return probabilities

    def classify(
        self, found: Sequence[ImageFile], damaged: Optional[Callable[[InputError], object]] = None
    ) -> Iterator[FilePrediction]:
        """Each file in order; what is damaged goes to `damaged`, if there is one.

        Raises InputError for a damaged file that the user named, and for any without `damaged`.
        """
        batch: List[ImageViews] = []
        shown = decoded_files(found, self.transform, self.threads, 2 * self.batch)
        for file, one in zip(found, shown):
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
        probabilities = self.ask(np.stack([one.views for one in batch]))
        for one, row in zip(batch, probabilities):
            yield FilePrediction(one.path, row, one.size)

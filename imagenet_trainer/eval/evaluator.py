"""Scores epochs of a run on one set of images: what `evaluate` does between flags and files."""

import contextlib
import math
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.dataset import Classes, Dataset, open_matching_dataset
from imagenet_trainer.data.loader import loader_threads
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.inference import ViewBatches, predict_dataset, share_of_batch
from imagenet_trainer.eval.network import Tell, load_trained, open_network, set_checkpoint, views_of
from imagenet_trainer.eval.results import Results, Shown
from imagenet_trainer.metrics.predictions import TOP, Predictions, ProbabilitiesFile
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.predictions import rename_old_probabilities, save_predictions
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.machine import free_memory
from imagenet_trainer.system.progress_bar import progress


class EpochResult(NamedTuple):
    """One epoch's predictions and numbers."""

    epoch: int
    predictions: Predictions
    metrics: Dict[str, Any]  # as evaluation.json holds them
    name: str  # of the set; '' for the run's own images
    classes: Classes


class Evaluator:
    """The epochs of a run, one set of images, one way of showing them.

    Parameters
    ----------
    settings, run, epochs
        what `evaluate` was told.
    tell
        is given a line for everything that the user should know.

    Raises InputError for what does not fit: see `open_network`, `open_validation_set`.

    """

    def __init__(
        self, settings: EvaluateSettings, run: Run, epochs: Sequence[int], tell: Tell
    ) -> None:
        self.settings, self.run, self.epochs, self._tell = settings, run, epochs, tell
        views = views_of(settings)
        devices = Devices(settings.gpus, settings.cpus, engine=settings.engine)
        batch, engine_batch = share_of_batch(
            settings.batch_size, views, len(settings.gpus) or settings.cpus
        )
        self._engine, self._symbol, checkpoint = open_network(
            run, epochs[0], devices, engine_batch, settings, tell
        )
        self._held = epochs[0]  # whose parameters the engine has
        how = checkpoint.preprocessing
        assert how is not None
        self.dataset, own = open_validation_set(settings, run, checkpoint)
        self.shown = Shown(self.dataset, how, views)
        self.files = Results(run, self.shown, run.preprocessing(epochs[0]), own)
        transform = ViewTransform(how.image_shape, how.val_resize, views)
        if views.crops == 10 and transform.short_side == max(how.image_shape[1:]):
            tell(
                "--crops 10: images are resized to the crop's own size, so square ones have the "
                "same crop in all corners; --val-resize makes room"
            )
        threads = loader_threads(settings.data_nthreads, bool(settings.gpus))
        self._source = ViewBatches(self.dataset, transform, batch, threads)

    def results(self) -> Iterator[EpochResult]:
        """Each epoch, computed or found; the next checkpoint is read while one is computed.

        All files of an epoch are written before it comes.
        """
        top_k, probabilities = self.settings.top_k, self.settings.save_predictions
        keys = {epoch: self.shown.key(self.run.params_path(epoch)) for epoch in self.epochs}
        most = max((TOP, *top_k))
        for epoch in self.epochs:
            rename_old_probabilities(self.run, epoch, self.files.name)
        found = {
            epoch: self.files.known(epoch, keys[epoch], most, probabilities)
            for epoch in self.epochs
        }
        to_score = [epoch for epoch in self.epochs if found[epoch] is None]
        self._keep_images(len(to_score))
        with ThreadPoolExecutor(1) as reader:
            coming: Dict[int, Future] = {}
            for epoch in self.epochs:
                predictions = found.pop(epoch)
                if predictions is None:
                    if epoch != self._held:
                        one = coming.get(epoch) or reader.submit(self._read, epoch)
                        set_checkpoint(self._engine, self._symbol, self.run, one.result())
                        self._held = epoch
                    following = to_score[to_score.index(epoch) + 1 :][:1]
                    coming = {next_: reader.submit(self._read, next_) for next_ in following}
                    predictions = self._score(epoch, keys[epoch], most)
                    save_predictions(self.run, epoch, self.files.name, predictions)
                numbers = self.files.record(epoch, predictions, top_k)
                yield EpochResult(
                    epoch, predictions, numbers, self.files.name, self.dataset.classes
                )

    def _read(self, epoch: int) -> Checkpoint:
        checkpoint = load_trained(self.run, epoch, self.settings)
        if checkpoint.preprocessing != self.shown.preprocessing:
            raise InputError(
                f"{self.run.params_path(epoch)}: its images are prepared otherwise than epoch "
                f"{self.epochs[0]}'s; score it in a call of its own"
            )
        return checkpoint

    def _score(self, epoch: int, key: str, top_k: int) -> Predictions:
        images, classes = len(self.dataset), len(self.dataset.classes)
        with contextlib.ExitStack() as stack:
            advance = stack.enter_context(progress(f"epoch {epoch}", images))
            file = None
            if self.settings.save_predictions:
                path = self.run.probabilities_path(epoch, self.files.name)
                file = stack.enter_context(ProbabilitiesFile(path, images, classes))
            predictions = predict_dataset(self._engine, self._source, top_k, key, file, advance)
            if file is not None:
                file.finish(predictions)
        return predictions

    def _keep_images(self, epochs: int) -> None:
        """Keep the decoded images in memory if several epochs need them and they fit."""
        share = self.settings.cache_memory
        if epochs < 2 or not share:
            return
        room, size = share * free_memory(), self._source.size
        if size <= room:
            self._source.keep = True
            self._tell(f"decoding once for {epochs} epochs: {_told(size)} of memory")
        else:
            self._tell(
                f"decoding for every epoch: the images take {_told(size)}, and --cache-memory "
                f"{share:g} of the free memory is {_told(room)}"
            )


def _told(size: float) -> str:
    """`2 MiB`, `7.0 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{math.ceil(size / 2**20)} MiB"


def own_validation_set(run: Run) -> Tuple[str, str]:
    """--data-val and --data-val-idx that a run was trained with, or the defaults."""
    before = run.read_json(run.config_path).get("settings", {})
    found = before.get("data_val", "data/val.rec"), before.get("data_val_idx", "")
    if not all(isinstance(value, str) for value in found):
        raise InputError(f"{run.config_path}: is not a file of this program; remove it")
    return found


def open_validation_set(
    settings: EvaluateSettings, run: Run, checkpoint: Checkpoint
) -> Tuple[Dataset, Optional[bool]]:
    """The validation images of the run, or others with the same classes.

    And whether they are the run's own; None where it does not say which these are.
    """
    path, index = own_validation_set(run)
    if settings.data_val:
        path, index = settings.data_val, settings.data_val_idx
    index = settings.data_val_idx or index
    with attributed_to("--data-val", " "):
        dataset = open_matching_dataset(path, index, checkpoint.classes, run.prefix)
    known = run.read_json(run.config_path).get("data", {}).get("val")
    own = None if known is None else not settings.data_val or dataset.fingerprint == known
    return dataset, own

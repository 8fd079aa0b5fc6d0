"""What is measured of a trained network: its size, its answers, how fast they come."""

import gc
import hashlib
import os
import sys
import time
from dataclasses import asdict
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Tuple

import numpy as np

from imagenet_trainer.checkpoint import Preprocessing
from imagenet_trainer.config import CompareSettings, EvaluateSettings
from imagenet_trainer.contest.entrants import Entrant
from imagenet_trainer.contest.judging import Batch, ClassErrors, Entry, Epoch, Timing
from imagenet_trainer.data.augment import EvalTransform, decode
from imagenet_trainer.data.sets import PictureSet
from imagenet_trainer.engines import DeviceMemoryError, Devices, open_engine
from imagenet_trainer.files import sha256
from imagenet_trainer.keeping import best_of
from imagenet_trainer.latency import measure as measure_latency
from imagenet_trainer.mxnet_import import nvidia_gpus
from imagenet_trainer.numbers import class_table
from imagenet_trainer.run import Run
from imagenet_trainer.scorer import Scored, Scorer
from imagenet_trainer.scoring import open_network, set_checkpoint
from imagenet_trainer.summary import summarise

_VERSION = 1  # of what is kept; another one is measured again
_SHOWN = 16  # pictures that take turns while one at a time is timed
# A batch size is timed for so long, and at least so often; doubling ends when two sizes in turn
# were no faster, or a call takes this long.
_SECONDS, _CALLS, _TOO_LONG = 0.5, 3, 10.0


def devices_at_hand(settings: CompareSettings) -> List[Tuple[str, Devices]]:
    """Name and description of the CPU, and of the first GPU (of --gpus, if that is given)."""
    threads = os.environ["OMP_NUM_THREADS"]  # set when MXNet is imported
    name = f"CPU, {threads} thread{'s' * (threads != '1')}"
    found = [(name, Devices(engine=_on_cpu(settings)))]
    gpus = nvidia_gpus()
    if gpus or settings.gpus:
        number = (settings.gpus or (0,))[0]
        name = gpus[number][0] if number < len(gpus) else f"GPU {number}"
        found.append((name, Devices((number,), engine=settings.engine)))
    return found


def _on_cpu(settings: CompareSettings) -> str:
    return "torch" if settings.engine == "torch" else "auto"


def tell(text: str) -> None:
    """What the user should know beside the report."""
    print(f"compare: {text}", file=sys.stderr, flush=True)


def judged_epoch(run: Run) -> int:
    """The best finished epoch by its own validation, as `--epochs best`; else the newest."""
    best = best_of(run.validations())
    return run.epochs()[-1] if best is None else best


class Measured(NamedTuple):
    """Everything about one network, and which pictures it was asked about."""

    entry: Entry
    pictures: str  # in words
    fingerprint: str


def measured(entrant: Entrant, settings: CompareSettings, pictures: Tuple[str, str]) -> Measured:
    """Measure a network, or find what was measured before.

    Parameters
    ----------
    entrant
        with a finished epoch.
    settings
        of the comparison.
    pictures
        --data-val and --data-val-idx for all.

    Raises InputError for a network that cannot be opened or asked.

    """
    return _Measurer(settings, pictures).measured(entrant)


class _Measurer:
    """What all measures share."""

    def __init__(self, settings: CompareSettings, pictures: Tuple[str, str]) -> None:
        self._settings, self._pictures = settings, pictures
        self._devices = devices_at_hand(settings)

    def measured(self, entrant: Entrant) -> Measured:
        """Everything about one network."""
        run = entrant.run
        epoch = judged_epoch(run)
        kept = kept_of(entrant)
        scored, pictures, how = self._score(run, epoch)
        key = self._key(run, epoch, how)
        known = kept.get("measured", {})
        if known.get("key") != key or self._settings.measure_again:
            known = {"key": key, **self._measure(run, epoch, pictures)}
            keep(entrant, {**kept, "measured": known})
        numbers, training = scored.numbers, kept.get("training", {})
        before = run.read_json(run.config_path)
        entry = Entry(
            name=entrant.name,
            series=entrant.series,
            flags=entrant.own_flags,
            image_shape=tuple(how.image_shape),
            train_images=before.get("data", {}).get("train_images", 0),
            epochs=tuple(map(epoch_of, run.read_history())),
            judged=epoch,
            rank1=numbers["rank1"],
            rank1_interval=tuple(numbers["intervals"]["rank1"]),
            rank5=numbers["rank5"],
            loss=numbers["loss"],
            parameters=known["parameters"],
            multiply_adds=known["multiply_adds"],
            file_bytes=run.params_path(epoch).stat().st_size,
            timings=tuple(_timing(one) for one in known["timings"]),
            classes=class_errors(scored),
            right=scored.answers.rank < 1,
            wall_seconds=training.get("seconds"),
            peak_bytes=max(training.get("peak_bytes", 0), _peak_of_history(run)) or None,
        )
        words = f"{self._pictures[0]}: {len(pictures):,} of {len(pictures.classes)} classes"
        return Measured(entry, words, pictures.fingerprint)

    def _score(self, run: Run, epoch: int) -> Tuple[Scored, PictureSet, Preprocessing]:
        """The answers to all pictures, as `evaluate` gives and keeps them."""
        settings = self._settings
        path, index = self._pictures
        asked = EvaluateSettings(
            gpus=settings.gpus, engine=settings.engine, model_prefix=run.prefix, epochs=(epoch,),
            data_val=path, data_val_idx=index, batch_size=min(64, settings.batch_size),
            data_nthreads=settings.data_nthreads,
        )  # fmt: skip
        scorer = Scorer(asked, run, (epoch,), tell)
        (scored,) = scorer.scored()
        return scored, scorer.pictures, scorer.shown.preprocessing

    def _key(self, run: Run, epoch: int, how: Preprocessing) -> str:
        settings = self._settings
        parts = [
            _VERSION, sha256(run.params_path(epoch)), how, settings.rounds, settings.largest_batch,
            self._devices,
        ]  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _measure(self, run: Run, epoch: int, pictures: PictureSet) -> Dict[str, Any]:
        timings = []
        for name, devices in self._devices:
            timings.append(self._time(run, epoch, pictures, name, devices))
            gc.collect()  # an engine's memory, before the next one's
        _, symbol, checkpoint = open_network(run, epoch, Devices(), 1)
        assert checkpoint.preprocessing is not None
        cost = summarise(symbol, checkpoint.preprocessing.image_shape)
        return {
            "parameters": cost.learned,
            "multiply_adds": cost.multiply_adds,
            "timings": [asdict(one) for one in timings],
        }

    def _time(
        self, run: Run, epoch: int, pictures: PictureSet, name: str, devices: Devices
    ) -> Timing:
        engine, symbol, checkpoint = open_network(run, epoch, devices, 1)
        how = checkpoint.preprocessing
        assert how is not None
        transform = EvalTransform(how.image_shape, how.val_resize)
        count = min(_SHOWN, len(pictures))
        encoded = [bytes(pictures.shards.record(number).picture) for number in range(count)]

        def view(number: int) -> np.ndarray:
            out = np.empty((1, *transform.size, 3), np.uint8)
            transform.apply(decode(encoded[number % count]), None, 0, out[0])
            return out

        views = [view(number) for number in range(count)]
        rounds = self._settings.rounds
        alone = measure_latency("", 1, lambda n: engine.predict(views[n % count]), rounds)
        whole = measure_latency("", 1, lambda n: engine.predict(view(n)), rounds)

        def call_of(batch: int) -> Callable[[], object]:
            many = open_engine(
                symbol, devices, (batch, *transform.size, 3), how.rgb_mean, how.rgb_std
            )
            set_checkpoint(many, symbol, run, checkpoint)
            images = np.concatenate([views[number % count] for number in range(batch)])
            return lambda: many.predict(images)

        batches = tuple(throughput(call_of, self._settings.largest_batch))
        return Timing(name, alone.median, alone.high, whole.median, whole.high, batches)


def throughput(
    call_of: Callable[[int], Callable[[], object]],
    largest: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Batch]:
    """Pictures a second with batches of 1, 2, 4 ... up to `largest`, by the median call.

    `call_of` makes what answers a batch of that size. It ends before `largest` when two sizes in
    turn were no faster than a smaller one, when memory is full, or a call takes too long.
    """
    best, slower, size = 0.0, 0, 1
    while size <= largest and slower < 2:
        try:
            call = call_of(size)
            call()  # prepares
            times: List[float] = []
            while len(times) < _CALLS or sum(times) < _SECONDS:
                began = clock()
                call()
                times.append(clock() - began)
        except DeviceMemoryError:
            return
        seconds = float(np.median(times))
        found = Batch(size, size / max(seconds, 1e-9))
        yield found
        if seconds > _TOO_LONG:
            return
        slower = 0 if found.images_per_second > best else slower + 1
        best, size = max(best, found.images_per_second), 2 * size


def class_errors(scored: Scored) -> Tuple[ClassErrors, ...]:
    """False negatives and positives of every class."""
    counted = class_table(scored.answers)
    names = [one if one == words else f"{one} {words}" for one, words in scored.classes]
    return tuple(
        ClassErrors(name, int(images), int(images - hits), int(predicted - hits))
        for name, images, predicted, hits in zip(
            names, counted.images, counted.predicted, counted.hits
        )
    )


def epoch_of(row: Mapping[str, str]) -> Epoch:
    """A row of history.csv."""

    def number(name: str) -> float:
        return float(row.get(name) or "nan")

    names = ("train_loss", "train_rank1", "val_loss", "val_rank1", "seconds")
    return Epoch(int(row["epoch"]), *map(number, names))


def _peak_of_history(run: Run) -> int:
    """The most memory in history.csv's column, in bytes; 0 for a run that does not say."""
    known = (float(row.get("memory_mb") or 0) for row in run.read_history())
    return round(max(known, default=0) * 1e6)


def _timing(values: Mapping[str, Any]) -> Timing:
    batches = tuple(Batch(int(size), float(speed)) for size, speed in values["batches"])
    return Timing(**{**values, "batches": batches})


# --- what is kept of an entrant ----------------------------------------------------------------


def kept_of(entrant: Entrant) -> Dict[str, Any]:
    """What a comparison kept of it: `training` and `measured`; {} at first."""
    return entrant.run.read_json(entrant.kept)


def keep(entrant: Entrant, content: Mapping[str, Any]) -> None:
    """Keep it."""
    entrant.run.write_json(entrant.kept, content)

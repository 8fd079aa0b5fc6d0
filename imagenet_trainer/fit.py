"""Train a network: python -m imagenet_trainer.fit --network resnet --num-layers 18 --gpus 0,1

Run again, the same command continues where it was, to the last bit on one CPU.
"""

import sys
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional, Sequence

from imagenet_trainer import config, flags
from imagenet_trainer.errors import InputError, run_command

if TYPE_CHECKING:
    from imagenet_trainer.interrupts import Interrupts
    from imagenet_trainer.metrics import Scores
    from imagenet_trainer.observers import Watch
    from imagenet_trainer.run import Progress
    from imagenet_trainer.session import Session


def fit(session: "Session", interrupts: "Interrupts", watch: "Watch") -> None:
    """Train epoch by epoch until the last one, or until a signal comes."""
    from imagenet_trainer.data.loader import training_batches
    from imagenet_trainer.scoring import loader_threads

    settings, engine, progress = session.settings, session.engine, session.progress
    threads, nice = loader_threads(settings.data_nthreads, bool(settings.gpus))
    last_update = session.first_update(settings.num_epochs)
    with training_batches(
        session.train.shards, session.order, session.transform, len(session.train.classes),
        progress.update, last_update, engine.rank, engine.world_size, threads, nice=nice,
    ) as batches:  # fmt: skip
        stream = iter(batches)
        while progress.epoch < settings.num_epochs:
            progress = train_epoch(session, stream, progress, interrupts, watch)
            if not interrupts:
                # The moving statistics of several devices become one here, at a fixed place.
                engine.set_params(*engine.get_params())
                scores = validate(session, interrupts)
            if interrupts.signal:
                save(session, None, progress, watch)
                watch.interrupted(progress, interrupts.signal)
                return
            progress = finish_epoch(session, progress, scores, watch)


def train_epoch(
    session: "Session", stream: Any, progress: "Progress", interrupts: "Interrupts", watch: "Watch"
) -> "Progress":
    """Make the updates that are left of an epoch; return how far it came."""
    settings, engine, epoch = session.settings, session.engine, progress.epoch
    begin, end = session.first_update(epoch), session.first_update(epoch + 1)
    shown, saved = Interval(progress), time.monotonic()
    watch.log.open_bar(epoch, end - begin, progress.update - begin)
    for update in range(progress.update, end):
        batch = next(stream)
        engine.train_batch(batch.images, batch.labels, session.learning_rate(update))
        watch.log.advance_bar()
        shown.waited += batch.wait
        due = 0 < settings.checkpoint_minutes * 60 <= time.monotonic() - saved
        if (
            due
            or interrupts
            or update + 1 == end
            or not (update + 1 - begin) % settings.disp_batches
        ):
            progress = shown.close(engine.read_counts(), progress, update + 1)
            watch.interval(progress, shown.first, shown.scores, shown.seconds, shown.waited)
            shown = Interval(progress)
        if interrupts:
            break
        if due and update + 1 < end:
            save(session, None, progress, watch)
            saved = time.monotonic()
    watch.log.close_bar()
    return progress


class Interval:
    """The updates between two log lines: their counts, seconds and waiting for data."""

    def __init__(self, progress: "Progress") -> None:
        self.first = progress.update
        self.began = time.perf_counter()
        self.waited = 0.0

    def close(self, counts: Sequence[Any], progress: "Progress", update: int) -> "Progress":
        """Add what the engine counted to the epoch's progress."""
        from imagenet_trainer.metrics import Scores

        self.scores = Scores(*counts)
        self.seconds = time.perf_counter() - self.began
        return replace(
            progress,
            update=update,
            scores=progress.scores + self.scores,
            seconds=progress.seconds + self.seconds,
            wait_seconds=progress.wait_seconds + self.waited,
        )


def validate(session: "Session", interrupts: "Interrupts") -> "Scores":
    """Rank-1, rank-5 and loss of the validation pictures; short of some after a signal."""
    from imagenet_trainer.metrics import Scores, score
    from imagenet_trainer.scoring import answers, loader_threads

    settings, scores = session.settings, Scores()
    threads, nice = loader_threads(settings.data_nthreads, bool(settings.gpus))
    for probabilities, labels in answers(
        session.engine, session.val, session.preprocessing, threads, nice
    ):
        scores += score(probabilities, labels)
        if interrupts:
            break
    return scores


def finish_epoch(
    session: "Session", progress: "Progress", scores: "Scores", watch: "Watch"
) -> "Progress":
    """Tell and save a finished epoch; return the progress of the next one."""
    from imagenet_trainer.run import Progress

    settings, number = session.settings, progress.epoch + 1
    watch.epoch(progress, scores)
    following = Progress(epoch=number, update=progress.update)
    numbered = number % settings.save_period == 0 or number == settings.num_epochs
    save(session, number if numbered else None, following, watch)
    watch.epoch_is_over()
    return following


def save(session: "Session", epoch: Optional[int], progress: "Progress", watch: "Watch") -> None:
    """Write the checkpoint of a finished epoch, or with None the newest inside one."""
    with watch.saving(epoch, progress):
        session.save(epoch, progress)


def train(settings: config.FitSettings) -> int:
    """Open everything, train, and return the exit code."""
    from imagenet_trainer import when_done
    from imagenet_trainer.engines import NonFiniteLossError
    from imagenet_trainer.interrupts import Interrupts
    from imagenet_trainer.logs import RunLog
    from imagenet_trainer.observers import Watch
    from imagenet_trainer.session import open_session

    if settings.summary:
        return print_summary(settings)
    if settings.test_io or settings.benchmark:
        from imagenet_trainer.benchmarks import train as speed

        return speed.read_only(settings) if settings.test_io else speed.synthetic(settings)
    when_done.check(settings.when_done)
    with Interrupts() as interrupts:
        session = open_session(settings)
        run, rank = session.run, session.engine.rank
        command = () if rank else settings.when_done
        with (
            RunLog(run.log_path, rank, settings.top_k, settings.loss) as log,
            when_done.afterwards(command, run.prefix, interrupts, log.say),
            closing(session),
            Watch(session, log) as watch,
        ):
            if session.progress.epoch >= settings.num_epochs:
                log.say(
                    f"All {settings.num_epochs} epochs are done; a higher --num-epochs trains on"
                )
            try:
                fit(session, interrupts, watch)
            except NonFiniteLossError as error:
                raise InputError(
                    f"{error} (epoch {session_epoch(session, error.update)}); that update was not "
                    "made and the last checkpoint is kept; use a lower --lr or more "
                    "--warmup-epochs, and another --model-prefix"
                ) from None
        return interrupts.exit_code


def print_summary(settings: config.FitSettings) -> int:
    """`--summary`: the network as a table, for the classes of the shard if it is there."""
    import symbols
    from imagenet_trainer.data.sets import classes_without_data
    from imagenet_trainer.summary import summarise, table

    network = symbols.find(settings.network, settings.num_layers)
    classes = classes_without_data(settings)
    symbol = symbols.get_symbol(
        settings.network, classes, settings.image_shape, settings.num_layers, settings.activation
    )
    shape = " x ".join(map(str, settings.image_shape))
    print(f"{network.name}: {classes} classes, pictures of {shape}\n")
    print(table(summarise(symbol, settings.image_shape), settings.batch_size))
    return 0


def session_epoch(session: "Session", update: int) -> str:
    """The epoch and batch of an update, as log lines count them."""
    epoch = session.progress.epoch
    while session.first_update(epoch + 1) <= update:
        epoch += 1
    return f"{epoch}, batch {update - session.first_update(epoch)}"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.FitSettings,
        argv,
        "fit",
        "Train a network on packed pictures; run again to continue.",
    )
    return run_command("fit", lambda: train(settings))


if __name__ == "__main__":
    sys.exit(main())

"""Name what images show: python -m imagenet_trainer.predict cat.jpg photos/ 'more/*.png'"""

import contextlib
import os
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, Optional, Sequence, Tuple

import imagenet_trainer.system.interruptible  # noqa: F401
from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import InputError, print_message, run_command

log = partial(print_message, "predict")

if TYPE_CHECKING:
    from imagenet_trainer.data.image_files import ImageFile
    from imagenet_trainer.eval.classify import Classifier, FilePrediction

Best = List[Tuple[str, str, float]]  # id, name, probability of classes, best first


def predict(settings: config.PredictSettings) -> List[Best]:
    """The most probable classes of each image, best first.

    Raises InputError naming the first file that is not an image.
    """
    classifier, found = open_classifier(settings)
    return [best_of(one, classifier, settings.top_k) for one in classifier.classify(found)]


def open_classifier(
    settings: config.PredictSettings, at_once: Optional[int] = None
) -> Tuple["Classifier", List["ImageFile"]]:
    """The network, and the files that it is asked about; it takes no larger batches than files,
    or than `at_once`.
    """
    from imagenet_trainer.data.image_files import find_images
    from imagenet_trainer.eval.classify import Classifier
    from imagenet_trainer.runs.run import Run, newest_run

    found = find_images(settings.pictures)
    run = Run(settings.model_prefix) if settings.model_prefix else newest_run()
    return Classifier(settings, run, at_once or len(found), log), found


def best_of(one: "FilePrediction", classifier: "Classifier", top_k: int) -> Best:
    """Its most probable classes."""
    from imagenet_trainer.metrics.counts import top_classes

    labels = top_classes(one.probabilities[None], top_k)[0]
    return [(*classifier.classes[label], float(one.probabilities[label])) for label in labels]


def show(settings: config.PredictSettings) -> None:
    """Print a paragraph for each image, or write the files asked for."""
    from imagenet_trainer.system.progress_bar import progress

    classifier, found = open_classifier(settings)
    damaged: List[InputError] = []

    def skip(error: InputError) -> None:
        log(f"skipped: {error}")
        damaged.append(error)

    with contextlib.ExitStack() as stack:
        writers = list(opened_files(settings, classifier, found, stack))
        advance = stack.enter_context(progress("predict", len(found)) if writers else _no_bar())
        # Every image needs its row in a submission.
        for one in classifier.classify(found, None if settings.submission else skip):
            for writer in writers:
                writer.add(one)
            if not writers:
                print("\n".join(paragraph(one.path, best_of(one, classifier, settings.top_k))))
            advance(1)
        if len(damaged) == len(found):
            raise InputError(f"none of the {len(found)} files is an image")
    for path in filter(None, (settings.csv, settings.submission)):
        count = len(found) - len(damaged)
        print(f"written: {path} ({count} image{'' if count == 1 else 's'})")
    if damaged:
        log(f"{len(damaged)} of {len(found)} files are damaged or no images and were skipped")


def opened_files(
    settings: config.PredictSettings,
    classifier: "Classifier",
    found: Sequence["ImageFile"],
    stack: contextlib.ExitStack,
) -> Iterator[Any]:
    """What takes the predictions; the files are there when the stack is closed."""
    from imagenet_trainer.eval.submission import Submission, Table, check_ids
    from imagenet_trainer.system.files import atomic_write

    if settings.csv:
        file = stack.enter_context(atomic_write(settings.csv, "w"))
        yield Table(file, classifier.classes, settings.top_k)
    if settings.submission:
        check_ids(file.path for file in found)
        rows = Submission(
            settings.submission_kind, classifier.classes, settings.submission_class, settings.clip
        )
        file = stack.enter_context(atomic_write(settings.submission, "w"))
        stack.push(lambda kind, *_: None if kind else rows.write(file))  # before it is closed
        yield rows


@contextlib.contextmanager
def _no_bar() -> Iterator[Any]:
    yield lambda more: None


def paragraph(path: str, best: Best) -> Iterator[str]:
    """What is printed of an image."""
    yield path
    for name, words, probability in best:
        # Folder names of no known meaning stand for themselves, once.
        title = name if words == name else f"{name} {words}"
        yield f"  {title}  {probability:.2f}"


def time_answers(settings: config.PredictSettings) -> None:
    """Print how long predictions take, alone and in batches."""
    from imagenet_trainer.eval.latency import of_network, table

    single, found = open_classifier(replace(settings, batch_size=1))
    many, _ = open_classifier(settings, settings.batch_size)
    _, high, wide = single.image_shape
    where = "CPU" if not settings.gpus else f"GPU {','.join(map(str, settings.gpus))}"
    times = of_network(single, many, [file.path for file in found], settings.latency_rounds)
    print(table(f"{where}, {wide} x {high} pixels", times))


def check(settings: config.PredictSettings) -> None:
    """InputError for flags that would do nothing together."""
    default = config.PredictSettings()
    for name in ("submission_kind", "submission_class", "clip"):
        if getattr(settings, name) != getattr(default, name) and not settings.submission:
            raise InputError(f"{flags.flag_of(name)}: is for --submission FILE, which is not given")
    if settings.latency_rounds != default.latency_rounds and not settings.latency:
        raise InputError("--latency-rounds: is for --latency, which is not given")
    both = settings.csv and settings.submission
    if both and os.path.realpath(settings.csv) == os.path.realpath(settings.submission):
        raise InputError(f"--csv {settings.csv}: is --submission's file too; name another")
    if settings.submission_class and settings.submission_kind != "probability":
        raise InputError("--submission-class: is for --submission-kind probability")
    for name in ("csv", "submission"):
        if settings.latency and getattr(settings, name):
            raise InputError(f"{flags.flag_of(name)}: --latency writes no file; leave one away")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.PredictSettings, argv, "predict", "Print the most probable classes of images."
    )

    def body() -> None:
        check(settings)
        (time_answers if settings.latency else show)(settings)

    return run_command("predict", body)


def call(values: Mapping[str, Any]) -> List[List[Tuple[str, str, float]]]:
    """From Python: `predict(images=["cat.jpg"])` returns (id, name, probability) of each."""
    return predict(flags.settings_of(config.PredictSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())

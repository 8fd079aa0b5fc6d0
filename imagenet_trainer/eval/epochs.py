"""Evaluates epochs of a run, or compares two checkpoints, and prints the results."""

import contextlib
import os
import re
import tempfile
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

from imagenet_trainer.config import EvaluateSettings, FigureSettings, commands
from imagenet_trainer.config.evaluated import (
    EpochFiles,
    EpochMetrics,
    EvaluateFiles,
    EvaluateResult,
)
from imagenet_trainer.config.flags import flag_of, is_set
from imagenet_trainer.config.values import BEST
from imagenet_trainer.data.review import read_reviews
from imagenet_trainer.errors import InputError, attributed_to, print_message
from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.eval.explain import Explainer
from imagenet_trainer.eval.figures import draw_difference
from imagenet_trainer.eval.labels import named_images
from imagenet_trainer.eval.outputs import Written, check_outputs, write_outputs
from imagenet_trainer.eval.paired import (
    comparison_path,
    comparison_text,
    different_labels,
    own_settings,
    paired_comparison,
    parse_checkpoints,
    with_classes_of,
)
from imagenet_trainer.eval.report import thumbnails_folder, write_paired_report
from imagenet_trainer.eval.review import ReviewedPredictions
from imagenet_trainer.metrics.counts import MEAN_AVERAGE_PRECISION
from imagenet_trainer.metrics.evaluation import at_chance, collapse, shown_ranks, table
from imagenet_trainer.metrics.semantic import short_names
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.trained import trained_run
from imagenet_trainer.system.desktop import NOT_OPENED, open_page
from imagenet_trainer.system.files import make_folder, write_json

log = partial(print_message, "evaluate")


def evaluate(settings: EvaluateSettings) -> EvaluateResult:
    """Evaluate the chosen epochs; return the metrics of each, and the files.

    Epochs that were evaluated before, with the same parameters and images, are not computed again.
    """
    run = trained_run(settings.model_prefix)
    with attributed_to("--review", " "):
        reviews = read_reviews(settings.review) if settings.review else []
    with results_folder(settings, [run]) as keeps:
        evaluator = Evaluator(settings, run, select_epochs(run, settings.epochs), log)
        check_outputs(settings, evaluator.dataset.classes)
        settings = evaluator.settings
        explainer = Explainer(settings, evaluator) if settings.explain else None
        results, written = [], Written()
        for one in evaluator.results():
            print("\n".join(epoch_lines(one, settings.top_k)), flush=True)
            if settings.review:
                named = partial(named_images, evaluator.dataset)
                with attributed_to("--review", " "):
                    review = ReviewedPredictions(reviews, one.predictions, one.classes, named)
                print("\n".join(review.lines(settings.top_k)), flush=True)
            results.append(one)
        print(table(one.metrics, len(one.classes), settings.top_k))
        if keeps:
            for text in write_outputs(settings, evaluator, results, explainer, written):
                print(text, flush=True)
    return result_of(evaluator, results, written)


def result_of(
    evaluator: Evaluator, results: Sequence[EpochResult], written: Optional[Written] = None
) -> EvaluateResult:
    """What the command returns for the epochs of a run; call it when `results_folder` has ended.

    A result has no files if they were in a temporary folder.
    """
    run, written, epochs = evaluator.run, written or Written(), {}
    for one in results:
        files: Dict[str, Any] = dict(written.tables.get(one.epoch, {}))
        if one.epoch in written.figures:
            files["figure"], *files["drawings"] = written.figures[one.epoch]
        files.update(evaluator.files.paths(one.epoch, evaluator.settings.save_predictions))
        epochs[one.epoch] = EpochMetrics(one.epoch, one.metrics, EpochFiles(**files))
    if not run.evaluation_path.exists():
        return EvaluateResult(epochs, prefix=run.prefix)
    of_all = EvaluateFiles(run.evaluation_path, **written.files)
    return EvaluateResult(epochs, prefix=run.prefix, folder=run.results, files=of_all)


def compare(settings: EvaluateSettings) -> EvaluateResult:
    """Evaluate two checkpoints on the same images, compare them, and print the comparison."""
    sides = parse_checkpoints(settings.compare, lambda: trained_run(settings.model_prefix))
    first, second = (side.run for side in sides)
    if not settings.data_val and first.prefix != second.prefix:
        path, index = first.validation_shard()  # for both runs
        settings = replace(settings, data_val=path, data_val_idx=settings.data_val_idx or index)
    # Check that both epochs exist before the first is evaluated.
    epochs = [select_epochs(one.run, None if one.epoch is None else (one.epoch,)) for one in sides]
    results, evaluators = [], []
    files: Dict[str, Any] = {}
    with results_folder(settings, [first, second]) as keeps:
        for side, selected in zip(sides, epochs):
            evaluator = Evaluator(own_settings(settings, side.own), side.run, selected, log)
            check_outputs(settings, evaluator.dataset.classes)
            (one,) = evaluator.results()
            for line in epoch_lines(one, settings.top_k):
                print(f"{side.run.prefix} {line}", flush=True)
            results.append(one)
            evaluators.append(evaluator)
        results[1] = with_classes_of(results[1], results[0].classes)
        comparison = paired_comparison((first, results[0]), (second, results[1]))
        path_ = files["comparison"] = comparison_path(comparison, first, sides[1].text)
        write_json(path_, comparison)
        print(comparison_text(comparison), flush=True)
        different = different_labels(results[0], results[1])
        if different:
            log(f"no difference is drawn: {different}")
        elif keeps:
            drawn = draw_difference(path_, [first, second], results, settings)
            files["difference"], *files["drawings"] = drawn
            print(f"drawn: {drawn[0]}", flush=True)
        if settings.report and different:
            raise InputError(f"--report: {different}")
        if settings.report:
            files.update(_write_page(settings, evaluators, results, comparison, path_))
    parts = [result_of(evaluator, [one]) for evaluator, one in zip(evaluators, results)]
    if not path_.exists():
        return EvaluateResult({}, comparison, first.prefix, parts=parts)
    return EvaluateResult(
        {}, comparison, first.prefix, first.results, EvaluateFiles(**files), parts
    )


def _write_page(
    settings: EvaluateSettings, evaluators: Sequence[Evaluator], results: Sequence[EpochResult],
    comparison: Dict[str, Any], path: Path,
) -> Dict[str, Path]:  # fmt: skip
    """Write the page about two networks; return its files by the fields of `EvaluateFiles`."""
    page = path.with_suffix(".html")
    write_paired_report(page, evaluators, results, comparison, settings.thumbnails)
    print(f"written: {page}", flush=True)
    if settings.open and not open_page(page):
        print(NOT_OPENED.format(page))
    shown = settings.thumbnails != "none"
    return {"report": page, **({"thumbnails": thumbnails_folder(evaluators[0])} if shown else {})}


@contextlib.contextmanager
def results_folder(settings: EvaluateSettings, runs: Sequence[Run]) -> Iterator[bool]:
    """Choose where the results of runs are written; yields whether they are kept.

    A read-only folder, such as that of a colleague, gets a temporary one instead.
    """
    with contextlib.ExitStack() as stack:
        keeps = True
        for run in runs:
            if settings.output:
                # Two runs may have the same epochs.
                several = len({one.prefix for one in runs}) > 1
                inner = re.sub(r"[^\w.]+", "_", run.prefix).strip("_") if several else ""
                run.results = make_folder(Path(settings.output) / inner)
            elif run.epochs() and run.shares_folder() and os.access(run.folder, os.W_OK):
                # Files of results are named by epoch: two networks would overwrite each other's.
                run.results = make_folder(run.folder / f"{run.name}-results")
                log(f"{run.folder}: may have several networks; results are in {run.results}")
            elif run.folder.is_dir() and not os.access(run.folder, os.W_OK):
                for name in _WRITING:
                    if is_set(settings, name):
                        raise InputError(
                            f"{flag_of(name)}: {run.folder} is read-only; give another "
                            "folder with --output"
                        )
                log(f"{run.folder}: is read-only; results are only printed, --output keeps them")
                run.results = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                keeps = False
        yield keeps


_WRITING = (
    *(field.name for field in fields(FigureSettings)),
    "save_predictions", "table", "gif", "video", "tensorboard", "features", "explain", "report",
)  # fmt: skip
"""Flags that only write files."""


def select_epochs(run: Run, requested: Optional[Tuple[int, ...]]) -> Tuple[int, ...]:
    """The epochs to evaluate: `requested`, () for all of this program, None for the newest."""
    available = run.epochs()
    if not available:
        run.refuse_misnamed()
        raise InputError(f"{run.prefix}: no finished epoch in {run.folder}; {commands.TRAIN_FIRST}")
    if requested == (BEST,):
        requested = (best_epoch(run),)
    for epoch in requested or ():
        if epoch not in available:
            run.load(epoch)  # raises InputError with the available epochs
    if requested == ():
        # A run that continued from a checkpoint of another program has that one too.
        own = tuple(epoch for epoch in available if run.state_path(epoch).exists())
        requested = own or tuple(available)
    return requested or tuple(available[-1:])


def epoch_lines(one: EpochResult, top_k: Sequence[int] = ()) -> Iterator[str]:
    """The line that is printed for an epoch, and a warning if its network predicts one class."""
    metrics, title = one.metrics, f"epoch {one.epoch}{one.name and ' ' + one.name}"
    ranks = shown_ranks(len(one.classes), top_k)
    shares = "  ".join(f"rank-{key[4:]} {100 * metrics[key]:.2f} %" for key in ranks)
    yield f"{title}: {shares}  loss {metrics['loss']:.4f}  ({metrics['images']} images)"
    if MEAN_AVERAGE_PRECISION in metrics:
        yield f"{title}: mean average precision {100 * metrics[MEAN_AVERAGE_PRECISION]:.2f} %"
    collapsed = collapse(one.predictions)
    if collapsed:
        yield (
            f"{title}: warning: {100 * collapsed.share:.2f} % of the images are predicted as "
            f"{short_names(one.classes)[collapsed.label]}, whatever they show; rank-1 is the share "
            "of that class"
        )
    competing = one.competing or len(one.classes)
    if at_chance(metrics["rank1"], competing, metrics["images"]):
        yield (
            f"{title}: warning: rank-1 is about that of chance ({100 / competing:.2f} %): an "
            "untrained network, other classes, or other preprocessing than in training; "
            "--find-preprocessing tries the usual ones"
        )

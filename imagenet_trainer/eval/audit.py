"""`evaluate --audit`: labels of a training set that are probably wrong.

Each of k networks was trained without one fold (`fit --folds`), so its probabilities for the images
of that fold are those of images that it never saw. Together they cover the training set.
"""

import glob
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.config.evaluated import EvaluateFiles, EvaluateResult
from imagenet_trainer.data.augment import decode
from imagenet_trainer.data.dataset import Classes, Dataset, open_dataset
from imagenet_trainer.data.review import COLUMNS
from imagenet_trainer.errors import InputError, attributed_to
from imagenet_trainer.eval.epochs import epoch_lines, log, result_of, results_folder, select_epochs
from imagenet_trainer.eval.evaluator import EpochResult, Evaluator
from imagenet_trainer.eval.labels import names_by_key
from imagenet_trainer.eval.network import check_softmax
from imagenet_trainer.metrics.label_issues import LabelIssues, check_library, label_issues
from imagenet_trainer.metrics.semantic import short_names
from imagenet_trainer.runs.run import Run, parts_in
from imagenet_trainer.system.files import atomic_write, make_folder, write_csv
from imagenet_trainer.viz.audit_sheet import draw_sheet
from imagenet_trainer.viz.thumbnails import records_of, small

_SHOWN = 60  # images on the contact sheet


class _Collected(NamedTuple):
    """Out-of-sample probabilities of the training set."""

    keys: np.ndarray  # int64 (n,)
    labels: np.ndarray  # int64 (n,)
    probabilities: np.ndarray  # float32 (n, classes)
    classes: Classes


def audit(settings: EvaluateSettings) -> EvaluateResult:
    """Write audit.csv and audit.png; return the numbers of images and of labels in doubt."""
    check_library()
    runs = _runs_of(settings.audit)
    folder = make_folder(Path(settings.output) if settings.output else _common_folder(runs))
    if not os.access(folder, os.W_OK):
        raise InputError(f"--audit: {folder} is read-only; give another folder with --output")
    collected, parts = _collect(settings, runs)
    issues = label_issues(collected.labels, collected.probabilities)
    shard, index = runs[0].shard("train")
    dataset = open_dataset(shard, index, len(collected.classes), label_index=runs[0].label_index())
    with dataset.shards:
        path, sheet = folder / "audit.csv", folder / "audit.png"
        more = ("given_probability", "proposed_probability", "quality")
        write_csv(path, (*COLUMNS, *more), _rows(collected, issues, names_by_key(dataset)))
        _draw(sheet, collected, issues, dataset)
    count, images = len(issues.positions), len(collected.keys)
    print(
        f"{path}: {count:,} of {images:,} labels are probably wrong ({100 * count / images:.2f} "
        "%), the worst first; fill in the column verdict (ok, wrong, ambiguous), then run "
        "tools/im2rec.py with --relabel and --drop, or evaluate --review"
    )
    print(f"drawn: {sheet}")
    found = {"images": images, "issues": count, "file": str(path)}
    files = EvaluateFiles(audit=path, audit_sheet=sheet)
    return EvaluateResult({}, found, folder=folder, files=files, parts=parts)


def _runs_of(names: Sequence[str]) -> List[Run]:
    """One run for each fold, in the order of the folds; InputError if one is missing."""
    prefixes: List[str] = []
    for name in names:
        symbols = sorted(glob.glob(f"{name}-symbol.json")) if glob.has_magic(name) else []
        prefixes += [one[: -len("-symbol.json")] for one in symbols] or [name]
    by_fold: Dict[int, Run] = {}
    expected: Any = None
    for run in map(Run, prefixes):
        with attributed_to("--audit"):
            run.read_symbol()  # InputError for a prefix without a run
        config = run.read_json(run.config_path)
        parts = parts_in(config.get("settings", {}))
        if not parts.folds:
            raise InputError(f"--audit {run.prefix}: was not trained with --folds and --fold")
        about = (parts.folds, parts.seed, config.get("data", {}).get("train"))
        if expected not in (None, about):
            raise InputError(
                f"--audit {run.prefix}: has another number of folds, seed or training set than "
                f"{prefixes[0]}; give the runs of one set of folds"
            )
        if parts.fold in by_fold:
            raise InputError(
                f"--audit {run.prefix}: is trained without fold {parts.fold}, as "
                f"{by_fold[parts.fold].prefix} is; give one run of each fold"
            )
        expected, by_fold[parts.fold] = about, run
    missing = [fold for fold in range(1, expected[0] + 1) if fold not in by_fold]
    if missing:
        raise InputError(
            f"--audit: has no run without fold {missing[0]} of {expected[0]}; train it with "
            f"--folds {expected[0]} --fold {missing[0]}, and name all runs"
        )
    return [by_fold[fold] for fold in sorted(by_fold)]


def _common_folder(runs: Sequence[Run]) -> Path:
    """The folder that has those of all runs."""
    folders = [run.folder for run in runs]
    if any(one.is_absolute() for one in folders):
        folders = [one.absolute() for one in folders]
    return Path(os.path.commonpath(folders))


def _collect(
    settings: EvaluateSettings, runs: Sequence[Run]
) -> Tuple[_Collected, List[EvaluateResult]]:
    """Evaluate each run on its fold, unless that was done before, and read the probabilities.

    Also returns the result of each run.
    """
    evaluated: List[Tuple[Evaluator, EpochResult]] = []
    parts: List[Tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    # The probabilities are read before a temporary folder is removed.
    with results_folder(settings, runs):
        for run in runs:
            how = replace(settings, audit=(), save_predictions=True)
            chosen = select_epochs(run, settings.epochs)
            if len(chosen) != 1:
                raise InputError("--epochs: --audit takes one epoch of each run; give best, or one")
            evaluator = Evaluator(how, run, chosen, log)
            check_softmax(evaluator.symbol, "--audit", run)
            (one,) = evaluator.results()
            print("\n".join(f"{run.prefix} {line}" for line in epoch_lines(one)), flush=True)
            with np.load(run.probabilities_path(one.epoch, one.name), allow_pickle=False) as file:
                known = file["labels"] >= 0  # not skipped
                columns = (file[name][known] for name in ("indices", "labels", "probabilities"))
                parts.append(tuple(columns))  # type: ignore[arg-type]
            evaluated.append((evaluator, one))
    keys, labels, probabilities = (np.concatenate(column) for column in zip(*parts))
    if len(np.unique(keys)) != len(keys):
        raise InputError(
            "--audit: images of the training set share keys, so a list cannot name them; pack its "
            "shards from one list"
        )
    results = [result_of(evaluator, [one]) for evaluator, one in evaluated]
    return _Collected(keys, labels, probabilities, one.classes), results


def _rows(found: _Collected, issues: LabelIssues, names: Dict[int, str]) -> Iterator[Tuple]:
    for position, quality in zip(issues.positions.tolist(), issues.quality.tolist()):
        key, row = int(found.keys[position]), found.probabilities[position]
        given, proposed = int(found.labels[position]), int(row.argmax())
        ids = found.classes[given][0], found.classes[proposed][0]
        yield (key, names.get(key, ""), *ids, "",
               f"{row[given]:.6f}", f"{row[proposed]:.6f}", f"{quality:.6f}")  # fmt: skip


def _draw(path: Path, found: _Collected, issues: LabelIssues, dataset: Dataset) -> None:
    shown = issues.positions[:_SHOWN]
    names = short_names(found.classes)
    tiles = []
    for position, record in zip(shown, records_of(dataset.shards, found.keys[shown]).tolist()):
        row, label = found.probabilities[position], int(found.labels[position])
        best = int(row.argmax())
        tiles.append(
            (small(decode(dataset.shards.record(record).image)), f"key {found.keys[position]}",
             f"{names[label]} {row[label]:.2f}", f"{names[best]} {row[best]:.2f}")
        )  # fmt: skip
    title = f"{len(issues.positions):,} labels in doubt; given class, then the network's in blue"
    with atomic_write(path) as file:
        draw_sheet(tiles, title).save(file, "PNG")

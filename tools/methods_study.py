#!/usr/bin/env python3
"""Train a small ResNet on Fashion-MNIST with and without each method of docs/methods.md.

Each cell of the study is a training of `fit` in a process of its own, with one method and one seed.
Finished cells are kept in a CSV file; the same command continues after an interruption, also inside
a training. Then it prints a table: accuracy, difference to the baseline with the same seeds,
processor time, and a verdict.

    python tools/methods_study.py --data-train data/train.rec --data-val data/val.rec
"""

import csv
import io
import math
import os
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from study_methods import BASELINE, EPOCHS, IMBALANCE, METHODS, Method

from imagenet_trainer.config import flags
from imagenet_trainer.config.values import integer, integers, strings
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.parts import labels_of
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.packing.relabel import apply_reviews
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import atomic_write, make_folder

_COLUMNS = ("method", "seed", "flags", "rank1", "loss", "processor_seconds", "seconds")


def _seeds(text: str) -> Tuple[int, ...]:
    """Each seed once: a repeated one would make the intervals of the table too small."""
    return tuple(dict.fromkeys(integers(0, least=1)(text)))


@dataclass(frozen=True)
class StudySettings:
    """All settings of the study."""

    data_train: str = flags.option(
        "data/train.rec", "the 60,000 training images of Fashion-MNIST", metavar="REC"
    )
    data_val: str = flags.option("data/val.rec", "the 10,000 others", metavar="REC")
    output: str = flags.option("methods-study", "folder of the runs and the subset", metavar="DIR")
    results: str = flags.option(
        "docs/methods-study.csv", "file of the finished cells, which are not trained again",
        metavar="CSV",
    )  # fmt: skip
    seeds: Tuple[int, ...] = flags.option((0, 1, 2), "seeds", _seeds, metavar="N,N")
    methods: Tuple[str, ...] = flags.option(
        (), "only methods whose names contain one of these texts, and what they are compared with",
        strings, metavar="TEXT,TEXT",
    )  # fmt: skip
    more: str = flags.option("", "additional flags of fit for all trainings", metavar="FLAGS")
    jobs: int = flags.option(1, "trainings at the same time, of one thread each", integer(1))
    table: bool = flags.option(False, "only print the table of the finished cells")


class Cell(NamedTuple):
    """A training: what is in a line of the CSV file before it has run."""

    method: Method
    seed: int
    flags: str


class Result(NamedTuple):
    """A finished training."""

    rank1: float  # of the validation images after the last epoch
    loss: float
    processor_seconds: float  # of all threads
    seconds: float


class Running(NamedTuple):
    """A training that runs. Python must keep its process, or waits for it on its own."""

    process: "subprocess.Popen[bytes]"
    cell: Cell


class Row(NamedTuple):
    """A row of the table."""

    method: Method
    rank1: float  # mean over the seeds
    difference: float  # to the row it is compared with, mean over the seeds
    margin: float  # of the 95 % interval of the difference; nan for the baselines
    minutes: float  # of a processor, for one training


Results = Dict[Tuple[str, int], Result]


# --- cells ----------------------------------------------------------------------------------------


def chosen(texts: Sequence[str]) -> List[Method]:
    """The methods with one of the texts in their names, and all that they need, in order."""
    names = {one.name for one in METHODS if not texts or any(text in one.name for text in texts)}
    if not names:
        raise InputError(f"--methods {','.join(texts)}: no method has such a name")
    names |= {one.against for one in METHODS if one.name in names}
    needs_teacher = any(one.taught for one in METHODS if one.name in names)
    return [one for one in METHODS if one.name in names or (one.is_teacher and needs_teacher)]


def cells(settings: StudySettings) -> List[Cell]:
    """All trainings in their order. The teacher has one seed."""
    return [
        Cell(method, seed, flags_of(method, settings.more))
        for method in chosen(settings.methods)
        for seed in (settings.seeds[:1] if method.is_teacher else settings.seeds)
    ]


def flags_of(method: Method, more: str) -> str:
    """The flags of a method's trainings that decide their results."""
    return " ".join(f"{BASELINE} --num-epochs {EPOCHS} {method.flags} {more}".split())


def folder_of(cell: Cell, output: str) -> str:
    """The folder of a training's run."""
    words = "".join(one if one.isalnum() or one in ".," else "-" for one in cell.method.name)
    return os.path.join(output, words.strip("-.") or "baseline", f"seed-{cell.seed}")


def command(cell: Cell, settings: StudySettings) -> List[str]:
    """The command of a training."""
    train, output = settings.data_train, settings.output
    words = shlex.split(cell.flags)
    if cell.method.imbalanced:
        train = os.path.join(output, "rare.rec")
    if cell.method.taught:
        teacher = next(one for one in METHODS if one.is_teacher)
        folder = folder_of(Cell(teacher, settings.seeds[0], ""), output)
        epochs = words[len(words) - 1 - words[::-1].index("--num-epochs") + 1]
        words += ["--teacher", f"{folder}/model,{epochs}"]
    prefix = os.path.join(folder_of(cell, output), "model")
    return [
        sys.executable, "-m", "imagenet_trainer.fit", *words, "--seed", str(cell.seed),
        "--data-train", train, "--data-val", settings.data_val, "--model-prefix", prefix,
        "--tensorboard", "0", "--keep", "1",
    ]  # fmt: skip


def make_rare(rec: str, prefix: str) -> None:
    """Write a pack with the first 1 / IMBALANCE^(c / (k - 1)) images of class c of k.

    Yin Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples",
    arXiv:1901.05555: CIFAR's long-tailed subsets are made in this way.
    """
    if os.path.exists(f"{prefix}.json"):
        return
    dataset = open_dataset(rec)
    with dataset.shards as shards:
        labels, keys = labels_of(shards), shards.keys.tolist()
    counts = np.bincount(labels)
    most = counts * IMBALANCE ** (-np.arange(len(counts)) / max(len(counts) - 1, 1))
    seen = np.zeros(len(counts), int)
    make_folder(os.path.dirname(prefix) or ".")
    with atomic_write(f"{prefix}.csv", "w") as file:
        file.write("key,label,verdict\n")
        for key, label in zip(keys, labels.tolist()):
            seen[label] += 1
            if seen[label] > max(1, round(most[label])):
                file.write(f"{key},{label},wrong\n")
    apply_reviews(os.path.splitext(rec)[0], prefix, f"{prefix}.csv", "", lambda *_: None)


# --- training -------------------------------------------------------------------------------------


def train_all(settings: StudySettings, results: Results) -> int:
    """Train the cells without a result; write each result as soon as it is known.

    Returns the exit code: that of the first training that fails.
    """
    waiting = [one for one in cells(settings) if (one.method.name, one.seed) not in results]
    if any(one.method.imbalanced for one in waiting):
        make_rare(settings.data_train, os.path.join(settings.output, "rare"))
    running: Dict[int, Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < settings.jobs:
                if waiting[0].method.taught and any(
                    one.cell.method.is_teacher for one in running.values()
                ):
                    break  # which writes the teacher's checkpoint
                started = _start(waiting.pop(0), settings)
                running[started.process.pid] = started
            process, cell = running.pop(_first_end(running, settings))
            folder = folder_of(cell, settings.output)
            spent = float(Path(f"{folder}.seconds").read_text(encoding="ascii"))
            if process.returncode:
                print(f"methods_study: {cell.method.name}, seed {cell.seed}: failed, see "
                      f"{folder}.log", file=sys.stderr)  # fmt: skip
                _end(running, settings)
                return 1
            result = results[cell.method.name, cell.seed] = result_of(folder, spent)
            write_results(settings.results, results, settings)
            print(f"{cell.method.name}, seed {cell.seed}: {100 * result.rank1:.2f} %, "
                  f"{spent / 60:.1f} minutes of a processor", flush=True)  # fmt: skip
    except KeyboardInterrupt:
        _end(running, settings)
        raise
    return 0


def _start(cell: Cell, settings: StudySettings) -> Running:
    """Start a training."""
    folder = folder_of(cell, settings.output)
    make_folder(os.path.dirname(folder))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(f"{folder}.log", "ab") as log:
        words = command(cell, settings)
        return Running(subprocess.Popen(words, stdout=log, stderr=log, env=environment), cell)


def _end(running: Mapping[int, Running], settings: StudySettings) -> None:
    """Ask the trainings to save and end, and wait for them."""
    for process, _ in running.values():
        process.terminate()
    for one in running.values():
        _has_ended(one, settings, 0)


def _first_end(running: Mapping[int, Running], settings: StudySettings) -> int:
    """Wait until a training has ended; its number."""
    while True:
        for pid, one in running.items():
            if _has_ended(one, settings, os.WNOHANG if len(running) > 1 else 0):
                return pid
        time.sleep(0.5)


def _has_ended(one: Running, settings: StudySettings, options: int) -> bool:
    """Whether a training has ended; its exit code and processor time are then kept.

    `Popen.wait` would not know the processor time.
    """
    pid, status, usage = os.wait4(one.process.pid, options)
    if pid:
        one.process.returncode = os.waitstatus_to_exitcode(status)
        _add_seconds(folder_of(one.cell, settings.output), usage.ru_utime + usage.ru_stime)
    return pid != 0


def _add_seconds(folder: str, seconds: float) -> None:
    """Add processor time to that of the training before interruptions."""
    path = Path(f"{folder}.seconds")
    before = float(path.read_text(encoding="ascii")) if path.exists() else 0.0
    with atomic_write(path, "w") as file:
        file.write(f"{before + seconds:.3f}\n")


def result_of(folder: str, processor_seconds: float) -> Result:
    """The result of a finished run."""
    history = Run(os.path.join(folder, "model")).read_history()
    last = history[-1]
    seconds = sum(float(row["seconds"]) for row in history)
    return Result(float(last["val_rank1"]), float(last["val_loss"]), processor_seconds, seconds)


# --- the file of results --------------------------------------------------------------------------


def read_results(path: str, settings: StudySettings) -> Results:
    """The finished cells with the present flags; cells with others are trained again."""
    if not os.path.exists(path):
        return {}
    wanted = {one.name: flags_of(one, settings.more) for one in METHODS}
    results: Results = {}
    for row in csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8"), newline="")):
        try:
            key = row["method"], int(row["seed"])
            numbers = [float(row[name]) for name in Result._fields]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: is no file of this study; give another --results") from error
        if wanted.get(key[0]) == row["flags"]:
            results[key] = Result(*numbers)
    return results


def write_results(path: str, results: Results, settings: StudySettings) -> None:
    """Write the finished cells in the order of the methods."""
    make_folder(os.path.dirname(path) or ".")
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for method in METHODS:
            for seed in sorted(one for name, one in results if name == method.name):
                result = results[method.name, seed]
                numbers = [f"{result.rank1:.4f}", f"{result.loss:.5f}",
                           f"{result.processor_seconds:.1f}", f"{result.seconds:.1f}"]  # fmt: skip
                writer.writerow([method.name, seed, flags_of(method, settings.more), *numbers])


# --- the table ------------------------------------------------------------------------------------


def rows(results: Results, seeds: Sequence[int]) -> List[Row]:
    """The rows of the methods that have all seeds.

    The differences of a method to its baseline are paired by seed. Their variance is the mean over
    all methods with this baseline, as three differences say little about their own; the interval is
    Student's, with (seeds - 1) degrees of freedom for each method.
    """
    known = [
        one for one in METHODS
        if all((name, seed) in results for name in (one.name, one.against) for seed in seeds)
        and not one.is_teacher
    ]  # fmt: skip
    differences = {
        one.name: [results[one.name, s].rank1 - results[one.against, s].rank1 for s in seeds]
        for one in known
        if one.against != one.name
    }
    margins = {
        against: pooled_margin(
            [differences[o.name] for o in known if o.against == against and o.name in differences]
        )
        for against in {one.against for one in known}
    }
    found = []
    for one in known:
        difference = statistics.fmean(differences.get(one.name, [0.0]))
        margin = margins[one.against] if one.name in differences else math.nan
        mean = statistics.fmean(results[one.name, seed].rank1 for seed in seeds)
        minutes = statistics.fmean(results[one.name, seed].processor_seconds for seed in seeds) / 60
        found.append(Row(one, mean, difference, margin, minutes))
    return found


def pooled_margin(differences: Sequence[Sequence[float]]) -> float:
    """Half of the 95 % interval of the mean of a method's differences; nan without variances."""
    from scipy.special import stdtrit

    variances = [statistics.variance(one) for one in differences if len(one) > 1]
    if not variances:
        return math.nan
    count = len(differences[0])
    freedom = len(variances) * (count - 1)
    deviation = math.sqrt(statistics.fmean(variances) / count)
    return float(stdtrit(freedom, 0.975)) * deviation


def verdict(row: Row) -> str:
    """What the interval of the difference says."""
    if math.isnan(row.margin):
        return ""
    if abs(row.difference) <= row.margin:
        return "no difference"
    return "pays" if row.difference > 0 else "costs"


def table(found: Sequence[Row]) -> Iterator[str]:
    """The table in Markdown: accuracies in %, differences in percentage points."""
    yield "| method | accuracy | difference | 95 % interval | minutes | verdict |"
    yield "|---|---|---|---|---|---|"
    for row in found:
        cells_of_row = ["", ""]
        if not math.isnan(row.margin):
            low, high = (100 * (row.difference + side * row.margin) for side in (-1, 1))
            cells_of_row = [f"{100 * row.difference:+.2f}", f"{low:+.2f} to {high:+.2f}"]
        name = f"`{row.method.name}`" if row.method.name.startswith("--") else row.method.name
        yield (
            f"| {name} | {100 * row.rank1:.2f} | {cells_of_row[0]} | {cells_of_row[1]} | "
            f"{row.minutes:.1f} | {verdict(row)} |"
        )


def run(settings: StudySettings) -> int:
    """Train what is missing and print the table; the exit code."""
    results = read_results(settings.results, settings)
    code = 0 if settings.table else train_all(settings, results)
    print("\n".join(table(rows(results, settings.seeds))))
    return code


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit code."""
    about = "Compare training methods on Fashion-MNIST; run again to continue."
    settings = flags.parse(StudySettings, argv, "methods_study", about)
    return run_command("methods_study", lambda: run(settings))


if __name__ == "__main__":
    sys.exit(main())

"""The report of a comparison: one HTML page, the same as Markdown, and tables as CSV."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Dict, Iterator, Mapping, Sequence, Tuple

from imagenet_trainer.comparison import figures, tables
from imagenet_trainer.comparison.analysis import SURE, Entry, advice
from imagenet_trainer.system.files import atomic_write, make_folder
from imagenet_trainer.viz.html import asset, data_uri, document, section, tile_row

NAMES = ("compare.html", "compare.md", "compare.csv", "epochs.csv", "classes.csv")


@dataclass(frozen=True)
class Contest:
    """What a report tells of."""

    title: str
    facts: Sequence[Tuple[str, str]]  # such as ("validation images", "data/val.rec")
    entries: Sequence[Entry]
    failed: Mapping[str, str]  # networks that are left out, and why
    waiting: Sequence[str]  # those that have not been trained yet


def write(contest: Contest, folder: str) -> Path:
    """Write all files of the report; return the page's path.

    InputError where the folder cannot be written.
    """
    into = make_folder(folder)
    images = _images(contest.entries)
    content: Dict[str, str] = {
        "compare.html": page(contest, images),
        "compare.md": markdown(contest, images),
    }
    if contest.entries:
        content["compare.csv"] = tables.compare_csv(contest.entries)
        content["epochs.csv"] = tables.epochs_csv(contest.entries)
        content["classes.csv"] = tables.classes_csv(contest.entries)
    for name, data in images.items():
        with atomic_write(into / f"{name}.svg") as file:
            file.write(data)
    for name, text in content.items():
        with atomic_write(into / name, "w") as file:
            file.write(text)
    return into / "compare.html"


def _images(entries: Sequence[Entry]) -> Dict[str, bytes]:
    """Plots by name; those that have something to show."""
    found = {}
    if entries:
        found["fronts"] = figures.draw_fronts(entries)
    if any(one.epochs for one in entries):
        found["curves"] = figures.draw_curves(entries)
        found["times"] = figures.draw_times(entries)
    series = figures.learning_curves(entries)
    if series:
        found["learning-curve"] = figures.draw_learning_curves(series)
    return found


# --- what is said ------------------------------------------------------------------------------

_TOLD = {
    "Which one to take": (
        "By the validation images, each network with its best epoch. Not measurably worse: of "
        "the images that only one of the two recognises, chance alone would give either of them "
        f"as many more often than {100 * SURE:.0f} times in 100 (McNemar's exact test)."
    ),
    "Accuracy over its cost": (
        "Left and up is better. Filled marks are on the Pareto front: no other network is both "
        "cheaper and more accurate. Bars are 95 % intervals; costs are in logarithmic measure."
    ),
    "Accuracy over the number of training images": (
        "A line that still rises says that more images would help. With the same number of "
        "epochs, a smaller share had fewer updates."
    ),
    "Accuracy over the time of training": (
        "What each network had reached after so many seconds of updates. Where the learning rate "
        "does not depend on the length of the training, this says who wins in a smaller budget of "
        "time; times are those of this machine with what else it did."
    ),
    "Accuracy": (
        "The judged epoch is the one with the highest validation rank-1. p: how likely chance "
        "alone makes so large a difference to the most accurate one."
    ),
    "Size": (
        "Learned parameters; multiply-adds of convolutions and dense layers, forward. Memory is "
        "the most that the training's processes held on the CPU's side; on GPUs the most that was "
        "in use on the fullest one, by whatever process (NVML; nothing without nvidia-ml-py)."
    ),
    "Training": (
        "Seconds of updates; the first epoch also prepares the network. Over-fitting begins after "
        "the epoch of the lowest validation loss, if all later epochs have a higher one while the "
        "training loss fell on."
    ),
    "Speed of answers": (
        "The network alone, and from the encoded image to probabilities; float32. Images a "
        "second: the fastest of the batches 1, 2, 4 and so on."
    ),
    "Wrong answers by class": (
        "False negatives: images of the class that were taken for another. False positives: "
        "images of others that were taken for it."
    ),
}
_ALT = {
    "fronts": "Validation rank-1 over time an image, parameters and seconds of training",
    "times": "Validation rank-1 over seconds of training",
    "curves": "Loss and rank-1 of training and validation by epoch",
    "learning-curve": "Validation rank-1 and loss over the number of training images",
}

# Title, plot or "", tables with captions of their own.
Part = Tuple[str, str, Sequence[Tuple[str, tables.Grid]]]


def _parts(contest: Contest, images: Mapping[str, bytes]) -> Iterator[Part]:
    """The sections that a report has, in their order."""
    entries = contest.entries
    if contest.failed:
        rows = [tuple(pair) for pair in contest.failed.items()]
        yield "Left out", "", [("", tables.Grid(("network", "why"), rows, (0, 1)))]
    if not entries:
        return
    yield "Which one to take", "", [("", tables.recommendations(advice(entries)))]
    yield "Accuracy over its cost", "fronts", []
    if "learning-curve" in images:
        yield "Accuracy over the number of training images", "learning-curve", []
    if "times" in images:
        yield "Accuracy over the time of training", "times", []
    yield "Accuracy", "", [("", tables.scores(entries))]
    yield "Speed of answers", "", [("", tables.speeds(entries))]
    yield "Size", "", [("", tables.sizes(entries))]
    if "curves" in images:
        yield "Training", "curves", [("", tables.training(entries))]
    yield "Wrong answers by class", "", list(tables.class_errors(entries))
    if "curves" in images:
        yield "Epochs", "", list(tables.epochs(entries))


def page(contest: Contest, images: Mapping[str, bytes]) -> str:
    """The page; all text from outside is escaped, and it needs nothing beside itself."""
    entries = contest.entries
    tiles = [(str(len(entries)), "networks compared", "")]
    if contest.waiting:
        tiles.append((str(len(contest.waiting)), "not trained yet", "warn"))
    if contest.failed:
        tiles.append((str(len(contest.failed)), "left out", "warn"))
    if entries:
        best = max(one.rank1 for one in entries)
        tiles.append((f"{100 * best:.1f}\u00a0%", "best rank-1", ""))
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in contest.facts
    )
    parts = [tile_row(tiles), section("About", f'<dl class="facts">{facts}</dl>')]
    for title, plot, grids in _parts(contest, images):
        words = f"<p>{escape(_TOLD[title])}</p>" if title in _TOLD else ""
        if plot:
            words += (
                f'<img class="plot" alt="{escape(_ALT[plot])}" '
                f'src="{data_uri(images[plot], "image/svg+xml")}">'
            )
        parts.append(section(title, words + "".join(_html(*one) for one in grids)))
    return document(contest.title, "\n".join(parts), asset("compare.css"))


def _html(caption: str, grid: tables.Grid) -> str:
    table = tables.html(grid, caption or grid.head[0])
    if not caption:
        return table
    return f"<details><summary>{escape(caption)}</summary>{table}</details>"


def markdown(contest: Contest, images: Mapping[str, bytes]) -> str:
    """The same in GitHub's Markdown; plots are SVG files beside it."""
    lines = [f"# {tables.plain(contest.title)}", ""]
    lines += [f"- {tables.plain(name)}: {tables.plain(value)}" for name, value in contest.facts]
    if contest.waiting:
        lines.append(f"- not trained yet: {tables.plain(', '.join(contest.waiting))}")
    for title, plot, grids in _parts(contest, images):
        lines += ["", f"## {title}", ""]
        if title in _TOLD:
            lines += [_TOLD[title], ""]
        if plot:
            lines += [f"![{_ALT[plot]}]({plot}.svg)", ""]
        for caption, grid in grids:
            if caption:
                lines += [f"### {tables.plain(caption)}", ""]
            lines += [tables.markdown(grid), ""]
    return "\n".join(lines).rstrip() + "\n"

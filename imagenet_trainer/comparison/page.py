"""The report of a comparison: an HTML page, the same as Markdown, and tables as CSV files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Dict, Iterator, Mapping, NamedTuple, Sequence, Tuple

from imagenet_trainer.comparison import figures, tables
from imagenet_trainer.comparison.analysis import SIGNIFICANCE, Result, recommendations
from imagenet_trainer.system.files import make_folder, write_file
from imagenet_trainer.viz.html import Tile, percent, render


@dataclass(frozen=True)
class Comparison:
    """The content of a report."""

    title: str
    facts: Sequence[Tuple[str, str]]  # such as ("validation images", "data/val.rec")
    results: Sequence[Result]
    failed: Mapping[str, str]  # excluded networks, and why
    waiting: Sequence[str]  # networks that are not trained yet


class Section(NamedTuple):
    """A section of the page and of the Markdown file."""

    title: str
    plot: str = ""  # its name
    grids: Sequence[Tuple[str, tables.Grid]] = ()  # captions ("": none) and tables

    @property
    def text(self) -> str:
        """The paragraph below the title."""
        return _TEXTS.get(self.title, "")

    @property
    def alt(self) -> str:
        """The text in place of the plot."""
        return _ALT[self.plot]


def write(comparison: Comparison, folder: str) -> Path:
    """Write all files of the report; return the page's path.

    Raises InputError when the folder cannot be written.
    """
    into = make_folder(folder)
    plots = draw_plots(comparison.results)
    content: Dict[str, str] = {
        "compare.html": page(comparison, plots),
        "compare.md": markdown(comparison, plots),
    }
    if comparison.results:
        content["compare.csv"] = tables.compare_csv(comparison.results)
        content["epochs.csv"] = tables.epochs_csv(comparison.results)
        content["classes.csv"] = tables.classes_csv(comparison.results)
    for name, data in plots.items():
        write_file(into / f"{name}.svg", data)
    for name, text in content.items():
        write_file(into / name, text)
    return into / "compare.html"


def draw_plots(results: Sequence[Result]) -> Dict[str, bytes]:
    """SVG files by name: the plots that have data."""
    plots = {}
    if results:
        plots["fronts"] = figures.draw_fronts(results)
    if any(one.epochs for one in results):
        plots["curves"] = figures.draw_curves(results)
        plots["times"] = figures.draw_times(results)
    series = figures.learning_curves(results)
    if series:
        plots["learning-curve"] = figures.draw_learning_curves(series)
    return plots


# --- text --------------------------------------------------------------------------------------

_TEXTS = {
    "Recommendations": (
        'From the validation images, each network with its best epoch. "Not measurably worse": '
        "of the images that only one of the two networks predicts correctly, a split at least as "
        f"uneven has a probability of at least {100 * SIGNIFICANCE:.0f} % if both networks are "
        "equally accurate (McNemar's exact test). Several networks for a purpose: their intervals "
        "do not tell which of them is best."
    ),
    "Accuracy and cost": (
        "Left and up is better. Filled marks are on the Pareto front: no other network is both "
        "cheaper and more accurate. Bars are 95 % confidence intervals. Costs are on a logarithmic "
        "scale."
    ),
    "Accuracy by number of training images": (
        "A line that still rises suggests that more images would help. With the same number "
        "of epochs, a smaller share of the images means fewer updates."
    ),
    "Accuracy by training time": (
        "The accuracy of each network after a number of seconds of updates. If the "
        "learning-rate schedule does not depend on the length of the training, this shows "
        "which network is best within a smaller budget of time. Times depend on this machine "
        "and its load."
    ),
    "Accuracy": (
        "Each network is evaluated after the epoch with its highest validation rank-1. p: the "
        "probability of a difference at least this large to the most accurate network if both are "
        "equally accurate."
    ),
    "Inference speed": (
        "Latency of the network alone, and of all steps from the encoded image to "
        "probabilities; float32. The networks are measured in turn, ten times each; the interval "
        "is that of the median of the turns. Images/s: the highest throughput of the batch sizes "
        "1, 2, 4, ..."
    ),
    "Size": (
        "Trainable parameters; multiply-adds of convolutions and dense layers in the forward "
        "pass. Peak memory is the host memory of the training's processes. GPU memory is the "
        "peak on the GPU that used most, of all its processes (from NVML; empty without "
        "nvidia-ml-py)."
    ),
    "Training": (
        "Seconds of updates; the first epoch includes preparing the network. Overfitting "
        "starts after the epoch with the lowest validation loss, if the validation loss of "
        "all later epochs is higher while the training loss falls further."
    ),
    "Errors by class": (
        "False negatives: images of the class that are predicted as another class. False "
        "positives: images of other classes that are predicted as this class."
    ),
}
_ALT = {
    "fronts": "Validation rank-1 over the latency of an image, parameters and seconds of training",
    "times": "Validation rank-1 over seconds of training",
    "curves": "Training and validation loss and rank-1 by epoch",
    "learning-curve": "Validation rank-1 and loss over the number of training images",
}


def sections(comparison: Comparison, plots: Collection[str]) -> Iterator[Section]:
    """The sections of a report with these plots, in their order."""
    results = comparison.results
    if comparison.failed:
        rows = [tuple(pair) for pair in comparison.failed.items()]
        yield Section("Excluded", "", [("", tables.Grid(("network", "reason"), rows, (0, 1)))])
    if not results:
        return
    recommended = tables.recommendations(recommendations(results))
    yield Section("Recommendations", "", [("", recommended)])
    yield Section("Accuracy and cost", "fronts")
    if "learning-curve" in plots:
        yield Section("Accuracy by number of training images", "learning-curve")
    if "times" in plots:
        yield Section("Accuracy by training time", "times")
    yield Section("Accuracy", "", [("", tables.accuracy(results))])
    yield Section("Inference speed", "", [("", tables.speeds(results))])
    yield Section("Size", "", [("", tables.sizes(results))])
    if "curves" in plots:
        yield Section("Training", "curves", [("", tables.training(results))])
    yield Section("Errors by class", "", list(tables.class_errors(results)))
    if "curves" in plots:
        yield Section("Epochs", "", list(tables.epochs(results)))


def page(comparison: Comparison, plots: Mapping[str, bytes]) -> str:
    """Render the page, which needs no other file."""
    results = comparison.results
    tiles = [Tile(str(len(results)), "networks compared")]
    if comparison.waiting:
        tiles.append(Tile(str(len(comparison.waiting)), "not trained yet", warn=True))
    if comparison.failed:
        tiles.append(Tile(str(len(comparison.failed)), "excluded", warn=True))
    if results:
        tiles.append(Tile(percent(max(one.rank1 for one in results), 1), "best rank-1"))
    return render(
        "compare.html",
        title=comparison.title,
        tiles=tiles,
        facts=comparison.facts,
        sections=sections(comparison, plots),
        plots=plots,
    )


def markdown(comparison: Comparison, plots: Mapping[str, bytes]) -> str:
    """The same in GitHub's Markdown; its plots are SVG files in the same folder."""
    lines = [f"# {tables.escaped(comparison.title)}", ""]
    facts = list(comparison.facts)
    if comparison.waiting:
        facts.append(("not trained yet", ", ".join(comparison.waiting)))
    lines += [f"- {tables.escaped(name)}: {tables.escaped(value)}" for name, value in facts]
    for section in sections(comparison, plots):
        lines += ["", f"## {section.title}", ""]
        if section.text:
            lines += [section.text, ""]
        if section.plot:
            lines += [f"![{section.alt}]({section.plot}.svg)", ""]
        for caption, grid in section.grids:
            if caption:
                lines += [f"### {tables.escaped(caption)}", ""]
            lines += [tables.markdown(grid), ""]
    return "\n".join(lines).rstrip() + "\n"

"""One page about a trained network: arrays in, HTML out.

Tables, plots and images are in the HTML as it stands; the script beside it (assets/report.js)
draws the confusion matrix, sorts and filters. All text that comes from outside is escaped.
"""

from dataclasses import dataclass
from html import escape
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.metrics.counts import loss_of
from imagenet_trainer.metrics.evaluation import calibration, class_table
from imagenet_trainer.metrics.predictions import TOP, Answers
from imagenet_trainer.metrics.semantic import confused_pairs, meaning, short_names
from imagenet_trainer.metrics.taxonomy import DOMAINS, Taxonomy, taxonomy_of
from imagenet_trainer.viz import report_figures as figures
from imagenet_trainer.viz.html import asset, data_uri, document, section, tile_row
from imagenet_trainer.viz.report_examples import SURE, label_suspects, pair_examples, worst_images
from imagenet_trainer.viz.report_matrix import matrix_data
from imagenet_trainer.viz.report_tables import Column, number, percent, percent_with, table

_EXAMPLES = 3  # images for each pair and direction
_IMAGES = 24  # of the worst, and of those that look like label errors


@dataclass(frozen=True)
class Report:
    """What a page tells of."""

    title: str
    facts: Sequence[Tuple[str, str]]  # such as ("parameters", "runs/a/model-0030.params")
    classes: Sequence[Tuple[str, str]]  # (id, name) by label
    answers: Answers
    numbers: Mapping[str, Any]  # as evaluation.json holds them, with their intervals
    history: Sequence[Mapping[str, str]]  # rows of history.csv; none for a foreign checkpoint
    thumbnails: Callable[[Iterable[int]], Dict[int, str]]  # data URIs of images by place


def page(report: Report) -> str:
    """The whole page."""
    return _Page(report).html()


class _Page:
    """The parts of a page, which share names, matrices and taxonomy."""

    def __init__(self, report: Report) -> None:
        self.report, self.answers = report, report.answers
        self.names = short_names(report.classes)
        self.taxonomy: Optional[Taxonomy] = taxonomy_of([one for one, _ in report.classes])
        self.rank1, self.top = self.answers.confusion(1), self.answers.confusion(TOP)
        self.pairs = confused_pairs(self.rank1)
        self.examples = pair_examples(self.answers, self.pairs, _EXAMPLES)
        self.worst = worst_images(self.answers, _IMAGES).tolist()
        self.suspects = label_suspects(self.answers, _IMAGES).tolist()
        wanted = {*self.worst, *self.suspects}
        wanted.update(place for pair in self.examples for place in (*pair.there, *pair.back))
        self.thumbnails = report.thumbnails(wanted)

    def html(self) -> str:
        counted = class_table(self.answers)
        k = min(TOP, self.answers.top.shape[1])
        matrices = ((f"top-{k} predictions", self.top), ("first prediction only", self.rank1))
        if self.answers.classes <= TOP:  # five predictions are all classes: every cell the same
            matrices = matrices[::-1]
        data = matrix_data(matrices, self.report.classes, self.names, counted.images, self.taxonomy)
        parts = [
            self._headline(),
            self._curves(),
            section("Confusion matrix", _MATRIX, "matrix"),
            section("Classes", self._classes(), "classes"),
            self._meaning(),
            section("Most confused pairs", self._pairs(), "pairs"),
            section("Worst images by loss", self._worst(), "worst"),
            section("Possible label errors", self._suspects(), "suspects"),
            section("Calibration", self._calibration(), "calibration"),
        ]
        style, script = asset("report.css"), asset("report.js")
        return document(self.report.title, "\n".join(filter(None, parts)), style, script, data)

    def _headline(self) -> str:
        numbers = self.report.numbers
        tiles = [
            (f"{len(self.answers):,}", "images", ""),
            (f"{len(self.names):,}", "classes", ""),
        ]
        titles = {"rank1": "rank-1", "rank5": "rank-5", "loss": "loss",
                  "calibration_error": "calibration error"}  # fmt: skip
        for name, title in titles.items():
            if numbers.get(name) is None:
                continue
            form = "{:.4f}".format if name == "loss" else _percent
            low, high = numbers.get("intervals", {}).get(name, (None, None))
            between = f"<small>{form(low)} to {form(high)}</small>" if low is not None else ""
            tiles.append((form(numbers[name]), title + between, ""))
        facts = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in self.report.facts
        )
        note = "<p>Small numbers are 95 % intervals.</p>" if "intervals" in numbers else ""
        return tile_row(tiles) + section("About", f'<dl class="facts">{facts}</dl>{note}')

    def _curves(self) -> str:
        history = self.report.history
        if not history:
            return ""
        last = history[-1]
        words = f"Loss, rank-1, rank-5 and learning rate over {len(history)} epochs"
        rows = [[row[name] for name in _HISTORY] for row in history]
        columns = [Column(title) for title in _HISTORY.values()]
        cells = [
            [number(int(row[0])), *(number(float(v), 4) if v else "" for v in row[1:])]
            for row in rows
        ]
        told = f"{words}; the last: {last['val_rank1']} of the validation images at rank 1"
        return section(
            "Training",
            _plot(figures.draw_curves(history), told)
            + "<details><summary>The same as a table</summary>"
            + table("Epochs", columns, cells)
            + "</details>",
            "training",
        )

    # --- classes -------------------------------------------------------------------------------

    def _classes(self) -> str:
        counted = class_table(self.answers)
        recall, precision, rank5 = counted.recall(), counted.precision(), counted.top5_recall()
        off = self.rank1 - np.diag(np.diag(self.rank1))
        taken = off.argmax(axis=1)
        columns = [Column("label"), Column("class", words=True)]
        if self.taxonomy:
            columns.append(Column("group", words=True))
        columns += [Column(title) for title in ("images", "recall", "precision", "rank-5")]
        columns += [Column("most often taken for", words=True), Column("times")]
        rows = []
        for label, (one, name) in enumerate(self.report.classes):
            often = int(off[label, taken[label]])
            row = [number(label), _class(one, name)]
            if self.taxonomy:
                row.append(escape(self.taxonomy.groups[self.taxonomy.group[label]]))
            row += [number(int(counted.images[label]))]
            row += [percent_with(*shares[label]) for shares in (recall, precision, rank5)]
            row += [escape(self.names[taken[label]]) if often else "", number(often)]
            rows.append(row)
        return (
            "<p>Recall: share of a class's images that were recognised; precision: share of the "
            "images taken for a class that show it; rank-5: share that has it among five. A "
            "click on a heading sorts.</p>"
            + table("Classes", columns, rows, searched=len(rows) > 10)
        )

    # --- meaning -------------------------------------------------------------------------------

    def _meaning(self) -> str:
        if self.taxonomy is None or not len(self.answers):
            return ""
        answers = self.answers
        found = meaning(answers.labels, answers.top[:, 0], self.top, self.taxonomy)
        titles = {
            "domain": "animal or object", "kind": "kind, such as mammal, bird, artifact",
            "group": "group, such as dogs, vehicles", "class": "the class itself (rank-1)",
        }  # fmt: skip
        levels = [[escape(titles[name]), percent(share)] for name, share in found["levels"].items()]
        clusters = [
            [true, *(percent(found["clusters"][f"{true} as {named}"]) for named in DOMAINS)]
            for true in DOMAINS
        ]
        groups = [
            [escape(row["name"]), number(row["classes"]), number(row["images"]),
             percent(row["rank1"]), percent(row["in_group"])]
            for row in found["groups"]
        ]  # fmt: skip
        text = f"<p>{found['errors']:,} images were not recognised."
        if found["errors"]:
            text += (
                f" {_percent(found['errors_in_group'])} of these errors stay in the group of the "
                "true class, as a retriever taken for another dog does. They are "
                f"{found['error_distance']:.2f} edges of WordNet's tree away from it on average"
            )
            if found["chance_distance"] is not None:
                text += f"; two different classes are {found['chance_distance']:.2f} apart"
            text += "."
        within = found["clusters"]["within"]
        return section(
            "How wrong the errors are",
            f'{text}</p><div class="beside"><div><h3>Right at each level</h3>'
            + table("Levels", [Column("level", words=True), Column("right")], levels)
            + "</div><div><h3>The two clusters of the matrix</h3>"
            + table("Clusters", [Column("true", words=True), *map(Column, DOMAINS)], clusters)
            + f"<p>{_percent(within)} of the predictions stay within animals or within objects.</p>"
            + "</div></div><h3>Groups</h3>"
            + table(
                "Groups",
                [Column("group", words=True), *map(Column, ("classes", "images", "rank-1",
                                                            "taken for the same group"))],
                groups,
            ),
            "meaning",
        )  # fmt: skip

    # --- images ------------------------------------------------------------------------------

    def _pairs(self) -> str:
        if not self.pairs:
            return "<p>No image was taken for another class.</p>"
        parts = ["<p>By rank-1 errors in both directions together.</p>"]
        for place, (pair, shown) in enumerate(zip(self.pairs, self.examples), start=1):
            a, b = (escape(self.names[label]) for label in (pair.a, pair.b))
            strips = "".join(
                f"<div><p><b>{often:,}</b> × {true} taken for {named}</p>"
                f"{self._strip(places)}</div>"
                for often, true, named, places in (
                    (pair.there, a, b, shown.there), (pair.back, b, a, shown.back),
                )
            )  # fmt: skip
            together = pair.there + pair.back
            parts.append(
                f"<article><h3>{place}. {a} and {b}: {together:,}</h3>"
                f'<div class="beside">{strips}</div></article>'
            )
        return "".join(parts)

    def _strip(self, places: Sequence[int]) -> str:
        shown = "".join(self._figure(place, self._sure(place)) for place in places)
        return f'<div class="strip">{shown}</div>' if shown else ""

    def _worst(self) -> str:
        if not self.worst:
            return "<p>Every image was recognised.</p>"
        losses = loss_of(self.answers.true)
        figures_ = [
            self._figure(place, f"{self._mistake(place)}, loss {losses[place]:.2f}")
            for place in self.worst
        ]
        return f'<div class="strip">{"".join(figures_)}</div>'

    def _suspects(self) -> str:
        rule = (
            "Misclassified images for which the network gives another class a probability of at "
            f"least {100 * SURE:.0f}\u00a0% that is also no lower than the mean it gives that "
            "class on its own images (the rule of confident learning, Northcutt, Jiang and "
            "Chuang 2021). Many are errors of the network; look before you correct a label."
        )
        if not self.suspects:
            return f"<p>{rule}</p><p>There is none.</p>"
        shown = "".join(self._figure(place, self._mistake(place)) for place in self.suspects)
        return f'<p>{rule}</p><div class="strip">{shown}</div>'

    def _mistake(self, place: int) -> str:
        label, first = int(self.answers.labels[place]), int(self.answers.top[place, 0])
        true = _percent(self.answers.true[place])
        return (
            f"labelled <b>{escape(self.names[label])}</b> ({true}), taken for "
            f"<b>{escape(self.names[first])}</b> ({self._sure(place)})"
        )

    def _sure(self, place: int) -> str:
        return _percent(self.answers.probabilities[place, 0])

    def _figure(self, place: int, caption: str) -> str:
        """An image with its caption (HTML), or a box that says that it cannot be shown."""
        label, first = int(self.answers.labels[place]), int(self.answers.top[place, 0])
        key = int(self.answers.keys[place])
        words = f"image {key}: {self.names[label]}, taken for {self.names[first]}"
        uri = self.thumbnails.get(place)
        shown = (
            f'<img src="{uri}" alt="{escape(words)}" loading="lazy">'
            if uri
            else '<span class="missing">no image</span>'
        )
        return f"<figure>{shown}<figcaption>{caption}<small>key {key}</small></figcaption></figure>"

    def _calibration(self) -> str:
        words = "Accuracy of the images by the probability of their first class"
        plot = _plot(figures.draw_calibration(calibration(self.answers)), words)
        return plot + (
            "<p>Where a bar stays below the mark in it, the network is too sure of itself. The "
            "calibration error is the mean distance between both, weighted with the images.</p>"
        )


_HISTORY = {
    "epoch": "epoch", "train_loss": "training loss", "val_loss": "validation loss",
    "train_rank1": "training rank-1", "val_rank1": "validation rank-1",
    "val_rank5": "validation rank-5", "learning_rate": "learning rate",
}  # fmt: skip

# The script fills what is empty here.
_MATRIX = """
<p>Rows are true classes, columns predicted ones. Brighter cells hold more; black ones nothing.</p>
<div class="controls" id="matrix-controls"></div>
<div id="matrix-frame"><canvas id="matrix-canvas" tabindex="0" role="application"
aria-roledescription="confusion matrix" aria-label="Confusion matrix"
aria-describedby="matrix-help matrix-status"></canvas>
<canvas id="matrix-mark" aria-hidden="true"></canvas><div id="matrix-tip" hidden></div></div>
<p id="matrix-status" role="status" aria-live="polite"></p>
<p id="matrix-help">Drag to enlarge a part; the wheel zooms once the matrix is clicked, a double
click shows all. Keys: arrows choose a cell, + and − zoom, Shift with arrows moves the part, 0 shows
all. What is shown is counted anew at every size, and colours are spread anew over it.</p>
<noscript><p>The matrix needs JavaScript; it fetches nothing.</p></noscript>"""


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\u00a0%"  # the number keeps its sign on its line


def _class(one: str, name: str) -> str:
    if one == name:
        return escape(one)
    return f"{escape(name)} <small>{escape(one)}</small>"


def _plot(image: bytes, words: str) -> str:
    uri = data_uri(image, "image/svg+xml")
    return f'<img class="plot" src="{uri}" alt="{escape(words)}">'

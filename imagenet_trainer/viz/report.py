"""One page about a trained network: arrays in, HTML out.

assets/templates/report.html holds the text of the page: tables, plots and some images are in the
HTML. Its scripts in assets/ draw the confusion matrix, sort and filter, and show all images of a
cell, a class or a group, whose thumbnails are files beside the page.
"""

from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from imagenet_trainer.metrics.confusion import most_confused
from imagenet_trainer.metrics.counts import MEAN_AVERAGE_PRECISION, has_rank5, loss_of
from imagenet_trainer.metrics.evaluation import calibration, class_table, collapse, shown_ranks
from imagenet_trainer.metrics.predictions import TOP, Predictions
from imagenet_trainer.metrics.semantic import confused_pairs, semantic_metrics, short_names
from imagenet_trainer.metrics.taxonomy import DOMAINS, Taxonomy, taxonomy_of
from imagenet_trainer.viz import report_figures as figures
from imagenet_trainer.viz.feature_map import FeatureMap
from imagenet_trainer.viz.html import Tile, render
from imagenet_trainer.viz.html import percent as as_percent
from imagenet_trainer.viz.report_data import Network, page_data
from imagenet_trainer.viz.report_examples import (
    SUSPECT_PROBABILITY,
    label_suspects,
    pair_examples,
    worst_images,
)
from imagenet_trainer.viz.report_tables import (
    EMPTY,
    Cell,
    Column,
    Table,
    number,
    percent,
    percent_with_interval,
)
from imagenet_trainer.viz.thumbnails import Thumbnails
from imagenet_trainer.viz.why import Explained

_EXAMPLES = 3  # images for each pair and direction
_IMAGES = 24  # of the worst, and of those that look like label errors


@dataclass(frozen=True)
class Report:
    """The content of a page."""

    title: str
    facts: Sequence[Tuple[str, str]]  # such as ("parameters", "runs/a/model-0030.params")
    classes: Sequence[Tuple[str, str]]  # (id, name) by label
    predictions: Predictions
    numbers: Mapping[str, Any]  # the content of evaluation.json, with its intervals
    history: Sequence[Mapping[str, str]]  # rows of history.csv; none for a foreign checkpoint
    thumbnails: Callable[[Iterable[int]], Dict[int, str]]  # data URIs of images by position
    files: Optional[Thumbnails] = None  # of all images, beside the page
    places: Optional[FeatureMap] = None  # of what the classifier takes
    explained: Optional[Sequence[Explained]] = None  # the worst errors


class _Image(NamedTuple):
    """An image of the dataset, as the template shows it."""

    position: int
    key: int
    uri: Optional[str]  # None if it cannot be decoded
    true: str
    true_probability: float
    predicted: str
    predicted_probability: float
    loss: float


def page(report: Report) -> str:
    """Render the page."""
    return render("report.html", **_Page(report).values())


class _Page:
    """The template's values, which share names, matrices and taxonomy."""

    def __init__(self, report: Report) -> None:
        self.report, self.predictions = report, report.predictions
        self.names = short_names(report.classes)
        self.counts = class_table(self.predictions)
        self.rank5 = has_rank5(self.predictions.classes)
        self.taxonomy: Optional[Taxonomy] = taxonomy_of([one for one, _ in report.classes])
        self.rank1, self.top = self.predictions.confusion(1), self.predictions.confusion(TOP)
        self.pairs = confused_pairs(self.rank1)
        self.examples = pair_examples(self.predictions, self.pairs, _EXAMPLES)
        self.worst = worst_images(self.predictions, _IMAGES).tolist()
        self.suspects = label_suspects(self.predictions, _IMAGES).tolist()
        self.losses = loss_of(self.predictions.true)
        shown = {*self.worst, *self.suspects}
        shown.update(
            position for pair in self.examples for position in (*pair.a_as_b, *pair.b_as_a)
        )
        self.thumbnails = report.thumbnails(shown)

    def values(self) -> Dict[str, Any]:
        return {
            "title": self.report.title,
            "contents": self._contents(),
            "data": page_data(
                [Network(self.report.title, self.predictions)],
                self.names,
                self.taxonomy,
                self.report.files,
                self.report.places,
            ),
            "tiles": self._tiles(),
            "facts": self.report.facts,
            "has_intervals": "intervals" in self.report.numbers,
            "training": self._training(),
            "rank5": self.rank5,
            "classes": self._classes(),
            "semantic": self._semantic(),
            "pairs": self._pairs(),
            "worst": [self._image(position) for position in self.worst],
            "suspects": [self._image(position) for position in self.suspects],
            "suspect_probability": SUSPECT_PROBABILITY,
            "why": self.report.explained,
            "calibration": figures.draw_calibration(calibration(self.predictions)),
        }

    def _contents(self) -> List[Tuple[str, str]]:
        """Anchors and titles of the sections."""
        shown = {
            "training": bool(self.report.history),
            "meaning": self.taxonomy is not None,
            "why": self.report.explained is not None,
            "map": self.report.places is not None,
        }
        return [(anchor, title) for anchor, title in _SECTIONS.items() if shown.get(anchor, True)]

    def _tiles(self) -> List[Tile]:
        numbers = self.report.numbers
        tiles = [
            Tile(f"{len(self.predictions):,}", "images"),
            Tile(f"{len(self.names):,}", "classes"),
        ]
        titles = {name: f"rank-{name[4:]}" for name in shown_ranks(self.predictions.classes)}
        titles[MEAN_AVERAGE_PRECISION] = "mean average precision"
        titles.update(loss="loss", calibration_error="calibration error")
        for name, title in titles.items():
            if numbers.get(name) is None:
                continue
            form = "{:.4f}".format if name == "loss" else as_percent
            low, high = numbers.get("intervals", {}).get(name, (None, None))
            interval = "" if low is None else f"{form(low)} to {form(high)}"
            tiles.append(Tile(form(numbers[name]), title, interval))
        collapsed = collapse(self.predictions)
        if collapsed:
            what = f"of the images are predicted as {self.names[collapsed.label]}"
            tiles.append(Tile(as_percent(collapsed.share), what, "whatever they show", warn=True))
        return tiles

    def _training(self) -> Optional[Dict[str, Any]]:
        history = self.report.history
        if not history:
            return None
        shown = {n: title for n, title in _HISTORY.items() if self.rank5 or "rank5" not in n}
        return {
            "plot": figures.draw_curves(history, self.rank5),
            "columns": [Column(title) for title in shown.values()],
            "rows": [
                [number(int(row["epoch"])), *(_value(row[name]) for name in list(shown)[1:])]
                for row in history
            ],
            "last_rank1": history[-1]["val_rank1"],
        }

    def _classes(self) -> Table:
        """The classes, worst F1 first."""
        counts = self.counts
        group_of = self.taxonomy.group_names if self.taxonomy else ()
        confused, times_of = most_confused(self.rank1)
        shares = [counts.recall(), counts.precision()]
        shares += [counts.top5_recall()] if self.rank5 else []
        f1 = counts.f1()
        columns = [Column("class", is_text=True)]
        columns += [Column("group", is_text=True, minor=True)] if group_of else []
        columns += [Column("images"), Column("F1", order="ascending")]
        columns += map(Column, ("recall", "precision", "rank-5")[: len(shares)])
        columns += [Column("taken for it"), Column("most often taken for", True, minor=True)]
        rows, order = [], np.argsort(np.where(np.isnan(f1), 2, f1), kind="stable").tolist()
        for label in order:
            (one, name), other, times = self.report.classes[label], confused[label], times_of[label]
            taken = int(counts.predicted[label] - counts.hits[label])
            rows.append([
                Cell(self.names[label], "" if one == name else one,
                     hover=f"{name} (label {label})", opens={"true": label}),
                *([Cell(group_of[label])] if group_of else []),
                number(int(counts.images[label])),
                percent(f1[label]),
                *(percent_with_interval(share[label]) for share in shares),
                number(taken, opens={"predicted": label, "wrong": 1} if taken else None),
                Cell(self.names[other], f"{times:,} ×", int(times),
                     opens={"true": label, "predicted": other}) if times else EMPTY,
            ])  # fmt: skip
        empty = {row for row, label in enumerate(order) if not counts.images[label]}
        return Table(columns, rows, empty if len(empty) < len(rows) else ())

    def _semantic(self) -> Optional[Dict[str, Any]]:
        if self.taxonomy is None or not len(self.predictions):
            return None
        predictions = self.predictions
        metrics = semantic_metrics(
            predictions.labels, predictions.top[:, 0], self.top, self.taxonomy
        )
        clusters, groups = metrics["clusters"], metrics["groups"]
        group_columns = ("classes", "images", "rank-1", "predicted as the same group")
        return {
            "errors": metrics["errors"],
            "errors_in_group": metrics["errors_in_group"],
            "error_distance": metrics["error_distance"],
            "chance_distance": metrics["chance_distance"],
            "within": clusters["within"],
            "levels": Table(
                [Column("level", is_text=True), Column("accuracy")],
                [[Cell(_LEVELS[name]), percent(p)] for name, p in metrics["levels"].items()],
            ),
            "clusters": Table(
                [Column("true", is_text=True), *map(Column, DOMAINS)],
                [[Cell(true), *(percent(clusters[f"{true} as {other}"]) for other in DOMAINS)]
                 for true in DOMAINS],
            ),
            "groups": Table(
                [Column("group", is_text=True), *map(Column, group_columns)],
                [[Cell(row["name"], opens={"group": row["name"]}), number(row["classes"]),
                  number(row["images"]), percent(row["rank1"]), percent(row["in_group"])]
                 for row in groups],
            ),
        }  # fmt: skip

    def _pairs(self) -> List[Dict[str, Any]]:
        values = []
        for pair, shown in zip(self.pairs, self.examples):
            a, b = self.names[pair.a], self.names[pair.b]
            directions = [
                {"count": count, "true": true, "predicted": predicted, "opens": opens,
                 "images": [self._image(position) for position in positions]}
                for count, true, predicted, opens, positions in (
                    (pair.a_as_b, a, b, {"true": pair.a, "predicted": pair.b}, shown.a_as_b),
                    (pair.b_as_a, b, a, {"true": pair.b, "predicted": pair.a}, shown.b_as_a),
                )
            ]  # fmt: skip
            total = pair.a_as_b + pair.b_as_a
            values.append({"a": a, "b": b, "total": total, "directions": directions})
        return values

    def _image(self, position: int) -> _Image:
        predictions = self.predictions
        return _Image(
            position,
            int(predictions.keys[position]),
            self.thumbnails.get(position),
            self.names[int(predictions.labels[position])],
            float(predictions.true[position]),
            self.names[int(predictions.top[position, 0])],
            float(predictions.probabilities[position, 0]),
            float(self.losses[position]),
        )


def _value(text: str) -> Cell:
    """A cell of history.csv."""
    return number(float(text), 4) if text else EMPTY


_SECTIONS = {
    "about": "About", "training": "Training", "matrix": "Confusion matrix", "classes": "Classes",
    "meaning": "Severity of the errors", "pairs": "Most confused pairs",
    "worst": "Worst images by loss", "suspects": "Possible label errors",
    "why": "Why: the worst errors explained", "map": "Map of the features", "review": "Review",
    "calibration": "Calibration",
}  # fmt: skip
_HISTORY = {
    "epoch": "epoch", "train_loss": "training loss", "val_loss": "validation loss",
    "train_rank1": "training rank-1", "val_rank1": "validation rank-1",
    "val_rank5": "validation rank-5", "learning_rate": "learning rate",
}  # fmt: skip
_LEVELS = {
    "domain": "animal or object", "kind": "kind, such as mammal, bird, artifact",
    "group": "group, such as dogs, vehicles", "class": "class (rank-1)",
}  # fmt: skip

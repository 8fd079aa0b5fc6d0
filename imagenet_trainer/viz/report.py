"""One page about a trained network: arrays in, HTML out.

assets/templates/report.html holds the text of the page: tables, plots and images are in the HTML;
its script (assets/report.js) draws the confusion matrix, sorts and filters.
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

from imagenet_trainer.metrics.confusion import most_confused
from imagenet_trainer.metrics.counts import has_rank5, loss_of
from imagenet_trainer.metrics.evaluation import calibration, class_table, collapse, shown_ranks
from imagenet_trainer.metrics.predictions import TOP, Predictions
from imagenet_trainer.metrics.semantic import confused_pairs, semantic_metrics, short_names
from imagenet_trainer.metrics.taxonomy import DOMAINS, Taxonomy, taxonomy_of
from imagenet_trainer.viz import report_figures as figures
from imagenet_trainer.viz.html import Tile, render
from imagenet_trainer.viz.html import percent as as_percent
from imagenet_trainer.viz.report_examples import (
    SUSPECT_PROBABILITY,
    label_suspects,
    pair_examples,
    worst_images,
)
from imagenet_trainer.viz.report_matrix import matrix_data
from imagenet_trainer.viz.report_tables import (
    EMPTY,
    Cell,
    Column,
    Table,
    number,
    percent,
    percent_with_interval,
)

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


class _Image(NamedTuple):
    """An image of the dataset, as the template shows it."""

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
            "data": self._matrix(),
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
            "calibration": figures.draw_calibration(calibration(self.predictions)),
        }

    def _matrix(self) -> Dict[str, Any]:
        k = min(TOP, self.predictions.top.shape[1])
        matrices = ((f"top-{k} predictions", self.top), ("first prediction only", self.rank1))
        if self.predictions.classes <= TOP:  # then the top five are all classes in every row
            matrices = matrices[::-1]
        return matrix_data(
            matrices, self.report.classes, self.names, self.counts.images, self.taxonomy
        )

    def _tiles(self) -> List[Tile]:
        numbers = self.report.numbers
        tiles = [
            Tile(f"{len(self.predictions):,}", "images"),
            Tile(f"{len(self.names):,}", "classes"),
        ]
        titles = {name: f"rank-{name[4:]}" for name in shown_ranks(self.predictions.classes)}
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
        counts, group_of = self.counts, self._group_of()
        metrics = [counts.recall(), counts.precision()]
        metrics += [counts.top5_recall()] if self.rank5 else []
        shares = list(zip(*metrics))
        confused, times_of = most_confused(self.rank1)
        columns = [Column("label"), Column("class", is_text=True)]
        columns += [Column("group", is_text=True)] if group_of else []
        titles = ("images", "recall", "precision", "rank-5")[: 1 + len(metrics)]
        columns += map(Column, titles)
        columns += [Column("most often predicted as", is_text=True), Column("times")]
        rows = []
        for label, (one, name) in enumerate(self.report.classes):
            times = int(times_of[label])
            rows.append([
                number(label),
                Cell(name, "" if one == name else one),
                *([Cell(group_of[label])] if group_of else []),
                number(int(counts.images[label])),
                *map(percent_with_interval, shares[label]),
                Cell(self.names[confused[label]]) if times else EMPTY,
                number(times),
            ])  # fmt: skip
        return Table(columns, rows)

    def _group_of(self) -> List[str]:
        """The group of each class; empty for classes that WordNet does not have."""
        if self.taxonomy is None:
            return []
        return [self.taxonomy.groups[group] for group in self.taxonomy.group]

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
                [[Cell(row["name"]), number(row["classes"]), number(row["images"]),
                  percent(row["rank1"]), percent(row["in_group"])] for row in groups],
            ),
        }  # fmt: skip

    def _pairs(self) -> List[Dict[str, Any]]:
        values = []
        for pair, shown in zip(self.pairs, self.examples):
            a, b = self.names[pair.a], self.names[pair.b]
            directions = [
                {"count": count, "true": true, "predicted": predicted,
                 "images": [self._image(position) for position in positions]}
                for count, true, predicted, positions in (
                    (pair.a_as_b, a, b, shown.a_as_b), (pair.b_as_a, b, a, shown.b_as_a),
                )
            ]  # fmt: skip
            total = pair.a_as_b + pair.b_as_a
            values.append({"a": a, "b": b, "total": total, "directions": directions})
        return values

    def _image(self, position: int) -> _Image:
        predictions = self.predictions
        return _Image(
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


_HISTORY = {
    "epoch": "epoch", "train_loss": "training loss", "val_loss": "validation loss",
    "train_rank1": "training rank-1", "val_rank1": "validation rank-1",
    "val_rank5": "validation rank-5", "learning_rate": "learning rate",
}  # fmt: skip
_LEVELS = {
    "domain": "animal or object", "kind": "kind, such as mammal, bird, artifact",
    "group": "group, such as dogs, vehicles", "class": "class (rank-1)",
}  # fmt: skip

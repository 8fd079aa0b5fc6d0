"""One page about two networks on the same images: what the second gained and lost.

assets/templates/paired.html holds its text; the scripts are those of a report.
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

from imagenet_trainer.metrics.confidence import mcnemar, paired_difference
from imagenet_trainer.metrics.predictions import Predictions
from imagenet_trainer.metrics.semantic import short_names
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.viz.html import Tile, render
from imagenet_trainer.viz.html import percent as as_percent
from imagenet_trainer.viz.report_data import Network, page_data
from imagenet_trainer.viz.report_tables import Cell, Column, Table, number, percent
from imagenet_trainer.viz.thumbnails import Thumbnails

_IMAGES = 24  # that were gained, and that were lost


@dataclass(frozen=True)
class PairedReport:
    """The content of a page."""

    titles: Tuple[str, str]  # of the networks
    facts: Sequence[Tuple[str, str, str]]  # a name, and its value for each network
    classes: Sequence[Tuple[str, str]]  # (id, name) by label
    predictions: Tuple[Predictions, Predictions]  # for the same images in the same order
    comparison: Mapping[str, Any]  # the content of comparison-....json
    thumbnails: Callable[[Iterable[int]], Dict[int, str]]  # data URIs of images by position
    files: Optional[Thumbnails] = None  # of all images, beside the page


class _Image(NamedTuple):
    """An image of the dataset, as the template shows it."""

    position: int
    key: int
    uri: Optional[str]
    true: str
    predicted: str  # by the second network
    before: str  # by the first one
    probabilities: Tuple[float, float]  # of the label, by both networks


def page(report: PairedReport) -> str:
    """Render the page."""
    return render("paired.html", **_Page(report).values())


class _Page:
    def __init__(self, report: PairedReport) -> None:
        self.report, (one, other) = report, report.predictions
        self.names = short_names(report.classes)
        self.taxonomy = taxonomy_of([one_ for one_, _ in report.classes])
        right, now = one.rank < 1, other.rank < 1
        self.right, self.gained, self.lost = (right, now), now & ~right, right & ~now
        change = other.true - one.true
        order = np.argsort(change, kind="stable")
        self.examples = {
            "gained": order[::-1][self.gained[order[::-1]]][:_IMAGES].tolist(),
            "lost": order[self.lost[order]][:_IMAGES].tolist(),
        }
        self.thumbnails = report.thumbnails({*self.examples["gained"], *self.examples["lost"]})

    def values(self) -> Dict[str, Any]:
        report = self.report
        networks = [Network(*pair) for pair in zip(report.titles, report.predictions)]
        return {
            "title": " and ".join(report.titles),
            "titles": report.titles,
            "contents": self._contents(),
            "data": page_data(networks, self.names, self.taxonomy, report.files),
            "tiles": self._tiles(),
            "facts": report.facts,
            "classes": self._classes(),
            "groups": self._groups(),
            "gained": [self._image(position) for position in self.examples["gained"]],
            "lost": [self._image(position) for position in self.examples["lost"]],
        }

    def _contents(self) -> List[Tuple[str, str]]:
        shown = {"groups": self.taxonomy is not None}
        return [(anchor, title) for anchor, title in _SECTIONS.items() if shown.get(anchor, True)]

    def _tiles(self) -> List[Tile]:
        found = self.report.comparison
        low, high = (f"{100 * bound:+.2f}" for bound in found["interval"])
        return [
            Tile(f"{found['images']:,}", "images"),
            *(Tile(as_percent(share), f"rank-1 of the {place} network")
              for share, place in zip(found["rank1"], ("first", "second"))),
            Tile(f"{100 * found['difference']:+.2f}", "points of rank-1", f"{low} to {high}"),
            Tile(f"{found['only_b_right']:,}", "images gained"),
            Tile(f"{found['only_a_right']:,}", "images lost"),
            Tile(f"{found['mcnemar_p']:.2g}", "McNemar's exact p",
                 "significant" if found["mcnemar_p"] < 0.05 else "not significant"),
        ]  # fmt: skip

    def _classes(self) -> Table:
        """The classes with images, those that lost most first."""
        columns = [Column("class", is_text=True)]
        columns += [Column("group", True, minor=True)] if self.taxonomy else []
        columns += [
            *map(Column, ("images", "first", "second")),
            Column("points", order="ascending"),
        ]
        columns += [Column("gained"), Column("lost"), Column("p", minor=True)]
        gained, lost = (
            np.bincount(self.report.predictions[0].labels[chosen], minlength=len(self.names))
            for chosen in (self.gained, self.lost)
        )
        rows = []
        for row in self.report.comparison["classes"][::-1]:  # the json begins with the largest gain
            label, images = row["class"], row["pictures"]
            hits = row["right_a"], row["right_b"]
            name = self.report.classes[label][1]
            group = [Cell(self.taxonomy.group_names[label])] if self.taxonomy else []
            rows.append([
                Cell(self.names[label], hover=f"{name} (label {label})", opens={"true": label}),
                *group,
                number(images), *(percent(count / images) for count in hits),
                _points((hits[1] - hits[0]) / images),
                _change(int(gained[label]), {"true": label, "change": "gained"}),
                _change(int(lost[label]), {"true": label, "change": "lost"}),
                Cell(f"{row['p']:.2g}", "significant" if row["sure"] else "", row["p"]),
            ])  # fmt: skip
        return Table(columns, rows)

    def _groups(self) -> Optional[Table]:
        """The groups of WordNet with images, with the intervals of their differences."""
        if self.taxonomy is None:
            return None
        of_image = self.taxonomy.group[self.report.predictions[0].labels]
        columns = [Column("group", is_text=True), *map(Column, ("images", "first", "second"))]
        columns += [*map(Column, ("points", "gained", "lost")), Column("p", minor=True)]
        rows = []
        for index, name in enumerate(self.taxonomy.groups):
            members = of_image == index
            images = int(members.sum())
            if not images:
                continue
            won, lost = int(self.gained[members].sum()), int(self.lost[members].sum())
            low, high = (f"{100 * bound:+.1f}" for bound in paired_difference(lost, won, images))
            rows.append([
                Cell(name, opens={"group": name}), number(images),
                *(percent(float(right[members].mean())) for right in self.right),
                _points((won - lost) / images)._replace(small=f"{low} to {high}"),
                _change(won, {"group": name, "change": "gained"}),
                _change(lost, {"group": name, "change": "lost"}),
                number(float(mcnemar(np.array(lost), np.array(won))), 4),
            ])  # fmt: skip
        return Table(columns, rows)

    def _image(self, position: int) -> _Image:
        one, other = self.report.predictions
        return _Image(
            position,
            int(one.keys[position]),
            self.thumbnails.get(position),
            self.names[int(one.labels[position])],
            self.names[int(other.top[position, 0])],
            self.names[int(one.top[position, 0])],
            (float(one.true[position]), float(other.true[position])),
        )


def _points(difference: float) -> Cell:
    return Cell(f"{100 * difference:+.1f}" if difference else "0.0", value=difference)


def _change(count: int, opens: Mapping[str, object]) -> Cell:
    return number(count, opens=opens if count else None)


_SECTIONS = {
    "about": "About", "matrix": "Difference of the matrices", "classes": "Classes",
    "groups": "Groups", "lost": "Lost images", "gained": "Gained images", "review": "Review",
}  # fmt: skip

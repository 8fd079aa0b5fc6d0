"""The page about two networks, from random predictions, in a browser where there is one."""

import re

import numpy as np
import pytest
from helpers.reports import EVIL, IMAGE, own_classes, predictions_of

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.eval.evaluator import EpochResult
from imagenet_trainer.eval.paired import paired_comparison
from imagenet_trainer.runs.run import Run
from imagenet_trainer.viz.paired_report import PairedReport, page


def report_of(classes, per_class=5):
    networks = [
        predictions_of(len(classes), per_class, seed, skill) for seed, skill in ((1, 2), (2, 2.4))
    ]
    sides = [
        (Run(f"{name}/m"), EpochResult(1, one, {"rank1": (one.rank < 1).mean()}, "", classes))
        for name, one in zip("ab", networks)
    ]
    return PairedReport(
        ("one", EVIL), [("network", "resnet 18", EVIL)], classes, tuple(networks),
        paired_comparison(*sides), lambda places: dict.fromkeys(places, IMAGE),
    )  # fmt: skip


@pytest.fixture(scope="module")
def known():
    return report_of(list(known_synsets().items())[:30])


def test_numbers_of_a_class_and_order(known):
    html = page(known).partition('id="classes"')[2].partition("</section>")[0]
    rows = re.findall(r"<tr.*?</tr>", html, re.S)[1:]
    points = []
    for row in rows:
        label = int(re.search(r'data-true="(\d+)"', row)[1])
        one, other = known.predictions
        of_class = one.labels == label
        right, now = (p.rank[of_class] < 1 for p in (one, other))
        values = [float(value) for value in re.findall(r'data-value="([-\d.e]+)"', row)]
        wanted = [5, right.mean(), now.mean(), now.mean() - right.mean(),
                  (now & ~right).sum(), (right & ~now).sum()]  # fmt: skip
        assert values[:6] == pytest.approx(wanted)
        points.append(values[3])
    assert len(rows) == 30 and points == sorted(points) and points[0] < 0 < points[-1]


def test_text_from_outside_is_escaped():
    html = page(report_of([(EVIL, EVIL), *own_classes(4)]))
    assert html.count("<script") == 2 and "<script>alert" not in html


def test_networks_without_a_difference(known):
    one = known.predictions[0]
    side = (Run("a/m"), EpochResult(1, one, {"rank1": (one.rank < 1).mean()}, "", known.classes))
    values = {**vars(known), "predictions": (one, one), "comparison": paired_comparison(side, side)}
    html = page(PairedReport(**values))
    assert "No image was lost." in html and "No image was gained." in html


def test_gained_and_lost_images_in_a_browser(known, tmp_path, window):
    (tmp_path / "page.html").write_text(page(known), encoding="utf-8")
    one, other = known.predictions
    lost = (one.rank < 1) & (other.rank > 0)
    label = int(np.bincount(one.labels[lost]).argmax())
    keys = (
        "return [...document.querySelectorAll('#gallery figcaption')]"
        ".map(c => Number(c.textContent.match(/key (\\d+)/)[1]))"
    )
    window.open(tmp_path / "page.html")
    window.click(f"#classes button[data-true='{label}'][data-change='lost']")
    assert sorted(window.script(keys)) == sorted(one.keys[lost & (one.labels == label)].tolist())
    window.click("#gallery-close")
    sizes = window.script("return [report.view.signed, [...report.view.counts.counts]]")
    wanted = (other.confusion(1) - one.confusion(1)).toarray()
    assert sizes[0] and sizes[1] == wanted[wanted != 0].tolist()
    window.click("#groups button[data-group='birds'][data-change='gained']")
    assert "gained" in window.script("return document.querySelector('#gallery h2').textContent")
    window.emulate(390)
    try:
        assert window.script("return document.documentElement.scrollWidth") == 390
        assert window.violations() in ([], None) and window.errors() == []
    finally:
        window.emulate()

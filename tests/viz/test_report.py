import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.reports import EVIL, own_classes, predictions_of, report_of

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.predictions import Collector, Predictions
from imagenet_trainer.viz import report_figures as figures
from imagenet_trainer.viz.report import page


class Outline(HTMLParser):
    """Headings, text, and images without alt; fails if an element does not end."""

    VOID = ("meta", "img", "br", "input", "link")

    def __init__(self, html):
        super().__init__()
        self.open, self.headings, self.without_alt, self.text = [], [], 0, ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img" and not dict(attributes).get("alt"):
            self.without_alt += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture
def no_plots(monkeypatch):
    """Plots take longer than the rest of the page."""
    monkeypatch.setattr(figures, "draw_curves", lambda history, rank5: b"<svg/>")
    monkeypatch.setattr(figures, "draw_calibration", lambda bins: b"<svg/>")


@pytest.mark.parametrize("count", [2, 3, 10, 120])
def test_sections_for_any_number_of_classes(count, no_plots):
    outline = Outline(page(report_of(own_classes(count))))
    assert outline.headings == [
        "a run, epoch 2", "About", "Training", "Confusion matrix", "Classes",
        "Most confused pairs", "Worst images by loss", "Possible label errors", "Review",
        "Calibration", "Images",
    ]  # fmt: skip
    assert outline.without_alt == 0


def test_the_page_fetches_nothing_and_is_the_same_again():
    html = page(report_of(own_classes(5)))
    assert html == page(report_of(own_classes(5)))
    html = re.sub(r"data:image/[\w+]+;base64,[\w+/=]+", "", html)
    assert not re.findall(r"(?:src|href)=\"(?![\"#])[^\"]+", html)
    assert "file:" not in html
    assert not re.findall(r"@import|url\(|fetch\(|XMLHttpRequest|https?:", html)


def test_imagenet_classes_have_a_semantic_section(no_plots):
    classes = list(known_synsets().items())[:50]
    outline = Outline(page(report_of(classes)))
    assert "Severity of the errors" in outline.headings
    assert "animal or object" in outline.text and "amphibians" in outline.text


def test_numbers_of_a_class(no_plots):
    report = report_of(own_classes(4))
    html = page(report).partition('id="classes"')[2]
    predictions = report.predictions
    rows = re.findall(r"<tr.*?</tr>", html, re.S)
    row = next(row for row in rows if "<small>c2</small>" in row)
    hits = int(((predictions.labels == 2) & (predictions.rank == 0)).sum())
    named = int((predictions.top[:, 0] == 2).sum())
    values = [float(value) for value in re.findall(r'data-value="([\d.]+)"', row)]
    assert values[:5] == [6, *(pytest.approx(v) for v in (
        2 * hits / (6 + named), hits / 6, hits / named, named - hits))]  # fmt: skip
    assert ">class 2</button>" in row and 'title="class 2, also 2 (label 2)"' in row


def test_the_worst_classes_are_first_and_empty_ones_hidden(no_plots):
    predictions = predictions_of(8)
    kept = predictions.labels != 3
    columns = ("keys", "labels", "top", "probabilities", "true", "rank")
    values = {name: getattr(predictions, name)[kept] for name in columns}
    html = page(report_of(own_classes(8), predictions=Predictions(**values, classes=8)))
    html = html.partition('id="classes"')[2].partition("</section>")[0]
    rows = re.findall(r"<tr.*?</tr>", html, re.S)[1:]
    scores = [float(re.findall(r'data-value="([\d.]+)"', row)[1]) for row in rows[:7]]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    assert [n for n, row in enumerate(rows) if "<tr data-empty hidden>" in row] == [7]
    assert "<small>c3</small>" in rows[7]


def test_text_from_outside_is_escaped_everywhere(no_plots):
    classes = [(EVIL, EVIL), ("b", "b"), ("c", EVIL + "2")]
    html = page(report_of(classes, title=EVIL, facts=[(EVIL, EVIL)]))
    assert html.count("<script") == 2  # the data and the page's own script
    assert "alert(" in html and "<script>alert" not in html
    Outline(html)


def test_images_that_cannot_be_shown(no_plots):
    outline = Outline(page(report_of(own_classes(3), thumbnails=lambda places: {})))
    assert "no image" in outline.text
    assert "key 1000" in outline.text or "key 99" in outline.text


def test_a_network_without_errors(no_plots):
    outline = Outline(page(report_of(own_classes(3), predictions=predictions_of(3, skill=50))))
    assert (
        outline.text.count("No image is misclassified.") == 2 and "There are none." in outline.text
    )


@pytest.mark.parametrize("classes", [5, 6])
def test_rank5_is_shown_only_if_it_can_differ_from_100_percent(classes, no_plots):
    text = Outline(page(report_of(own_classes(classes)))).text.lower()
    assert ("rank-5" in text) == (classes > 5) and "rank-1" in text


def test_predictions_of_one_class_are_a_warning(no_plots):
    labels = np.arange(20) % 2
    collector = Collector(np.arange(20), 2)
    collector.add(np.arange(20), np.tile(np.float32([[0.9, 0.1]]), (20, 1)), labels)
    html = page(report_of([("cat", "cat"), ("dog", "dog")], predictions=collector.complete()))
    warned = re.search(r'<div class="tile warn"><b>(.*?)</b>(.*?)<', html)
    assert warned[1].startswith("100.00") and "predicted as cat" in warned[2]
    assert 'class="tile warn"' not in page(report_of(own_classes(2)))


def test_the_score_of_images_with_several_classes_is_shown(no_plots):
    numbers = {"mean_average_precision": 0.4321}
    text = Outline(page(report_of(own_classes(3), numbers=numbers))).text
    assert "43.21\u00a0%mean average precision" in text


def test_without_history_there_is_no_training_section(no_plots):
    outline = Outline(page(report_of(own_classes(3), history=[])))
    assert "Training" not in outline.headings

"""Tables, plots and pages of a comparison, from results made by hand."""

import csv
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from helpers.pages import Page
from helpers.results import epochs_of, result

from imagenet_trainer.comparison import figures, tables
from imagenet_trainer.comparison.page import Comparison, sections, write

EVIL = '<script>alert("|$x$")</script>'


@pytest.fixture
def results():
    over = epochs_of([3, 2, 1], [3, 2, 2.5])
    return [
        result("resnet-8", 9, median=2, epochs=over),
        result(EVIL, 7, parameters=70, flags="--lr 0.1", peak_bytes=None, wall_seconds=None),
        result("net-0.1", 5, series="net", train_images=6, epochs=()),
        result("net-1", 8, series="net", train_images=60),
    ]


def comparison_of(results, **more):
    values = {"title": f"Comparison {EVIL}", "facts": [("images", EVIL)], "failed": {},
              "waiting": [], **more}  # fmt: skip
    return Comparison(results=results, **values)


def test_all_files_of_a_report(results, tmp_path):
    failed = {"vgg-16": f"--lr 1: {EVIL}"}
    path = write(comparison_of(results, failed=failed, waiting=["late"]), str(tmp_path / "out"))
    assert sorted(one.name for one in path.parent.iterdir()) == [
        "classes.csv", "compare.csv", "compare.html", "compare.md", "curves.svg", "epochs.csv",
        "fronts.svg", "learning-curve.svg", "times.svg",
    ]  # fmt: skip
    page = Page(path.read_text())
    assert page.tags.count("script") == 1 and EVIL in page.text
    labels = re.findall(
        'role="region" aria-label="([^"]+)"', path.read_text().partition("Epochs")[0]
    )
    assert len(labels) == len(set(labels)) > 5  # screen readers tell tables apart by them
    assert page.sources and all(one.startswith("data:image/svg+xml;") for one in page.sources)
    assert page.tags.count("img") == 4
    for text in ("not trained yet", "vgg-16", "--lr 1: ", "after epoch 2: validation +0.500"):
        assert text in page.text
    markdown = (path.parent / "compare.md").read_text()
    assert EVIL not in markdown and "\\<script\\>" in markdown
    for name in ("fronts", "curves", "learning-curve", "times"):
        assert f"]({name}.svg)" in markdown
        assert ElementTree.parse(path.parent / f"{name}.svg").getroot().tag.endswith("}svg")
    again = write(comparison_of(results, failed=failed, waiting=["late"]), str(tmp_path / "again"))
    for one in path.parent.iterdir():
        assert (again.parent / one.name).read_bytes() == one.read_bytes()


def test_tables_fit_the_window_and_texts_their_cells(results, tmp_path, window):
    window.open(write(comparison_of(results), str(tmp_path)))
    too_wide = (
        "return [...document.querySelectorAll('.scroll, td')]"
        ".filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)"
    )
    assert window.script(too_wide) == []


def test_sections_with_numbers_explain_them(results):
    comparison = comparison_of(results, failed={"a": "no such file"})
    shown = list(sections(comparison, ["curves", "times", "learning-curve"]))
    assert [one.title for one in shown if not one.text] == ["Excluded", "Epochs"]


def test_a_report_when_all_failed(tmp_path):
    path = write(comparison_of([], failed={"a": "no such file"}), str(tmp_path))
    assert "no such file" in Page(path.read_text()).text
    assert sorted(one.name for one in tmp_path.iterdir()) == ["compare.html", "compare.md"]


def test_tables_of_markdown_have_their_columns(results):
    grids = [
        tables.accuracy(results), tables.sizes(results), tables.training(results),
        tables.speeds(results), *(grid for _, grid in tables.class_errors(results)),
        *(grid for _, grid in tables.epochs(results)),
    ]  # fmt: skip
    for grid in grids:
        assert all(len(row) == len(grid.head) for row in grid.rows)
        for line in tables.markdown(grid).splitlines():
            assert line.replace("\\|", "").count("|") == len(grid.head) + 1


def test_gpu_memory_is_shown_if_it_was_measured(results):
    assert "peak GPU memory" not in tables.sizes(results).head
    grid = tables.sizes([result("a", gpu_peak_bytes=3_000_000_000), result("b")])
    assert grid.head[-2:] == ("peak memory of training", "peak GPU memory")
    assert [row[-2:] for row in grid.rows] == [("250 MB", "3,000 MB"), ("250 MB", "")]


def test_the_worst_class_comes_first(results):
    (name, grid), *_ = tables.class_errors(results[1:])
    assert name == EVIL
    assert grid.rows == [("cat", "10", "3", "0"), ("dog", "0", "0", "2")]


def test_csv_files(results):
    rows = list(csv.DictReader(io.StringIO(tables.compare_csv(results))))
    assert [row["network"] for row in rows] == ["resnet-8", EVIL, "net-0.1", "net-1"]
    first, second, third, _ = rows
    assert float(first["rank1"]) == 0.9 and first["overfitting_after_epoch"] == "2"
    assert float(first["cpu_median_ms"]) == 2 and float(first["cpu_99th_ms"]) == 4
    assert float(first["cpu_images_per_second"]) == 1500 and first["cpu_best_batch"] == "2"
    assert first["false_negatives"] == "1" and first["peak_bytes"] == "250000000"
    assert second["peak_bytes"] == second["wall_seconds"] == second["overfitting_after_epoch"] == ""
    assert third["epochs"] == "0" and third["first_epoch_seconds"] == ""
    rows = list(csv.DictReader(io.StringIO(tables.epochs_csv(results))))
    assert [row["epoch"] for row in rows if row["network"] == "resnet-8"] == ["1", "2", "3"]
    assert rows[2]["val_loss"] == "2.5"
    rows = list(csv.DictReader(io.StringIO(tables.classes_csv(results))))
    assert rows[0] == {"network": "resnet-8", "class": "cat", "images": "10",
                       "false_negatives": "1", "false_positives": "0"}  # fmt: skip


def test_learning_curves_are_of_networks_with_several_numbers_of_images(results):
    ((name, members),) = figures.learning_curves(results[::-1])
    assert name == "net" and [one.train_images for one in members] == [6, 60]
    assert figures.learning_curves(results[:3]) == []


def test_there_may_be_more_networks_than_colours():
    many = [result(f"net-{number}", number % 10 + 1, median=number + 1) for number in range(20)]
    assert b"</svg>" in figures.draw_fronts(many) and b"</svg>" in figures.draw_curves(many)


@pytest.mark.parametrize(("worst", "scale"), [(2.9, "linear"), (80.0, "log"), (np.nan, "linear")])
def test_one_bad_epoch_does_not_hide_the_others(monkeypatch, worst, scale):
    drawn = []
    monkeypatch.setattr(figures, "svg", lambda figure: drawn.extend(figure.axes))
    figures.draw_curves([result("a", epochs=epochs_of([2, 1, 1], [worst, 1.2, 1]))])
    assert [axes.get_yscale() for axes in drawn] == ["linear", scale, "linear", "linear"]


def test_seconds_of_training_add_up(monkeypatch, results):
    drawn = []
    monkeypatch.setattr(figures, "svg", lambda figure: drawn.extend(figure.axes))
    figures.draw_times(results)
    lines = drawn[0].get_lines()
    assert [list(line.get_xdata()) for line in lines] == [[1, 2, 3], [1, 2], [], [1, 2]]
    assert list(lines[0].get_ydata()) == [50] * 3


def test_ticks_are_round_and_few():
    for low, high in ((0.5, 900), (20, 60), (36, 46), (7e6, 5.5e7), (1, 1.2)):
        ticks = figures.ticks(low, high)
        assert all(low <= tick <= high for tick in ticks) and 1 <= len(ticks) <= 8
    assert figures.ticks(1, 1000) == [1, 10, 100, 1000]
    assert [figures.short(value) for value in (0.5, 20, 3000, 1.5e6)] == [
        "0.5", "20", "3 k", "1.5 M",
    ]  # fmt: skip


def test_plots_have_no_mathtext(results, monkeypatch):
    """Markup of mathtext in the numbers of an axis would be shown as it is."""
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")
    drawn = [
        figures.draw_fronts(results), figures.draw_curves(results), figures.draw_times(results),
        figures.draw_learning_curves(figures.learning_curves(results)),
    ]  # fmt: skip
    for data in drawn:
        text = " ".join(ElementTree.fromstring(data).itertext())
        assert "resnet-8" in text or "net" in text
        assert "mathdefault" not in text

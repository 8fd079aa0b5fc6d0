"""The report in a browser, from file://: open, hover, zoom, sort, by mouse and by keyboard."""

import io
import re

import numpy as np
import pytest
from helpers import browser
from helpers.reports import EVIL, own_classes, predictions_of, report_of
from PIL import Image

from imagenet_trainer.viz.report import page

pytestmark = pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING)
DOWN, RIGHT = "\ue015", "\ue014"
STATUS = "return document.getElementById('matrix-status').textContent"
CLASSES = 120


@pytest.fixture(scope="module")
def predictions():
    return predictions_of(CLASSES, per_class=4)


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory, predictions):
    path = tmp_path_factory.mktemp("page")
    classes = [*own_classes(CLASSES - 1), (EVIL, EVIL)]
    (path / "report.html").write_text(
        page(report_of(classes, predictions=predictions)), encoding="utf-8"
    )
    (path / "two.html").write_text(page(report_of(own_classes(2))), encoding="utf-8")
    return path


@pytest.fixture
def shown(window, folder):
    """The page, just opened; fails at the end if the browser logged an error."""
    window.open(folder / "report.html")
    yield window
    assert window.errors() == []


def geometry(window):
    """Left edge and side of the matrix in its canvas, in CSS pixels."""
    width = window.script("return document.getElementById('matrix-canvas').clientWidth")
    height = window.script("return document.getElementById('matrix-canvas').clientHeight")
    left = min(170, width // 3)
    return left, height - left + 20


def tip(window, row, column, length=CLASSES):
    """The text of the tooltip of a cell, counted from the first one shown."""
    left, side = geometry(window)
    point = (left + (column + 0.5) * side / length, (row + 0.5) * side / length)
    window.pointer("#matrix-canvas", point)
    return window.script("return document.getElementById('matrix-tip').textContent")


def pixels(window):
    """The pixels of the matrix, uint8 (side, side, 3)."""
    left, side = geometry(window)
    window.script(
        "document.getElementById('matrix-canvas').scrollIntoView();"
        "document.getElementById('matrix-tip').hidden = true"
    )
    area = window.script(
        "const b = document.getElementById('matrix-canvas').getBoundingClientRect();"
        "return [b.left, b.top]"
    )
    with Image.open(io.BytesIO(window.screenshot())) as image:
        screen = np.array(image.convert("RGB"))
    top, left = round(area[1]), round(area[0]) + left
    return screen[top : top + int(side), left : left + int(side)]


def test_it_opens_without_errors_and_draws_every_count(shown, predictions):
    assert shown.script("return document.title") == "a run, epoch 2"
    image = pixels(shown)
    step = image.shape[1] / CLASSES
    rows = int(image.shape[0] / step) - 1  # those inside the window
    middles = ((np.arange(CLASSES) + 0.5) * step).astype(int)
    lit = image[middles[:rows, None], middles].any(axis=2)
    assert rows > 60
    assert np.array_equal(lit, predictions.confusion().toarray()[:rows] > 0)
    # Equalised green: more is brighter.
    green = image[middles[:rows, None], middles, 1].astype(int)
    counts = predictions.confusion().toarray()[:rows]
    means = [green[counts == count].mean() for count in range(1, 5)]
    assert means == sorted(means) and means[0] < 100 and means[-1] > 240


def test_hovering_names_classes_and_counts(shown, predictions):
    matrix = predictions.confusion().toarray()
    for row, column in ((3, 3), (20, 77), (64, 5)):
        assert tip(shown, row, column) == (
            f"true: class {row}\npredicted: class {column}\n"
            f"{matrix[row, column]}, {25 * matrix[row, column]:.1f} % of 4 images"
        )


def test_a_name_that_is_html_is_text(shown):
    shown.script("document.getElementById('matrix-find').value = arguments[0];", EVIL)
    shown.script("document.getElementById('matrix-find').dispatchEvent(new Event('change'))")
    assert EVIL in shown.script(STATUS)
    assert shown.script("return document.scripts.length") == 2


def test_zoom_recomputes_counts(shown, predictions):
    left, side = geometry(shown)
    cell = side / CLASSES
    begin, end = (left + 10.2 * cell, 30.2 * cell), (left + 19.8 * cell, 39.8 * cell)
    shown.pointer("#matrix-canvas", begin, "down", (begin[0] + 20, begin[1] + 20), end, "up")
    label = shown.script("return document.getElementById('matrix-canvas').ariaLabel")
    assert label == "Confusion matrix, 10 of 120 classes shown"
    part = predictions.confusion().toarray()[30:40, 10:20]
    row, column = np.argwhere(part > 0)[0].tolist()
    assert tip(shown, row, column, 10).startswith(
        f"true: class {30 + row}\npredicted: class {10 + column}\n{part[row, column]}, "
    )
    image, step = pixels(shown), side / 10
    middles = ((np.arange(10) + 0.2) * step).astype(int)  # away from the numbers in the cells
    rows = middles < len(image)  # inside the window
    lit = image[middles[rows, None], middles].any(axis=2)
    assert rows.sum() > 6 and np.array_equal(lit, part[rows] > 0)
    shown.script("[...document.querySelectorAll('#matrix-controls button')].pop().click()")
    label = shown.script("return document.getElementById('matrix-canvas').ariaLabel")
    assert label == "Confusion matrix, all classes shown"


def test_more_classes_than_pixels_are_added_up(shown, predictions):
    """On a small screen a cell of the picture is several cells of the matrix."""
    shown.script("document.getElementById('matrix-frame').style.width = '150px'")
    # Resize observers run in the next frame.
    shown.script("return new Promise(d => requestAnimationFrame(() => requestAnimationFrame(d)))")
    assert shown.script("return document.getElementById('matrix-canvas').clientWidth") == 150
    left, side = geometry(shown)
    assert side == 100
    tooltip = shown.script(
        "document.getElementById('matrix-canvas').scrollIntoView();"
        "const c = document.getElementById('matrix-canvas'), b = c.getBoundingClientRect();"
        "c.dispatchEvent(new PointerEvent('pointermove',"
        "{clientX: b.left + arguments[0] + 4.5, clientY: b.top + 4.5}));"
        "return document.getElementById('matrix-tip').textContent", left,
    )  # fmt: skip
    # Pixel 4 of 100 begins with class 4 of 120; pixel 5 with class 6.
    count = predictions.confusion().toarray()[4:6, 4:6].sum()
    assert tooltip.startswith("true: class 4, class 5\npredicted: class 4, class 5\n")
    assert int(re.search(r"\n(\d+), ", tooltip)[1]) == count


def test_keys_select_a_cell_and_zoom(shown, predictions):
    shown.type("#matrix-canvas", DOWN * 3 + RIGHT * 4)
    status = shown.script(STATUS)
    assert status.startswith("true: class 2; predicted: class 4; ")
    assert f"; {predictions.confusion().toarray()[2, 4]}, " in status
    shown.type("#matrix-canvas", "++")
    assert "30 of 120" in shown.script("return document.getElementById('matrix-canvas').ariaLabel")
    shown.type("#matrix-canvas", "0")
    assert "all" in shown.script("return document.getElementById('matrix-canvas').ariaLabel")


def test_first_predictions_and_other_orders(shown, predictions):
    def choose(name, index):
        shown.script(
            "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
            "s.dispatchEvent(new Event('change'))", f"matrix-{name}", index,
        )  # fmt: skip

    choose("matrix", 1)
    count = predictions.confusion(1).toarray()[7, 7]
    assert tip(shown, 7, 7).startswith(f"true: class 7\npredicted: class 7\n{count}, ")
    choose("order", 1)
    order = shown.script("return JSON.parse(document.getElementById('data').textContent).orders[1]")
    true, predicted = order["order"][7], order["order"][9]
    names = shown.script("return JSON.parse(document.getElementById('data').textContent).names")
    count = predictions.confusion(1).toarray()[true, predicted]
    wanted = f"true: {names[true]}\npredicted: {names[predicted]}\n{count}, "
    assert tip(shown, 7, 9).startswith(wanted)
    choose("palette", 1)
    image = pixels(shown)
    assert image[..., 2].any()  # no longer only green


def test_tables_are_sorted_and_filtered(shown):
    column = (
        "return [...document.querySelectorAll('#classes tbody tr')].filter(r => !r.hidden)"
        ".map(r => r.cells[arguments[0]])"
    )
    numbers = f"{column}.map(c => Number(c.dataset.value))"
    shown.click("#classes th:nth-child(4) button")  # recall
    values = shown.script(numbers.replace("return", "return (") + ")", 3)
    assert values == sorted(values, reverse=True) and values[0] > values[-1]
    heading = "return document.querySelector('#classes th:nth-child(4)').ariaSort"
    assert shown.script(heading) == "descending"
    shown.type("#classes th:nth-child(4) button", " ")  # the space key presses it
    values = shown.script(numbers.replace("return", "return (") + ")", 3)
    assert values == sorted(values) and shown.script(heading) == "ascending"
    shown.type("#classes input", "also 11")
    names = shown.script(column.replace("return", "return (") + ".map(c => c.textContent))", 1)
    assert sorted(names) == sorted(f"class {n}, also {n} c{n}" for n in (11, *range(110, 119)))


def test_long_tables_show_their_first_rows(shown):
    visible = shown.script("""
        const table = document.createElement("table"), frame = document.createElement("div");
        table.innerHTML = "<thead><tr><th><button>a</button></th></tr></thead><tbody></tbody>";
        for (let n = 0; n < 1200; n++) {
            const cell = table.tBodies[0].insertRow().insertCell();
            cell.dataset.value = n;
            cell.textContent = `row ${n}`;
        }
        table.dataset.searched = 1;
        frame.append(table);
        document.body.append(frame);
        sortable(table);
        const rows = () => [...table.tBodies[0].rows].filter((row) => !row.hidden);
        const first = rows().map((row) => row.textContent);
        table.querySelector("button").click();
        return [first, rows().map((row) => row.textContent)];
    """)
    assert visible[0] == [f"row {n}" for n in range(1000)]
    assert visible[1] == [f"row {n}" for n in range(1199, 199, -1)]


def test_two_classes(window, folder):
    window.open(folder / "two.html")
    assert window.errors() == []
    assert tip(window, 1, 1, 2).startswith("true: class 1\npredicted: class 1\n6, 100.0 %")
    window.type("#matrix-canvas", "+++" + DOWN)
    assert "true: class 0" in window.script(STATUS)

"""The report in a browser, from file://: open, hover, zoom, sort, by mouse and by keyboard."""

import io
import re

import numpy as np
import pytest
from helpers.reports import EVIL, explained_of, own_classes, predictions_of, report_of
from PIL import Image

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.viz.feature_map import feature_map
from imagenet_trainer.viz.report import page
from imagenet_trainer.viz.thumbnails import Thumbnails

DOWN, RIGHT = "\ue015", "\ue014"
STATUS = "return document.getElementById('matrix-status').textContent"
CLASSES = 120


@pytest.fixture(scope="module")
def predictions():
    return predictions_of(CLASSES, per_class=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, predictions):
    path = tmp_path_factory.mktemp("page")
    classes = [*own_classes(CLASSES - 1), (EVIL, EVIL)]
    (path / "thumbs" / "00000").mkdir(parents=True)
    for number in range(len(predictions) - 1):  # the last one is missing
        Image.new("RGB", (90, 60), (number % 256, 0, 0)).save(
            path / "thumbs" / "00000" / f"{number:08d}.jpg"
        )
    files = Thumbnails(path / "thumbs", np.arange(len(predictions)))
    why = {"explained": explained_of()}
    for name, content in (
        ("report.html", report_of(classes, predictions=predictions, files=files, **why)),
        (
            "two.html",
            report_of(own_classes(2), places=feature_map(np.eye(12, 3) @ [[1, 0], [0, 2], [4, 1]])),
        ),
        ("known.html", report_of(list(known_synsets().items())[:30], per_class=4, **why)),
    ):
        (path / name).write_text(page(content), encoding="utf-8")
    return path


@pytest.fixture
def shown(window, folder):
    """The page, just opened; fails at the end if the browser logged an error."""
    window.open(folder / "report.html")
    yield window
    assert window.errors() == []


def geometry(window):
    """Left edge and side of the matrix in its canvas, in CSS pixels."""
    return window.script("return [report.view.margin, report.view.side]")


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
    assert int(re.search(r"\n(\d+) predictions", tooltip)[1]) == count


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
    shown.type("#classes input", "also 11")  # a part of the full name
    names = shown.script(column.replace("return", "return (") + ".map(c => c.textContent))", 0)
    assert sorted(names) == sorted(f"class {n} c{n}" for n in (11, *range(110, 119)))


# --- the images ----------------------------------------------------------------------------------

KEYS = (
    "return [...document.querySelectorAll('#gallery figcaption')]"
    ".map(c => Number(c.textContent.match(/key (\\d+)/)[1]))"
)
TITLE = (
    "return document.getElementById('gallery').open"
    " && document.querySelector('#gallery h2').textContent"
)


def keys_of(predictions, chosen):
    return sorted(predictions.keys[chosen].tolist())


def test_a_cell_opens_all_its_images(shown, predictions):
    inside = (predictions.labels == 20) & (predictions.top[:, :5] == 77).any(axis=1)
    row, column = (20, 77) if inside.any() else (20, 20)
    inside = (predictions.labels == row) & (predictions.top[:, :5] == column).any(axis=1)
    left, side = geometry(shown)
    point = (left + (column + 0.5) * side / CLASSES, (row + 0.5) * side / CLASSES)
    shown.pointer("#matrix-canvas", point, "down", "up")
    assert shown.script(TITLE) == f"true: class {row}; predicted: class {column}"
    assert sorted(shown.script(KEYS)) == keys_of(predictions, inside)
    first = shown.script("return document.querySelector('#gallery .predictions').textContent")
    assert re.search(r"class \d+ \d+\.\d\d.%", first)
    shown.click("#gallery-close")
    assert shown.script(TITLE) is False
    shown.type("#matrix-canvas", "\ue007")  # Enter
    assert sorted(shown.script(KEYS)) == keys_of(predictions, inside)


def test_a_name_beside_the_matrix_opens_its_class(shown, predictions):
    left, side = geometry(shown)
    shown.pointer("#matrix-canvas", (left - 20, 7.5 * side / CLASSES), "down", "up")
    assert shown.script(TITLE) == "true: class 7"
    assert sorted(shown.script(KEYS)) == keys_of(predictions, predictions.labels == 7)


def test_a_class_and_what_is_taken_for_it(shown, predictions):
    shown.click("#classes button[data-true='5']")
    assert shown.script(TITLE) == "Images of class 5"
    assert sorted(shown.script(KEYS)) == keys_of(predictions, predictions.labels == 5)
    shown.click("#gallery-close")
    taken = (predictions.top[:, 0] != predictions.labels) & (predictions.rank > 0)
    label = int(np.bincount(predictions.top[taken, 0]).argmax())
    shown.click(f"#classes button[data-predicted='{label}'][data-wrong]")
    assert sorted(shown.script(KEYS)) == keys_of(
        predictions, taken & (predictions.top[:, 0] == label)
    )


def test_a_group_opens_its_images_sixty_at_a_time(window, folder):
    window.open(folder / "known.html")
    window.click("#meaning button[data-group='birds']")
    count = window.script("return document.getElementById('gallery-status').textContent")
    assert re.fullmatch(r"(\d+) of \1 images", count) and int(count.split()[0]) > 60
    assert len(window.script(KEYS)) == 60
    window.click("#gallery .more")
    assert len(window.script(KEYS)) == min(120, int(count.split()[0]))


def test_thumbnails_are_files_beside_the_page(shown, predictions):
    label = int(predictions.labels[-1])
    shown.click(f"#classes button[data-true='{label}']")
    shown.script(
        "return Promise.all([...document.querySelectorAll('#gallery img')]"
        ".map(i => i.complete || new Promise(done => { i.onload = i.onerror = () => done(); })))"
        ".then(() => true)"
    )
    widths = "return [...document.querySelectorAll('#gallery img')].map(i => i.naturalWidth)"
    assert shown.script(widths) == [90, 90, 90]
    assert shown.script("return document.querySelectorAll('#gallery .missing').length") == 1
    assert "ERR_FILE_NOT_FOUND" in shown.errors()[0]  # expected for the missing one


def test_verdicts_are_saved_as_csv(shown, predictions):
    shown.click("#classes button[data-true='5']")
    image = int(np.flatnonzero(predictions.labels == 5)[0])
    chosen = (
        "const f = [...document.querySelectorAll('#gallery figure')].find(f => "
        "f.textContent.includes(arguments[0])), e = f.querySelector(arguments[1]);"
        "e.value = arguments[2]; e.dispatchEvent(new Event('change'))"
    )
    key = f"key {predictions.keys[image]}"
    shown.script(chosen, key, "select", "wrong label")
    shown.script(chosen, key, "input", EVIL)
    shown.click("#gallery-close")
    csv = shown.script("return report.review.csv()")
    lines = csv.splitlines()
    assert lines[0] == "image,key,label,label_name,verdict,class,class_name"
    wanted = f"{image},{predictions.keys[image]},5,class 5,wrong label,{CLASSES - 1},"
    assert lines[1] == wanted + '"' + EVIL.replace('"', '""') + '"' and len(lines) == 2
    shown.click("#review-clear")
    assert len(shown.script("return report.review.csv()").splitlines()) == 1


def test_the_map_names_images_and_opens_those_nearby(window, folder):
    window.open(folder / "two.html")
    legend = "return [...document.querySelectorAll('#map-legend > span')].map((s) => s.textContent)"
    assert window.script(legend) == ["correct"]
    window.script(
        "const select = document.getElementById('map-colour'); select.value = 1;"
        "select.dispatchEvent(new Event('change'))"
    )
    assert window.script(legend) == ["class 0", "class 1"]
    window.script("document.getElementById('map-canvas').scrollIntoView()")
    # Image 2 is the outermost one on the first component.
    point = window.script("return report.map.place(2)")
    window.pointer("#map-canvas", point, "down", "up")
    assert window.script("return document.getElementById('map-tip').textContent").startswith(
        "true: "
    )
    assert window.script(KEYS)[:1] == [998] and window.script(TITLE) == "Images near this point"
    assert window.errors() == []


def test_errors_are_explained_in_the_page(shown):
    """All pictures are in the page; only the image itself, not the training images, is reviewed."""
    found = shown.script(
        "const section = document.getElementById('why');"
        "const all = (selector) => [...section.querySelectorAll(selector)];"
        "all('img').forEach((one) => { one.loading = 'eager'; });"
        "return Promise.all(all('img').map((one) => one.decode())).then(() => ["
        "all('article').length, all('img').map((one) => one.naturalWidth), all('.missing').length,"
        "all('select').map((one) => one.ariaLabel || one.getAttribute('aria-label')),"
        "all('article p')[0].textContent])"
    )  # fmt: skip
    assert found[:3] == [3, [144] * 3 * 7, 3]
    assert found[3] == [f"verdict on image {1000 - n}" for n in range(3)]
    assert found[4] == f"Training image 1 looks the same and is labelled {EVIL}."


# --- options of the matrix -----------------------------------------------------------------------


def set_option(window, name, value):
    window.script(
        "const e = document.getElementById(arguments[0]);"
        "if (e.type === 'checkbox') { e.checked = arguments[1]; } else { e.value = arguments[1]; }"
        "e.dispatchEvent(new Event('change'))", f"matrix-{name}", value,
    )  # fmt: skip


def test_without_the_diagonal_it_is_black(shown):
    set_option(shown, "diagonal", False)
    image = pixels(shown)
    middles = ((np.arange(60) + 0.5) * image.shape[1] / CLASSES).astype(int)
    assert not image[middles, middles].any() and image.any()


def test_scales_of_colours(shown, predictions):
    counts = predictions.confusion().toarray()
    greens = {}
    for scale, name in enumerate(("equalised", "linear", "log")):
        set_option(shown, "scale", scale)
        image = pixels(shown)
        middles = ((np.arange(60) + 0.5) * image.shape[1] / CLASSES).astype(int)
        part = image[middles[:, None], middles, 1].astype(float)
        greens[name] = [part[counts[:60, :60] == count].mean() for count in range(1, 5)]
    # From #003c00 to #00ff00.
    assert np.abs(greens["linear"] - (60 + 195 * np.arange(1, 5) / 4)).max() < 3
    log = np.log1p(np.arange(1, 5)) / np.log1p(4)
    assert np.abs(greens["log"] - (60 + 195 * log)).max() < 3


def test_shares_of_the_true_class(shown):
    set_option(shown, "shares", True)
    label = shown.script("return document.getElementById('matrix-legend').ariaLabel")
    assert label == "Colours of shares from 25 % to 100 %; zero is black"


def test_several_predictions_of_an_image_are_no_share(shown, predictions):
    """A pixel of many classes may have two of the first five predictions of an image."""
    text = "return report.view.text({ rows: [0, 9], columns: [0, 60] }).split('\\n')[2]"
    counts = predictions.confusion().toarray()[:9, :60].sum()
    assert counts > 36 and shown.script(text) == f"{counts} predictions of 36 images"
    first = predictions.confusion(1).toarray()[:9, :60].sum()
    wanted = f"{first}, {100 * first / 36:.1f} % of 36 images"
    assert shown.script(f"report.view.change('matrix', 1); {text}") == wanted


# --- every screen, everybody, paper --------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.html", "known.html"])
def test_a_phone_needs_no_horizontal_scrolling(window, folder, name):
    window.emulate(390)
    try:
        window.open(folder / name)
        assert window.script("return document.documentElement.scrollWidth") == 390
        window.click("#classes td button")
        assert window.script("return document.getElementById('gallery').scrollWidth <= 390")
    finally:
        window.emulate()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(window, folder, scheme):
    rules = ["color-contrast"] if scheme == "dark" else []  # all that differs
    window.emulate(scheme=scheme)
    try:
        window.open(folder / "known.html")
        found = window.violations(rules=rules)
        if found is None:
            pytest.skip("axe-core-python is not installed")
        window.click("#meaning button[data-group='birds']")
        assert [*found, *window.violations("#gallery", rules)] == []
    finally:
        window.emulate()


def test_counts_have_a_size_in_which_all_fit(window, folder):
    """Wide ones were left out, as if their cells were empty."""
    window.open(folder / "two.html")
    sizes = """
        const view = report.view, used = [], context = {
            measureText: (text) => ({ width: 10 * text.length }),
            fillText: () => { used.push(context.font.split("px")[0]); },
        };
        view.side = 2 * 26;
        view.shown = () => arguments[0];
        view.writeCounts(context);
        return [...new Set(used)]"""
    assert window.script(sizes, "1") == ["12"] and window.script(sizes, "+10") == ["9"]
    assert window.script(sizes, "+1000") == []


def test_it_prints_on_six_pages(window, folder):
    window.open(folder / "known.html")
    assert 1 < window.pages() <= 6


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

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.metrics.taxonomy import taxonomy_of
from imagenet_trainer.viz import confusion
from imagenet_trainer.viz import confusion_figure as figures
from imagenet_trainer.viz.class_order import class_order
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure, note_in
from imagenet_trainer.viz.matrix_legend import legend_ticks

MATRIX = (slice(figures._TOP, figures._TOP + 1000), slice(figures._LEFT, figures._LEFT + 1000))


def some(classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(0.4, (classes, classes)) + np.diag(rng.integers(5, 30, classes))


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image.convert("RGB"))


def ink(image):
    """Where pixels are not white."""
    return (image != 255).any(axis=2)


@pytest.fixture(scope="module")
def drawn():
    """A function that draws a figure, once, and returns its texts with their bounding boxes."""
    known = {}

    def draw(classes, order="imagenet", taxonomy=None, names=()):
        boxes, key = [], (classes, order, taxonomy is None, *names)
        if key in known:
            return known[key]
        known[key] = boxes

        def keep(figure, image, note):
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.text import Text

            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            for text in figure.findobj(Text):
                if text.get_text() and text.get_visible():
                    boxes.append((text.get_text(), text.get_window_extent(canvas.renderer)))
            return b""

        matrix = some(classes)
        sides = Sides(names or [f"class {n}" for n in range(classes)],
                      class_order(order, matrix, taxonomy), taxonomy)  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(figures, "_with_pixels", keep)
            draw_figure(matrix, sides, "title of it", "below it")
        return boxes

    return draw


@pytest.mark.parametrize("order", ["imagenet", "cluster"])
@pytest.mark.parametrize("classes", [2, 10, 300])
def test_the_matrix_is_included_pixel_for_pixel(classes, order):
    matrix = some(classes)
    sides = Sides([f"class {n}" for n in range(classes)], class_order(order, matrix, None))
    image = pixels(draw_figure(matrix, sides, "a title", "more"))
    ordered = matrix[np.ix_(sides.order, sides.order)]
    counts = image[MATRIX].reshape(-1, 3) != np.array(confusion.draw(ordered)).reshape(-1, 3)
    places = np.flatnonzero(counts.any(axis=1))  # of the pixels of numbers
    assert (len(places) > 0) == (classes <= 30)
    # Numbers are in the middle of their cells, and only in those with a count.
    rows, columns = ((place + 0.5) * classes / 1000 for place in divmod(places, 1000))
    assert (abs(rows % 1 - 0.5) < 0.3).all() and (abs(columns % 1 - 0.5) < 0.45).all()
    cells = {*zip(rows.astype(int).tolist(), columns.astype(int).tolist())}
    assert cells == ({*zip(*map(np.ndarray.tolist, ordered.nonzero()))} if classes <= 30 else set())
    around = ink(image)
    around[MATRIX] = False
    assert around[: figures._TOP].any() and around[:, -figures._RIGHT :].any()  # title, legend
    assert around[:, : figures._LEFT].any() and around[-figures._BOTTOM :].any()  # names
    # Nothing touches the edge, so nothing is cut off.
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge == 255).all()


IMAGENET = taxonomy_of(list(known_synsets()))


@pytest.mark.parametrize(
    ("classes", "order", "taxonomy"),
    [(10, "imagenet", None), (100, "imagenet", None),  # with long names
     pytest.param(400, "imagenet", None, marks=pytest.mark.slow),
     (1000, "imagenet", IMAGENET), (1000, "wordnet", IMAGENET),
     pytest.param(1000, "cluster", IMAGENET, marks=pytest.mark.slow)],
)  # fmt: skip
def test_texts_do_not_overlap(drawn, classes, order, taxonomy):
    long = ["american staffordshire terrier"] * 100  # the more classes, the longer a name may be
    names = long if classes == 100 else ()
    boxes = drawn(classes, order, taxonomy, names)
    assert len(boxes) > 20 and sum(text == long[0] for text, _ in boxes) == 2 * len(names)
    for number, (one, box) in enumerate(boxes):
        for other, another in boxes[number + 1 :]:
            wide = min(box.x1, another.x1) - max(box.x0, another.x0)
            high = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert wide <= 1.5 or high <= 1.5, (one, other)


def test_classes_are_named_if_there_is_room(drawn):
    names = [f"animal number {n}" for n in range(9)] + ["a name of far more than thirty letters"]
    boxes = drawn(10, names=names)
    texts = [text for text, _ in boxes]
    assert texts.count("animal number 3") == 2
    assert any(text.startswith("a name of far") and text.endswith("…") for text in texts)
    # The titles of the sides are next to the longest name.
    title = dict(boxes)["true class"]
    beside = min(box.x0 for text, box in boxes if text.startswith("a"))
    assert 0 < beside - title.x1 < 20


@pytest.mark.parametrize("letters", [130, 400])
def test_long_titles_end_inside_the_figure(letters):
    title = "a-name-of-a-run, " * (letters // 17)
    image = pixels(draw_figure(np.eye(2, dtype=int), Sides("ab", np.arange(2)), title, title))
    columns = np.flatnonzero(ink(image)[: figures._TOP - 5].any(axis=0))
    assert 0.85 < columns[-1] / image.shape[1] < 1 - 3 / image.shape[1]


def test_groups_are_named_from_wordnet(drawn):
    texts = [text for text, _ in drawn(1000, "wordnet", IMAGENET)]
    for group in ("fish", "birds", "reptiles", "dogs", "other mammals", "vehicles", "tools",
                  "clothing", "food", "people", "animals", "objects"):  # fmt: skip
        assert texts.count(group) == 2, group
    assert "true class" in texts and "predicted class" in texts and "title of it" in texts


def test_names_are_not_parsed_as_math():
    sides = Sides(["$x^2$", r"\frac{1}{2}$"], np.arange(2))
    draw_figure(np.eye(2, dtype=int), sides, "$a_b$", "100 %")


def test_the_legend_shows_the_colours_of_counts():
    matrix = np.zeros((4, 4), int)
    matrix[0] = [1, 2, 3, 1000]
    ticks = legend_ticks(confusion.scale_of(confusion.grid_of(matrix)), 500)
    assert [count for count, _ in ticks] == [1, 2, 3, 1000]
    assert ticks[0][1] == 0 and ticks[-1][1] == 1
    # The bar has, at a count's height, the colour of its cell.
    image = pixels(draw_figure(matrix, Sides(list("abcd"), np.arange(4)), "", ""))
    left, bottom = figures._LEFT + 1000 + figures._BAR + 9, figures._TOP + 1000 - 250
    for count, level in ticks[1:3]:
        column = int(np.argwhere(matrix[0] == count)[0, 0]) * 250 + 25
        green = int(image[figures._TOP + 25, figures._LEFT + column, 1])
        assert abs(int(image[bottom - round(500 * level), left, 1]) - green) <= 3


def test_a_matrix_of_zeros():
    image = pixels(draw_figure(np.zeros((3, 3), int), Sides(list("abc"), np.arange(3)), "", ""))
    assert not image[MATRIX].any()


@pytest.mark.parametrize("seed", range(5))
def test_names_are_spread_near_their_positions(seed):
    rng = np.random.default_rng(seed)
    positions = np.sort(rng.uniform(0, 1000, 30))
    moved = np.array(figures._spread(positions.tolist(), 13, 1000))
    assert (np.diff(moved) >= 13 - 1e-9).all() and moved[0] >= 6.5 and moved[-1] <= 993.5
    apart = [100.0, 200.0, 300.0]
    assert figures._spread(apart, 13, 1000) == apart
    assert figures._spread([500.0, 500.0], 13, 1000) == [493.5, 506.5]


def test_the_note_is_stored_in_the_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(
        draw_figure(np.eye(2, dtype=int), Sides("ab", np.arange(2)), "", "", note="key 1")
    )
    assert note_in(path) == "key 1"
    assert note_in(tmp_path / "none.png") == ""
    path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "no.png").write_bytes(b"none")
    assert note_in(tmp_path / "no.png") == ""


@pytest.mark.parametrize("classes", [4, 200])
def test_vector_graphics_hold_the_same_pixels(classes):
    sides, matrix = Sides([f"class {n}" for n in range(classes)], np.arange(classes)), some(classes)
    svg = draw_figure(matrix, sides, "a title", "", kind="svg")
    # The legend is the smaller image.
    data = max(re.findall(rb"data:image/png;base64,([\w+/=\s]+)", svg), key=len)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        inside = np.array(image.convert("RGB").resize((1000, 1000), Image.Resampling.NEAREST))
    plain = np.array(confusion.draw(matrix))
    middles = ((np.arange(classes) + 0.5) * 1000 / classes).astype(int)
    where = middles[:, None], middles
    # Images in SVG files may be stored upside down.
    assert any(np.array_equal(one[where], plain[where]) for one in (inside, inside[::-1]))
    if classes == 4:
        pdf, again = (draw_figure(matrix, sides, "a title", "", kind="pdf") for _ in range(2))
        assert pdf.startswith(b"%PDF-") and pdf == again


def test_counts_stay_in_their_cells():
    """The widest text is not the one with most letters: 100 % and 6.7 % have five each."""
    picture = Image.new("RGB", (1000, 1000))
    figures._write_counts(picture, {(0, 0): "6.7 %", (1, 0): "100 %"}, 30)
    columns = np.flatnonzero(np.asarray(picture).any(axis=(0, 2)))
    assert columns.min() >= 1 and columns.max() <= 31

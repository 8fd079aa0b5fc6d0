"""Matrices as shares, on other scales, in other colours, without cells or classes, subtracted."""

import io

import numpy as np
import pytest
from PIL import Image

from imagenet_trainer.viz import confusion_figure as figures
from imagenet_trainer.viz.confusion import SIDE, draw, grid_of, scale_of
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure
from imagenet_trainer.viz.matrix_legend import legend_ticks
from imagenet_trainer.viz.matrix_style import COLOURS, SCALES, Style, colours_of, formatted

MATRIX = np.array([[8, 1, 0, 2], [4, 4, 0, 0], [0, 0, 0, 0], [0, 40, 0, 60]])
IMAGES = np.array([11, 8, 0, 100])
CENTRES = np.arange(4) * 250 + 30  # above the numbers
LIGHT = np.array([0.21, 0.72, 0.07])


def cells_of(image):
    """The colour of each cell, int (4, 4, 3)."""
    return np.array(image.convert("RGB")).astype(int)[CENTRES[:, None], CENTRES]


@pytest.mark.parametrize("colours", COLOURS)
def test_higher_values_are_lighter_and_zero_is_black(colours):
    light = cells_of(draw(MATRIX, style=Style(colours=colours))) @ LIGHT
    assert (light[MATRIX == 0] == 0).all() and light[MATRIX > 0].min() > 10
    order = np.argsort(MATRIX[MATRIX > 0], kind="stable")
    assert (np.diff(light[MATRIX > 0][order]) >= 0).all()


@pytest.mark.parametrize("scale", SCALES)
def test_levels_of_the_scales(scale):
    grid = grid_of(MATRIX, 4)
    levels = scale_of(grid, Style(scale))(grid)
    assert np.isnan(levels[MATRIX == 0]).all() and levels[3, 3] == 1
    wanted = {
        # The share of the seven cells with at most 4, stretched from that of the least.
        "equalised": (4 / 7 - 1 / 7) / (1 - 1 / 7),
        "linear": 4 / 60,
        "log": np.log(1 + 4) / np.log(1 + 60),
    }[scale]
    assert levels[1, 0] == pytest.approx(wanted)
    # The legend has the greatest value, and the levels of the cells.
    ticks = dict(legend_ticks(scale_of(grid, Style(scale)), 500))
    assert ticks[60] == 1 and all(0 <= level <= 1 for level in ticks.values())
    assert scale == "equalised" or ticks[5] == pytest.approx(
        {"linear": 5 / 60, "log": np.log(6) / np.log(61)}[scale]
    )


def test_the_legend_begins_with_the_least_value():
    """Between 11 and 19 there is no round number, so that only the greatest had a label."""
    scale = scale_of(np.array([[11, 19], [0, 14]]), Style("log"))
    assert legend_ticks(scale, 500) == [(11, np.log(2) / np.log1p(19 / 11)), (19, 1)]


def test_shares_are_those_of_the_images_of_each_row():
    shares = grid_of(MATRIX, 4, Style(shares=True), IMAGES)
    np.testing.assert_allclose(shares, MATRIX / np.maximum(IMAGES, 1)[:, None])
    # Two classes a pixel: their counts, divided by their images.
    pairs = grid_of(MATRIX, 2, Style(shares=True), IMAGES)
    np.testing.assert_allclose(pairs, [[17 / 19, 2 / 19], [40 / 100, 60 / 100]])
    with pytest.raises(ValueError, match="images"):
        grid_of(MATRIX, 4, Style(shares=True))


@pytest.mark.parametrize("side", [4, 2])
def test_without_the_diagonal(side):
    other = MATRIX - np.diag(np.diag(MATRIX))
    np.testing.assert_array_equal(
        grid_of(MATRIX, side, Style(without=("diagonal",))), grid_of(other, side)
    )


def test_classes_without_images_are_left_out():
    order = np.array([3, 2, 1, 0])
    assert Style(without=("empty",)).order(order, IMAGES).tolist() == [3, 1, 0]
    assert Style().order(order, IMAGES).tolist() == order.tolist()
    assert Style(without=("empty",)).order(order, 0 * IMAGES).tolist() == order.tolist()


def test_a_difference_is_orange_and_blue():
    other = MATRIX.copy()
    other[0, 0], other[1, 0], other[3, 2] = 3, 6, 4
    cells = cells_of(draw(MATRIX - other))
    change = MATRIX - other
    assert (cells[change == 0] == 0).all()
    assert (cells[change > 0][:, 0] > cells[change > 0][:, 2]).all()
    assert (cells[change < 0][:, 2] > cells[change < 0][:, 0]).all()
    # The opposite change is as bright a step of the other colours: here the greatest.
    assert cells[0, 0].tolist() == [0xFF, 0xE9, 0xB8] and change[0, 0] == 5
    other[3, 2] = 5
    assert cells_of(draw(other - MATRIX))[0, 0].tolist() == [0xCF, 0xE8, 0xFF]


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_figures_in_another_style(kind):
    style = Style("log", "cividis", True, ("diagonal", "empty"))
    sides = Sides(list("abcd"), style.order(np.arange(4), IMAGES))
    file = draw_figure(MATRIX, sides, "title", "below", kind=kind, style=style, images=IMAGES)
    assert len(file) > 5000
    if kind == "png":
        with Image.open(io.BytesIO(file)) as image:
            part = np.array(image.convert("RGB"))[figures._TOP :, figures._LEFT :][:SIDE, :SIDE]
        kept = MATRIX[np.ix_([0, 1, 3], [0, 1, 3])]
        wanted = np.array(draw(kept, SIDE, style, IMAGES[[0, 1, 3]]))
        # Below the numbers, which are in the middle of the cells.
        for row, column in np.argwhere(kept >= 0) * 1000 // 3 + 20:
            assert (part[row, column] == wanted[row, column]).all()


def test_values_as_text():
    assert formatted(1200) == "1,200"
    assert formatted(3, signed=True) == "+3" and formatted(-3, signed=True) == "-3"
    assert formatted(0.1234, Style(shares=True)) == "12 %"
    assert formatted(0.001234, Style(shares=True)) == "0.12 %"
    assert formatted(1, Style(shares=True)) == "100 %"
    assert formatted(-0.5, Style(shares=True), True) == "-50 %"


def test_words_of_a_style():
    assert Style().words() == []
    words = Style("log", "grey", True, ("empty", "diagonal")).words()
    assert words == ["shares", "log", "grey", "no-diagonal", "no-empty"]
    assert all(len(colours_of(name)) > 1 for name in COLOURS)

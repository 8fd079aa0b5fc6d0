import io
import warnings
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
from PIL import Image

from imagenet_trainer.viz.curves import draw
from imagenet_trainer.viz.style import end_at, figure_of, png, svg


def some_figure(**more):
    with figure_of(2, 1, dpi=50, **more) as figure:
        axes = figure.subplots()
        axes.plot([1, 2], label="a $name$ <&>")
        axes.legend()
        return png(figure), svg(figure)


def test_figures_have_their_size_and_are_reproducible():
    first, again = some_figure(), some_figure()
    assert first == again
    with Image.open(io.BytesIO(first[0])) as image:
        assert image.size == (100, 50)
    root = ElementTree.fromstring(first[1])
    assert root.attrib["width"] == "144pt" and root.attrib["height"] == "72pt"


def test_global_settings_of_matplotlib_are_unchanged():
    before = dict(matplotlib.rcParams)
    some_figure(constrained=False)
    assert dict(matplotlib.rcParams) == before


def test_letters_that_the_font_lacks_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with figure_of(2, 1) as figure:
            figure.suptitle("日本語")
            png(figure)
            svg(figure)
        draw([{"epoch": 1, "train_loss": 1.0, "learning_rate": 0.1}], "日本語")


@pytest.mark.parametrize(("values", "top"), [([80, 100], 100), ([10, 20], 21)])
def test_axes_of_shares_end_at_100_percent(values, top):
    with figure_of(3, 3) as figure:
        axes = figure.subplots()
        axes.plot([1, 2], values)
        end_at(axes, 100)
        low, high = axes.get_ylim()
        assert 0 <= low < values[0] and high <= top and high >= values[1]

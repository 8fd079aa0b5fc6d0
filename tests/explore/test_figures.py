import io

import numpy as np
import pytest
from PIL import Image

from imagenet_trainer.explore import figures
from imagenet_trainer.explore.channels import channels

BLUE = (42, 111, 151)


def pixels(data):
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(int)


def blue(data):
    """How many pixels have the colour of bars and points."""
    return int((np.abs(pixels(data) - BLUE).max(axis=2) < 12).sum())


def test_sizes_of_one_image():
    image = figures.draw_sizes(np.array([640]), np.array([480]), np.array([10**5]))
    assert blue(image) > 1000
    assert pixels(image).shape == (704, 1100, 3)


def test_extreme_sizes():
    image = figures.draw_sizes(np.array([1, 60_000]), np.array([60_000, 1]), np.array([1, 10**9]))
    assert blue(image) > 1000


@pytest.mark.parametrize("skew", [1, 1.5, 4, 20, 300, 60_000])
def test_names_of_aspect_ratios_fit_next_to_each_other(skew):
    ticks = figures._aspect_ticks(np.array([1 / skew, 1.0, skew]))
    values, names = np.array([value for value, _ in ticks]), [name for _, name in ticks]
    shown = (values >= 1 / skew / 1.3) & (values <= skew * 1.3)
    assert "1:1" in names and 1 <= shown.sum() <= 11
    named = [int(wide) / int(tall) for wide, tall in (name.split(":") for name in names)]
    assert values.tolist() == pytest.approx(named)


def test_the_median_excludes_empty_classes(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "png", lambda figure: drawn.append(figure.axes[0].get_xlabel()))
    figures.draw_classes(np.array([10] * 30 + [0] * 40), ["x"] * 70)
    assert drawn == ["70 classes, 40 empty, median 10 images"]


def test_a_large_cloud_is_where_its_points_are():
    # 30,000 wide images: below the diagonal, which ends in the upper right corner.
    random = np.random.default_rng(0)
    widths = random.integers(800, 1600, 30_000)
    widths[0], heights = 64, random.integers(100, 300, 30_000)
    heights[0] = 1600  # one tall image
    for part in (slice(None), slice(0, 9000)):  # by datashader, and as points
        image = pixels(figures.draw_cloud(widths[part], heights[part]))
        saturated = image.max(axis=2) - image.min(axis=2) > 40
        rows, columns = np.nonzero(saturated)
        middle_row, middle = np.median(rows), np.median(columns)
        assert middle > 0.6 * image.shape[1] and middle_row > 0.5 * image.shape[0]
        # And the tall one alone, upper left.
        assert saturated[: image.shape[0] // 4, : image.shape[1] // 3].any()


def test_a_cloud_of_one_size_has_the_same_bytes_each_time():
    first, second = (figures.draw_cloud(np.full(500, 28), np.full(500, 28)) for _ in range(2))
    assert blue(first) > 10 and first == second


@pytest.mark.parametrize("classes", [1, 4, 5])
def test_classes(monkeypatch, classes):
    """As bars, and as a curve; their names are taken literally."""
    monkeypatch.setattr(figures, "_NAMED_CLASSES", 4)
    names = ["$x", "$\\frac{1$", "a_b^c", "x" * 300, "$y"]
    assert blue(figures.draw_classes(np.arange(1, classes + 1), names[:classes])) > 1000


@pytest.mark.parametrize("known", [True, False])
def test_colours(known):
    shares = np.random.default_rng(0).dirichlet(np.ones(256), 3)
    kinds = [("JPEG RGB", 1000), ("JPEG CMYK", 2), ("PNG I;16", 1)]
    assert blue(figures.draw_colours(channels(shares) if known else None, kinds)) > 1000


def test_the_sheet_shows_its_images():
    red = np.full((20, 30, 3), (250, 5, 5), np.uint8)
    rows = [
        ("Some", [figures.Thumbnail(red, "30 × 20\nred.png")] * 3),
        ("Others", [figures.Thumbnail(None, "gone.png")] * 7),
    ]
    image = pixels(figures.draw_sheet(rows))
    is_red = np.abs(image - (250, 5, 5)).max(axis=2) < 5
    columns = is_red.any(axis=0).astype(int)
    assert (np.diff(columns) == 1).sum() == 3  # three red images side by side
    assert not is_red[image.shape[0] // 2 :].any()

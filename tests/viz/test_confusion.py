import numpy as np
import pytest
import xarray
from datashader.transfer_functions import shade
from PIL import Image

from imagenet_trainer.errors import InputError
from imagenet_trainer.viz import confusion
from imagenet_trainer.viz.confusion_figure import Sides, surroundings
from imagenet_trainer.viz.matrix_style import DARK_TO_BRIGHT


def matrix_of(classes, cells):
    matrix = np.zeros((classes, classes), np.int64)
    for (true, predicted), count in cells.items():
        matrix[true, predicted] = count
    return matrix


def some_matrix(classes=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(0.5, (classes, classes)) + np.diag(rng.integers(5, 30, classes))


def pixels(image):
    return np.array(image.convert("RGB"))


def frames_of(path):
    with Image.open(path) as gif:
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append((pixels(gif), gif.info["duration"]))
        return frames, gif


@pytest.mark.parametrize("classes", [1000, 10, 7, 3])
def test_one_count_lights_only_its_cell(classes):
    true, predicted = 1, classes - 1
    image = confusion.draw(matrix_of(classes, {(true, predicted): 1}))
    assert (image.size, image.mode) == ((1000, 1000), "RGB")
    expected = np.zeros((1000, 1000), bool)
    for y in range(1000):
        for x in np.flatnonzero(np.arange(1000) * classes // 1000 == predicted):
            expected[y, x] = y * classes // 1000 == true
    lit = pixels(image)
    assert np.array_equal(lit.any(axis=2), expected)
    assert (lit[expected] == [0, 255, 0]).all()


@pytest.mark.parametrize("classes", [25, 20, 11])
def test_more_classes_than_pixels_are_added_up(classes):
    rng = np.random.default_rng(classes)
    matrix = rng.integers(0, 3, (classes, classes))
    edges = [pixel * classes // 10 for pixel in range(11)]
    expected = np.array(
        [
            [matrix[top:bottom, left:right].sum() for left, right in zip(edges, edges[1:])]
            for top, bottom in zip(edges, edges[1:])
        ]
    )
    assert np.array_equal(
        pixels(confusion.draw(matrix, side=10)), pixels(confusion.draw(expected, side=10))
    )


def test_a_matrix_of_zeros_is_black():
    assert not pixels(confusion.draw(np.zeros((10, 10), np.int64))).any()


def test_higher_counts_are_brighter():
    counts = np.array([0, 1, 2, 5, 5, 40, 1000])
    matrix = np.zeros((7, 7), np.int64)
    matrix[0] = counts
    colours = pixels(confusion.draw(matrix))[0, np.arange(7) * 1000 // 7 + 70]
    green = colours[:, 1].astype(int)
    assert not colours[:, [0, 2]].any()
    assert green[0] == 0 and green[1] == 0x3C and green[-1] == 255
    assert green[3] == green[4]
    assert (np.diff(green[[0, 1, 2, 4, 5, 6]]) > 10).all()


def test_equalisation_is_that_of_datashader():
    matrix = some_matrix(100)
    data = xarray.DataArray(np.where(matrix > 0, matrix, np.nan), dims=("y", "x"))
    reference = shade(data, cmap=DARK_TO_BRIGHT, how="eq_hist").to_pil(origin="upper")
    drawn = pixels(confusion.draw(matrix, side=100)).astype(int)
    assert np.abs(drawn - pixels(reference)).max() <= 1  # rounding of the level


def test_png_contains_the_picture(tmp_path):
    image = confusion.draw(some_matrix())
    confusion.write_png(tmp_path / "confusion-0001.png", image)
    with Image.open(tmp_path / "confusion-0001.png") as opened:
        assert opened.format == "PNG"
        assert np.array_equal(pixels(opened), pixels(image))
    assert [path.name for path in tmp_path.iterdir()] == ["confusion-0001.png"]


def test_gif_has_a_frame_with_a_caption_for_each_epoch(tmp_path):
    matrix = some_matrix()
    animation = confusion.Animation([(1, matrix), (2, matrix), (3, matrix, 0.5)])
    confusion.write_gif(tmp_path / "a.gif", animation, last_seconds=2)
    frames, gif = frames_of(tmp_path / "a.gif")
    size = (1000, 1000 + confusion.STRIP)
    assert (gif.format, gif.size, gif.n_frames, gif.info["loop"]) == ("GIF", size, 3, 0)
    assert [duration for _, duration in frames] == [400, 400, 2000]
    captions = [image[: confusion.STRIP] for image, _ in frames]
    for one, other in [(0, 1), (1, 2), (0, 2)]:
        assert not np.array_equal(captions[one], captions[other])
    expected = pixels(confusion.draw(matrix))  # the rest is only data
    assert all(np.array_equal(image[confusion.STRIP :], expected) for image, _ in frames)


def test_the_caption_is_bright_on_black_above_the_cells(tmp_path):
    full = np.full((1000, 1000), 7)
    confusion.draw_gif(tmp_path / "a.gif", [(120, full, 0.7654)])
    [(image, _)], _ = frames_of(tmp_path / "a.gif")
    assert (image[confusion.STRIP :, :, 1] == 255).all()
    caption = image[: confusion.STRIP, :, 1]
    assert (caption[:3] == 0).all() and (caption[-3:] == 0).all()
    lit = np.argwhere(caption > 200)
    assert lit[:, 1].min() < 20 and 200 < lit[:, 1].max() < 500


def test_an_animation_with_axes_has_the_cells_of_the_others(tmp_path):
    frames = [(n, some_matrix(60, n), 0.1 * n) for n in (1, 2, 3)]
    sides = Sides([f"class {n}" for n in range(60)], np.arange(60))
    around = surroundings(sides, "a run")
    confusion.write_gif(tmp_path / "a.gif", confusion.Animation(frames, surroundings=around))
    confusion.draw_gif(tmp_path / "b.gif", frames)
    with_axes, gif = frames_of(tmp_path / "a.gif")
    plain, _ = frames_of(tmp_path / "b.gif")
    assert gif.size[1] % 2 == 0 and len(with_axes) == 3
    top, left = 80, 205
    dots = []
    for (one, _), (other, _) in zip(with_axes, plain):
        assert (one[0] == 255).all()  # the ground is white
        part = one[top : top + 1000, left : left + 1000].astype(int)
        assert np.abs(part - other[confusion.STRIP :]).max() <= 4  # 192 greens
        below = one[top + 1210 :].astype(int)
        dots.append(np.argwhere((below[..., 1] > 120) & (below[..., 0] < 40)).mean(axis=0))
    # The dot follows the curve: to the right and up.
    assert all(b[1] - a[1] > 200 and a[0] - b[0] > 30 for a, b in zip(dots, dots[1:]))


def test_a_count_has_the_same_colour_in_all_frames(tmp_path):
    # Alone, 2 would be the brightest of the first and the darkest of the second.
    early = matrix_of(1000, {(500, 1): 1, (500, 2): 2})
    late = matrix_of(1000, {(500, 1): 2, (500, 2): 9, (600, 3): 30})
    confusion.draw_gif(tmp_path / "a.gif", [(1, early), (2, late)])
    first, second = (image[confusion.STRIP :] for image, _ in frames_of(tmp_path / "a.gif")[0])
    assert first[500, 2].tolist() == second[500, 1].tolist()
    order = [first[500, 1, 1], second[500, 1, 1], second[500, 2, 1], second[600, 3, 1]]
    assert order == sorted(set(order)) and order[0] == 0x3C and order[-1] == 255


def test_gif_bytes_are_reproducible_and_frames_may_be_a_generator(tmp_path):
    matrices = [some_matrix(10, seed) for seed in range(3)]
    confusion.draw_gif(tmp_path / "a.gif", list(enumerate(matrices)))
    confusion.draw_gif(
        tmp_path / "b.gif", (confusion.Frame(epoch, m) for epoch, m in enumerate(matrices))
    )
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="frame"):
        confusion.draw_gif(tmp_path / "a.gif", [])
    with pytest.raises(InputError, match=r"missing/a\.gif"):
        confusion.draw_gif(tmp_path / "missing" / "a.gif", [(1, some_matrix())])
    with pytest.raises(InputError, match=r"missing/a\.png"):
        confusion.write_png(tmp_path / "missing" / "a.png", confusion.draw(some_matrix()))


@pytest.mark.slow
def test_counts_are_those_that_datashader_aggregates():
    # `evaluate` counts with NumPy, since datashader compiles for seconds first.
    import datashader
    import pandas

    from imagenet_trainer.metrics.confusion import top_k_confusion

    rng = np.random.default_rng(3)
    labels, top = rng.integers(0, 50, 2000), rng.integers(0, 50, (2000, 5))
    points = pandas.DataFrame({"predicted": top.ravel() + 0.5, "true": np.repeat(labels, 5) + 0.5})
    canvas = datashader.Canvas(50, 50, (0, 50), (0, 50))
    counted = canvas.points(points, "predicted", "true", datashader.count())
    assert np.array_equal(counted.values, top_k_confusion(labels, top, 50).toarray())

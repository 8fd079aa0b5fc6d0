"""The picture of a confusion matrix, and its GIF over the epochs: arrays in, pictures out.

A row is a true class, a column a predicted class; row 0 is at the top, column 0 at the left. There
are no axes and no margin, so with 1,000 classes each of 1000 x 1000 pixels is one cell; pictures of
an animation have a strip with text above. Brightness is equalised: it is the share of the
non-zero cells with a lower count. A count of zero is black. `matrix_style` has the other styles.
docs/confusion.md explains how to read the picture.
"""

import itertools
import zlib
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.sparse import coo_matrix

from imagenet_trainer.metrics.confusion import as_counts, off_diagonal
from imagenet_trainer.system.files import AnyPath, atomic_write
from imagenet_trainer.viz.matrix_style import FEWER, MORE, PLAIN, Scale, Style, colours_of

SIDE = 1000
SECONDS, LAST_SECONDS = 0.4, 3.0  # for which an epoch and the last epoch are shown
_TEXT_HEIGHT = 28  # pixels
STRIP = 42
"""Pixels above the cells of an animation, for its text."""


class Frame(NamedTuple):
    """A frame of an animation: epoch, matrix, and rank-1 accuracy (0 to 1) if known."""

    epoch: int
    matrix: Any  # counts, as for `draw`
    rank1: Optional[float] = None


def draw(
    matrix: Any, side: int = SIDE, style: Style = PLAIN, images: Optional[np.ndarray] = None
) -> Image.Image:
    """Draw a matrix of counts as RGB of side x side pixels.

    The matrix is an array of integers (classes, classes), or sparse as in `metrics.confusion`; the
    difference of two has negative cells, which are blue, and orange ones. `images` of each class,
    int64 (classes,), are needed for shares.

    With fewer classes than pixels, cells are blocks whose sides differ by at most a pixel; with
    more, neighbours are added up.
    """
    grid = grid_of(matrix, side, style, images)
    return picture_of(grid, scale_of(grid, style), style)


def scale_of(grid: np.ndarray, style: Style = PLAIN) -> Scale:
    """The scale of one grid."""
    return Scale([_counts_of(grid)], style.scale)


# Draws what is around a matrix: from the scale and the epochs with their accuracies to a function
# that places the picture with this number.
Surroundings = Callable[
    [Scale, Sequence[Tuple[int, Optional[float]]]], Callable[[int, Image.Image], Image.Image]
]


class Animation:
    """The pictures of `Frame`s (or equal tuples), each with its epoch and accuracy as text.

    A count has the same colour in all pictures: all matrices have one scale. Matrices are read one
    at a time and stored compressed, about 0.1 MB for 1,000 classes. The text is above the cells,
    which must have the default style; `surroundings` draws something else, see
    `confusion_figure.surroundings`. `style` and `images` as in `draw`. Raises ValueError without
    frames.
    """

    def __init__(
        self,
        frames: Iterable[Tuple],
        side: int = SIDE,
        surroundings: Optional[Surroundings] = None,
        style: Style = PLAIN,
        images: Optional[np.ndarray] = None,
    ) -> None:
        self.side, self._style = side, style
        self._epochs, self._grids, counts = [], [], []
        for epoch, matrix, rank1 in itertools.starmap(Frame, frames):
            self._epochs.append((epoch, rank1))
            grid = grid_of(matrix, side, style, images)
            counts.append(_counts_of(grid))
            self._grids.append((zlib.compress(grid.tobytes(), 1), grid.dtype))
        if not self._grids:
            raise ValueError("no frames: an animation needs at least one")
        self._scale = Scale(counts, style.scale)
        self._place = (surroundings or _captions)(self._scale, self._epochs)

    def __len__(self) -> int:
        return len(self._grids)

    def __iter__(self) -> Iterator[Image.Image]:
        """Each picture, with a palette of 256 colours."""
        for number, (compressed, dtype) in enumerate(self._grids):
            grid = np.frombuffer(zlib.decompress(compressed), dtype).reshape(self.side, self.side)
            yield self._place(number, picture_of(grid, self._scale, self._style))


def draw_gif(path: AnyPath, frames: Iterable[Tuple]) -> None:
    """Write `Frame`s as an endless GIF; raises as `Animation` and `write_gif`."""
    write_gif(path, Animation(frames))


def write_gif(path: AnyPath, animation: Animation, last_seconds: float = LAST_SECONDS) -> None:
    """Write an animation as an endless GIF. Raises InputError if it cannot be written."""
    pictures = iter(animation)
    durations = [round(1000 * SECONDS)] * (len(animation) - 1) + [round(1000 * last_seconds)]
    with atomic_write(path) as file:
        # With optimize, Pillow makes unchanged pixels transparent, which compresses these worse.
        next(pictures).save(
            file, "GIF", save_all=True, append_images=pictures, duration=durations, loop=0,
            optimize=False,
        )  # fmt: skip


def write_png(path: AnyPath, picture: Image.Image) -> None:
    """Write a picture as PNG, atomically. Raises InputError if it cannot be written."""
    with atomic_write(path) as file:
        picture.save(file, "PNG")


def grid_of(
    matrix: Any, side: int = SIDE, style: Style = PLAIN, images: Optional[np.ndarray] = None
) -> np.ndarray:
    """The values of side x side pixels: counts in the smallest integer type that fits, or shares.

    `images` of each class, int64 (classes,), are needed for shares: ValueError without them.
    """
    counts = as_counts(matrix)
    if "diagonal" in style.without:
        counts = off_diagonal(counts)
    classes = counts.shape[0]
    if classes <= side:
        row = np.arange(side) * classes // side  # the class of each row and column of pixels
        pixels = counts.toarray()[row[:, None], row]
    else:
        cells, pixel = counts.tocoo(), pixels_of(classes, side)
        places = pixel[cells.row], pixel[cells.col]
        pixels = coo_matrix((cells.data, places), (side, side)).toarray()
    if style.shares:
        if images is None:
            raise ValueError("shares need the number of images of each class")
        per_row = images[row] if classes <= side else np.bincount(pixel, images, side)
        return pixels / np.maximum(per_row, 1)[:, None]
    least, most = pixels.min(initial=0), pixels.max(initial=0)
    return pixels.astype(np.result_type(np.min_scalar_type(least), np.min_scalar_type(most)))


def pixels_of(classes: int, side: int = SIDE) -> np.ndarray:
    """The row and column of pixels of each class, where pixels are fewer: int64 (classes,)."""
    first = np.arange(side) * classes // side
    return np.searchsorted(first, np.arange(classes), "right") - 1


def _counts_of(grid: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The sizes of the non-zero values of a grid, ascending, and the number of cells with each."""
    if grid.dtype.kind == "u" and grid.dtype.itemsize <= 2:
        cells = np.bincount(grid.ravel())
        counts = np.flatnonzero(cells[1:]) + 1
        return counts, cells[counts]
    sizes, number = np.unique(np.abs(grid[grid != 0]), return_counts=True)
    return sizes, number


def picture_of(grid: np.ndarray, scale: Scale, style: Style = PLAIN) -> Image.Image:
    """The picture of a grid; a negative value makes it that of a difference."""
    levels = scale(grid)
    if (grid >= 0).all():
        return _coloured(levels, colours_of(style.colours))
    more = _coloured(np.where(grid > 0, levels, np.nan), MORE)
    more.paste(_coloured(levels, FEWER), mask=Image.fromarray(grid < 0))
    return more


def _coloured(levels: np.ndarray, colours: List[str]) -> Image.Image:
    # Imported here: datashader takes a second to import, which every fit and worker would wait for.
    import xarray
    from datashader.transfer_functions import shade

    # `shade` maps the least and the greatest level of an image to the ends of the colour map. An
    # extra row with both ends keeps colours the same in all frames. `span` would too, but numba
    # then compiles for a second.
    ends = np.linspace(0, 1, levels.shape[1])
    framed = xarray.DataArray(np.vstack([levels, ends]), dims=("true", "predicted"))
    shaded = shade(framed, cmap=colours, how="linear")[:-1]
    return shaded.to_pil(origin="upper").convert("RGB")


def _captions(
    scale: Scale, epochs: Sequence[Tuple[int, Optional[float]]]
) -> Callable[[int, Image.Image], Image.Image]:
    """Text on a strip above the cells; only green varies, so the palette is lossless."""

    def place(number: int, picture: Image.Image) -> Image.Image:
        text = _text(caption(*epochs[number]))
        frame = Image.new("L", (picture.width, STRIP + picture.height))
        frame.paste(text, (STRIP // 4, (STRIP - text.height) // 2))
        frame.paste(picture.getchannel("G"), (0, STRIP))
        frame.putpalette([part for green in range(256) for part in (0, green, 0)])
        return frame

    return place


def caption(epoch: int, rank1: Optional[float]) -> str:
    """`epoch 12   rank-1 84.4%`."""
    return f"epoch {epoch}" + ("" if rank1 is None else f"   rank-1 {rank1:.1%}")


def _text(text: str) -> Image.Image:
    """The text on black, one channel, without margin."""
    font = ImageFont.load_default(size=_TEXT_HEIGHT)
    canvas = Image.new("L", (_TEXT_HEIGHT * len(text), 2 * _TEXT_HEIGHT))
    ImageDraw.Draw(canvas).text((0, 0), text, fill=255, font=font)
    return canvas.crop(canvas.getbbox())

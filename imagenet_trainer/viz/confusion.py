"""The picture of a confusion matrix, and its GIF over the epochs: arrays in, pictures out.

A row is a true class, a column a predicted class; row 0 is at the top, column 0 at the left. There
are no axes and no margin, so with 1,000 classes each of 1000 x 1000 pixels is one cell; pictures of
an animation have a strip with text above. Brightness is equalised: it is the share of the
non-zero cells with a lower count. A count of zero is black.
docs/confusion.md explains how to read the picture.
"""

import itertools
import zlib
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.sparse import coo_matrix

from imagenet_trainer.metrics.confusion import as_counts
from imagenet_trainer.system.files import AnyPath, atomic_write

SIDE = 1000
# Only green changes from dark to bright: so the green channel of a picture is also its index into a
# palette of 256 colours, and the GIF is lossless.
DARK_TO_BRIGHT = ["#003c00", "#00ff00"]
"""Colours of the least and of the greatest count."""

SECONDS, LAST_SECONDS = 0.4, 3.0  # for which an epoch and the last epoch are shown
_TEXT_HEIGHT = 28  # pixels
STRIP = 42
"""Pixels above the cells of an animation, for its text."""


class Frame(NamedTuple):
    """A frame of an animation: epoch, matrix, and rank-1 accuracy (0 to 1) if known."""

    epoch: int
    matrix: Any  # counts, as for `draw`
    rank1: Optional[float] = None


def draw(matrix: Any, side: int = SIDE) -> Image.Image:
    """Draw a matrix of counts as RGB of side x side pixels.

    The matrix is an array of integers (classes, classes), or sparse as in `metrics.confusion`.

    With fewer classes than pixels, cells are blocks whose sides differ by at most a pixel; with
    more, neighbours are added up.
    """
    grid = grid_of(matrix, side)
    return _shade(grid, Equalisation([_counts_of(grid)]))


# Draws what is around a matrix: from the colours and the epochs with their accuracies to a function
# that places the picture with this number.
Surroundings = Callable[
    ["Equalisation", Sequence[Tuple[int, Optional[float]]]],
    Callable[[int, Image.Image], Image.Image],
]


class Animation:
    """The pictures of `Frame`s (or equal tuples), each with its epoch and accuracy as text.

    A count has the same colour in all pictures: all matrices are equalised together. Matrices are
    read one at a time and stored compressed, about 0.1 MB for 1,000 classes. The text is above the
    cells; `surroundings` draws something else, see `confusion_figure.surroundings`. Raises
    ValueError without frames.
    """

    def __init__(
        self,
        frames: Iterable[Tuple],
        side: int = SIDE,
        surroundings: Optional[Surroundings] = None,
    ) -> None:
        self.side = side
        self._epochs, self._grids, counts = [], [], []
        for epoch, matrix, rank1 in itertools.starmap(Frame, frames):
            self._epochs.append((epoch, rank1))
            grid = grid_of(matrix, side)
            counts.append(_counts_of(grid))
            self._grids.append((zlib.compress(grid.tobytes(), 1), grid.dtype))
        if not self._grids:
            raise ValueError("no frames: an animation needs at least one")
        self._equalisation = Equalisation(counts)
        self._place = (surroundings or _captions)(self._equalisation, self._epochs)

    def __len__(self) -> int:
        return len(self._grids)

    def __iter__(self) -> Iterator[Image.Image]:
        """Each picture, with a palette of 256 colours."""
        for number, (compressed, dtype) in enumerate(self._grids):
            grid = np.frombuffer(zlib.decompress(compressed), dtype).reshape(self.side, self.side)
            yield self._place(number, _shade(grid, self._equalisation))


def draw_gif(
    path: AnyPath,
    frames: Iterable[Tuple],
    side: int = SIDE,
    seconds: float = SECONDS,
    last_seconds: float = LAST_SECONDS,
    surroundings: Optional[Surroundings] = None,
) -> None:
    """Write an `Animation` as an endless GIF.

    Raises ValueError without frames, InputError if the file cannot be written.
    """
    animation = Animation(frames, side, surroundings)
    pictures = iter(animation)
    durations = [round(1000 * seconds)] * (len(animation) - 1) + [round(1000 * last_seconds)]
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


class Equalisation:
    """Histogram equalisation: from counts to levels between 0 and 1, over one or more grids.

    The level of a count is the share of the non-zero cells with at most that count, stretched so
    that the least count has level 0 and the greatest 1, as in
    `datashader.transfer_functions.eq_hist`, which takes one image only. Takes the result of
    `_counts_of` for each grid.
    """

    def __init__(self, counts: Sequence[Tuple[np.ndarray, np.ndarray]]):
        values = np.concatenate([values for values, _ in counts])
        self.counts, index = np.unique(values, return_inverse=True)
        cells = np.bincount(index, np.concatenate([number for _, number in counts]))
        share = cells.cumsum() / max(cells.sum(), 1)
        if len(share) > 1:
            share = (share - share[0]) / (1 - share[0])
        self.levels = share

    @classmethod
    def of(cls, matrix: Any, side: int = SIDE) -> "Equalisation":
        """That of one matrix of counts, drawn with side x side pixels."""
        return cls([_counts_of(grid_of(matrix, side))])

    def __call__(self, grid: np.ndarray) -> np.ndarray:
        """Levels of a grid, float64; nan where the count is zero."""
        if not len(self.counts):
            return np.full(grid.shape, np.nan)
        return np.where(grid > 0, np.interp(grid, self.counts, self.levels), np.nan)


def grid_of(matrix: Any, side: int = SIDE) -> np.ndarray:
    """The counts of side x side pixels, in the smallest unsigned integer type that fits."""
    counts = as_counts(matrix)
    classes = counts.shape[0]
    if classes <= side:
        first = np.arange(side) * classes // side  # the class of each row and column of pixels
        pixels = counts.toarray()[first[:, None], first]
    else:
        cells, pixel = counts.tocoo(), pixels_of(classes, side)
        places = pixel[cells.row], pixel[cells.col]
        pixels = coo_matrix((cells.data, places), (side, side)).toarray()
    return pixels.astype(np.min_scalar_type(pixels.max(initial=0)))


def pixels_of(classes: int, side: int = SIDE) -> np.ndarray:
    """The row and column of pixels of each class, where pixels are fewer: int64 (classes,)."""
    first = np.arange(side) * classes // side
    return np.searchsorted(first, np.arange(classes), "right") - 1


def _counts_of(grid: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The non-zero counts of a grid, ascending, and the number of cells with each."""
    cells = np.bincount(grid.ravel()) if grid.dtype.itemsize <= 2 else None
    if cells is None:
        counts, number = np.unique(grid[grid > 0], return_counts=True)
        return counts, number
    counts = np.flatnonzero(cells[1:]) + 1
    return counts, cells[counts]


def _shade(grid: np.ndarray, equalisation: Equalisation) -> Image.Image:
    # Imported here: datashader takes a second to import, which every fit and worker would wait for.
    import xarray
    from datashader.transfer_functions import shade

    # `shade` maps the least and the greatest level of an image to the ends of the colour map. An
    # extra row with both ends keeps colours the same in all frames. `span` would too, but numba
    # then compiles for a second.
    ends = np.linspace(0, 1, grid.shape[1])
    levels = xarray.DataArray(np.vstack([equalisation(grid), ends]), dims=("true", "predicted"))
    shaded = shade(levels, cmap=DARK_TO_BRIGHT, how="linear")[:-1]
    return shaded.to_pil(origin="upper").convert("RGB")


def _captions(
    equalisation: Equalisation, epochs: Sequence[Tuple[int, Optional[float]]]
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

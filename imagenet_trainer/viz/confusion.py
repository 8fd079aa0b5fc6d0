"""The image of a confusion matrix, and its GIF over the epochs: arrays in, images out.

A row is a true class, a column a predicted one; row 0 is at the top, column 0 at the left, with
no axes and no margin, so 1,000 classes at 1000 x 1000 are one cell a pixel. Brightness is
equalised: it tells which share of the cells that are not empty has a lower count. A count of
nought is black. docs/confusion.md shows how to read it.
"""

import itertools
import zlib
from typing import TYPE_CHECKING, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.system.files import AnyPath, atomic_write

if TYPE_CHECKING:
    import PIL.Image

SIDE = 1000
# Green alone changes from dark to bright: then an image's green channel is at the same time its
# index into a palette of 256 colours, and the GIF loses nothing.
DARK_TO_BRIGHT = ["#003c00", "#00ff00"]
"""Colours of the least and of the greatest count."""

SECONDS, LAST_SECONDS = 0.4, 3.0  # that an image of an epoch stands, and that of the last
_TEXT_HEIGHT = 28  # pixels


class Frame(NamedTuple):
    """One epoch of a film: its number, its matrix, and its rank-1 accuracy (0 to 1) if known."""

    epoch: int
    matrix: np.ndarray
    rank1: Optional[float] = None


def draw(matrix: np.ndarray, side: int = SIDE) -> "PIL.Image.Image":
    """Draw a matrix of counts, integers (classes, classes), as RGB of side x side pixels.

    Fewer classes than pixels become blocks whose sides differ by at most a pixel; where there are
    more, neighbours are added up.
    """
    grid = grid_of(matrix, side)
    return _shade(grid, Scale([_counts_of(grid)]))


class Film:
    """Images of `Frame`s (or tuples like them), one an epoch, with epoch and accuracy on it.

    A count has the same colour in all of them: the scale is equalised over all together. The
    matrices are read one at a time and kept packed, some 0.1 MB for 1,000 classes. Raises
    ValueError without frames.
    """

    def __init__(self, frames: Iterable[Tuple], side: int = SIDE) -> None:
        self.side = side
        self._captions, self._grids, found = [], [], []
        for epoch, matrix, rank1 in itertools.starmap(Frame, frames):
            text = f"epoch {epoch}" + ("" if rank1 is None else f"   rank-1 {rank1:.1%}")
            self._captions.append(text)
            grid = grid_of(matrix, side)
            found.append(_counts_of(grid))
            self._grids.append((zlib.compress(grid.tobytes(), 1), grid.dtype))
        if not self._grids:
            raise ValueError("moving images need at least one frame")
        self._scale = Scale(counts=found)

    def __len__(self) -> int:
        return len(self._grids)

    def __iter__(self) -> Iterator["PIL.Image.Image"]:
        """Each image, side x side pixels with a palette of 256 greens."""
        for (packed, dtype), caption in zip(self._grids, self._captions):
            grid = np.frombuffer(zlib.decompress(packed), dtype).reshape(self.side, self.side)
            yield _frame(grid, self._scale, caption)


def draw_gif(
    path: AnyPath,
    frames: Iterable[Tuple],
    side: int = SIDE,
    seconds: float = SECONDS,
    last_seconds: float = LAST_SECONDS,
) -> None:
    """Write a `Film` as an endless GIF whose last image is held.

    Raises ValueError without frames, InputError when the file cannot be written.
    """
    film = Film(frames, side)
    images = iter(film)
    durations = [round(1000 * seconds)] * (len(film) - 1) + [round(1000 * last_seconds)]
    with atomic_write(path) as file:
        # Pillow's optimisation makes unchanged pixels transparent, which compresses this worse.
        next(images).save(
            file, "GIF", save_all=True, append_images=images, duration=durations, loop=0,
            optimize=False,
        )  # fmt: skip


def write_png(path: AnyPath, image: "PIL.Image.Image") -> None:
    """Write an image as PNG, whole or not at all. Raises InputError when it cannot be written."""
    with atomic_write(path) as file:
        image.save(file, "PNG")


class Scale:
    """From counts to levels between 0 and 1, equalised over the cells of one or more grids.

    The level of a count is the share of the cells with at most that count, stretched so that
    the least count has 0 and the greatest 1: histogram equalisation as in
    `datashader.transfer_functions.eq_hist`, which knows one image only. Takes what `_counts_of`
    found in each grid.
    """

    def __init__(self, counts: Sequence[Tuple[np.ndarray, np.ndarray]]):
        values = np.concatenate([values for values, _ in counts])
        self.counts, place = np.unique(values, return_inverse=True)
        cells = np.bincount(place, np.concatenate([number for _, number in counts]))
        share = cells.cumsum() / max(cells.sum(), 1)
        if len(share) > 1:
            share = (share - share[0]) / (1 - share[0])
        self.levels = share

    @classmethod
    def of(cls, matrix: np.ndarray, side: int = SIDE) -> "Scale":
        """The scale of one matrix of counts drawn with so many pixels."""
        return cls([_counts_of(grid_of(matrix, side))])

    def __call__(self, grid: np.ndarray) -> np.ndarray:
        """Levels of a grid, float64; nan where its count is nought."""
        if not len(self.counts):
            return np.full(grid.shape, np.nan)
        return np.where(grid > 0, np.interp(grid, self.counts, self.levels), np.nan)


def grid_of(matrix: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The counts of side x side pixels, as the smallest unsigned integers that hold them."""
    classes = len(matrix)
    first = np.arange(side) * classes // side  # the first class of each row and column of pixels
    if classes <= side:
        pixels = matrix[first[:, None], first]
    else:
        pixels = np.add.reduceat(np.add.reduceat(matrix, first, axis=0), first, axis=1)
    return pixels.astype(np.min_scalar_type(pixels.max(initial=0)))


def _counts_of(grid: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The counts above nought in a grid, ascending, and in how many cells each stands."""
    cells = np.bincount(grid.ravel()) if grid.dtype.itemsize <= 2 else None
    if cells is None:
        counts, number = np.unique(grid[grid > 0], return_counts=True)
        return counts, number
    counts = np.flatnonzero(cells[1:]) + 1
    return counts, cells[counts]


def _shade(grid: np.ndarray, scale: Scale) -> "PIL.Image.Image":
    import xarray
    from datashader.transfer_functions import shade

    # `shade` gives an image's own least and greatest level the ends of the colour map. One more
    # row that has both keeps the colours of all frames the same; `span` would too, but has numba
    # compile for a second.
    ends = np.linspace(0, 1, grid.shape[1])
    levels = xarray.DataArray(np.vstack([scale(grid), ends]), dims=("true", "predicted"))
    image = shade(levels, cmap=DARK_TO_BRIGHT, how="linear")[:-1]
    return image.to_pil(origin="upper").convert("RGB")


def _frame(grid: np.ndarray, scale: Scale, caption: str) -> "PIL.Image.Image":
    """An image with a palette of 256 greens, text in its upper right corner."""
    image = _shade(grid, scale).getchannel("G")
    letters = _write(caption)
    margin = _TEXT_HEIGHT // 4
    ground = (letters.width + 2 * margin, letters.height + 2 * margin)
    left = image.width - ground[0]
    image.paste(0, (left, 0, left + ground[0], ground[1]))
    image.paste(letters, (left + margin, margin))
    image.putpalette([part for green in range(256) for part in (0, green, 0)])
    return image


def _write(text: str) -> "PIL.Image.Image":
    """The text on black, one channel, no margin."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=_TEXT_HEIGHT)
    board = Image.new("L", (_TEXT_HEIGHT * len(text), 2 * _TEXT_HEIGHT))
    ImageDraw.Draw(board).text((0, 0), text, fill=255, font=font)
    return board.crop(board.getbbox())

"""A contact sheet of images whose labels are in doubt."""

from pathlib import Path
from typing import Any, Sequence, Tuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imagenet_trainer.viz.thumbnails import SIDE

_GAP, _TEXT, _COLUMNS = 8, 11, 6
_LINE = _TEXT + 5
_WHITE, _BLACK, _BLUE = (255, 255, 255), (0, 0, 0), (0, 90, 181)


Tile = Tuple[np.ndarray, str, str, str]


def draw_sheet(tiles: Sequence[Tile], title: str, columns: int = 0) -> Image.Image:
    """Tiles (image uint8 (h, w, 3) RGB, key, given class, proposed class) below a title.

    `columns`: tiles in a row; 0: six, or fewer if there are not so many.
    """
    columns = columns or min(_COLUMNS, max(len(tiles), 3))
    rows = -(-len(tiles) // columns)
    wide, high = SIDE + _GAP, SIDE + 3 * _LINE + _GAP
    sheet = Image.new("RGB", (columns * wide + _GAP, rows * high + 2 * _LINE), _WHITE)
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(str(_font()), _TEXT)
    pen.text((_GAP, 6), title, _BLACK, font)
    for number, (image, key, given, proposed) in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = _GAP + column * wide, 2 * _LINE + row * high
        sheet.paste(Image.fromarray(image), (left, top))
        for line, (text, colour) in enumerate(((key, _BLACK), (given, _BLACK), (proposed, _BLUE))):
            pen.text((left, top + SIDE + line * _LINE), _cut(text, font), colour, font)
    return sheet


def _font() -> Path:
    """The font of the plots; that of Pillow has no letters but those of English."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _cut(text: str, font: Any) -> str:
    """The text, cut to the width of a tile."""
    while text and font.getlength(text) > SIDE:
        text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
    return text

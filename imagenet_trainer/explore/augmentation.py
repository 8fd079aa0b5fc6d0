"""A look at what training does to images: python -m imagenet_trainer.data.augment FOLDER --show

A row an image: as evaluation takes it, then as it comes in each epoch with this seed.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.config.flags import flag_of, option, parse
from imagenet_trainer.config.values import image_shape, integer
from imagenet_trainer.errors import InputError, run_command

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from imagenet_trainer.explore.sources import Source

_GAP = 4  # pixels between images
_TEXT = 14  # height of letters in pixels
_LINE = _TEXT + 6
_WHITE, _BLACK, _BLUE = (255, 255, 255), (0, 0, 0), (0, 90, 181)


@dataclass(frozen=True)
class SheetSettings(AugmentSettings):
    """Everything that the command takes: fit's flags of augmentation, and which images."""

    source: str = option("", "a folder of images, a list x.lst, or shards x.rec", positional="one")
    root: str = option("", "the folder that a list's paths begin in", metavar="FOLDER")
    show: bool = option(False, "draw the contact sheet")
    output: str = option("augmented.png", "where to", metavar="PNG")
    pictures: int = option(6, "rows: images, evenly from the whole set", integer(1, 100))
    epochs: int = option(8, "columns: epochs, from the first on", integer(1, 100))
    image_shape: Tuple[int, ...] = option(
        (3, 224, 224), "the network's input, channels,height,width in pixels", image_shape
    )
    val_resize: int = option(0, "short side for the first column, as of fit", integer(0))
    seed: int = option(0, "as of fit", integer(0, 2**63 - 1))


def show(settings: SheetSettings) -> int:
    """Draw the sheet and say where it is."""
    import numpy as np

    from imagenet_trainer.data.augment import EvalTransform, TrainTransform, decode
    from imagenet_trainer.explore.sources import open_source
    from imagenet_trainer.system.files import atomic_write

    if not settings.show:
        raise InputError("--show: give it, to draw the sheet of images")
    train = TrainTransform(settings, settings.image_shape, settings.seed)
    evaluation = EvalTransform(settings.image_shape, settings.val_resize)
    source = open_source(settings.source, settings.root)
    epochs = np.arange(settings.epochs)
    rows = []
    for number in _chosen(source, settings.pictures):
        try:
            image = decode(source.read(number))
        except ValueError as error:
            raise InputError(f"{source.name(number)}: {error}; move it away") from error
        row = [np.empty((*train.size, 3), np.uint8) for _ in range(1 + len(epochs))]
        evaluation.apply(image, None, 0, row[0])
        drawn = train.draw(np.full(len(epochs), number), epochs)
        for epoch, out in zip(epochs, row[1:]):
            train.apply(image, drawn, epoch, out)
        rows.append(row)
    sheet = draw_sheet(rows, changed_flags(settings))
    with atomic_write(settings.output) as file:
        sheet.save(file, "PNG")
    print(
        f"{settings.output}: {len(rows)} images of {settings.source}, as evaluation takes them "
        f"and as they come in {len(epochs)} epochs"
    )
    return 0


def _chosen(source: "Source", count: int) -> List[int]:
    """Numbers of so many images, evenly from the first to the last."""
    count = min(count, len(source))
    return [place * (len(source) - 1) // max(1, count - 1) for place in range(count)]


def changed_flags(settings: AugmentSettings) -> str:
    """The flags of augmentation that differ from their defaults, as they are written."""
    words = []
    for field in fields(AugmentSettings):
        value = getattr(settings, field.name)
        if value != field.default:
            text = str(int(value)) if isinstance(value, bool) else f"{value:g}"
            words.append(f"{flag_of(field.name)} {text}")
    return " ".join(words) or "the defaults"


def draw_sheet(rows: Sequence[Sequence["np.ndarray"]], title: str) -> "PIL.Image.Image":
    """Rows of images uint8 (height, width, 3), all of one size, below a title."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0][0].shape[:2]
    columns = len(rows[0])
    font = ImageFont.load_default(_TEXT)
    room = columns * (width + _GAP) + 2 * _GAP
    lines = _wrapped(title, room - 2 * _GAP, font)
    top = _LINE * (len(lines) + 1) + _GAP
    sheet = Image.new("RGB", (room + _GAP, top + len(rows) * (height + _GAP)), _WHITE)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((_GAP, 2 + number * _LINE), line, _BLACK, font)
    lefts = [
        _GAP + column * (width + _GAP) + (2 * _GAP) * (column > 0) for column in range(columns)
    ]
    for column, left in enumerate(lefts):
        head = f"epoch {column - 1}" if column else "evaluation"
        pen.text((left, top - _LINE), head, _BLACK if column else _BLUE, font)
    for number, row in enumerate(rows):
        for left, image in zip(lefts, row):
            sheet.paste(Image.fromarray(image), (left, top + number * (height + _GAP)))
    return sheet


def _wrapped(text: str, width: int, font: Any) -> List[str]:
    """Lines that are no wider than so many pixels, broken between words."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = parse(
        SheetSettings, argv, "augment", "Draw what training does to images, with fit's flags."
    )
    return run_command("augment", lambda: show(settings))

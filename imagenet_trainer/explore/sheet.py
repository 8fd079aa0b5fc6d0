"""The contact sheet of augmented images.

Each row is an image: as evaluation sees it, then as training sees it in each epoch with this seed.
"""

from dataclasses import fields
from typing import Any, List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imagenet_trainer.config import AugmentSettings, MixSettings
from imagenet_trainer.config.flags import flag_of, formatted
from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.decoded import decode_for
from imagenet_trainer.data.kinds import kind_of
from imagenet_trainer.data.mixup import Mixup, mixing_of
from imagenet_trainer.errors import InputError
from imagenet_trainer.explore.flags import SheetSettings, check_output, check_root
from imagenet_trainer.explore.sources import Files, ImageSource, open_source
from imagenet_trainer.packing.console import format_images
from imagenet_trainer.system.files import atomic_write

_GAP = 4  # pixels between images
_TEXT = 14  # height of letters in pixels
_LINE = _TEXT + 6
_WHITE, _BLACK, _BLUE = (255, 255, 255), (0, 0, 0), (0, 90, 181)


def write_sheet(settings: SheetSettings) -> int:
    """Draw the sheet, write it and print its path; the exit code."""
    if not settings.show:
        raise InputError("--show: is required to draw the contact sheet; add it")
    check_root(settings.source, settings.root)
    train = TrainTransform(settings, settings.image_shape, settings.seed)
    evaluation = EvalTransform(settings.image_shape, settings.val_resize)
    source = open_source(settings.source, settings.root)
    if isinstance(source, Files):
        check_output(settings.source, settings.output)
    epochs = np.arange(settings.epochs)
    mixup = mixing_of(settings, settings.seed)
    numbers = _evenly_spaced(source, settings.pictures)
    if mixup and len(numbers) % 2:
        raise InputError(
            f"--pictures {len(numbers)}: images are mixed in pairs; use an even number of rows"
        )
    rows = []
    for number in numbers:
        try:
            rows.append(_row(source, number, evaluation, train, epochs))
        except ValueError as error:
            raise InputError(f"{source.name(number)}: {error}; move it away") from error
    if mixup:
        _mix(mixup, rows, numbers, train.size)
    sheet = draw_sheet(rows, changed_flags(settings))
    with atomic_write(settings.output) as file:
        sheet.save(file, "PNG")
    print(
        f"{settings.output}: {format_images(len(rows))} of {settings.source}, as evaluation sees "
        f"them and as training sees them in {len(epochs)} epochs"
    )
    return 0


def _row(
    source: ImageSource, number: int, evaluation: EvalTransform, train: TrainTransform,
    epochs: np.ndarray,
) -> List[np.ndarray]:  # fmt: skip
    """An image as evaluation sees it, and as training sees it in each epoch; ValueError if none."""
    data = source.read(number)
    image = source.pixels(data)
    row = [np.empty((*train.size, 3), np.uint8) for _ in range(1 + len(epochs))]
    evaluation.apply(image, None, 0, row[0])
    drawn = train.draw(np.full(len(epochs), number), epochs)
    for epoch, out in zip(epochs, row[1:]):
        if kind_of(data) == "JPEG":  # perhaps at half its size
            part, steps = decode_for(data, train, drawn, epoch)
            train.execute(steps, part, out)
        else:
            train.apply(image, drawn, epoch, out)
    return row


def _mix(
    mixup: Mixup, rows: List[List[np.ndarray]], numbers: Sequence[int], size: Tuple[int, int]
) -> None:
    """Mix neighbouring rows in every epoch, with the shares that the images have in training."""
    for epoch in range(len(rows[0]) - 1):
        images = np.stack([row[1 + epoch] for row in rows])
        drawn = mixup.draw(np.array(numbers), np.full(len(numbers), epoch), size)
        mixup.mix(images, drawn.shares, drawn.cuts)
        for row, image in zip(rows, images):
            row[1 + epoch] = image


def _evenly_spaced(source: ImageSource, count: int) -> List[int]:
    """Numbers of `count` images, evenly spaced from the first to the last."""
    count = min(count, len(source))
    return [index * (len(source) - 1) // max(1, count - 1) for index in range(count)]


def changed_flags(settings: SheetSettings) -> str:
    """The augmentation flags that differ from their defaults, as on a command line."""
    changed = []
    for field in (*fields(AugmentSettings), *fields(MixSettings)):
        value = getattr(settings, field.name)
        if value != field.default:
            changed.append(f"{flag_of(field.name)} {formatted(value)}")
    return " ".join(changed) or "the defaults"


def draw_sheet(rows: Sequence[Sequence[np.ndarray]], title: str) -> Image.Image:
    """Rows of images uint8 (height, width, 3), all of one size, below a title."""
    height, width = rows[0][0].shape[:2]
    columns = len(rows[0])
    font = ImageFont.load_default(_TEXT)
    inner_width = columns * (width + _GAP) + 2 * _GAP
    lines = _wrap(title, inner_width - 2 * _GAP, font)
    top = _LINE * (len(lines) + 1) + _GAP
    size = (inner_width + _GAP, top + len(rows) * (height + _GAP))
    sheet = Image.new("RGB", size, _WHITE)
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


def _wrap(text: str, width: int, font: Any) -> List[str]:
    """Lines of at most `width` pixels, broken between words."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines

"""Reading the header of an image without decoding it."""

import io
from typing import IO, NamedTuple, Union

from PIL import Image, UnidentifiedImageError


class Header(NamedTuple):
    """Size in pixels, colour mode and file format.

    `mode` is Pillow's name of the colour mode (RGB, L for grey, CMYK, P for a palette, RGBA,
    I;16 ...), `format` its name of the file format (JPEG, PNG, GIF ...), whatever the file's
    extension.
    """

    width: int
    height: int
    mode: str
    format: str


def read_header(file: Union[IO[bytes], bytes, memoryview]) -> Header:
    """Read an image's header from an open file, or from its first bytes.

    Pillow opens lazily: it reads the header and not the pixels. Raises ValueError with the reason
    if there is no header, and for images of more than twice Pillow's MAX_IMAGE_PIXELS
    (decompression bombs).
    """
    source = io.BytesIO(file) if isinstance(file, (bytes, memoryview)) else file
    try:
        with Image.open(source) as image:
            width, height = image.size
            return Header(width, height, image.mode, image.format or "unknown")
    except UnidentifiedImageError:
        raise ValueError("not an image") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers of rare formats raise any error
        raise ValueError(str(error) or type(error).__name__) from error

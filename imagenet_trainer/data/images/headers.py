"""What an image's header says, without decoding the image."""

import io
from typing import IO, NamedTuple, Union


class Header(NamedTuple):
    """Size in pixels, and how colours are kept.

    `mode` is Pillow's word for them (RGB, L for grey, CMYK, P for a palette, RGBA, I;16 ...),
    `format` its word for the file's kind, whatever the name ends in (JPEG, PNG, GIF ...).
    """

    width: int
    height: int
    mode: str
    format: str


def read_header(file: Union[IO[bytes], bytes, memoryview]) -> Header:
    """Read an image's header from an open file, or from its first bytes.

    Pillow opens lazily: it reads the header and leaves the pixels. ValueError says why there is
    no header; that includes images of more than twice Pillow's MAX_IMAGE_PIXELS, which are
    called decompression bombs.
    """
    from PIL import Image, UnidentifiedImageError

    source = io.BytesIO(file) if isinstance(file, (bytes, memoryview)) else file
    try:
        with Image.open(source) as image:
            width, height = image.size
            return Header(width, height, image.mode, image.format or "unknown")
    except UnidentifiedImageError:
        raise ValueError("not an image") from None
    except Exception as error:  # Pillow's readers of odd formats raise whatever they meet
        raise ValueError(str(error) or type(error).__name__) from error

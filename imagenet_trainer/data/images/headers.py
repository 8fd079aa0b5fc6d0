"""What a picture's header says, without decoding the picture."""

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
    """Read a picture's header from an open file, or from its first bytes.

    Pillow opens lazily: it reads the header and leaves the pixels. ValueError says why there is
    no header; that includes pictures of more than twice Pillow's MAX_IMAGE_PIXELS, which are
    called decompression bombs.
    """
    from PIL import Image, UnidentifiedImageError

    source = io.BytesIO(file) if isinstance(file, (bytes, memoryview)) else file
    try:
        with Image.open(source) as picture:
            width, height = picture.size
            return Header(width, height, picture.mode, picture.format or "unknown")
    except UnidentifiedImageError:
        raise ValueError("not a picture") from None
    except Exception as error:  # Pillow's readers of odd formats raise whatever they meet
        raise ValueError(str(error) or type(error).__name__) from error

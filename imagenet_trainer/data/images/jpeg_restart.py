"""Restart markers for a JPEG without a change of its pixels, by a compiled module.

An installation may lack `_jpeg_restart.c`, as it may lack `jpeg_window`.
"""

try:
    from imagenet_trainer.data.images import _jpeg_restart  # type: ignore[attr-defined]
except ImportError:
    _jpeg_restart = None

available = _jpeg_restart is not None
"""Whether the module is built."""


def rewrite(data: bytes, interval: int) -> bytes:
    """A JPEG with a restart marker after every `interval` MCUs, 1 to 65,535.

    It has the same coefficients and the same further segments, one scan, and the shortest Huffman
    codes. Its coefficients are kept in memory, 128 bytes for each block that the header declares.
    ValueError with libjpeg's message if the file is damaged.
    """
    assert _jpeg_restart is not None
    return _jpeg_restart.rewrite(data, interval)

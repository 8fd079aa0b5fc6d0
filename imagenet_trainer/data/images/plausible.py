"""Whether a JPEG or PNG can hold the pixels that its header declares, without decoding it.

The file of a broken download ends early; a damaged or malicious header declares gigabytes of
pixels. Decoders differ in what they make of both: they fill the rest with grey, with what was in
memory, or refuse. These checks read the header and the end of the file, a few microseconds.
"""

from typing import Any, NamedTuple, Tuple

_JPEG, _END = b"\xff\xd8", b"\xff\xd9"
_PNG = b"\x89PNG"
_SCAN = 0xDA
# Frames with Huffman codes: baseline, extended, progressive.
_HUFFMAN = frozenset((0xC0, 0xC1, 0xC2))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type of a PNG
_MOST_DEFLATED = 1032  # bytes that a byte of zlib's format can stand for


class JpegLayout(NamedTuple):
    """Where a JPEG has its parts."""

    frame: int  # marker of the frame header, 0 without one
    size: Tuple[int, int]  # width, height
    blocks: int  # of 8 x 8 values in all components
    scan: int  # offset of the first scan


def check(data: Any) -> None:
    """Raise ValueError with the reason if a JPEG or PNG cannot be complete."""
    view = memoryview(data).cast("B")
    if view[:2] == _JPEG:
        _check_jpeg(view)
    elif view[:4] == _PNG:
        _check_png(view)


def _check_jpeg(view: memoryview) -> None:
    layout = jpeg_layout(view)
    if not layout.scan:
        return  # libjpeg says what is wrong with the header
    # The marker cannot occur inside a scan. Some cameras and programs append other data.
    if view[-2:] != _END and bytes(view[layout.scan :]).rfind(_END) < 0:
        raise ValueError("cut short: its end marker is missing")
    # Each block has a Huffman code of at least one bit (ITU-T T.81, F.1.2 and G.1.2).
    if layout.frame in _HUFFMAN and layout.blocks > 8 * (len(view) - layout.scan):
        raise ValueError(
            f"its header declares {layout.size[0]} x {layout.size[1]} pixels, for which its "
            f"{len(view):,} bytes are too few"
        )


def jpeg_layout(view: memoryview) -> JpegLayout:
    """The header of a JPEG up to its first scan; `scan` is 0 if there is none."""
    at, frame, size, blocks = 2, 0, (0, 0), 0
    while at + 4 <= len(view) and view[at] == 0xFF:
        marker, length = view[at + 1], view[at + 2] << 8 | view[at + 3]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == _SCAN:
            return JpegLayout(frame, size, blocks, at)
        body = view[at + 4 : at + 2 + length]
        if marker in _FRAMES and len(body) > 6:
            frame = marker
            size = body[3] << 8 | body[4], body[1] << 8 | body[2]
            blocks = _blocks(size, bytes(body[7::3])[: body[5]])
        at += 2 + length
    return JpegLayout(frame, size, blocks, 0)


def _blocks(size: Tuple[int, int], sampling: bytes) -> int:
    """Number of blocks, given each component's horizontal and vertical factor in four bits."""
    factors = [(both >> 4 or 1, both & 15 or 1) for both in sampling] or [(1, 1)]
    widest, highest = (max(axis) for axis in zip(*factors))
    return sum(
        -(-size[0] * wide // (8 * widest)) * -(-size[1] * high // (8 * highest))
        for wide, high in factors
    )


def _check_png(view: memoryview) -> None:
    if len(view) < 29 or view[25] not in _CHANNELS:
        return  # libpng says what is wrong with the header
    width, height = (int.from_bytes(view[at : at + 4], "big") for at in (16, 20))
    row = width * view[24] * _CHANNELS[view[25]] // 8
    if row * height > _MOST_DEFLATED * len(view):
        raise ValueError(
            f"its header declares {width} x {height} pixels, for which its {len(view):,} bytes "
            "are too few"
        )

"""Whether a JPEG or PNG can hold the pixels that its header declares, without decoding it.

The file of a broken download ends early; a damaged or malicious header declares gigabytes of
pixels. Decoders differ in what they make of both: they fill the rest with grey, with what was in
memory, or refuse. These checks read the header and the end of the file, a few microseconds.
"""

import struct
from typing import Any, NamedTuple, Optional, Tuple

_JPEG, _END = b"\xff\xd8", b"\xff\xd9"
_PNG = b"\x89PNG"
_SCAN, _ADOBE = 0xDA, 0xEE
_EOI = 0xD9  # ends the file
_PART = 4096  # bytes
# FF00, which is no marker, and markers that have no length: TEM, restart, SOI.
_WITHOUT_LENGTH = frozenset([0x00, 0x01, *range(0xD0, 0xD9)])
# Of a segment: 0xFF, marker, length; of a frame also precision, height, width.
_SEGMENT = struct.Struct(">BBHBHH")
# Frames with Huffman codes: baseline, extended, progressive. The others are lossless or use
# arithmetic coding.
HUFFMAN = frozenset((0xC0, 0xC1, 0xC2))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type of a PNG
_MOST_DEFLATED = 1032  # bytes that a byte of zlib's format can stand for


class JpegLayout(NamedTuple):
    """What the segments of a JPEG up to its first scan declare."""

    frame: int = 0  # marker of the frame header, 0 without one
    size: Tuple[int, int] = (0, 0)  # width, height
    bits: int = 0  # of a value
    components: bytes = b""  # their identifiers
    blocks: int = 0  # of 8 x 8 values in all components
    mcu: Tuple[int, int] = (8, 8)  # width, height in pixels of the unit of a scan of all components
    adobe: int = -1  # colour transform of Adobe's segment, -1 without one
    stray: bool = False  # whether there are bytes between segments, which libjpeg ignores
    end: int = 0  # offset of the first scan, or where reading stopped; 0 if neither is found


def check(data: Any) -> Optional[JpegLayout]:
    """Raise ValueError with the reason if a JPEG or PNG cannot be complete.

    Returns a JPEG's header, None for other data.
    """
    view = memoryview(data).cast("B")
    if view[:2] == _JPEG:
        return _check_jpeg(view)
    if view[:4] == _PNG:
        _check_png(view)
    return None


def _check_jpeg(view: memoryview) -> JpegLayout:
    ends = view[-2:] == _END
    layout = jpeg_layout(view, to_scan=not ends)
    if not layout.end:
        return layout  # libjpeg says what is wrong with the header
    # The marker cannot occur inside a scan. Some cameras and programs append other data.
    if not ends and bytes(view[layout.end :]).rfind(_END) < 0:
        raise ValueError("cut short: its end marker is missing")
    # Each block has a Huffman code of at least one bit (ITU-T T.81, F.1.2 and G.1.2).
    if layout.frame in HUFFMAN and layout.blocks > 8 * (len(view) - layout.end):
        raise ValueError(
            f"its header declares {layout.size[0]} x {layout.size[1]} pixels, for which its "
            f"{len(view):,} bytes are too few"
        )
    return layout


def jpeg_layout(view: memoryview, to_scan: bool = True) -> JpegLayout:
    """The header of a JPEG, read up to its first scan, or only to its frame."""
    at, found, adobe, stray = 2, JpegLayout(), -1, False
    last = len(view) - 10
    while at <= last:
        mark, marker, length, bits, high, wide = _SEGMENT.unpack_from(view, at)
        if mark != 0xFF:
            # In parts: a damaged file may have megabytes of them.
            gap = bytes(view[at : at + _PART]).find(b"\xff")
            at, stray = at + (_PART if gap < 0 else gap), True
            continue
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker == _SCAN:
            return found._replace(adobe=adobe, stray=stray, end=at)
        if marker == _EOI:
            break
        if marker in _FRAMES:
            # Three bytes for each component: identifier, factors, table.
            parts = bytes(view[at + 10 : at + 2 + length])[: 3 * view[at + 9]]
            blocks, mcu = _blocks((wide, high), parts[1::3])
            found = JpegLayout(marker, (wide, high), bits, parts[0::3], blocks, mcu)
            if not to_scan:
                return found._replace(end=at)
        elif marker == _ADOBE:
            body = view[at + 4 : at + 2 + length]
            adobe = body[11] if len(body) >= 12 and body[:5] == b"Adobe" else adobe
        at += 2 if marker in _WITHOUT_LENGTH else 2 + length
    return found


def jpeg_size(data: Any) -> Tuple[int, int]:
    """Width and height in a JPEG's header; (0, 0) where there is none."""
    return jpeg_layout(memoryview(data).cast("B"), to_scan=False).size


def _blocks(size: Tuple[int, int], sampling: bytes) -> Tuple[int, Tuple[int, int]]:
    """Number of blocks and size of the MCU.

    `sampling` has each component's horizontal and vertical factor in four bits.
    """
    if not sampling:
        return 0, (8, 8)
    factors = [(both >> 4 or 1, both & 15 or 1) for both in sampling]
    widest, highest = (max(axis) for axis in zip(*factors))
    blocks = sum(
        -(-size[0] * wide // (8 * widest)) * -(-size[1] * high // (8 * highest))
        for wide, high in factors
    )
    return blocks, (8 * widest, 8 * highest) if len(factors) > 1 else (8, 8)


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

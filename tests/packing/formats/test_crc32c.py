import numpy as np
import pytest

from imagenet_trainer.packing.formats.crc32c import crc32c, masked


# RFC 3720, appendix B.4, and the check value of the CRC catalogue.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C), (b"123456789", 0xE3069283), (b"", 0),
        (b"a", 0xC1D04330),
    ],
)  # fmt: skip
def test_published_values(data, expected):
    assert crc32c(data) == crc32c(memoryview(data)) == expected


@pytest.mark.parametrize("size", [1, 3, 4, 5, 63, 64, 65, 127, 128, 129, 1000, 4096, 70_001])
def test_every_size(size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    state = 0xFFFFFFFF
    for byte in data:  # bit by bit
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    assert crc32c(data) == state ^ 0xFFFFFFFF


def test_the_mask():
    rotated = (0xE3069283 >> 15 | 0xE3069283 << 17) & 0xFFFFFFFF
    assert masked(b"123456789") == (rotated + 0xA282EAD8) % 2**32

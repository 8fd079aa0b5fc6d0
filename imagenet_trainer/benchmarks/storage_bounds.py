"""How many images a second a kind of storage gives: a calculation, no measurement.

A stretch of b images of s bytes costs an access and its transfer, so the rate is

    b / (access + b s / throughput)

with b = 1 in a full shuffle and b = W / 64 with --shuffle-window W. Without reading ahead an access
takes the whole `alone` seconds; with it there are many requests at a time, and a disk's arm
takes the shortest way, a solid-state disk or a server works at several, which leaves `queued`.
"""

from dataclasses import dataclass
from typing import Sequence

from imagenet_trainer.data.order import BLOCKS_IN_WINDOW


@dataclass(frozen=True)
class Storage:
    """A kind of storage: seconds of an access alone and in a queue, bytes per second."""

    name: str
    alone: float
    queued: float
    throughput: float


# Typical data sheets: a 7200 rpm disk's seek (8 ms) and half a turn (4 ms); 90,000 and 500,000
# accesses a second of solid-state disks; a round trip of 1 ms to a busy server behind 10 Gbit/s;
# the smallest volume that clouds rent out (3,000 accesses and 125 MB a second).
STORAGES = (
    Storage("HDD, 7200 rpm", 12e-3, 7e-3, 180e6),
    Storage("SATA SSD", 0.15e-3, 1 / 90e3, 530e6),
    Storage("NVMe SSD", 0.09e-3, 1 / 500e3, 3.5e9),
    Storage("network, 10 Gbit/s", 1e-3, 0.05e-3, 1.1e9),
    Storage("small cloud volume", 1e-3, 1 / 3e3, 125e6),
)


def rate(access: float, throughput: float, size: float, stretch: float = 1) -> float:
    """Images of `size` bytes per second in stretches of so many neighbours."""
    return stretch / (access + stretch * size / throughput)


def print_table(total: float, images: int, windows: Sequence[int] = (2048, 8192)) -> None:
    """Print images per second of every storage for a set of `total` bytes."""
    size = total / images
    print(f"calculated: {total / 1e9:.0f} GB in {images:,} images, images/s")
    names = ["one by one", "read ahead", *(f"window {window}" for window in windows)]
    print(f"{'':<20}" + "".join(f"{name:>14}" for name in (*names, "in sequence")))
    for one in STORAGES:
        rates = [rate(one.alone, one.throughput, size), rate(one.queued, one.throughput, size)]
        for window in windows:
            rates.append(rate(one.queued, one.throughput, size, window / BLOCKS_IN_WINDOW))
        rates.append(one.throughput / size)
        print(f"{one.name:<20}" + "".join(f"{value:>14,.0f}" for value in rates))
    held = ", ".join(f"{2 * window * size / 1e9:.1f} GB" for window in windows)
    print(f"memory for two windows: {held}")

"""Images that are packed more than once, in one set or in several.

The same bytes are found by a digest of the encoded images. Images that only look the same
(another size, another compression) are found by their difference hash: of the image in grey on
9 x 8 pixels, 64 bits say where it gets brighter to the right (N. Krawetz, "Kind of Like That",
2013). Flat surfaces have hashes that many images share; these are not compared.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

import cv2
import numpy as np

from imagenet_trainer.data.images.decode import decode
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.packing.parallel import Progress, in_order

_BITS = 64
_SIDE = 64  # pixels are enough for a hash, and faster decoded
# With fewer ones or zeros a hash says no more than that the image is flat or a plain gradient.
_LEAST_BITS = 8


@dataclass(frozen=True)
class Place:
    """Where an image is packed."""

    set: str
    shard: str
    record: int
    id: int  # its index in the list
    label: float


@dataclass(frozen=True)
class Duplicates:
    """Groups of places, two or more each, in the order of the first of each."""

    same_bytes: Tuple[Tuple[Place, ...], ...]
    look_alike: Tuple[Tuple[Place, ...], ...]


def find_duplicates(
    sets: Mapping[str, Sequence[str]], near: Optional[int], threads: int, progress: Progress
) -> Duplicates:
    """Duplicates within and between sets of packed images.

    Parameters
    ----------
    sets
        shards by the name of the set.
    near
        images whose hashes differ in so many of 64 bits, 0 or more, look alike; None does not
        look for them.
    threads, progress
        as for packing; the last number is 0.

    Raises
    ------
    InputError
        a shard or a record cannot be read.

    """
    places: List[Place] = []
    digests: List[bytes] = []
    hashes: List[int] = []
    with ExitStack() as stack:
        opened = {name: stack.enter_context(Shards(paths)) for name, paths in sets.items()}
        total = sum(map(len, opened.values()))
        for name, shards in opened.items():

            def look(record: int, name: str = name, shards: Shards = shards) -> Tuple:
                found = shards.record(record)
                shard, number = shards.locate(record)
                place = Place(name, shard, number, found.id, found.label)
                digest = hashlib.blake2b(found.image, digest_size=16).digest()
                return place, digest, 0 if near is None else difference_hash(found.image)

            for place, digest, number in in_order(look, range(len(shards)), threads):
                places.append(place)
                digests.append(digest)
                hashes.append(number)
                progress(len(places), total, 0)
    same = _groups_of_equals(digests)
    alike: List[List[int]] = []
    if near is not None:
        # The first of each group of equals stands for all of them.
        rest = sorted(set(range(len(places))) - {n for group in same for n in group[1:]})
        pairs = near_pairs(np.array([hashes[n] for n in rest], np.uint64), near)
        alike = _connected([(rest[a], rest[b]) for a, b in pairs])
    return Duplicates(*(tuple(tuple(places[n] for n in g) for g in gs) for gs in (same, alike)))


def difference_hash(image: memoryview) -> int:
    """64 bits of an encoded image; 0, which is not compared, for one that cannot be decoded."""
    try:
        grey = decode(image, 0, short_side=_SIDE)
    except ValueError:
        return 0
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def near_pairs(hashes: np.ndarray, most: int) -> List[Tuple[int, int]]:
    """Pairs (a, b), a < b, of the places of hashes that differ in at most so many bits.

    Cut into most + 1 bands, two such hashes agree in one band at least, so only hashes with an
    equal band are compared: those beside each other once sorted by it.

    Parameters
    ----------
    hashes
        uint64 (n,).
    most
        0 to 63.

    """
    ones = _count_ones(hashes)
    told = np.flatnonzero((ones >= _LEAST_BITS) & (ones <= _BITS - _LEAST_BITS))
    edges = [_BITS * band // (most + 1) for band in range(most + 2)]
    found: Set[Tuple[int, int]] = set()
    for low, high in zip(edges, edges[1:]):
        mask = np.uint64(((1 << (high - low)) - 1) << low)
        order = told[np.argsort(hashes[told] & mask, kind="stable")]
        band = hashes[order] & mask
        first = np.arange(len(order))
        for step in range(1, len(order)):
            first = first[first + step < len(order)]
            first = first[band[first] == band[first + step]]
            if not len(first):
                break
            one, other = order[first], order[first + step]
            near = _count_ones(hashes[one] ^ hashes[other]) <= most
            found.update(zip(one[near].tolist(), other[near].tolist()))
    return sorted((min(pair), max(pair)) for pair in found)


def _count_ones(numbers: np.ndarray) -> np.ndarray:
    """How many bits are set in each of uint64 (n,)."""
    return np.unpackbits(numbers.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.int64)


def _groups_of_equals(digests: Sequence[bytes]) -> List[List[int]]:
    groups: Dict[bytes, List[int]] = {}
    for number, digest in enumerate(digests):
        groups.setdefault(digest, []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def _connected(pairs: Sequence[Tuple[int, int]]) -> List[List[int]]:
    """Groups of numbers that pairs connect, each sorted."""
    group_of: Dict[int, List[int]] = {}
    for a, b in pairs:
        one, other = group_of.setdefault(a, [a]), group_of.setdefault(b, [b])
        if one is not other:
            one.extend(other)
            group_of.update((number, one) for number in other)
    unique = {id(group): group for group in group_of.values()}
    return sorted(sorted(group) for group in unique.values())

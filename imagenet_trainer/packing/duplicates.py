"""Images that are packed more than once, in one dataset or in several.

Equal images are found by a digest of the encoded bytes. Similar images (another size, another
compression) are found by their difference hash: 64 bits that encode where the grey image, reduced
to 9 x 8 pixels, gets brighter to the right (N. Krawetz, "Kind of Like That", 2013). Flat surfaces
have hashes that many images share; these are not compared.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import cv2
import numpy as np

from imagenet_trainer.data.images.decode import decode
from imagenet_trainer.data.images.opencv import call
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.packing.parallel import ProgressCallback, in_order

_BITS = 64
_SIDE = 64  # pixels; enough for a hash and fast to decode
# A hash with fewer ones or zeros only means that the image is flat or a plain gradient.
_MIN_BITS = 8
# Of images that look the same: bits in which their hashes differ at most, and correlation.
_SAME_BITS, _SAME_CORRELATION = 6, 0.99


@dataclass(frozen=True)
class PackedImage:
    """An image and its location: set, shard and number of the record."""

    set: str
    shard: str
    record: int
    id: int  # its index in the list
    label: float


@dataclass(frozen=True)
class Duplicates:
    """Groups of two or more images, ordered by the first image of each."""

    same_bytes: Tuple[Tuple[PackedImage, ...], ...]
    similar: Tuple[Tuple[PackedImage, ...], ...]


def find_duplicates(
    sets: Mapping[str, Sequence[str]], near: Optional[int], threads: int, progress: ProgressCallback
) -> Duplicates:
    """Duplicates within and between sets of packed images.

    Parameters
    ----------
    sets
        paths of the shards by the name of the set.
    near
        images are similar if their hashes differ in at most this many of 64 bits; None does not
        search for similar images.
    threads, progress
        as in `write_pack`; no image counts as rejected.

    Raises
    ------
    InputError
        a shard or a record cannot be read.

    """
    images: List[PackedImage] = []
    digests: List[bytes] = []
    hashes: List[int] = []
    with ExitStack() as stack:
        opened = {name: stack.enter_context(Shards(paths)) for name, paths in sets.items()}
        total = sum(map(len, opened.values()))
        for name, shards in opened.items():
            for image, digest, image_hash in _read(name, shards, near is not None, threads):
                images.append(image)
                digests.append(digest)
                hashes.append(image_hash)
                progress(len(images), total, 0)
    same = _groups_of_equals(digests)
    similar: List[List[int]] = []
    if near is not None:
        # The first of each group of equal images represents the group.
        rest = sorted(set(range(len(images))) - {n for group in same for n in group[1:]})
        pairs = near_pairs(np.array([hashes[n] for n in rest], np.uint64), near)
        similar = _connected([(rest[a], rest[b]) for a, b in pairs])

    def of_images(groups: List[List[int]]) -> Tuple[Tuple[PackedImage, ...], ...]:
        return tuple(tuple(images[number] for number in group) for group in groups)

    return Duplicates(of_images(same), of_images(similar))


def _read(
    name: str, shards: Shards, hashed: bool, threads: int
) -> Iterator[Tuple[PackedImage, bytes, int]]:
    """Each image of a set, its digest, and its difference hash if `hashed`, or else 0.

    The digest of a record without an image, as other programs write them, is empty.
    """

    def read(record: int) -> Tuple[PackedImage, bytes, int]:
        content = shards.record(record)
        shard, number = shards.locate(record)
        image = PackedImage(name, shard, number, content.id, content.label)
        digest = hashlib.blake2b(content.image, digest_size=16).digest() if content.image else b""
        return image, digest, difference_hash(content.image) if hashed else 0

    return in_order(read, range(len(shards)), threads)


def difference_hash(image: memoryview) -> int:
    """The hash of an encoded image; 0, which is not compared, if it cannot be decoded."""
    try:
        return _hash_of(decode(image, 0, short_side=_SIDE))
    except ValueError:
        return 0


def _hash_of(grey: np.ndarray) -> int:
    small = _reduced(grey, (9, 8))
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def _reduced(grey: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    return call(cv2.resize, grey, size, interpolation=cv2.INTER_AREA)


def looks_same(one: memoryview, other: memoryview) -> bool:
    """Whether two encoded images are probably the same, in another size or compression.

    Stricter than the hashes alone, which many small images of similar outlines share: the grey
    images of 16 x 16 pixels must be alike too, those of flat surfaces equal but for rounding.
    Raises ValueError for an image that cannot be decoded.
    """
    greys = [decode(image, 0, short_side=_SIDE) for image in (one, other)]
    hashes = np.array([_hash_of(grey) for grey in greys], np.uint64)
    if _count_ones(hashes[:1] ^ hashes[1:])[0] > _SAME_BITS:
        return False
    small = np.array([_reduced(grey, (16, 16)) for grey in greys]).reshape(2, -1)
    ones = _count_ones(hashes)
    if (ones < _MIN_BITS).any() or (ones > _BITS - _MIN_BITS).any():
        return bool(np.abs(np.diff(small.astype(int), axis=0)).mean() <= 2)
    return bool(np.corrcoef(small)[0, 1] >= _SAME_CORRELATION)


def near_pairs(hashes: np.ndarray, most: int) -> List[Tuple[int, int]]:
    """Pairs (a, b), a < b, of indices of hashes that differ in at most `most` bits.

    Split into most + 1 bands, two such hashes agree in at least one band. So only hashes with an
    equal band are compared: they are adjacent after sorting by it.

    Parameters
    ----------
    hashes
        uint64 (n,).
    most
        0 to 63.

    """
    ones = _count_ones(hashes)
    comparable = np.flatnonzero((ones >= _MIN_BITS) & (ones <= _BITS - _MIN_BITS))
    edges = [_BITS * band // (most + 1) for band in range(most + 2)]
    pairs: Set[Tuple[int, int]] = set()
    for low, high in zip(edges, edges[1:]):
        mask = np.uint64(((1 << (high - low)) - 1) << low)
        order = comparable[np.argsort(hashes[comparable] & mask, kind="stable")]
        band = hashes[order] & mask
        first = np.arange(len(order))
        for step in range(1, len(order)):
            first = first[first + step < len(order)]
            first = first[band[first] == band[first + step]]
            if not len(first):
                break
            one, other = order[first], order[first + step]
            near = _count_ones(hashes[one] ^ hashes[other]) <= most
            pairs.update(zip(one[near].tolist(), other[near].tolist()))
    return sorted((min(pair), max(pair)) for pair in pairs)


def _count_ones(numbers: np.ndarray) -> np.ndarray:
    """The number of bits set in each element of uint64 (n,)."""
    return np.unpackbits(numbers.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.int64)


def _groups_of_equals(digests: Sequence[bytes]) -> List[List[int]]:
    """Groups of the numbers of equal digests that are not empty."""
    groups: Dict[bytes, List[int]] = {}
    for number, digest in enumerate(digests):
        if digest:
            groups.setdefault(digest, []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def _connected(pairs: Sequence[Tuple[int, int]]) -> List[List[int]]:
    """The connected components of a graph with these edges, each sorted."""
    group_of: Dict[int, List[int]] = {}
    for a, b in pairs:
        one, other = group_of.setdefault(a, [a]), group_of.setdefault(b, [b])
        if one is not other:
            one.extend(other)
            group_of.update((number, one) for number in other)
    unique = {id(group): group for group in group_of.values()}
    return sorted(sorted(group) for group in unique.values())

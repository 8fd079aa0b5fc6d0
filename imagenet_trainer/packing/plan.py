"""What is to be packed, and where each part of it goes."""

from dataclasses import dataclass
from typing import Callable, Dict, Tuple

from imagenet_trainer.data.images.source import open_root
from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.manifest import ClassName
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.packing.conversion import Conversion, convert
from imagenet_trainer.system.files import sha256


@dataclass(frozen=True)
class Pack:
    """One list that becomes PREFIX.rec, or with one of the last two several shards.

    Attributes
    ----------
    shards
        how many; each has the same number of lines of the list. 0: PREFIX.rec.
    shard_bytes
        a shard ends before the record with which it would have more bytes.

    """

    prefix: str
    root: str
    images: ImageList
    classes: Tuple[ClassName, ...]
    conversion: Conversion
    shards: int = 0
    shard_bytes: int = 0

    def identity(self) -> Dict:
        """What decides over the bytes: an unfinished or finished pack of it can be kept."""
        layout = {"shards": self.shards, "shard_bytes": self.shard_bytes}
        return {
            "root": self.root,
            "list_sha256": sha256(self.prefix + ".lst"),
            "settings": {**vars(self.conversion), **layout},
        }

    def stem(self, number: int, total: int = 0) -> str:
        """Path of a shard without ending; while the total is not known, without it."""
        if not (self.shards or self.shard_bytes):
            return self.prefix
        return f"{self.prefix}-{number:05d}" + (f"-of-{total:05d}" if total else "")

    def is_full(self, shard: int, size: int, line: int) -> bool:
        """Whether the record of a line, which would bring a shard to this size, has to wait."""
        if self.shards:
            return line >= (shard + 1) * len(self.images) // self.shards
        return 0 < self.shard_bytes < size

    def payload(self, line: int, image: bytes) -> bytes:
        """The record of a line: its header and the encoded image."""
        labels = self.images.labels[line]
        several = self.conversion.pack_label and len(labels) > 1
        return pack_header(labels if several else labels[0], self.images.indices[line]) + image

    def converter(self) -> Callable[[int], Tuple[bytes, str]]:
        """A function from a line to its record, or the reason why there is none; for threads."""
        files = open_root(self.root)

        def converted(line: int) -> Tuple[bytes, str]:
            try:
                data = files.read(self.images.paths[line])
                return self.payload(line, convert(data, self.conversion)), ""
            except ValueError as error:
                return b"", str(error)

        return converted

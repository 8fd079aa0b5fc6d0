"""What a pack contains, and which shard each record goes to."""

import os
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

from imagenet_trainer.data.images.source import open_root
from imagenet_trainer.data.records.lst import ImageList
from imagenet_trainer.data.records.manifest import ClassName
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.records.shard_names import numbered
from imagenet_trainer.packing.conversion import Conversion, convert
from imagenet_trainer.packing.formats.collection import Collection
from imagenet_trainer.system.files import sha256

OnRemark = Callable[[int, str], None]  # line of the list, what the decoder said


def root_name(root: str) -> str:
    """A root as a manifest has it: `images` for `images/` and `./images`."""
    return root if ".." in root.split("/") else os.path.normpath(root)  # .. may follow a link


def ignore(line: int, remark: str) -> None:
    """Do nothing with a remark."""


@dataclass(frozen=True)
class Pack:
    """One list to be packed into PREFIX.rec, or into several shards if one of the last two is set.

    Attributes
    ----------
    prefix, root, images, classes, conversion
        path without extension; the folder or tar of the images; the list; the classes of its
        labels; how an image becomes a record.
    shards
        number of shards, with the same number of lines of the list each. 0: one file PREFIX.rec.
    shard_bytes
        a shard ends before the record that would make it larger than this. 0: no limit.
    labels_of
        where the labels of `images` are not those of the list, but count `classes`: a digest of
        what they follow from, see `PackClasses`.
    source
        what the manifest says about a set in the format of another program, see `source_of`.
    label_index
        which label of a line of the list is packed; None: the first.
    collection
        the set in the format of another program that `root` is; None: a folder or a tar.

    """

    prefix: str
    root: str
    images: ImageList
    classes: Tuple[ClassName, ...]
    conversion: Conversion
    shards: int = 0
    shard_bytes: int = 0
    labels_of: str = ""
    source: Dict[str, Any] = field(default_factory=dict)
    label_index: Optional[int] = None
    collection: Optional[Collection] = None

    def identity(self) -> Dict:
        """What determines the packed bytes: a pack with the same identity need not be redone."""
        layout: Dict[str, Any] = {"shards": self.shards, "shard_bytes": self.shard_bytes}
        if self.label_index is not None:
            layout["label_index"] = self.label_index
        if self.labels_of:
            layout["labels_of"] = self.labels_of
        return {
            "root": root_name(self.root),
            "list_sha256": sha256(self.prefix + ".lst"),
            "settings": {**vars(self.conversion), **layout},
            **({"source": self.source} if self.source else {}),
        }

    def stem(self, number: int, total: int = 0) -> str:
        """Path of a shard without its extension; without the total while that is unknown (0)."""
        if not (self.shards or self.shard_bytes):
            return self.prefix
        if not total:
            return f"{self.prefix}-{number:05d}"
        return numbered(self.prefix, number, total)

    def begins_shard(self, shard: int, size: int, length: int, line: int) -> bool:
        """Whether the record of `line` belongs to a later shard than this one.

        `size` is the length of the shard so far, `length` that of the record, in bytes. A shard may
        consist of one record above the size limit, but may not be empty.
        """
        if self.shards:
            return line >= (shard + 1) * len(self.images) // self.shards
        return bool(size) and 0 < self.shard_bytes < size + length

    def payload(self, line: int, image: bytes) -> bytes:
        """The record of a line: its header and the encoded image."""
        labels = self.images.labels[line]
        several = self.conversion.pack_label and len(labels) > 1
        return pack_header(labels if several else labels[0], self.images.indices[line]) + image

    def converter(self, on_remark: OnRemark = ignore) -> Callable[[int], Tuple[bytes, str]]:
        """A thread-safe function from a line to (record, ""), or (b"", reason) if rejected.

        It calls `on_remark` with the line of an image of which the decoder remarks something.
        """
        files = open_root(self.root) if self.collection is None else self.collection

        def convert_line(line: int) -> Tuple[bytes, str]:
            remarks: List[str] = []
            try:
                data = files.read(self.images.paths[line])
                payload = self.payload(line, convert(data, self.conversion, remarks))
            except ValueError as error:
                return b"", str(error)
            if remarks:
                on_remark(line, remarks[0])
            return payload, ""

        return convert_line

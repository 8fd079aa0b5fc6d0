"""The labels of records from the lists beside shards on an object storage.

The records have their labels too, but to read these is to fetch the set, or to make a request for
each record. A list is used where its SHA-256 is the one that packing wrote into the manifest.
"""

import hashlib
from typing import Dict, List, Optional, Tuple

import numpy as np

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import Manifest, manifest_path
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.data.records.storage import exists, open_binary
from imagenet_trainer.errors import print_message
from imagenet_trainer.system.object_storage import is_url

Labels = Tuple[float, ...]  # of a record
# Settings of a pack whose records may have other labels than its list.
_OTHER_LABELS = {"labels_of", "reviewed"}


def listed_labels(shards: Shards) -> Optional[List[Labels]]:
    """The labels of all records, as these have them; None where the records have to be read.

    For shards on an object storage a line then says how much that is.
    """
    if not any(is_url(file.path) for file in shards.files):
        return None
    lists: Dict[str, Dict[int, Labels]] = {}
    found: List[Labels] = []
    for file in shards.files:
        path = manifest_path(file.path)
        if path not in lists:
            lists[path] = _read(path, shards.manifests.get(path))
        labels = lists[path]
        found += [labels[key] for key in file.keys.tolist() if key in labels]
    if len(found) == len(shards):
        return found
    announce(shards)
    return None


def announce(shards: Shards) -> None:
    """Say that the headers of all records will be fetched, where that is from a storage."""
    files = [file for file in shards.files if is_url(file.path)]
    if files:
        size, path = sum(file.size for file in files), manifest_path(files[0].path)
        print_message(
            "storage", f"{files[0].path}: to know the labels, the headers of "
            f"{sum(map(len, files)):,} records are read, up to {size / 1e9:,.1f} GB; upload {path} "
            f"and {path[: -len('json')]}lst, as packing wrote them, which have the labels"
        )  # fmt: skip


def _read(path: str, manifest: Optional[Manifest]) -> Dict[int, Labels]:
    """The labels by key in the list of a manifest; {} if they may not be those of the records."""
    name = path[: -len("json")] + "lst"
    if manifest is None or _OTHER_LABELS & manifest.settings.keys() or not exists(name):
        return {}
    with open_binary(name) as file:
        if hashlib.sha256(file.read()).hexdigest() != manifest.list_sha256:
            return {}
    images = read_list(name)
    if not manifest.settings.get("pack_label"):
        images = images.with_one_label(manifest.settings.get("label_index") or 0)
    # As the records have them, float32.
    packed = {one: tuple(np.array(one, "<f4").tolist()) for one in set(images.labels)}
    return {key: packed[labels] for key, labels in zip(images.indices, images.labels)}

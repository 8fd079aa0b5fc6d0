"""Images that are in two sets of a dataset: the same file, with the same name and class.

Only files with the same name are compared, and only those of the same length are read. ILSVRC2012
as distributed has no name twice, so the check costs nothing there. Copies with other names are
found in packed sets, by `packing/duplicates.py`.
"""

import os
from typing import List

from imagenet_trainer.data.images.source import open_root
from imagenet_trainer.packing.ilsvrc.labelled import Classes


def shared_images(root: str, images: Classes, other_root: str, others: Classes) -> List[str]:
    """Paths of the images, in a folder or a tar, that the other set contains too."""
    pairs = []
    for name, paths in images.items():
        by_name = {os.path.basename(path): path for path in others.get(name, ())}
        pairs += [(path, by_name.get(os.path.basename(path))) for path in paths]
    wanted = [(path, other) for path, other in pairs if other is not None]
    if not wanted:
        return []
    ours, theirs = open_root(root), open_root(other_root)

    def same(path: str, other: str) -> bool:
        try:
            # Most files with the same name differ in length already.
            return ours.size(path) == theirs.size(other) and ours.read(path) == theirs.read(other)
        except ValueError:  # unreadable files are reported when they are packed
            return False

    return [path for path, other in wanted if same(path, other)]

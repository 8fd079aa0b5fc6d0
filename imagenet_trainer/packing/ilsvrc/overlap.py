"""Images that were handed out in two sets: the same file, under the same name in the same class.

Only files of one name are compared, and only those of one length read; so what ILSVRC2012 hands
out, where no name comes twice, costs nothing. Copies under other names are found in packed sets,
by `tools/im2rec.py --duplicates`.
"""

import os
from typing import List

from imagenet_trainer.packing.ilsvrc.labelled import Classes


def shared_images(root: str, images: Classes, other_root: str, others: Classes) -> List[str]:
    """Paths of the images, below a folder or in a tar, that the other set has too."""
    pairs = []
    for name, paths in images.items():
        named = {os.path.basename(path): path for path in others.get(name, ())}
        pairs += [(path, named.get(os.path.basename(path))) for path in paths]
    wanted = [(path, other) for path, other in pairs if other is not None]
    if not wanted:
        return []
    from imagenet_trainer.data.images.source import open_root

    ours, theirs = open_root(root), open_root(other_root)

    def same(path: str, other: str) -> bool:
        try:
            # Most files of one name are not of one length.
            return ours.size(path) == theirs.size(other) and ours.read(path) == theirs.read(other)
        except ValueError:  # what cannot be read is told when it is packed
            return False

    return [path for path, other in wanted if same(path, other)]

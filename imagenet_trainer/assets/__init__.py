"""Files that come with the package: class names, WordNet's tree, images, style sheets and scripts.

LICENSES.md lists their sources. `path` finds them, for every room; `demo_images` writes some out.
"""

from pathlib import Path


def path(name: str) -> Path:
    """Path of a file or folder of this folder, such as `imagenet_synsets.txt`."""
    return Path(__file__).parent / name

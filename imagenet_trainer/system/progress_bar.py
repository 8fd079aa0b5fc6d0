"""A progress bar over images."""

import contextlib
from typing import Callable, Iterator

from tqdm import tqdm


@contextlib.contextmanager
def progress(title: str, images: int) -> Iterator[Callable[[int], object]]:
    """Yield a function that takes the number of images done since its last call.

    Off a terminal there is no bar.
    """
    with tqdm(total=images, desc=title, unit="image", leave=False, disable=None) as bar:
        yield bar.update

"""A progress bar over images."""

import contextlib
import sys
from typing import Callable, Iterator


@contextlib.contextmanager
def progress(title: str, images: int) -> Iterator[Callable[[int], object]]:
    """Yield a function that takes the number of images done since its last call.

    The bar is shown on a terminal only.
    """
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=images, desc=title, unit="image", leave=False) as bar:
        yield bar.update

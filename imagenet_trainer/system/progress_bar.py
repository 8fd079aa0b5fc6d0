"""A bar over images on a terminal."""

import contextlib
import sys
from typing import Callable, Iterator


@contextlib.contextmanager
def progress(title: str, images: int) -> Iterator[Callable[[int], object]]:
    """What to tell how many images more are done; on a terminal a bar shows it."""
    if not sys.stderr.isatty():
        yield lambda more: None
        return
    from tqdm import tqdm

    with tqdm(total=images, desc=title, unit="image", leave=False) as bar:
        yield bar.update

"""Asking the system to read parts of a file soon, so that reading them later does not wait."""

import contextlib
import os

import numpy as np

# Linux shortens a longer wish to this (its default `read_ahead_kb`), without saying so.
_LONGEST = 128 << 10


def will_need(descriptor: int, begins: np.ndarray, ends: np.ndarray) -> None:
    """Have the system read stretches of a file into its page cache; returns before it has.

    Parameters
    ----------
    descriptor
        of the open file.
    begins, ends
        byte offsets, int64 (stretches,) both. They are asked for in ascending order; those that
        touch become one, so that a disk reads on instead of seeking.

    Only advice: what the system does not read now, or cannot, is read when it is used. Does
    nothing where the system knows no such advice (macOS).

    """
    if not len(begins) or not hasattr(os, "posix_fadvise"):
        return
    order = np.argsort(begins)
    begins, ends = begins[order], ends[order]
    apart = begins[1:] > ends[:-1]
    first = begins[np.append(True, apart)]
    last = ends[np.append(apart, True)]
    with contextlib.suppress(OSError):
        for begin, end in zip(first.tolist(), last.tolist()):
            for at in range(begin, end, _LONGEST):
                length = min(_LONGEST, end - at)
                os.posix_fadvise(descriptor, at, length, os.POSIX_FADV_WILLNEED)

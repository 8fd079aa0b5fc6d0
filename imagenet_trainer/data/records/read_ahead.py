"""Asking the system to read parts of a file ahead, so that reading them later does not wait."""

import contextlib
import os

import numpy as np

# Linux silently shortens a longer request to this (its default `read_ahead_kb`).
_LONGEST = 128 << 10


def will_need(descriptor: int, begins: np.ndarray, ends: np.ndarray) -> None:
    """Ask the system to read ranges of a file into its page cache, without waiting for it.

    Parameters
    ----------
    descriptor
        of the open file.
    begins, ends
        byte offsets, int64 (ranges,) both. They are requested in ascending order; adjacent ranges
        are joined, so that a disk reads on instead of seeking.

    This is only advice: what the system does not read now is read when it is used. Does nothing
    on a system without this advice (macOS).

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

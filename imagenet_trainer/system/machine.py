"""What this process may use of the machine."""

import contextlib
import ctypes
import os

# From glibc's malloc.h: blocks of more bytes than the first are asked of the system and given back
# one by one; free bytes at the end of the heap beyond the second are given back.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_KEPT = 32 << 20
# Memory limit and use of a container: cgroup's second and first version.
_CONTAINER = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def processors() -> int:
    """Logical processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # systems other than Linux
        return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes that this process may still take: the system's, or the container's if they are fewer.

    0 where nobody says.
    """
    free = 0
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        words = [line.split() for line in file]
        free = next((int(word[1]) << 10 for word in words if word[0] == "MemAvailable:"), 0)
    for limit, used in _CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # none, or "max"
            with open(limit) as one, open(used) as other:
                free = min(free, max(0, int(one.read()) - int(other.read())))
    return free


def forget_peak() -> None:
    """Have `peak_memory` begin anew (Linux; elsewhere it goes on)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory() -> int:
    """Most bytes that this process held at once since `forget_peak`; 0 where nobody says."""
    return _of_process("VmHWM:")


def resident_memory() -> int:
    """Bytes that this process holds; 0 where nobody says."""
    return _of_process("VmRSS:")


def _of_process(name: str) -> int:
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith(name)), 0)
    return 0


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers by itself (Linux on x86-64)."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("flags"):
                return bool({"avx512_bf16", "amx_bf16"} & set(line.split()))
    return False


def keep_freed_memory() -> None:
    """Have glibc keep the memory of a decoded image for the next one.

    By itself it gives half a megabyte back to the system after every image and has it cleared,
    page by page, for the next: a fifth of the time of decoding (measured).
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_MMAP_THRESHOLD, _KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def silence_opencv() -> None:
    """Keep OpenCV from writing lines of its own about damaged images; before its import."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")

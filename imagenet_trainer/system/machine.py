"""What this process may use of the machine, and what it uses."""

import contextlib
import ctypes
import os

import psutil

# From glibc's malloc.h. Blocks above the first threshold are mapped and unmapped one by one; free
# bytes at the top of the heap above the second are returned to the system.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_THRESHOLD = 32 << 20
# Memory limit and usage of a container, in cgroup v2 and v1. psutil reads the machine's memory
# only.
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


def use_all_processors() -> None:
    """Make OpenMP use every processor of this process, unless OMP_NUM_THREADS is set.

    It is read when a library with OpenMP is loaded. MXNet's default, half of the processors, trains
    at half the speed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(processors()))


def free_memory() -> int:
    """Bytes that this process can still allocate: of the system, or of its container if less."""
    free = psutil.virtual_memory().available
    for limit, usage in _CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            with open(limit) as limit_file, open(usage) as usage_file:
                free = min(free, max(0, int(limit_file.read()) - int(usage_file.read())))
    return free


def resident_memory() -> int:
    """Bytes of memory that this process holds."""
    return psutil.Process().memory_info().rss


def reset_peak_memory() -> None:
    """Start a new measurement of `peak_memory` (Linux; elsewhere this does nothing)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory(process: int = 0) -> int:
    """Most bytes that a process held since `reset_peak_memory`; 0 if unknown (not Linux).

    The default is this process. psutil has no peak on Linux, and that of getrusage cannot be
    reset.
    """
    path = f"/proc/{process or 'self'}/status"
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:")), 0)
    return 0


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16 (Linux on x86-64)."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("flags"):
                return bool({"avx512_bf16", "amx_bf16"} & set(line.split()))
    return False


def keep_freed_memory() -> None:
    """Make glibc reuse the memory of a decoded image for the next image.

    By default it returns half a megabyte to the system after every image, and the kernel clears
    it page by page for the next one: a fifth of the decoding time (measured).
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(_MMAP_THRESHOLD, _THRESHOLD)
        mallopt(_TRIM_THRESHOLD, _THRESHOLD)


def silence_opencv() -> None:
    """Keep OpenCV from printing its own lines about damaged images; call before its import."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")

"""What this process may use of the machine, and what it uses."""

import contextlib
import ctypes
import math
import os
import resource
import shutil
import sysconfig
from typing import Dict, Iterator, Optional, Set, Tuple

from imagenet_trainer.errors import ArgumentError

# From glibc's malloc.h. Blocks above the first threshold are mapped and unmapped one by one, but
# at most so many; free bytes at the top of the heap above the last are returned to the system.
_MMAP_THRESHOLD, _MMAP_MAX, _TRIM_THRESHOLD = -3, -4, -1
_THRESHOLD = 32 << 20  # the largest that glibc accepts for the first
_NEVER = (1 << 31) - 1
_malloc: Dict[int, int] = {}  # the options that were set
ENGINES_NEED = 3 << 30  # bytes of address space, with small networks on few processors
_OPENMP = "OMP_NUM_THREADS"
_own_threads: Set[str] = set()  # its values that this process has set
_SPINS = "2000"  # of 20 nanoseconds
_OTHER_FILES = 256  # that a process has open beside shards
# Memory limit and usage of a container, in cgroup v2 and v1. psutil reads the machine's memory
# only.
_CONTAINER = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def processors() -> int:
    """Logical processors that this process may use.

    A container's limit of processor time (`docker --cpus 1.5`) counts as so many, rounded up.
    """
    return max(1, math.ceil(_allowed_processors()))


def _allowed_processors() -> float:
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # systems other than Linux
        return os.cpu_count() or 1
    return min(count, _processor_quota())


def processes_here() -> int:
    """How many workers share this machine, as launchers say; the engine checks the variable."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(text)) if text.isdecimal() else 1


def address_space() -> Optional[int]:
    """The limit of the address space of this process (ulimit -v) in bytes, None without one."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def address_space_problem(needed: int = ENGINES_NEED) -> str:
    """Why a limit of the address space (ulimit -v) below so many bytes is too low, or "".

    C libraries end a process that reaches the limit while they are loaded or start threads. Most of
    the address space is never used as memory: a cgroup limits memory itself.
    """
    limit = address_space()
    if limit is None or limit >= needed:
        return ""
    return (
        f"ulimit -v {limit >> 10}: too little address space, {needed >> 20} MiB are needed; raise "
        "it, or limit memory by a cgroup instead"
    )


def _processor_quota() -> float:
    """The processor time per second that the control groups of this process allow."""
    quota = math.inf
    for folder, is_v2 in _control_groups():
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            if is_v2:
                with open(f"{folder}/cpu.max") as file:
                    time, period = map(int, file.read().split())
            else:
                with open(f"{folder}/cpu.cfs_quota_us") as file:
                    time = int(file.read())
                with open(f"{folder}/cpu.cfs_period_us") as file:
                    period = int(file.read())
            if time > 0 and period > 0:
                quota = min(quota, time / period)
    return quota


def _control_groups() -> Iterator[Tuple[str, bool]]:
    """The folders of this process's groups of the controller cpu, and whether they are of v2.

    The limits of the groups above hold as well.
    """
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file.read().splitlines():
            _, controllers, path = line.split(":", 2)
            is_v2 = not controllers
            if is_v2 or "cpu" in controllers.split(","):
                root = "/sys/fs/cgroup" if is_v2 else f"/sys/fs/cgroup/{controllers}"
                path = path.rstrip("/")
                while path:
                    yield root + path, is_v2
                    path = path.rpartition("/")[0]
                yield root, is_v2


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files, as far as it may, so that `count` more fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def compute_threads() -> int:
    """OpenMP threads that suit the processors of this process.

    Such threads wait for each other, so a limit of processor time is rounded to the nearest number:
    with 1.2 processors a second thread would mostly wait.
    """
    return max(1, math.floor(_allowed_processors() + 0.5))


def use_all_processors() -> None:
    """Make OpenMP use every processor of this process, unless OMP_NUM_THREADS is set.

    It is read when a library with OpenMP is loaded. MXNet's default, half of the processors, trains
    at half the speed.
    """
    if _OPENMP not in os.environ:
        set_threads(compute_threads())


def set_threads(count: int) -> None:
    """Set the number of OpenMP threads for libraries that are loaded from now on."""
    os.environ[_OPENMP] = str(count)
    _own_threads.add(str(count))


def threads_are_given() -> bool:
    """Whether someone else than this process set OMP_NUM_THREADS."""
    return os.environ.get(_OPENMP) not in _own_threads


def wait_briefly() -> None:
    """Make waiting OpenMP threads of GNU's library sleep after some 40 microseconds.

    By default they spin for milliseconds, which beside other processes takes the processor from the
    thread for which they wait. OMP_WAIT_POLICY and GOMP_SPINCOUNT, if set, are kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def free_memory() -> int:
    """Bytes that this process can still allocate: of the system, or of its container if less."""
    import psutil  # here, because an engine alone needs only NumPy beside its library

    free = psutil.virtual_memory().available
    for limit, usage in _CONTAINER:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            with open(limit) as limit_file, open(usage) as usage_file:
                free = min(free, max(0, int(limit_file.read()) - int(usage_file.read())))
    return free


def resident_memory() -> int:
    """Bytes of memory that this process holds."""
    import psutil

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


def check_bfloat16() -> None:
    """ArgumentError about the dtype if the CPU has no instructions for it."""
    if not has_bfloat16():
        raise ArgumentError(
            "dtype", "bfloat16",
            "this CPU has no instructions for it (avx512_bf16 or amx_bf16) and would be slower "
            "than with float32; omit it",
        )  # fmt: skip


def builds_modules() -> bool:
    """Whether there are a C compiler and the headers of this Python."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    headers = sysconfig.get_config_var("INCLUDEPY") or ""
    return bool(compiler) and os.path.isfile(os.path.join(headers, "Python.h"))


def keep_freed_memory() -> None:
    """Make glibc reuse the memory of a decoded image for the next image.

    By default it returns half a megabyte to the system after every image, and the kernel clears
    it page by page for the next one: a fifth of the decoding time (measured). After
    `keep_freed_tensors` this does nothing.
    """
    if _malloc.get(_MMAP_MAX) != 0:
        _set_malloc({_MMAP_THRESHOLD: _THRESHOLD, _TRIM_THRESHOLD: _THRESHOLD})


def keep_freed_tensors() -> None:
    """Make glibc reuse the memory of freed blocks of any size; the process never returns any.

    PyTorch frees and allocates every activation in every update. The kernel would clear its pages
    each time, which is a tenth of an update of ResNet-18 in float32 (measured).
    """
    _set_malloc({_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER})


def _set_malloc(options: Dict[int, int]) -> None:
    _malloc.update(options)
    with contextlib.suppress(OSError, AttributeError):  # systems without glibc
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for option, value in options.items():
            mallopt(option, value)


def silence_opencv() -> None:
    """Keep OpenCV from printing its own lines about damaged images; call before its import."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")

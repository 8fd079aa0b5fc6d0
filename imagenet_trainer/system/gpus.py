"""The NVIDIA GPUs of this machine, from nvidia-smi."""

import subprocess
from functools import cache
from typing import List, NamedTuple, Optional, Tuple


class Gpu(NamedTuple):
    """A GPU as the driver reports it."""

    name: str
    capability: Optional[Tuple[int, int]]  # compute capability; None: nvidia-smi is too old


def nvidia_gpus() -> List[Gpu]:
    """Every NVIDIA GPU, in nvidia-smi's order; [] without a driver.

    nvidia-smi knows `compute_cap` since driver 510. Older ones refuse a query for it.
    """
    lines = _query("name,compute_cap")
    if lines is None:
        return [Gpu(name.strip(), None) for name in _query("name") or [] if name.strip()]
    gpus = []
    for line in lines:
        name, _, capability = line.rpartition(",")
        major, _, minor = capability.strip().partition(".")
        if major.isdigit() and minor.isdigit():
            gpus.append(Gpu(name.strip(), (int(major), int(minor))))
    return gpus


def driver_version() -> str:
    """`535.104.05`; "" without a driver."""
    lines = _query("driver_version") or [""]
    return lines[0].strip()


def split_gpus() -> List[int]:
    """Numbers of the GPUs that are split into parts (MIG); [] where nvidia-smi does not know."""
    modes = _query("mig.mode.current") or []
    return [number for number, mode in enumerate(modes) if mode.strip() == "Enabled"]


@cache
def _query(fields: str) -> Optional[List[str]]:
    """Lines of nvidia-smi, one for each GPU; None if it is missing or fails. It is asked once."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.splitlines()

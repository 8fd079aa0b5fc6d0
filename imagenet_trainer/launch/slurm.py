"""A Slurm allocation: its nodes, and its batch job back into the queue."""

import contextlib
import os
import subprocess
from typing import List

from imagenet_trainer.errors import InputError


def nodes() -> List[str]:
    """The host names of this allocation; none if scontrol does not tell them."""
    chosen = os.environ.get("SLURM_JOB_NODELIST", "")
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _output("scontrol", "show", "hostnames", chosen).split()
    return []


def check_requeue() -> None:
    """Raise InputError outside a Slurm job."""
    if "SLURM_JOB_ID" not in os.environ:
        raise InputError(
            "--requeue: this is not a Slurm job (SLURM_JOB_ID is not set); omit it, or submit the "
            "command with sbatch"
        )


def requeue() -> str:
    """Queue this batch job again, which ends it; return a line that says what was done.

    A job that is being cancelled stays so. One that Slurm itself requeues, as at preemption, is
    queued already. Slurm then kills this process within moments.
    """
    job = os.environ["SLURM_JOB_ID"]
    queued = f"--requeue: job {job} is in the queue again"
    try:
        state = _output("squeue", "--noheader", "--jobs", job, "--format=%T").strip()
        if state != "RUNNING":
            return f"--requeue: not needed, job {job} is {state.lower() or 'over'}"
        _output("scontrol", "requeue", job)
    except subprocess.CalledProcessError as error:
        if error.cmd[0] == "scontrol" and error.returncode < 0:
            return queued  # it was killed with the job, before it could exit
        reason = " ".join(error.stderr.split())
        return f"--requeue: {reason}; `sbatch` of the same file continues the run"
    except OSError as error:
        return f"--requeue: {error.filename}: {error.strerror}; the same command continues the run"
    return queued


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout

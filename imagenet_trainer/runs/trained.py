"""Opening what has been trained: the run of a prefix, SageMaker's archive, or the newest run."""

from pathlib import Path
from typing import Optional

from imagenet_trainer.config import commands
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.archive import ArchivedRun
from imagenet_trainer.runs.files import is_archive
from imagenet_trainer.runs.run import RUNS, Run


def open_run(prefix: str) -> Run:
    """The run of a prefix, or the network in an archive."""
    return ArchivedRun(prefix) if is_archive(prefix) else Run(prefix)


def trained_run(prefix: Optional[str]) -> Run:
    """The run of a prefix, by default the newest below runs/; InputError if there is none."""
    return open_run(prefix) if prefix else newest_run()


def newest_run(folder: str = RUNS) -> Run:
    """The run below a folder with the most recent parameters; InputError if there is none."""
    found = sorted(
        Path(folder).glob("*/*-[0-9][0-9][0-9][0-9]*.params"), key=lambda path: path.stat().st_mtime
    )
    if not found:
        begun = sorted(Path(folder).glob("*/*-last.params"))
        what = f"{begun[0].parent} has no finished epoch" if begun else "has no trained network"
        raise InputError(f"{folder}/: {what}; {commands.TRAIN_FIRST}")
    return Run(str(found[-1].parent / found[-1].name.rpartition("-")[0]))

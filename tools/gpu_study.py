#!/usr/bin/env python3
"""Measure PyTorch's engine on a GPU: parity with the CPU, speed against torchvision, a repeat.

It prints what the machine has; parity with the CPU; images/s of updates on data in memory,
compiled and not, and from JPEG shards; the same for torchvision's network with PyTorch's fastest
settings (channels_last, autocast, torch.compile with CUDA graphs, fused SGD, the batch already on
the GPU); an upper bound from this GPU's copy and matrix rates; the share of time spent waiting for
data; memory; whether a training with --deterministic repeats bit for bit, and what that costs; what
DistributedDataParallel costs a worker, and whether CUDA graphs beside it would pay.

Each measurement is a step with a time limit: one that fails prints its traceback, one that hangs
its stacks, and the others are still made. tools/gpu_study.sh runs this.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from gpu_measures import FULL, SHORT, SMALL, Study, Workload
from steps import Step, run_steps

from imagenet_trainer.config import flags
from imagenet_trainer.config.values import integers, number, strings
from imagenet_trainer.errors import InputError, run_command

# Our name and torchvision's; ResNet-v2 here has as many convolutions as their v1.5.
_NETWORKS = (("resnet50", "resnet50"), ("resnet18", "resnet18"), ("squeezenet1.0", "squeezenet1_0"))
_FOLDER = "GPU_STUDY_FOLDER"  # of numbers and shards, for the processes of the steps
_SOON, _COMPILES = 90, 180  # seconds of a step; compiling ResNet-50 takes a minute or two


@dataclass(frozen=True)
class StudySettings:
    """All settings of the study."""

    device: str = flags.option("cuda", "what is measured", choices=("cuda", "cpu"))
    short: bool = flags.option(
        False, "batches of 256 only, fewer updates and images: seven minutes at most"
    )
    small: bool = flags.option(
        False, "small images and single updates: a trial of every step, whose numbers mean nothing"
    )
    network: Tuple[str, ...] = flags.option(
        (), "only these networks; by default all", strings, metavar="NAME,NAME"
    )
    batches: Tuple[int, ...] = flags.option(
        (), "only these batch sizes; by default 256,512,1024", integers(1), metavar="N,N"
    )
    seconds: float = flags.option(
        0.0, "of the whole study; by default 420 with --short, else two hours", number(0)
    )


def workload_of(settings: StudySettings) -> Workload:
    """What is measured; InputError without a GPU, unless that is wanted."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "PyTorch finds no GPU on this machine; --device cpu --small is a trial run on the CPU"
        )
    if settings.device == "cpu" and not settings.small:
        raise InputError("--device cpu: would take hours; add --small")
    workload = SMALL if settings.small else SHORT if settings.short else FULL
    batches = settings.batches or workload.batches
    return replace(workload, device=settings.device, batches=batches)


def steps_of(settings: StudySettings, study: Study) -> List[Step]:
    """The measurements, those that tell most first; InputError for an unknown network."""
    networks = _pairs(settings.network) or (_NETWORKS[-1:] if settings.small else _NETWORKS)
    batches = study.workload.batches
    steps = [Step("machine", _SOON, study.machine), Step("bounds", _SOON, study.bounds)]
    for ours, _ in networks:
        steps.append(Step(f"parity of {ours}", _SOON, partial(study.parity, ours)))
    small = min((ours for ours, _ in networks), key=len)  # compiles sooner than resnet50
    compiled = partial(study.compiled_parity, small)
    steps.append(Step(f"compiled {small}", _COMPILES, compiled))
    first, batch = networks[0][0], batches[0]
    eager = partial(study.eager_speed, first, batch)
    steps.append(Step(f"{first} {batch} not compiled", _SOON, eager))
    rows = [(*pair, batch) for pair in networks for batch in batches]
    steps += _rows(study, rows[:1])
    repeated = [ours for ours, _ in networks[: study.workload.repeated]]
    steps += [
        Step(f"repeat of {ours}", 2 * _COMPILES, partial(study.repeat, ours, batch))
        for ours in repeated
    ]
    steps += _rows(study, rows[1:])
    # Each of several GPUs has a part of the batch, so that the host has less time to launch.
    steps += [
        Step(f"workers, {ours}", 2 * _COMPILES, partial(study.shared, ours, max(1, batch // 4)))
        for ours in repeated
    ]
    return steps


def _rows(study: Study, rows: Sequence[Tuple[str, str, int]]) -> List[Step]:
    """The steps of the table for networks, ours and theirs, and batches."""
    steps = []
    for ours, theirs, batch in rows:
        name = f"{ours} {batch}"
        steps += [
            Step(name, _COMPILES, partial(study.speed, ours, batch)),
            Step(f"{name} shards", _COMPILES, partial(study.shards, ours, batch)),
            Step(f"{name} --decode gpu", _SOON, partial(study.shards, ours, batch, "gpu")),
            Step(f"{name} plain", _COMPILES, partial(study.plain, ours, theirs, batch)),
        ]
    return steps


def _pairs(names: Sequence[str]) -> Tuple[Tuple[str, str], ...]:
    """The rows of `_NETWORKS` with these names."""
    known = dict(_NETWORKS)
    for name in names:
        if name not in known:
            raise InputError(f"--network {name}: is not measured; choose from {', '.join(known)}")
    return tuple((name, known[name]) for name in names)


def run(settings: StudySettings, command: Sequence[str]) -> int:
    """Measure and print; 1 if a step failed or was not run. `command` is that of this process."""
    workload, began = workload_of(settings), time.monotonic()
    with tempfile.TemporaryDirectory() as own:
        folder = os.environ.setdefault(_FOLDER, own)
        steps = steps_of(settings, Study(workload, Path(folder)))
        missing = run_steps(steps, command, settings.seconds or workload.seconds)
        os.environ.pop(_FOLDER)
    print(f"seconds: {time.monotonic() - began:.0f}; {missing} of {len(steps)} steps are missing")
    return 1 if missing else 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    settings = flags.parse(
        StudySettings, words, "gpu_study",
        "Measure PyTorch's engine on a GPU against torchvision's networks.",
    )  # fmt: skip
    command = [sys.executable, str(Path(__file__).resolve()), *words]
    return run_command("gpu_study", lambda: run(settings, command))


if __name__ == "__main__":
    sys.exit(main())

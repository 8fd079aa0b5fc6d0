"""Trainings by the command, and what they leave."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, words_of_fit

from imagenet_trainer import fit
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.runs import params


def parameters(prefix, epoch):
    return params.read(f"{prefix}-{epoch:04d}.params")


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], name)


def history(prefix):
    """Rows without the columns that are times and loads."""
    with open(prefix.parent / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    measured = ("images_per_second", "seconds", "wait_share", "cpu_percent", "memory_mb")
    return [{k: v for k, v in row.items() if k not in measured} for row in rows]


def words_of(packed):
    """The flags of the small training, with a log line for every update."""
    return [*words_of_fit(packed), "--disp-batches", "1"]


@pytest.fixture
def words(packed):
    return words_of(packed)


def default_engine():
    """The class of the engine that trains here unless a flag says otherwise."""
    if choose_engine(Devices()).engine == "torch":
        from imagenet_trainer.engines.pytorch.engine import TorchEngine

        return TorchEngine
    from imagenet_trainer.engines.mxnet.engine import MXNetEngine

    return MXNetEngine


class PowerFailure(BaseException):
    """No handler of errors catches it, so nothing is saved."""


def train_until(update, words, *more):
    """Train in this process and fail before an update, as after a power failure."""
    engine_class = default_engine()
    real = engine_class.train_batch

    def train_batch(engine, *batch):
        if engine._updates == update:
            raise PowerFailure
        real(engine, *batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerFailure):
        patch.setattr(engine_class, "train_batch", train_batch)
        fit.main([*words, *map(str, more)])


def assert_resumes_exactly(words, folder):
    """A run of two epochs, interrupted in both, is the uninterrupted one in `folder`/a.

    It has 30 of the 60 images in batches of 8: updates 0 to 2, and 3 to 6.
    """
    words = [*words, "--train-fraction", "0.5"]
    assert fit.main([*words, "--model-prefix", str(folder / "a" / "model")]) == 0
    often = ["--model-prefix", str(folder / "b" / "model"), "--checkpoint-minutes", "1e-9"]
    for update in (2, 5):
        train_until(update, words, *often)
    assert fit.main([*words, *often]) == 0
    ours, theirs = (folder / x / "model" for x in "ab")
    for epoch in (1, 2):
        assert_same(parameters(ours, epoch), parameters(theirs, epoch))
        states = [dict(np.load(f"{prefix}-{epoch:04d}.npz")) for prefix in (ours, theirs)]
        # Without the times, which are in `about`.
        assert_same(*({k: v for k, v in state.items() if k != "about"} for state in states))
    assert history(ours) == history(theirs)


def begin(words, *more):
    """The command in a separate process, with its log readable line by line."""
    command = [sys.executable, "-m", "imagenet_trainer.fit", *words, *map(str, more)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(process, pattern):
    for line in process.stderr:
        if re.search(pattern, line):
            return
    raise AssertionError(f"{pattern} never came")

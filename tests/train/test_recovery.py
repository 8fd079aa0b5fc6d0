import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, needs_mxnet
from helpers.fit_runs import assert_same, default_engine

from imagenet_trainer import fit
from imagenet_trainer.engines import NonFiniteLossError
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs import params
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train import loop, recovery, session

# fit_words train two epochs of 60 images in batches of 8: updates 0 to 6 and 7 to 14.
EPOCH_1, END = 7, 15
OFTEN = ("--checkpoint-minutes", "1e-9")  # a checkpoint after every update


def train(words, prefix, *more):
    return fit.main([*words, "--model-prefix", str(prefix), *map(str, more)])


def final(prefix):
    return params.read(f"{prefix}-0002.params")


def error_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "fit: error: " in line]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture(scope="module")
def straight(packed, tmp_path_factory):
    """Prefix of a run that nothing happens to."""
    from conftest import words_of_fit

    prefix = tmp_path_factory.mktemp("straight") / "model"
    assert train(words_of_fit(packed), prefix) == 0
    return prefix


class Crash(BaseException):
    """What no handler of errors sees: the process is gone."""


@pytest.fixture
def at_update(monkeypatch):
    """Let `act(engine, update, rate)` be called before every update; gives the updates made."""

    def install(act):
        made = []
        real = default_engine().train_batch

        def train_batch(self, images, labels, learning_rate, *more):
            act(self, self._updates, learning_rate)
            real(self, images, labels, learning_rate, *more)
            made.append(self._updates - 1)

        monkeypatch.setattr(default_engine(), "train_batch", train_batch)
        return made

    return install


# --- signals -------------------------------------------------------------------------------------


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_saves_within_one_update(fit_words, straight, tmp_path, at_update, monkeypatch):
    prefix = tmp_path / "model"
    with monkeypatch.context():
        made = at_update(lambda engine, update, rate: terminate() if update == 9 else None)
        assert train(fit_words, prefix) == 128 + signal.SIGTERM
        # The signal came before the arithmetic of update 9: it is the last one.
        assert made[-1] == 9
    monkeypatch.undo()
    assert Run(str(prefix)).load(None).progress.update == 10
    assert train(fit_words, prefix) == 0
    assert_same(final(prefix), final(straight))


def test_sigterm_during_validation(fit_words, straight, tmp_path, monkeypatch):
    prefix = tmp_path / "model"
    real = loop.predict_batches

    def predict_batches(*arguments):
        for batch in real(*arguments):
            terminate()
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(loop, "predict_batches", predict_batches)
        assert train(fit_words, prefix) == 128 + signal.SIGTERM
    saved = Run(str(prefix)).load(None).progress
    assert (saved.epoch, saved.update) == (0, EPOCH_1)
    assert Run(str(prefix)).epochs() == []  # the epoch is not scored yet
    assert train(fit_words, prefix) == 0
    assert_same(final(prefix), final(straight))


@pytest.mark.parametrize("before", [0, 1])
def test_sigterm_while_everything_is_opened(
    fit_words, straight, tmp_path, monkeypatch, at_update, before
):
    prefix = tmp_path / "model"
    if before:
        assert train(fit_words, prefix, "--num-epochs", before) == 0
    real = session.open_training_engine
    with monkeypatch.context() as patch:
        patch.setattr(
            session, "open_training_engine", lambda *words: (terminate(), real(*words))[1]
        )
        made = at_update(lambda *_: None)
        assert train(fit_words, prefix) == 128 + signal.SIGTERM
        assert made == []
    monkeypatch.undo()
    assert Run(str(prefix)).epochs() == [1][:before]
    assert train(fit_words, prefix) == 0
    assert_same(final(prefix), final(straight))


# --- killed --------------------------------------------------------------------------------------


def storm(words, prefix, moments, seed):
    """Start the command, kill it at a random moment, as often as asked; then let it end."""
    drawn = random.Random(seed)
    command = [sys.executable, "-m", "imagenet_trainer.fit", *words, *OFTEN]
    command += ["--model-prefix", str(prefix), "--disp-batches", "1"]
    reached = []
    for _ in range(moments):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        # Any place: now and then before the first line, mostly a few lines later.
        lines = drawn.randrange(12)
        for number, _ in enumerate(process.stderr, start=1):
            if number > lines:
                break
        time.sleep(drawn.uniform(0, 0.03))
        process.kill()
        process.communicate()
        newest = Run(str(prefix)).newest()
        reached.append(newest.progress.update if newest else 0)
    assert train(words, prefix, *OFTEN) == 0
    return reached


# test_fit kills a run at two moments in the fast tests.
@pytest.mark.slow
def test_killed_at_random_moments(fit_words, straight, tmp_path):
    prefix = tmp_path / "model"
    reached = storm(fit_words, prefix, 4, seed=1)
    assert reached == sorted(reached) and len(set(reached)) > 1  # never back, and on the way
    assert_same(final(prefix), final(straight))
    ours, theirs = Run(str(prefix)).load(2).state, Run(str(straight)).load(2).state
    assert_same(ours, theirs)


@pytest.mark.slow
def test_killed_at_twenty_random_moments(fit_words, tmp_path):
    # Longer, so that twenty kills meet a run that is still under way.
    words = [*fit_words, "--num-epochs", "12", "--save-period", "3", "--keep", "2"]
    assert train(words, tmp_path / "straight" / "model") == 0
    reached = storm(words, tmp_path / "model", 20, seed=2)
    assert reached == sorted(reached) and len(set(reached)) > 10
    ours, theirs = (Run(str(tmp_path / name)) for name in ("model", "straight/model"))
    assert ours.epochs() == theirs.epochs() and len(ours.epochs()) <= 3
    for epoch in ours.epochs():
        for kind in ("arg", "aux", "state"):
            assert_same(getattr(ours.load(epoch), kind), getattr(theirs.load(epoch), kind))


# --- files that cannot be written ----------------------------------------------------------------


def test_writes_are_retried_until_one_succeeds():
    log, tries = [], []

    def write():
        tries.append(1)
        if len(tries) < 4:
            raise InputError("model-last.params: refused") from OSError(28, "full")

    recovery.write_with_retries(write, 5, Interrupts(), log.append, pause=0)
    assert len(tries) == 4
    assert log == [
        "model-last.params: refused; trying again for 5 min (--save-patience)",
        "The file is written now; the run continues",
    ]


@pytest.mark.parametrize(
    ("minutes", "number", "cause"), [(0, None, OSError()), (9, 15, OSError()), (9, None, None)]
)
def test_retries_end(minutes, number, cause):
    # Its time is over; a signal came; it is no matter of the file system.
    interrupts, tries = Interrupts(), []
    interrupts.signal = number

    def write():
        tries.append(1)
        raise InputError("refused") from cause

    with pytest.raises(InputError, match="refused"):
        recovery.write_with_retries(write, minutes, interrupts, print, pause=0)
    assert len(tries) == 1


def test_a_full_file_system(fit_words, straight, tmp_path, capsys):
    # Real refusals by the kernel: no file may grow beyond 100 kB, a checkpoint needs more.
    prefix = tmp_path / "model"
    assert train(fit_words, prefix, "--num-epochs", 1) == 0
    assert prefix.with_name("model-0001.params").stat().st_size > 100_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        assert train(fit_words, prefix, "--save-patience", 0) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    line = error_line(capsys)
    assert "model-0002.params: File too large; the older checkpoints are untouched; allow" in line
    assert sorted(path.name for path in tmp_path.glob("model-0*")) == [
        "model-0001.npz", "model-0001.params",
    ]  # fmt: skip
    assert train(fit_words, prefix) == 0
    assert_same(final(prefix), final(straight))


def test_a_folder_that_comes_back(fit_words, straight, tmp_path, at_update, capsys, monkeypatch):
    # Like a network file system that is unavailable for a while.
    folder, away = tmp_path / "run", tmp_path / "away"
    at_update(lambda engine, update, rate: folder.rename(away) if update == 9 else None)
    monkeypatch.setattr(recovery.time, "sleep", lambda _: away.rename(folder))
    assert train(fit_words, folder / "model", *OFTEN) == 0
    log = capsys.readouterr().err
    assert "restore the folder" in log and "trying again for 1 min" in log
    assert "The file is written now; the run continues" in log
    assert_same(final(folder / "model"), final(straight))


def test_a_missing_folder_is_not_created(fit_words, tmp_path, at_update, capsys):
    folder = tmp_path / "run"
    at_update(lambda engine, update, rate: shutil.rmtree(folder) if update == 9 else None)
    assert train(fit_words, folder / "model", "--save-patience", 0, *OFTEN) == 2
    line = error_line(capsys)
    assert "model-last.params: No such file or directory; restore the folder" in line
    assert not folder.exists()  # it may be the mount point of a disk, so it is not created


def test_a_folder_with_another_run_in_its_place(fit_words, tmp_path, at_update, capsys):
    folder = tmp_path / "run"

    def act(engine, update, rate):
        if update == 9:
            folder.rename(tmp_path / "old")
            folder.mkdir()

    at_update(act)
    assert train(fit_words, folder / "model", *OFTEN) == 2
    assert "was removed" in error_line(capsys)
    assert not list(folder.iterdir())


def test_a_file_system_that_became_read_only(fit_words, tmp_path, at_update, capsys, monkeypatch):
    import builtins

    real = builtins.open

    def read_only(path, mode="r", *more, **words):
        if "w" in mode and str(path).startswith(str(tmp_path)):
            raise OSError(30, "Read-only file system", str(path))
        return real(path, mode, *more, **words)

    def act(engine, update, rate):
        if update == 9:
            monkeypatch.setattr(builtins, "open", read_only)

    at_update(act)
    prefix = tmp_path / "model"
    assert train(fit_words, prefix, "--save-patience", 0, "--checkpoint-minutes", 0) == 2
    line = error_line(capsys)
    assert "Read-only file system" in line and "dmesg" in line
    monkeypatch.undo()
    assert Run(str(prefix)).newest().progress.epoch == 1


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_folder_holds_one_run(fit_words, tmp_path, capsys):
    assert train(fit_words, tmp_path / "one", "--num-epochs", 1) == 0
    before = contents(tmp_path)
    assert train(fit_words, tmp_path / "two", "--num-epochs", 1) == 2
    line = error_line(capsys)
    assert f"{tmp_path}: already holds the run one; " in line and f"{tmp_path}/two/model" in line
    assert contents(tmp_path) == before


# --- numbers that are not finite -----------------------------------------------------------------

ROLLBACK = ("--on-nan", "rollback")


def blow_up(at, rate_below=0.03):
    """An update whose loss is not finite unless the rate is low enough."""

    def act(engine, update, rate):
        if update == at and rate > rate_below:
            raise NonFiniteLossError(update)

    return act


@pytest.fixture(scope="module")
def halved(packed, straight, tmp_path_factory):
    """Final parameters with the second epoch at half the rate, made without any rollback."""
    from conftest import words_of_fit

    folder = tmp_path_factory.mktemp("halved")
    for suffix in ("params", "npz"):
        shutil.copy(f"{straight}-0001.{suffix}", folder)
    words = [*words_of_fit(packed), "--lr", "0.025", "--load-epoch", "1"]
    assert train(words, folder / "model") == 0
    return final(folder / "model")


@pytest.mark.parametrize("more", [(), OFTEN])
def test_rollback_to_the_last_epoch_at_half_the_rate(
    fit_words, halved, tmp_path, at_update, capsys, more
):
    # Whether a checkpoint inside the epoch is nearer must not matter: the clock decides on those.
    made = at_update(blow_up(12))
    assert train(fit_words, tmp_path / "model", *ROLLBACK, *more) == 0
    assert made == [*range(12), *range(EPOCH_1, END)]
    log = capsys.readouterr().err
    assert (
        "the loss of update 12 is not finite (epoch 1, batch 5) and that update was not made: back "
        "to update 7 (epoch 1) with 0.5 of the learning rate, rollback 1 of 3" in log
    )
    assert_same(final(tmp_path / "model"), halved)
    with open(tmp_path / "history.csv", newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates == [0.05, 0.025]
    progress = Run(str(tmp_path / "model")).load(2).progress
    assert (progress.rate_scale, progress.rollbacks) == (0.5, 1)


_SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (11, 13)]


@pytest.mark.parametrize("updates", [3, 12, 16, *_SLOW])
def test_a_run_with_a_rollback_that_is_killed_on_the_way(
    fit_words, halved, tmp_path, at_update, monkeypatch, updates
):
    # Updates made when the power goes: before the rollback (12), with it, after it.
    with monkeypatch.context():
        count = []

        def act(engine, update, rate):
            if len(count) == updates:
                raise Crash
            blow_up(12)(engine, update, rate)
            count.append(update)

        at_update(act)
        with pytest.raises(Crash):
            train(fit_words, tmp_path / "model", *ROLLBACK, *OFTEN)
    monkeypatch.undo()
    at_update(blow_up(12))
    assert train(fit_words, tmp_path / "model", *ROLLBACK, *OFTEN) == 0
    assert_same(final(tmp_path / "model"), halved)


def test_killed_before_the_rollback_is_saved(fit_words, halved, tmp_path, at_update, monkeypatch):
    real = Run.save

    def save(self, checkpoint, epoch):
        if checkpoint.progress.rollbacks:
            raise Crash
        real(self, checkpoint, epoch)

    at_update(blow_up(12))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save)
        with pytest.raises(Crash):
            train(fit_words, tmp_path / "model", *ROLLBACK, *OFTEN)
    assert train(fit_words, tmp_path / "model", *ROLLBACK, *OFTEN) == 0
    assert_same(final(tmp_path / "model"), halved)


def test_rollback_to_the_initial_parameters(fit_words, tmp_path, at_update):
    assert train([*fit_words, "--lr", "0.0125"], tmp_path / "a" / "model") == 0
    made = at_update(blow_up(3, 0.02))
    assert train(fit_words, tmp_path / "b" / "model", *ROLLBACK) == 0
    assert made == [0, 1, 2, 0, 1, 2, *range(END)]
    assert_same(final(tmp_path / "b" / "model"), final(tmp_path / "a" / "model"))


def test_rollback_over_several_epochs(fit_words, tmp_path, at_update):
    # Epoch 1 has no numbered checkpoint: the run returns to the beginning and writes its row again.
    made = at_update(blow_up(12))
    assert train(fit_words, tmp_path / "model", *ROLLBACK, "--save-period", 2) == 0
    assert made == [*range(12), *range(END)]
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], float(row["learning_rate"])) for row in rows] == [
        ("1", 0.025), ("2", 0.025),
    ]  # fmt: skip


@needs_mxnet
def test_statistics_that_are_not_finite(fit_words, halved, tmp_path, at_update, capsys):
    # Training does not look at moving statistics, so no loss tells; validation or a save does.
    def act(engine, update, rate):
        if update == 12 and rate > 0.03:
            engine._bound.executors[0].aux_dict["bn1_moving_var"][:] = np.inf

    for name, more in (("validation", ()), ("save", OFTEN)):
        with pytest.MonkeyPatch.context():
            at_update(act)
            assert train(fit_words, tmp_path / name / "model", *ROLLBACK, *more) == 0
        log = capsys.readouterr().err
        assert "is not finite" in log or "are not finite" in log
        assert "rollback 1 of 3" in log
        assert_same(final(tmp_path / name / "model"), halved)


def test_rollbacks_are_limited(fit_words, tmp_path, capsys):
    # Real arithmetic: at 1e30 the second loss is not a number, whatever is halved three times.
    words = [*fit_words, "--lr", "1e30", *ROLLBACK]
    assert train(words, tmp_path / "model") == 2
    line = error_line(capsys)
    assert "3 times (--max-rollbacks 3)" in line and "0.125" in line
    assert train([*words, "--max-rollbacks", "4"], tmp_path / "model") == 2
    assert "(--max-rollbacks 4)" in error_line(capsys)


def test_without_rollback_the_error_names_the_flag(fit_words, halved, tmp_path, at_update, capsys):
    at_update(blow_up(12))
    assert train(fit_words, tmp_path / "model") == 2
    line = error_line(capsys)
    assert "update 12" in line and "--on-nan rollback" in line and "--lr" in line
    assert train(fit_words, tmp_path / "model", *ROLLBACK) == 0
    assert_same(final(tmp_path / "model"), halved)

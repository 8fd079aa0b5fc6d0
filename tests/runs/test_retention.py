import math
import os
from dataclasses import replace

import numpy as np
import pytest

from imagenet_trainer import fit, predict
from imagenet_trainer.config.values import BEST
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.epochs import select_epochs
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs import retention
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.retention import best_of, epochs_to_remove
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train import loop


def scores(rank1, loss=50.0):
    return Scores(100, rank1, 100, loss)


def save(run, epoch, validation):
    how = Preprocessing((3, 8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0)
    arrays = {"w": np.full((2, 2), epoch, np.float32)}
    state = {"updates": np.array(epoch)}
    run.save(Checkpoint(arrays, {}, Progress(epoch), state, how, (), validation), epoch)


@pytest.fixture
def model(tmp_path):
    return Run(str(tmp_path / "model"))


# --- the rule ------------------------------------------------------------------------------------


def test_the_best_is_the_highest_rank1_then_the_lowest_loss_then_the_earliest():
    assert best_of({}) is None and best_of({3: None}) is None
    assert best_of({1: scores(40), 2: scores(60), 3: scores(50), 4: None}) == 2
    assert best_of({1: scores(60, 50.0), 2: scores(60, 49.0), 3: scores(60, 49.0)}) == 2
    assert best_of({1: scores(60, math.nan), 2: scores(60), 3: Scores()}) == 2
    # Datasets of different sizes: shares count, not images.
    assert best_of({1: scores(60), 2: replace(scores(100), images=1000)}) == 1


@pytest.mark.parametrize(
    ("keep", "removed"), [(1, [1, 3, 4]), (2, [1, 3]), (3, [1]), (4, [1]), (5, []), (9, [])]
)
def test_the_newest_and_the_best_stay(keep, removed):
    found = {1: scores(10), 2: scores(60), 3: scores(50), 4: scores(40), 5: scores(30)}
    assert epochs_to_remove(found, keep) == removed


def test_an_epoch_without_scores_stays():
    assert epochs_to_remove({1: None, 2: scores(10), 3: scores(20), 4: scores(15)}, 1) == [2]


# --- files ---------------------------------------------------------------------------------------


def test_prune_removes_the_files(model):
    for epoch, rank1 in enumerate((10, 60, 50, 40), start=1):
        save(model, epoch, scores(rank1))
    assert retention.best_epoch(model) == 2
    assert retention.prune(model, 1) == [1, 3]
    assert sorted(os.listdir(model.folder)) == [
        "model-0002.npz", "model-0002.params", "model-0004.npz", "model-0004.params",
    ]  # fmt: skip
    assert retention.prune(model, 1) == []
    assert retention.is_best_so_far(model, scores(61)) and not retention.is_best_so_far(
        model, scores(60)
    )


def test_the_next_epoch_is_the_best_if_it_is_better_than_all(model):
    assert retention.is_best_so_far(model, scores(1))
    for epoch, rank1 in enumerate((40, 60), start=1):
        save(model, epoch, scores(rank1))
    assert [retention.is_best_so_far(model, scores(n)) for n in (59, 60, 61)] == [
        False,
        False,
        True,
    ]


def test_parameters_of_another_program_are_never_removed(model):
    for epoch in (1, 2, 3):
        save(model, epoch, scores(epoch))
    model.state_path(1).unlink()
    assert retention.prune(model, 1) == [2]
    assert model.epochs() == [1, 3]


def test_the_next_removal_completes_one_that_crashed(model):
    for epoch in (1, 2, 3):
        save(model, epoch, scores(epoch))
    model.params_path(1).unlink()  # the crash came here
    assert retention.prune(model, 1) == [2]
    assert sorted(os.listdir(model.folder)) == ["model-0003.npz", "model-0003.params"]


def test_a_damaged_checkpoint_is_not_removed(model):
    for epoch in (1, 2, 3):
        save(model, epoch, scores(epoch))
    model.state_path(1).write_bytes(b"damaged")
    assert retention.prune(model, 1) == [2]


def test_without_scores_there_is_no_best_epoch(model):
    save(model, 1, None)
    with pytest.raises(InputError, match="validation scores"):
        retention.best_epoch(model)


# --- during training -----------------------------------------------------------------------------


def test_a_run_keeps_the_newest_and_the_best(fit_words, tmp_path, capsys, monkeypatch):
    prefix = tmp_path / "model"
    rank1 = iter((30, 70, 50, 40, 60, 20))
    monkeypatch.setattr(loop, "validate", lambda *_: scores(next(rank1)))
    words = [*fit_words, "--model-prefix", str(prefix), "--save-period", "3", "--keep", "1"]
    seen = []
    real = retention.prune

    def prune(run, keep):
        assert run.load(max(run.epochs())).validation  # complete before older ones are removed
        removed = real(run, keep)
        seen.append((removed, run.epochs()))
        return removed

    monkeypatch.setattr(loop, "prune", prune)
    assert fit.main([*words, "--num-epochs", "6"]) == 0
    # 1 and 2 are the best so far, 3 and 6 are due.
    assert seen == [([], [1]), ([1], [2]), ([], [2, 3]), ([3], [2, 6])]
    log = capsys.readouterr().err
    assert f'Removed "{prefix}-0003.params" (--keep 1)' in log
    monkeypatch.undo()
    run = Run(str(prefix))
    assert select_epochs(run, (BEST,)) == (2,) and select_epochs(run, ()) == (2, 6)


def test_predict_names_the_best(fit_words, packed, tmp_path, capsys):
    prefix = str(tmp_path / "model")
    assert fit.main([*fit_words, "--model-prefix", prefix]) == 0
    run = Run(prefix)
    best = retention.best_epoch(run)
    image = str(next((packed / "pictures").rglob("*.png")))
    predictions = []
    for epoch in ("best", str(best), str(3 - best)):
        capsys.readouterr()
        assert predict.main(["--model-prefix", prefix, "--epoch", epoch, image]) == 0
        predictions.append(capsys.readouterr().out)
    assert predictions[0] == predictions[1] != predictions[2]


def test_the_best_of_a_run_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="has no checkpoints of finished epochs"):
        retention.best_epoch(Run(str(tmp_path / "typo" / "model")))

import csv
import json
import re

import numpy as np
import pytest
from conftest import one_line_failure, words_of_fit
from helpers.fit_runs import assert_same, history, parameters, train_until

from imagenet_trainer import evaluate, fit
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.runs.events import read_events
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.early_stopping import best_of

HELD_BACK = ("--minival", "0.2", "--folds", "5", "--fold", "2")


@pytest.fixture(scope="module")
def words(packed):
    return [*words_of_fit(packed), *HELD_BACK, "--patience", "2", "--num-epochs", "6",
            "--data-val", "none.rec"]  # fmt: skip


@pytest.fixture(scope="module")
def stopped(words, tmp_path_factory):
    """Prefix of a run that --patience stopped; its validation set is a fold."""
    prefix = tmp_path_factory.mktemp("stopped") / "model"
    assert fit.main([*words, "--model-prefix", str(prefix)]) == 0
    return prefix


def rows(*scores):
    """Rows of history.csv with the accuracies and losses of a validation."""
    return [
        {"epoch": str(epoch), "val_rank1": str(rank1), "val_loss": str(loss), "minival_rank1": ""}
        for epoch, (rank1, loss) in enumerate(scores, 1)
    ]


def test_the_best_epoch_of_a_history():
    assert best_of([]) == (0, 0)
    assert best_of(rows((0.5, 2), (0.7, 3), (0.6, 1))) == (2, 3)
    assert best_of(rows((0.5, 2), (0.5, 1), (0.5, 1))) == (2, 3)  # equal: the lower loss, earlier
    assert best_of(rows(("", 2), (0.5, ""), (0.5, 3), (0.1, 1))) == (3, 4)  # empty: the worst
    with_minival = [
        {**row, "minival_rank1": rank1, "minival_loss": "1"}
        for row, rank1 in zip(rows((0.5, 2), (0.7, 3), (0.6, 1)), ("0.9", "0.1", "0.2"))
    ]
    assert best_of(with_minival) == (1, 3)


def test_the_minival_stops_the_training_and_chooses_the_best_epoch(stopped):
    found = history(stopped)
    best, last = best_of(found)
    assert last == best + 2 < 6  # --patience 2
    selection = Run(str(stopped)).selection()
    assert [one.images for one in selection.values()] == [10] * last  # of 48
    assert [one.rank1_accuracy for one in selection.values()] == [
        float(row["minival_rank1"]) for row in found
    ]
    events = read_events(stopped.parent / "events.jsonl")
    kinds = [one["event"] for one in events]
    assert kinds.count("validation") == kinds.count("minival") == last
    assert {one["images"] for one in events if one["event"] == "validation"} == {12}
    (early,) = [one for one in events if one["event"] == "early_stop"]
    assert (early["epoch"], early["best_epoch"]) == (last, best)


def test_an_interrupted_training_stops_at_the_same_epoch(words, stopped, tmp_path, capsys):
    prefix = tmp_path / "model"
    more = [*words, "--model-prefix", str(prefix), "--checkpoint-minutes", "1e-9"]
    last = len(history(stopped))
    updates = read_events(stopped.parent / "events.jsonl")[-1]["update"]
    for at in (updates // 2, updates - 1):
        train_until(at, more)
    assert fit.main(more) == 0
    assert history(prefix) == history(stopped)
    assert_same(parameters(prefix, last), parameters(stopped, last))
    # Once more: nothing is trained.
    assert fit.main(more) == 0
    assert history(prefix) == history(stopped)
    assert capsys.readouterr().err.count("Stopped early") == 2
    # The last epoch is no early stop: a higher patience alone would not continue.
    assert fit.main([*more, "--num-epochs", str(last)]) == 0
    assert "Stopped early" not in capsys.readouterr().err
    # A higher patience continues.
    assert fit.main([*more, "--patience", "3", "--num-epochs", str(last + 1)]) == 0
    assert len(history(prefix)) == last + 1


def test_evaluate_takes_the_fold_as_the_validation_set(stopped, packed, capsys):
    best, _ = best_of(history(stopped))
    assert evaluate.main(["--model-prefix", str(stopped), "--epochs", "best"]) == 0
    row = history(stopped)[best - 1]
    entry = json.loads((stopped.parent / "evaluation.json").read_text())
    assert entry["epochs"][str(best)]["rank1"] == float(row["val_rank1"])
    predictions = np.load(stopped.parent / f"predictions-{best:04d}.npz")
    fold = open_dataset(f"{packed}/train.rec#fold=2of5")
    assert np.array_equal(predictions["keys"], fold.shards.keys)
    minival = f"{packed}/train.rec#fold=2of5+minival=0.2"
    words = ["--model-prefix", str(stopped), "--epochs", "best", "--data-val", minival]
    assert evaluate.main(words) == 0
    found = re.search(r"minival\S*: rank-1 +([\d.]+) %", capsys.readouterr().out)
    assert float(found[1]) == pytest.approx(100 * float(row["minival_rank1"]), abs=0.01)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"--fold": "2"}, r"^--fold 2: .*--folds 5"),
        ({"--folds": "3"}, "^--folds 3 --fold 0: "),
        ({"--folds": "3", "--fold": "4"}, "^--folds 3 --fold 4: "),
        ({"--minival": "60"}, "^--minival 60: leaves no image"),
        ({"--minival": "55"}, "^--minival 55: leaves 5 of the images .*--batch-size 8"),
    ],
)
def test_parts_that_cannot_be(packed, tmp_path, capsys, flags, message):
    words = [*words_of_fit(packed), "--model-prefix", str(tmp_path / "m")]
    refused = one_line_failure(fit.main, "fit", capsys)
    assert re.search(message, refused(*words, *(word for pair in flags.items() for word in pair)))


def test_a_resumed_run_keeps_its_parts(words, stopped, capsys):
    refused = one_line_failure(fit.main, "fit", capsys)
    prefix = ["--model-prefix", str(stopped)]
    assert "--fold 3: " in refused(*words, *prefix, "--fold", "3")
    assert "--minival 0.1: " in refused(*words, *prefix, "--minival", "0.1")


def test_history_has_both_scores(stopped):
    with open(stopped.parent / "history.csv", newline="") as file:
        for row in csv.DictReader(file):
            assert all(row[f"{part}_rank1"] for part in ("val", "minival"))


def test_a_signal_skips_no_sum_of_the_workers(monkeypatch):
    """A worker that got the signal makes the sums of the others, or they would wait for it."""
    from types import SimpleNamespace

    from imagenet_trainer.train import loop

    calls = []
    monkeypatch.setattr(loop, "validate", lambda *arguments: calls.append(arguments[4:]))
    session = SimpleNamespace(minival=object())
    loop.validate_all(session, SimpleNamespace(signalled=True), None, 3)
    assert calls == [(), ("minival",)]

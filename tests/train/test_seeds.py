import contextlib
import json
import statistics
from pathlib import Path

import pytest
from conftest import one_line_failure, words_of_fit
from helpers.fit_runs import assert_same, history, parameters

from imagenet_trainer import fit
from imagenet_trainer.config import FitSettings
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.history import write as write_history
from imagenet_trainer.train import seeds
from imagenet_trainer.train.seeds import report_of, table


def test_several_seeds(packed, tmp_path, capsys):
    """Each run is the one that its seed alone gives; a second call trains nothing."""
    words = [*words_of_fit(packed), "--num-epochs", "1", "--seed", "4"]
    prefix = tmp_path / "model"
    for _ in range(2):
        assert fit.main([*words, "--seeds", "2", "--model-prefix", str(prefix)]) == 0
        report = json.loads((tmp_path / "seeds.json").read_text())
    assert [one["seed"] for one in report["runs"]] == [4, 5]
    alone = tmp_path / "alone" / "model"
    assert fit.main([*words, "--seed", "5", "--model-prefix", str(alone)]) == 0
    ours = tmp_path / "seed-5" / "model"
    assert_same(parameters(ours, 1), parameters(alone, 1))
    assert history(ours) == history(alone)
    scores = [float(history(tmp_path / f"seed-{s}" / "model")[-1]["val_rank1"]) for s in (4, 5)]
    found = report["last"]["val_rank1"]
    assert found["mean"] == pytest.approx(statistics.fmean(scores))
    assert found["deviation"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
    assert "deviation" in capsys.readouterr().out
    (tmp_path / "seed-5" / "history.csv").unlink()
    assert fit.main([*words, "--seeds", "2", "--model-prefix", str(prefix)]) == 2
    assert "history.csv: has no scores of the training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ends", "received"),
    [
        ((0, 0), "finished 0"),
        ((0, InputError("full")), "failed 2"),
        ((0, "refused"), ""),  # before the training began
        ((143, 0), ""),
    ],
)
def test_when_done_comes_after_all_seeds(tmp_path, monkeypatch, ends, received):
    done, left = tmp_path / "done", list(ends)

    def train(settings, argv):
        assert not settings.when_done and not done.exists()
        end, folder = left.pop(0), Path(settings.model_prefix).parent
        if end == "refused":
            raise InputError("--lr")
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text("{}")
        if end in (0, 143):
            write_history(folder / "history.csv", [{"epoch": 1, "val_rank1": 0.5, "val_loss": 1.0}])
            return end
        raise end

    monkeypatch.setattr(seeds, "train", train)
    writes = ("sh", "-c", f"echo {{how}} {{exit_code}} > {done}")
    settings = FitSettings(seeds=2, model_prefix=str(tmp_path / "m"), when_done=writes)
    fails = pytest.raises(InputError) if not isinstance(ends[1], int) else contextlib.nullcontext()
    with fails:
        assert seeds.train_seeds(settings) == ends[0]
    assert (done.read_text() if done.exists() else "").strip() == received


def test_the_table_has_the_best_epochs():
    runs = [
        {"seed": n, "prefix": "", "last_epoch": 9, "best_epoch": n,
         "last": {"val_rank1": 0.5 + n / 10, "val_loss": 1.0},
         "best": {"val_rank1": 0.7 + n / 10, "val_loss": 0.5}}
        for n in (1, 2, 3)
    ]  # fmt: skip
    report = report_of(runs)
    assert report["best"]["val_rank1"] == {
        "mean": pytest.approx(0.9), "deviation": pytest.approx(0.1)
    }  # fmt: skip
    lines = table(report)
    assert "90.00 %" in lines[-2] and "10.00 %" in lines[-1]


def test_several_workers_are_refused(packed, tmp_path, capsys):
    words = [*words_of_fit(packed), "--model-prefix", str(tmp_path / "m")]
    refused = one_line_failure(fit.main, "fit", capsys)
    assert "one training for each --seed" in refused(
        *words, "--seeds", "3", "--kv-store", "dist_sync"
    )

"""evaluate --audit: probabilities of the folds, the list and the sheet."""

import csv
import json
import os

import cv2
import numpy as np
import pytest
from conftest import one_line_failure

from imagenet_trainer import evaluate, symbols
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval import audit
from imagenet_trainer.metrics import label_issues
from imagenet_trainer.metrics.label_issues import LabelIssues
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.train.initializers import initial_parameters

SHAPE = (3, 16, 16)
HOW = Preprocessing(SHAPE, (120.0, 110.0, 100.0), (60.0, 58.0, 56.0), 0)
CLASSES = (("circle", "circle"), ("cross", "cross"), ("square", "square"))


@pytest.fixture(scope="module")
def runs(packed, tmp_path_factory):
    """Three runs with random parameters, as of three folds; the folder of all."""
    folder = tmp_path_factory.mktemp("folds")
    with open_dataset(str(packed / "train.rec")).shards:
        fingerprint = open_dataset(str(packed / "train.rec")).fingerprint
    symbol = symbols.get_symbol("resnet8", 3, SHAPE)
    for fold in (1, 2, 3):
        run = Run(str(folder / f"fold-{fold}" / "model"))
        arg, aux = initial_parameters(*parameter_shapes(symbol, SHAPE), "xavier", fold)
        run.open_for_training()
        run.write_symbol(symbol.tojson())
        run.save(Checkpoint(arg, aux, Progress(1, 9), {"updates": np.array(9)}, HOW, CLASSES), 1)
        settings = {"data_train": str(packed / "train.rec"), "folds": 3, "fold": fold, "seed": 5}
        write_json(run.config_path, {"settings": settings, "data": {"train": fingerprint}})
        run.close()
    return folder


def test_an_audit(runs, packed, monkeypatch, capsys):
    """Each image has the probabilities of the network that was trained without it."""
    seen = {}

    def worst_three(labels, probabilities):
        seen.update(labels=labels, probabilities=probabilities)
        order = np.argsort(probabilities[np.arange(len(labels)), labels])[:3]
        return LabelIssues(order, probabilities[order, labels[order]].astype(np.float64))

    monkeypatch.setattr(audit, "check_library", lambda: None)
    monkeypatch.setattr(audit, "label_issues", worst_three)
    result = evaluate(audit=str(runs / "fold-*" / "model"))
    assert result.found == {"images": 60, "issues": 3, "file": str(runs / "audit.csv")}
    assert (result.files.audit, result.folder) == (runs / "audit.csv", runs)
    assert [part.prefix for part in result.parts] == [f"{runs}/fold-{n}/model" for n in (1, 2, 3)]
    own = {path for part in result.parts for path in part.paths}
    assert {*result.paths} - own == {runs / "audit.csv", runs / "audit.png"}
    assert own == {
        path for name in ("classes-", "confusion-", "evaluation.json", "predictions-", "proba")
        for path in runs.glob(f"fold-*/{name}*")
    }  # fmt: skip
    assert len(seen["labels"]) == 60
    with open(runs / "audit.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and {row["verdict"] for row in rows} == {""}
    whole = open_dataset(str(packed / "train.rec"))
    for row in rows:
        record = whole.shards.keys.tolist().index(int(row["key"]))
        label = int(whole.shards.record(record).label)
        assert row["given"] == CLASSES[label][0] == row["file"].split("/")[0]
        fold = next(
            n for n in (1, 2, 3)
            if int(row["key"])
            in open_dataset(f"{packed}/train.rec#fold={n}of3+seed=5").shards.keys
        )  # fmt: skip
        own = np.load(runs / f"fold-{fold}" / "probabilities-0001.npz")
        mine = own["probabilities"][own["indices"].tolist().index(int(row["key"]))]
        assert float(row["given_probability"]) == pytest.approx(mine[label], abs=1e-6)
        assert row["proposed"] == CLASSES[int(mine.argmax())][0]
    sheet = cv2.imread(str(runs / "audit.png"))
    assert sheet.shape[1] > 3 * 144
    worst = whole.shards.record(whole.shards.keys.tolist().index(int(rows[0]["key"])))
    image = cv2.imdecode(np.frombuffer(worst.image, np.uint8), 1)  # shown seven times as large
    np.testing.assert_array_equal(sheet[32:172, 8:148], image.repeat(7, 0).repeat(7, 1))
    assert "3 of 60 labels" in capsys.readouterr().out


def test_runs_that_are_no_set_of_folds(runs, monkeypatch, capsys):
    refused = one_line_failure(evaluate.main, "evaluate", capsys)
    monkeypatch.setattr(audit, "check_library", lambda: None)
    one, two, three = (str(runs / f"fold-{n}" / "model") for n in (1, 2, 3))
    assert "has no run without fold 3 of 3" in refused("--audit", f"{one},{two}")
    assert "one run of each fold" in refused("--audit", f"{one},{two},{three},{one}")
    assert f"--audit: {one}s-symbol.json: " in refused("--audit", f"{one}s")  # there is none
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: str(path) != str(runs))
        patch.chdir(runs)
        # Before anything is evaluated; absolute and relative paths may be mixed.
        read_only = refused("--audit", f"fold-1/model,{two},{three}")
    assert f"--audit: {runs} is read-only" in read_only and "--output" in read_only
    config = runs / "fold-2" / "config.json"
    text = config.read_text()
    try:
        config.write_text(text.replace('"seed": 5', '"seed": 6'))
        assert "another number of folds, seed" in refused("--audit", f"{one},{two},{three}")
        without = json.loads(text)
        del without["settings"]["folds"]
        config.write_text(json.dumps(without))
        assert "was not trained with --folds" in refused("--audit", f"{one},{two},{three}")
    finally:
        config.write_text(text)


def test_confident_learning_finds_planted_errors():
    """One label in twenty is moved to the next class; the last class has no images."""
    pytest.importorskip("cleanlab")
    random = np.random.default_rng(0)
    labels = random.integers(0, 9, 2000)
    logits = random.normal(0, 1, (2000, 10))
    logits[np.arange(2000), labels] += 5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = random.choice(2000, 100, replace=False)
    given = labels.copy()
    given[wrong] = (given[wrong] + 1) % 9
    found = label_issues.label_issues(given, probabilities.astype(np.float32))
    assert len(np.intersect1d(found.positions, wrong)) > 85
    assert len(found.positions) < 115
    assert (np.diff(found.quality) >= 0).all()
    with pytest.raises(InputError, match="one class"):
        label_issues.label_issues(np.full(5, 3), probabilities[:5].astype(np.float32))


def test_without_the_library(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "cleanlab", None)
    refused = one_line_failure(evaluate.main, "evaluate", capsys)
    assert "pip install -e '.[audit]'" in refused("--audit", "runs/a/model")

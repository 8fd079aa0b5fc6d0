"""Results of earlier calls: used, repaired, or computed again."""

import json
import os

import numpy as np
import pytest
from helpers.evaluated import evaluator_of, metrics_of, refusal
from helpers.mutations import mutations

from imagenet_trainer import evaluate
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval import results
from imagenet_trainer.metrics.evaluation import table
from imagenet_trainer.metrics.semantic import summary_lines
from imagenet_trainer.runs.predictions import load_predictions
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.viz import confusion


def test_nothing_is_computed_twice(prefix, evaluated, scored, counted):
    before = metrics_of(prefix)
    lines, metrics = scored(prefix, "--epochs", "all", "--batch-size", 5)
    assert lines[:2] == evaluated[1][:2] and metrics == before and counted == []
    Run(prefix).predictions_path(1).unlink()
    lines, metrics = scored(prefix, "--epochs", "all")
    assert lines[:2] == evaluated[1][:2] and metrics == before and counted == [1]


def test_other_parameters_are_computed_again(prefix, scored, counted):
    before = metrics_of(prefix)
    model = Run(prefix)
    model.save(model.load(1), 2)
    _, after = scored(prefix)
    assert counted == [2] and before["2"]["key"] != after["2"]["key"]
    assert before["1"]["loss"] == after["2"]["loss"]


def test_an_earlier_result_says_where_it_comes_from(prefix, capsys, counted):
    assert evaluate.main(["--model-prefix", prefix]) == 0
    computed = metrics_of(prefix)["2"]["computed"]
    assert computed.keys() == {"date", "engine", "version"}
    assert " ".join((f"from {computed['date']},", computed["engine"])) in capsys.readouterr().err
    assert counted == []
    assert evaluate.main(["--model-prefix", prefix, "--again"]) == 0
    assert "--again" not in capsys.readouterr().err and counted == [2]


def test_another_engine_or_version_computes_again(prefix, scored, counted):
    path = Run(prefix).evaluation_path
    record = json.loads(path.read_text())
    record["epochs"]["2"].update(loss=9.9, computed={"engine": "mxnet", "version": "1.0"})
    # Of a version that did not write it, nor checksums.
    del record["epochs"]["1"]["computed"], record["checksums"]
    path.write_text(json.dumps(record))
    lines, metrics = scored(prefix, "--epochs", "all")
    assert counted == [2] and metrics["2"]["loss"] != 9.9 and "9.9" not in lines[1]


def test_files_of_version_0_1_are_used(prefix, scored, counted):
    """It had predictions in answers-0002.npz, and probabilities in predictions-0002.npz."""
    wanted = scored(prefix, "--save-predictions")
    assert counted == [2]
    model = Run(prefix)
    probabilities = model.probabilities_path(2).read_bytes()
    model.predictions_path(2).rename(model.folder / "answers-0002.npz")
    model.probabilities_path(2).rename(model.folder / "predictions-0002.npz")
    assert scored(prefix, "--save-predictions") == wanted and counted == [2]
    assert model.probabilities_path(2).read_bytes() == probabilities
    model.save(model.load(1), 2)  # other parameters: now they are computed again
    scored(prefix)
    assert counted == [2, 2] and load_predictions(model, 2).key == metrics_of(prefix)["2"]["key"]
    assert model.probabilities_path(2).read_bytes() == probabilities


@pytest.mark.parametrize("share", [0, 0.5, None])
def test_damaged_counts_are_written_again(prefix, scored, counted, share):
    first = scored(prefix)
    path = Run(prefix).confusion_path(2, ".npz")
    data = path.read_bytes()
    middle = len(data) // 3
    overwritten = data[:middle] + bytes(40) + data[middle + 40 :]
    path.write_bytes(overwritten if share is None else data[: int(share * len(data))])
    assert scored(prefix) == first and counted == []
    assert path.read_bytes() == data


def test_removed_files_are_written_again_without_the_network(prefix, scored, counted):
    model = Run(prefix)
    for path in (model.confusion_path(2, ".png"), model.classes_path(2)):
        data = path.read_bytes()
        path.unlink()
        scored(prefix)
        assert path.read_bytes() == data
    assert counted == []


def test_counts_by_the_rules_of_an_older_version_are_replaced(prefix, scored, counted):
    """With three classes it counted three predictions per image: all cells of a row were equal."""
    first = scored(prefix)
    model = Run(prefix)
    paths = [model.confusion_path(2, suffix) for suffix in (".npz", ".png")]
    wanted = [path.read_bytes() for path in paths]
    predictions = load_predictions(model, 2)
    old = predictions.confusion(3).toarray()
    assert (old == 5).all()
    np.savez_compressed(paths[0], matrix=old, key=np.array(predictions.key))
    confusion.write_png(paths[1], confusion.draw(old))
    numbers = json.loads(model.evaluation_path.read_text())
    numbers["epochs"]["2"]["confused_pairs"] = []
    del numbers["checksums"]  # which it did not write
    write_json(model.evaluation_path, numbers)
    assert scored(prefix) == first and counted == []
    assert [path.read_bytes() for path in paths] == wanted


@pytest.mark.parametrize(("old", "new"), [('"loss": ', '"loss": 1'), ("calibration_error", "err")])
def test_a_changed_result_is_computed_again(prefix, scored, counted, old, new):
    lines, before = scored(prefix)
    path = Run(prefix).evaluation_path
    head, second, tail = path.read_text().partition('"2": {')
    assert old in tail
    path.write_text(head + second + tail.replace(old, new, 1))
    assert scored(prefix) == (lines, before) and counted == [2]


def test_a_damaged_evaluation_json(prefix, capsys):
    Run(prefix).evaluation_path.write_text('{"epochs"')
    assert "evaluation.json: is damaged" in refusal(capsys, "--model-prefix", prefix)


@pytest.mark.parametrize(
    "text",
    ["[]", '{"epochs": 3}', '{"epochs": {"2": 5}}', '{"epochs": {"two": {}}}', '{"sets": []}',
     '{"sets": {"train": 3}}', '{"about": {}}',
     '{"about": {"fingerprint": "", "views": {"bgr": 0}, "preprocessing": {"side": 3}}}'],
)  # fmt: skip
def test_an_evaluation_json_of_another_program(prefix, capsys, text):
    Run(prefix).evaluation_path.write_text(text)
    line = refusal(capsys, "--model-prefix", prefix)
    assert "evaluation.json: " in line and "remove it" in line


def test_wrong_values_in_stored_results_are_one_line_or_computed_again(prefix, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # of hundreds of files
    files = evaluator_of(prefix, 2).files
    predictions = load_predictions(Run(prefix), 2)
    known = results.estimates(predictions)
    monkeypatch.setattr(results, "estimates", lambda *_: known)  # hundreds of times
    path = Run(prefix).evaluation_path
    record = json.loads(path.read_text())
    del record["epochs"]["1"], record["checksums"]
    classes = evaluator_of(prefix, 2).dataset.classes
    refused = 0
    for _, changed in mutations(record):
        path.write_text(json.dumps(changed))
        try:
            metrics = files.record(2, predictions, ())
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
            continue
        table(metrics, 3)
        list(summary_lines(metrics, dict(classes)))
    assert refused > 200

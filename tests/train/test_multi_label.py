"""Training on images with several classes (--multi-label)."""

import csv
import json

import cv2
import numpy as np
import pytest
from conftest import write_records
from helpers.evaluated import evaluator_of
from helpers.fit_runs import assert_resumes_exactly
from sklearn import metrics as sk

from imagenet_trainer import evaluate, export, fit, predict
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines.symbol import ends_in_sigmoid
from imagenet_trainer.graph import load_json
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import Run

CLASSES = 3  # a third of the image is white where it has the class


def image_of(row, random):
    image = random.integers(0, 200, (18, 18, 3), np.uint8)
    for label in np.flatnonzero(row):
        image[:, 6 * label : 6 * label + 6] += 20
    return cv2.imencode(".png", image)[1].tobytes()


def vectors_of(count, seed):
    vectors = np.random.default_rng(seed).random((count, CLASSES)) < 0.4
    vectors[0], vectors[1] = False, True
    return vectors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train.rec (60) and val.rec (15) with 0 and 1 for each class; lists.rec with their classes."""
    path = tmp_path_factory.mktemp("several")
    for name, count, seed in (("train", 60, 0), ("val", 15, 1)):
        random, vectors = np.random.default_rng(seed), vectors_of(count, seed)
        images = [image_of(row, random) for row in vectors]
        binary = [pack_header(tuple(row.astype(float)), n) for n, row in enumerate(vectors)]
        write_records(path / f"{name}.rec", [head + one for head, one in zip(binary, images)])
        named = [
            pack_header(tuple(map(float, np.flatnonzero(row))), n) + one
            for n, (row, one) in enumerate(zip(vectors, images))
            if row.any()
        ]
        write_records(path / f"{name}-lists.rec", named)
    return path


def words_of(folder, *more, ending=""):
    return [
        "--network", "resnet", "--num-layers", "8", "--image-shape", "3,16,16",
        "--multi-label", "1",
        "--data-train", str(folder / f"train{ending}.rec"), "--random-resized-crop", "0",
        "--data-val", str(folder / f"val{ending}.rec"), "--batch-size", "8", "--num-epochs", "2",
        "--lr", "0.05", "--random-mirror", "0", "--disp-batches", "1", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def prefix(folder):
    prefix = str(folder / "run" / "model")
    assert fit.main(words_of(folder, "--model-prefix", prefix, "--num-epochs", "3")) == 0
    return prefix


def rows_of(prefix):
    with open(Run(prefix).folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_validation_is_the_mean_average_precision(prefix, folder, capsys):
    """It is scikit-learn's, of the sigmoids; it chooses the best epoch; evaluate has the same."""
    run = Run(prefix)
    assert ends_in_sigmoid(load_json(run.read_symbol()))
    words = ["--model-prefix", prefix, "--epochs", "all", "--save-predictions"]
    assert evaluate.main(words) == 0
    printed = capsys.readouterr().out
    scores = []
    for epoch, row in enumerate(rows_of(prefix), 1):
        found = read_arrays(run.probabilities_path(epoch, "multilabel"))
        with open(run.average_precision_path(epoch, "multilabel"), newline="") as file:
            by_class = [float(one["average_precision"]) for one in csv.DictReader(file)]
        assert not np.allclose(found["probabilities"].sum(axis=1), 1)  # not those of a softmax
        scores.append(float(row["val_mean_average_precision"]))
        assert scores[-1] == pytest.approx(np.mean(by_class), abs=1e-6)
        assert f"mean average precision {100 * scores[-1]:.2f} %" in printed
        loss = float(row["val_loss"])
        assert 0 < loss < 2
    assert best_epoch(run) == 1 + int(np.argmax(scores))
    events = [json.loads(line) for line in run.events_path.read_text().splitlines()]
    validations = [one for one in events if one["event"] == "validation"]
    assert [one["mean_average_precision"] for one in validations] == scores
    log = run.log_path.read_text()
    assert f"Validation-mean-average-precision={scores[0]:f}" in log
    assert f"Validation-binary-cross-entropy={float(rows_of(prefix)[0]['val_loss']):f}" in log


def test_it_is_resumed_exactly(folder, tmp_path):
    more = ["--mixup", "0.3", "--repeated-augmentation", "2"]
    assert_resumes_exactly(words_of(folder, *more), tmp_path)


def test_lists_of_classes(folder, tmp_path, capsys):
    prefix = str(tmp_path / "model")
    words = words_of(folder, "--model-prefix", prefix, "--num-epochs", "1", ending="-lists")
    assert fit.main(words) == 2
    assert "--num-classes" in capsys.readouterr().err
    assert fit.main([*words, "--num-classes", "3", "--minival", "6", "--patience", "1"]) == 0
    (row,) = rows_of(prefix)
    assert 0 < float(row["minival_mean_average_precision"]) <= 1


def test_other_commands(prefix, folder, tmp_path, capsys):
    image = tmp_path / "one.png"
    image.write_bytes(image_of([1, 0, 1], np.random.default_rng(0)))
    assert predict.main(["--model-prefix", prefix, str(image), "--submission", "one.csv"]) == 2
    assert "--submission-kind label: " in capsys.readouterr().err
    assert predict.main(["--model-prefix", prefix, str(image)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + CLASSES
    found = predict(model_prefix=prefix, pictures=[str(image)])[0]
    assert evaluate.main(["--model-prefix", prefix, "--features"]) == 0
    (path,) = Run(prefix).folder.glob("features-*.npz")
    assert read_arrays(path)["features"].shape[0] == 15 - (~vectors_of(15, 1).any(axis=1)).sum()
    to = ["--to", "onnx,mxnet", "--output", str(tmp_path / "out"), "--check-pictures", "4"]
    assert export.main(["--model-prefix", prefix, *to]) == 0
    assert sum(p for _, _, p in found) != pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "more",
    [
        ["--cutmix", "1"], ["--label-smoothing", "0.1"], ["--class-weights", "inverse"],
        ["--sample-weights", "sqrt"], ["--bce-loss", "1"], ["--label-index", "0"],
        ["--confusion-gif", "1"], ["--teacher", "runs/a/model,1"], ["--loss", "ce"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_what_cannot_be(folder, tmp_path, capsys, more):
    words = words_of(folder, "--model-prefix", str(tmp_path / "model"), *more)
    assert fit.main(words) == 2
    err = capsys.readouterr().err.strip()
    assert more[0] in err and len(err.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flag", ["--restrict-classes", "--corruptions", "--calibrate", "--audit", "--explain"]
)
def test_what_evaluate_refuses(prefix, folder, capsys, flag):
    value = {"--calibrate": [str(folder / "train.rec")], "--audit": [prefix]}.get(flag, [])
    assert evaluate.main(["--model-prefix", prefix, flag, *value]) == 2
    assert flag in capsys.readouterr().err


def test_labels_of_a_table_are_sets(prefix, tmp_path, capsys):
    """Images that it does not have keep all classes of their records; scikit-learn's precision."""
    (tmp_path / "labels.csv").write_text("key,label\n1,0;2\n3,\n")
    words = ["--model-prefix", prefix, "--labels", str(tmp_path / "labels.csv")]
    assert evaluate.main([*words, "--save-predictions"]) == 0
    out, truth = capsys.readouterr().out, vectors_of(15, 1)
    truth[1], truth[3] = [True, False, True], False
    run, name = Run(prefix), "multilabel-relabelled"
    found = read_arrays(run.probabilities_path(3, name))
    counted = truth.any(axis=1)
    np.testing.assert_array_equal(found["labels"] >= 0, counted)
    assert truth[counted, found["labels"][counted]].all()
    evaluator = evaluator_of(prefix, 3)
    ((_, views, _),) = evaluator._batches
    p = evaluator._engine.predict(views)
    wanted = sk.average_precision_score(truth, p, average="macro")
    assert f"mean average precision {100 * wanted:.2f} %" in out
    assert evaluate.main([*words, "--real-labels", "x.json"]) == 2
    assert "each replaces the labels" in capsys.readouterr().err


def test_two_epochs_are_compared_by_average_precision(prefix, tmp_path, capsys):
    words = ["--model-prefix", prefix, "--compare", "1", "3"]
    assert evaluate.main(words) == 0
    out = capsys.readouterr().out
    found = json.loads((Run(prefix).folder / "comparison-0001-0003-multilabel.json").read_text())
    scores = [float(rows_of(prefix)[epoch]["val_mean_average_precision"]) for epoch in (0, 2)]
    assert found["average_precision"]["mean"] == pytest.approx(scores, abs=1e-6)
    assert f"{100 * scores[0]:.2f} % -> {100 * scores[1]:.2f} %" in out
    assert evaluate.main([*words, "--report"]) == 2
    assert "--report: some images have several right classes" in capsys.readouterr().err


def test_a_run_keeps_its_kind_of_labels(prefix, folder, capsys):
    words = words_of(folder, "--model-prefix", prefix)
    words[words.index("--multi-label") + 1] = "0"
    assert fit.main([*words, "--label-index", "0"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1

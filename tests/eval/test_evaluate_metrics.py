"""The numbers of evaluate: counts, metrics, probabilities."""

import csv
import shutil

import numpy as np
import pytest
from helpers.evaluated import matrix_of, metrics_of, probabilities_by_mxnet_alone, refusal
from sklearn import metrics as sk

from imagenet_trainer import evaluate
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.predictions import load_predictions
from imagenet_trainer.runs.run import Run


@pytest.fixture(scope="module")
def seven_evaluated(seven, tmp_path_factory):
    """Prefix of a copy of that network, evaluated in one batch."""
    folder = tmp_path_factory.mktemp("seven-evaluated") / "run"
    shutil.copytree(seven, folder)
    # The folder has no config.json, so the shard must be given.
    words = ["--data-val", str(seven / "val.rec"), "--batch-size", "23"]
    assert evaluate.main(["--model-prefix", str(folder / "model"), *words]) == 0
    return str(folder / "model")


def test_metrics_agree_with_mxnet_and_numpy(evaluated, packed):
    folder, lines = evaluated
    prefix = str(folder / "model")
    found = metrics_of(prefix)
    for epoch in (1, 2):
        p, labels = probabilities_by_mxnet_alone(prefix, epoch, str(packed / "val.rec"))
        best = np.argsort(-p, axis=1, kind="stable")
        numbers = found[str(epoch)]
        assert numbers["images"] == 15
        assert numbers["rank1_count"] == (best[:, 0] == labels).sum()
        assert numbers["rank1"] == pytest.approx(numbers["rank1_count"] / 15)
        assert numbers["rank5_count"] == 15 and numbers["rank5"] == 1
        loss = -np.log(p[np.arange(15), labels].astype(np.float64)).mean()
        assert numbers["loss"] == pytest.approx(loss, rel=1e-4)
        wanted = np.zeros((3, 3), int)
        for label, row in zip(labels, best):
            wanted[label, row[0]] += 1  # with three classes only the most probable one counts
        np.testing.assert_array_equal(matrix_of(prefix, epoch), wanted)
        rank1 = 100 * numbers["rank1"]
        assert lines[epoch - 1] == (
            f"epoch {epoch}: rank-1 {rank1:.2f} %  loss {numbers['loss']:.4f}  (15 images)"
        )


def test_metrics_agree_with_the_history(prefix):
    with open(Run(prefix).history_path, newline="") as file:
        history = {row["epoch"]: row for row in csv.DictReader(file)}
    found = metrics_of(prefix)
    assert found.keys() == history.keys()
    for epoch, numbers in found.items():
        assert numbers["rank1"] == float(history[epoch]["val_rank1"])
        assert numbers["loss"] == pytest.approx(float(history[epoch]["val_loss"]), rel=1e-5)


def test_an_image_adds_its_five_most_probable_classes(seven_evaluated):
    matrix, metrics = matrix_of(seven_evaluated, 1), metrics_of(seven_evaluated)["1"]
    assert metrics["images"] == 23 and matrix.shape == (7, 7) and matrix.sum() == 5 * 23
    labels = np.arange(23) ** 2 % 7
    np.testing.assert_array_equal(matrix.sum(axis=1), 5 * np.bincount(labels, minlength=7))
    # The diagonal has the images whose class is among the five.
    assert matrix.trace() == metrics["rank5_count"] >= metrics["rank1_count"]


@pytest.mark.parametrize("words", [["--batch-size", 9], ["--cpus", 2]])
def test_batches_and_devices_change_nothing(seven_prefix, seven, seven_evaluated, scored, words):
    data = ["--data-val", seven / "val.rec"]
    wanted = metrics_of(seven_evaluated)
    _, found = scored(seven_prefix, *data, "--data-nthreads", 2, *words)
    np.testing.assert_array_equal(matrix_of(seven_prefix, 1), matrix_of(seven_evaluated, 1))
    # The last digits of the probabilities depend on the batch; the counts do not.
    for name in ("loss", "calibration_error"):
        assert found["1"].pop(name) == pytest.approx(wanted["1"].pop(name), rel=1e-5)
        for metrics in (found, wanted):
            metrics["1"]["intervals"].pop(name)
    assert found == wanted


def test_metrics_agree_with_scikit_learn_on_the_saved_probabilities(seven_prefix, seven, scored):
    data = ["--data-val", seven / "val.rec", "--save-predictions", "--top-k", "2,3"]
    _, found = scored(seven_prefix, *data, "--batch-size", 5)
    numbers = found["1"]
    saved = read_arrays(Run(seven_prefix).probabilities_path(1))
    p, labels = saved["probabilities"], saved["labels"]
    assert p.shape == (23, 7) and p.dtype == np.float32
    np.testing.assert_array_equal(saved["indices"], np.arange(23))
    np.testing.assert_array_equal(labels, np.arange(23) ** 2 % 7)
    for k in (1, 2, 3, 5):
        wanted = sk.top_k_accuracy_score(labels, p, k=k, labels=np.arange(7))
        assert numbers[f"rank{k}"] == pytest.approx(wanted)
        assert numbers[f"rank{k}_count"] == round(23 * wanted)
    exact = p.astype(np.float64)
    wanted = sk.log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=np.arange(7))
    assert numbers["loss"] == pytest.approx(wanted, rel=1e-5)
    best = p.argmax(axis=1)
    predictions = load_predictions(Run(seven_prefix), 1)
    np.testing.assert_array_equal(
        predictions.confusion(1).toarray(), sk.confusion_matrix(labels, best, labels=np.arange(7))
    )
    assert numbers["macro_recall"] == pytest.approx(sk.balanced_accuracy_score(labels, best))
    with open(Run(seven_prefix).classes_path(1), newline="") as file:
        rows = list(csv.DictReader(file))
    recall = sk.recall_score(labels, best, labels=np.arange(7), average=None, zero_division=np.nan)
    printed = [float(row["recall"]) if row["recall"] else np.nan for row in rows]
    np.testing.assert_allclose(printed, recall, atol=1e-6)
    assert [int(row["pictures"]) for row in rows] == np.bincount(labels, minlength=7).tolist()


def test_probabilities_requested_later_are_computed(prefix, scored, counted):
    first = scored(prefix)
    assert not Run(prefix).probabilities_path(2).exists() and counted == []
    for _ in range(2):
        assert scored(prefix, "--save-predictions") == first and counted == [2]
    assert Run(prefix).probabilities_path(2).exists()


def test_more_ranks_do_not_need_the_network(prefix, scored, counted):
    usual, first = scored(prefix)
    lines, found = scored(prefix, "--top-k", 2)
    assert counted == [] and "rank-2 " in lines[0]
    assert found["2"]["rank2_count"] == (load_predictions(Run(prefix), 2).rank < 2).sum()
    assert found["2"]["rank1"] == first["2"]["rank1"]
    # Ranks that were requested once are kept, and printed on request.
    lines, found = scored(prefix, "--top-k", 3)
    assert "rank-3 " in lines[0] and "rank-2 " not in "".join(lines)
    assert {"rank2", "rank3"} <= found["2"]["intervals"].keys()
    assert scored(prefix)[0] == usual and counted == []


def test_more_ranks_than_classes(prefix, capsys):
    output = refusal(capsys, "--model-prefix", prefix, "--top-k", 2, "--top-k", "2,99")
    assert "--top-k 99: " in output and "2 or less" in output

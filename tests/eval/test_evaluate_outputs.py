"""What evaluate draws and writes, and where."""

import os
import shutil
from pathlib import Path

import numpy as np
from helpers.evaluated import matrix_of, refusal
from PIL import Image

from imagenet_trainer import evaluate
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.predictions import load_predictions
from imagenet_trainer.runs.run import Run


def files_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_drawn_matrices_and_gif(prefix, scored):
    lines, _ = scored(prefix, "--epochs", "all", "--gif")
    assert lines[-1] == f"drawn: {Run(prefix).gif_path()}"
    with Image.open(Run(prefix).gif_path()) as gif:
        assert gif.n_frames == 2 and gif.size == (1000, 1042)
    for epoch in (1, 2):
        with Image.open(Run(prefix).confusion_path(epoch, ".png")) as image:
            assert image.size == (1000, 1000)
            # Only green, brightest for the highest count.
            red, green, blue = np.moveaxis(np.asarray(image), 2, 0)
        assert not red.any() and not blue.any()
        matrix = matrix_of(prefix, epoch)
        centres = np.array([166, 500, 833])
        cells = green[centres[:, None], centres]
        np.testing.assert_array_equal(cells == 0, matrix == 0)
        assert cells[matrix == matrix.max()].min() == 255


def test_report_and_another_order(prefix, scored):
    lines, found = scored(prefix, "--epochs", "all", "--gif", "--order", "cluster", "--report")
    folder = Run(prefix).folder
    assert lines[-1] == f"written: {folder / 'report.html'}"
    for name in ("confusion-0001.cluster.figure.png", "confusion-0002.cluster.png",
                 "confusion.cluster.gif", "report.html"):  # fmt: skip
        assert (folder / name).stat().st_size > 100, name
    assert "meaning" not in found["2"] and len(found["2"]["confused_pairs"]) <= 3


def test_an_order_that_the_classes_do_not_allow(prefix, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--order", "wordnet")
    assert "--order wordnet: class circle " in line


def test_features_are_what_the_classifier_takes(prefix, scored):
    """The classifier, computed here from the features, gives the probabilities of the network."""
    scored(prefix, "--epochs", "2", "--features")
    run = Run(prefix)
    found = read_arrays(run.folder / "features-0002.npz")
    arg, predictions = run.load(2).arg, load_predictions(run, 2)
    logits = found["features"] @ arg["fc1_weight"].T + arg["fc1_bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    of_label = (odds / odds.sum(axis=1, keepdims=True))[np.arange(len(odds)), predictions.labels]
    np.testing.assert_allclose(of_label, predictions.true, rtol=1e-4)
    rows = (run.folder / "features-0002-projector" / "metadata.tsv").read_text().splitlines()
    vectors = np.loadtxt(run.folder / "features-0002-projector" / "features.tsv")
    np.testing.assert_allclose(vectors, found["features"], rtol=1e-3, atol=1e-4)
    assert len(rows) == 1 + len(vectors) and rows[0].split("\t")[:2] == ["class", "predicted"]
    hits = sum(row.split("\t")[2] == "True" for row in rows)
    assert hits == (predictions.rank == 0).sum()


def test_features_of_several_views_are_refused(prefix, capsys):
    assert "--features" in refusal(capsys, "--model-prefix", prefix, "--features", "--flip")


def test_reviewed_labels_of_each_epoch(prefix, scored, tmp_path):
    keys = np.load(Run(prefix).predictions_path(2))["keys"]
    path = tmp_path / "review.csv"
    labels = np.load(Run(prefix).predictions_path(2))["labels"]
    path.write_text(f"image,key,label,verdict,class\n0,{keys[0]},{labels[0]},ambiguous,\n")
    lines, _ = scored(prefix, "--epochs", "all", "--review", path)
    wanted = f"{len(keys) - 1} images"
    assert sum(line.startswith("without them") and wanted in line for line in lines) == 2


def test_two_networks_in_one_folder_keep_their_results_apart(fresh, capsys, tmp_path):
    for path in list((tmp_path / "run").glob("model-*")):
        shutil.copy(path, path.with_name(path.name.replace("model-", "other-")))
    other = fresh.replace("model", "other")
    for prefix in (fresh, other, fresh):
        assert evaluate.main(["--model-prefix", prefix]) == 0
        assert "several networks" in capsys.readouterr().err
    for name in ("model", "other"):
        assert (tmp_path / "run" / f"{name}-results" / "evaluation.json").exists()
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_results_in_another_folder(fresh, capsys, tmp_path):
    before = files_of(tmp_path / "run")
    words = ["--model-prefix", fresh, "--output", str(tmp_path / "out")]
    assert evaluate.main([*words, "--report", "--gif"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert files_of(tmp_path / "run") == before
    written = files_of(tmp_path / "out")
    for name in ("evaluation.json", "predictions-0002.npz", "report.html", "confusion.gif"):
        assert name in written
    assert any(str(tmp_path / "out" / "confusion.gif") in line for line in lines)
    assert evaluate.main(words) == 0
    assert capsys.readouterr().out.splitlines()[0] == lines[0]
    words = ["--compare", "1", fresh + ",2", "--output", str(tmp_path / "both")]
    assert evaluate.main(["--model-prefix", fresh, *words]) == 0
    assert files_of(tmp_path / "run") == before
    assert (tmp_path / "both" / "comparison-0001-0002.json").exists()


def test_the_results_of_a_read_only_run_are_printed(fresh, capsys, monkeypatch, tmp_path):
    before = files_of(tmp_path / "run")
    real = os.access
    run = tmp_path / "run"
    monkeypatch.setattr(os, "access", lambda path, *rest: Path(path) != run and real(path, *rest))
    assert evaluate.main(["--model-prefix", fresh]) == 0
    output, error = capsys.readouterr()
    assert output.startswith("epoch 2: rank-1 ") and "--output" in error
    assert "drawn:" not in output and files_of(run) == before
    for flag in ("--report", "--features"):
        text = refusal(capsys, "--model-prefix", fresh, flag)
        assert f"{flag}: " in text and "--output" in text

"""The paths in the results of evaluate(): all files that it left, and no others."""

import os
from pathlib import Path

import numpy as np

from imagenet_trainer import evaluate
from imagenet_trainer.metrics.predictions import load


def files_in(folder):
    return {path for path in Path(folder).rglob("*") if path.is_file()}


def listed(result):
    """The files of a result, and those in its folders."""
    return {file for path in result.paths for file in (files_in(path) if path.is_dir() else {path})}


def test_everything_of_the_epochs(fresh, tmp_path):
    flags = {
        "model_prefix": fresh, "epochs": "all", "output": tmp_path / "out", "gif": True,
        "report": True, "features": True, "tensorboard": True, "explain": 2, "order": "cluster",
        "save_predictions": True, "figure_formats": "svg", "table": "csv",
    }  # fmt: skip
    result = evaluate(**flags)
    out = tmp_path / "out"
    assert result.folder == out and result.prefix == fresh and list(result) == [1, 2]
    assert listed(result) == files_in(out) and len(result.paths) == len({*result.paths})
    files, one = result.files, result[2].files
    assert files.metrics == out / "evaluation.json" and files.report == out / "report.html"
    assert files.gif == out / "confusion.cluster.gif" and files.video is None
    assert files.thumbnails.parent == out and files.projector.name == "features-0002-projector"
    assert files.explanations.suffix == ".csv" and files.explanations_sheet.suffix == ".jpg"
    assert load(one.predictions).key == result[2]["key"]
    assert np.load(one.probabilities)["probabilities"].shape == (15, 3)
    assert one.csv == one.predictions.with_suffix(".csv") and one.parquet is None
    assert np.load(one.matrix)["matrix"].shape == (3, 3) and one.classes.suffix == ".csv"
    assert (one.picture.name, one.figure.name) == (
        "confusion-0002.png", "confusion-0002.cluster.figure.png",
    )  # fmt: skip
    assert {path.suffix for path in one.drawings} == {".svg", ".png"}
    again = evaluate(model_prefix=fresh, output=out, order="cluster")  # all are up to date
    assert {*again.paths} < {*result.paths} and again[2].files.predictions == one.predictions


def test_a_comparison_has_the_files_of_both_sides(fresh, tmp_path):
    before = files_in(tmp_path)
    result = evaluate(model_prefix=fresh, compare=(1, 2), report=True, figure_formats=("pdf",))
    assert listed(result) == files_in(tmp_path) - before and len(result) == 0
    assert [part.epochs.keys() for part in result.parts] == [{1}, {2}]
    one, two = (part[epoch].rank1 for part, epoch in zip(result.parts, (1, 2)))
    assert result.found["rank1"] == [one, two]
    assert result.files.comparison.with_suffix(".html") == result.files.report
    assert [path.suffix for path in result.files.drawings] == [".pdf"]


def test_a_calibration_has_the_files_without_the_temperature(fresh, packed, tmp_path):
    before = files_in(tmp_path)
    result = evaluate(model_prefix=fresh, epochs=1, calibrate=packed / "train.rec")
    assert listed(result) == files_in(tmp_path) - before
    (plain,) = result.parts
    assert plain[1].files.predictions.name == "predictions-0001.npz"
    assert result[1].files.predictions.name == "predictions-0001-calibrated.npz"
    assert result[1].files.temperature.name == "model-0001.temperature.json"
    assert result[1].rank1 == plain[1].rank1 and plain[1].files.temperature is None


def test_results_that_are_only_printed_have_no_files(fresh, tmp_path, monkeypatch):
    real, run = os.access, tmp_path / "run"
    monkeypatch.setattr(os, "access", lambda path, *rest: Path(path) != run and real(path, *rest))
    before = files_in(tmp_path)
    for flags in ({}, {"compare": ("1", "2")}, {"find_preprocessing": True, "find_images": 4}):
        result = evaluate(model_prefix=fresh, **flags)
        assert (result.paths, result.folder, result.prefix) == ([], None, fresh)
        assert len(result) == (0 if flags else 1)
    assert files_in(tmp_path) == before

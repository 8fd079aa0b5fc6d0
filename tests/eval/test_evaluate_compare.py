"""Two networks: evaluate --compare."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.evaluated import metrics_of, refusal
from PIL import Image

from imagenet_trainer import evaluate
from imagenet_trainer.runs.predictions import load_predictions
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import Run
from imagenet_trainer.viz.confusion_figure import _LEFT, _TOP


def test_two_epochs_compared(prefix, capsys):
    from_python = evaluate(model_prefix=prefix, compare=("1", "2")).found
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{prefix} epoch 1: ") and "epoch 2: " in lines[1]
    assert lines[2].startswith("rank-1: ") and "95 % interval" in lines[2]
    result = json.loads((Run(prefix).folder / "comparison-0001-0002.json").read_text())
    found = metrics_of(prefix)
    assert result == from_python
    assert lines[-1] == f"drawn: {Run(prefix).folder / 'comparison-0001-0002.figure.png'}"
    assert result["rank1"] == [found["1"]["rank1"], found["2"]["rank1"]]
    assert result["difference"] == pytest.approx(found["2"]["rank1"] - found["1"]["rank1"])


def test_the_difference_of_two_epochs_is_drawn(prefix):
    words = ["--model-prefix", prefix, "--compare", "1", "2", "--figure-formats", "svg"]
    assert evaluate.main(words) == 0
    path = Run(prefix).folder / "comparison-0001-0002.figure.png"
    assert path.with_suffix(".svg").exists()
    one, other = (load_predictions(Run(prefix), epoch).confusion(1).toarray() for epoch in (1, 2))
    with Image.open(path) as image:
        cells = np.array(image.convert("RGB")).astype(int)[_TOP:, _LEFT:]
    change = other - one
    assert (change != 0).any()
    for row, column in np.ndindex(3, 3):
        red, _, blue = cells[row * 333 + 30, column * 333 + 30]
        assert np.sign(red - blue) == np.sign(change[row, column])


def test_two_runs_compared(prefix, tmp_path, capsys):
    shutil.copytree(Run(prefix).folder, tmp_path / "again")
    other = str(tmp_path / "again" / "model")
    assert evaluate.main(["--compare", f"{prefix},1", other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{prefix} epoch 1: ") and lines[1].startswith(f"{other} epoch 2: ")
    (kept,) = Run(prefix).folder.glob("comparison-0001-*again_model-0002.json")
    assert json.loads(kept.read_text())["b"]["prefix"] == other
    # The images are the own ones of both runs.
    assert "sets" not in json.loads(Run(other).evaluation_path.read_text())


def test_a_page_about_two_networks_with_their_own_preprocessing(prefix, capsys):
    sides = [f"{prefix},2", f"{prefix},2 --bgr 1 --rgb-mean 0,0,0"]
    assert evaluate.main(["--compare", *sides, "--report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (path,) = Run(prefix).folder.glob("comparison-0002-*.html")
    assert f"written: {path}" in lines
    html = path.read_text()
    assert html.count("BGR, mean 0,0,0") == 1 and html.count("RGB, mean") == 1
    lost = json.loads(path.with_suffix(".json").read_text())["only_a_right"]
    assert f"<b>{lost}</b>images lost" in html


@pytest.mark.parametrize(
    ("value", "named"),
    [("1 --bgr maybe", "--bgr"), ("1 --lr 3", "--lr"), ("1 --classes 'x", "quotation")],
)
def test_mistakes_in_the_flags_of_one_side(prefix, capsys, value, named):
    line = refusal(capsys, "--model-prefix", prefix, "--compare", value, "2")
    assert f"--compare {value}" in line and named in line


def test_a_comparison_checks_both_epochs_first(prefix, capsys):
    assert "model-0099.params: no such" in refusal(
        capsys, "--model-prefix", prefix, "--compare", "1", "99"
    )


def test_a_comparison_with_the_best_epoch(prefix, capsys):
    best = best_epoch(Run(prefix))
    assert evaluate.main(["--model-prefix", prefix, "--compare", "1", "best"]) == 0
    assert f"{prefix} epoch {best}: " in capsys.readouterr().out.splitlines()[1]


def test_networks_with_other_orders_of_the_classes_are_compared(prefix, tmp_path, capsys):
    """A copy whose classifier and names are in another order predicts the same."""
    shutil.copytree(Path(prefix).parent, tmp_path / "turned")
    turned = Run(str(tmp_path / "turned" / "model"))
    one = turned.load(2)
    order = [2, 0, 1]
    arg = {n: v[order] if n.startswith("fc1") else v for n, v in one.arg.items()}
    turned.save(replace(one, arg=arg, classes=tuple(one.classes[k] for k in order)), 2)
    assert evaluate.main(["--compare", prefix, turned.prefix]) == 0
    assert "only the first is correct: 0, only the second: 0" in capsys.readouterr().out

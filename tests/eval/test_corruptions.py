"""Accuracy on corrupted images; the library itself is an optional one."""

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_shape

from imagenet_trainer import evaluate
from imagenet_trainer.data.classes import default_classes
from imagenet_trainer.data.corruptions import ALEXNET_ERRORS, KINDS, STRENGTHS, corrupted
from imagenet_trainer.eval import corruptions
from imagenet_trainer.graph import sym
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run


def test_the_mean_corruption_error_is_that_of_the_paper():
    """The errors of all strengths, summed, relative to AlexNet's; the mean over the kinds."""
    rng = np.random.default_rng(0)
    hits = {(kind, strength): rng.random(40) < 0.9 - 0.1 * strength
            for kind in KINDS for strength in STRENGTHS}  # fmt: skip
    lines = list(corruptions.table(rng.random(40) < 0.9, hits, default_classes(1000)))
    ce = [
        sum(1 - hits[kind, strength].mean() for strength in STRENGTHS) / (5 * alexnet)
        for kind, alexnet in ALEXNET_ERRORS.items()
    ]
    assert f"mean corruption error: {100 * np.mean(ce):.1f}," in lines[-1]
    assert [line.split()[-1] for line in lines[2:17]] == [f"{100 * value:.1f}" for value in ce]
    # The mean of AlexNet's own errors gives 100 by definition; other classes have no reference.
    other = list(corruptions.table(rng.random(40) < 0.9, hits, default_classes(10)))
    assert len(other) == len(lines) - 1 and "CE" not in other[0]


def network(prefix):
    """Of two classes: bright and dark images."""
    pooled = sym.Pooling(sym.Variable("data"), global_pool=True, kernel=(1, 1), pool_type="avg",
                         name="pool")  # fmt: skip
    logits = sym.FullyConnected(sym.Flatten(pooled), num_hidden=3, name="fc")
    run = Run(str(prefix))
    run.folder.mkdir()
    label = sym.Variable("softmax_label")
    run.write_symbol(sym.SoftmaxOutput(logits, label, name="softmax").tojson())
    arg = {"fc_weight": np.eye(3, dtype=np.float32), "fc_bias": np.zeros(3, np.float32)}
    how = Preprocessing((3, 32, 32), (0.0,) * 3, (1.0,) * 3, 32)
    names = tuple((one, one) for one in ("circle", "cross", "square"))
    run.save(Checkpoint(arg, {}, Progress(1, 1), {"updates": np.array(1)}, how, names), 1)
    return run


def test_the_command(packed, tmp_path, monkeypatch, capsys):
    run, calls = network(tmp_path / "run" / "model"), []

    def paint(image, kind, strength, key):
        """All images become those of one class: red, green or blue."""
        calls.append((kind, strength, key))
        out = np.zeros_like(image)
        out[..., strength % 3] = 200
        return out

    monkeypatch.setattr(corruptions, "check_library", lambda: None)
    monkeypatch.setattr(corruptions, "corrupted", paint)
    words = ["--model-prefix", run.prefix, "--data-val", str(packed / "val.rec"), "--corruptions"]
    assert evaluate.main([*words, "--corruption-images", "0", "--batch-size", "4"]) == 0
    assert len(calls) == len(set(calls)) == 15 * 5 * 15
    rows = list(csv.DictReader((tmp_path / "run" / "corruptions-0001-val.csv").open()))
    assert len(rows) == 76 and {row["images"] for row in rows} == {"15"}
    assert {row["rank1"] for row in rows[1:]} == {"0.333333"}
    assert "mean rank-1: 33.33 %" in capsys.readouterr().out
    assert evaluate.main([*words, "--corruption-images", "4"]) == 0
    assert "4 images" in capsys.readouterr().out
    flags = {"model_prefix": run.prefix, "data_val": str(packed / "val.rec"), "corruptions": True}
    # What is prepared or counted otherwise has a file of its own.
    other = evaluate(**flags, corruption_images=4, val_resize=40, restrict_classes=True)
    assert other.files.corruptions.name == "corruptions-0001-val-resize40-restricted.csv"
    other.files.corruptions.unlink()
    before = sorted((tmp_path / "run").iterdir())
    found = evaluate(**flags, corruption_images=4)
    assert found.paths == [found.files.corruptions] == list((tmp_path / "run").glob("corr*.csv"))
    assert found.found.keys() == {"none", *KINDS} and found.prefix == run.prefix
    capsys.readouterr()
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, *rest: Path(path) != tmp_path / "run" and real(path, *rest)
    )
    assert evaluate.main([*words, "--corruption-images", "4"]) == 0
    unkept = evaluate(**flags, corruption_images=4)
    assert (unkept.paths, unkept.folder) == ([], None)
    output = capsys.readouterr()
    assert "mean rank-1" in output.out and "written" not in output.out and "--output" in output.err
    assert sorted((tmp_path / "run").iterdir()) == before
    (tmp_path / "labels.csv").write_text("key,label\n" + "".join(f"{k},\n" for k in range(15)))
    assert evaluate.main([*words, "--labels", str(tmp_path / "labels.csv")]) == 2
    assert evaluate.main([*words, "--image-shape", "3,16,16"]) == 2
    assert "32 pixels or more" in capsys.readouterr().err


def test_the_library_is_named_where_it_is_missing(packed, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    run = network(tmp_path / "run" / "model")
    words = ["--model-prefix", run.prefix, "--data-val", str(packed / "val.rec"), "--corruptions"]
    assert evaluate.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--no-deps 'imagecorruptions-imaug" in error


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_corruptions_are_functions_of_their_arguments(kind):
    pytest.importorskip("imagecorruptions")
    image = draw_shape("circle", 3, 48)
    state = np.random.get_state()[1].copy()
    one = corrupted(image, kind, 3, 7)
    assert one.shape == image.shape and one.dtype == np.uint8
    assert (one != image).any()
    np.testing.assert_array_equal(one, corrupted(image, kind, 3, 7))
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    drawn = KINDS[:3] + ("glass_blur", "snow", "frost", "fog", "elastic_transform")
    assert kind not in drawn or (one != corrupted(image, kind, 3, 8)).any()
    harm = [np.abs(corrupted(image, kind, s, 7).astype(float) - image).mean() for s in (1, 5)]
    assert harm[0] < harm[1]

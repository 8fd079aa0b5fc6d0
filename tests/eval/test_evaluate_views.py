"""Crops, sizes, filters, and networks of other programs."""

import json

import numpy as np
import pytest
from helpers.evaluated import (
    MEAN,
    SIDE,
    STD,
    evaluator_of,
    matrix_of,
    metrics_of,
    probabilities_by_mxnet_alone,
    refusal,
)
from PIL import Image

from imagenet_trainer import evaluate
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.mxnet_import import mx


def test_ten_crops_have_a_separate_entry(prefix, packed, scored, capsys):
    first = metrics_of(prefix)
    lines, found = scored(prefix, "--crops", 10, "--save-predictions")
    assert lines[0].startswith("epoch 2 10crop: ") and found == first
    # The mean of the ten, computed with MXNet alone.
    wanted = []
    for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4)):
        for turn in (1, -1):
            p, _ = probabilities_by_mxnet_alone(prefix, 2, str(packed / "val.rec"), top, left, turn)
            wanted.append(p.astype(np.float64))
    saved = read_arrays(Run(prefix).probabilities_path(2, "10crop"))["probabilities"]
    np.testing.assert_allclose(saved, np.mean(wanted, axis=0), rtol=1e-4, atol=1e-7)
    scored(prefix, "--flip", "--save-predictions")
    saved = read_arrays(Run(prefix).probabilities_path(2, "flip"))["probabilities"]
    np.testing.assert_allclose(saved, np.mean(wanted[:2], axis=0), rtol=1e-4, atol=1e-7)
    sets = json.loads(Run(prefix).evaluation_path.read_text())["sets"]
    assert sorted(sets) == ["10crop", "flip"]


def test_another_interpolation(fresh, packed, capsys):
    words = ["--model-prefix", fresh, "--val-resize", "18"]
    assert evaluate.main([*words, "--val-interp", "pil-bicubic", "--save-predictions"]) == 0
    error = capsys.readouterr().err
    assert "--val-resize 20 --val-interp bilinear; now --val-resize 18 --val-interp pil-b" in error
    name = "resize18-pil-bicubic"
    found = read_arrays(Run(fresh).probabilities_path(2, name))["probabilities"]
    images = []
    for path in packed.joinpath("pictures", "val").glob("*/*.png"):
        with Image.open(path) as image:
            images.append(np.asarray(image.resize((18, 18), Image.Resampling.BICUBIC)))
    crops = np.stack(images)[:, 1:17, 1:17]
    engine = evaluator_of(fresh, 2)._engine
    wanted = np.concatenate([engine.predict(crops[:8]), engine.predict(crops[8:])])
    rows = np.lexsort(found.T), np.lexsort(wanted.T)
    np.testing.assert_allclose(found[rows[0]], wanted[rows[1]], rtol=1e-4)


def test_the_short_side_that_is_used_is_logged(prefix, capsys):
    assert evaluate.main(["--model-prefix", prefix, "--val-resize", "0"]) == 0
    assert "--val-resize 20; now --val-resize 16" in capsys.readouterr().err


def test_another_size_is_logged(prefix, capsys):
    assert evaluate.main(["--model-prefix", prefix, "--image-shape", "3,20,20"]) == 0
    output = capsys.readouterr()
    assert "was trained with --image-shape 3,16,16; now --image-shape 3,20,20\n" in output.err
    assert output.out.startswith("epoch 2 20x20: ")
    # The mean of the checkpoint is no change.
    assert evaluate.main(
        ["--model-prefix", prefix, "--rgb-mean", ",".join(map(str, MEAN))]
    ) == 0  # fmt: skip
    output = capsys.readouterr()
    assert "now --" not in output.err and output.out.startswith("epoch 2: ")


def test_ten_crops_already_include_mirror_images(prefix, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--crops", 10, "--flip")
    assert "--flip: --crops 10 " in line


def test_ten_crops_without_room(prefix):
    lines = []
    evaluator_of(prefix, 2, log=lines.append, crops=10, val_resize=16)
    assert "--crops 10: " in lines[-1] and "--val-resize" in lines[-1]


@pytest.fixture
def foreign(prefix, tmp_path):
    """The second epoch as another program saves it: logits, other names, BGR."""
    symbol, arg, aux = mx.model.load_checkpoint(prefix, 2)
    logits = symbol.get_internals()["fc1_output"](data=mx.sym.Variable("photo"))
    # The same network for the other order of channels: up to its first convolution only the
    # parameters depend on it.
    for name in ("bn_data_gamma", "bn_data_beta"):
        arg[name] = arg[name][::-1]
    for name in ("bn_data_moving_mean", "bn_data_moving_var"):
        aux[name] = aux[name][::-1]
    arg["conv0_weight"] = arg["conv0_weight"][:, ::-1]
    arg["stray_weight"] = mx.nd.zeros((3,))
    (tmp_path / "other").mkdir()
    mx.model.save_checkpoint(str(tmp_path / "other" / "net"), 0, logits, arg, aux)
    return str(tmp_path / "other" / "net")


def test_a_network_of_another_program(prefix, foreign, packed, capsys):
    wanted = metrics_of(prefix)
    words = [
        "--model-prefix", foreign, "--data-val", str(packed / "val.rec"), "--val-resize", "20",
        "--rgb-mean", ",".join(map(str, MEAN)), "--rgb-std", ",".join(map(str, STD)), "--bgr",
        "--image-shape", f"3,{SIDE},{SIDE}", "--batch-size", "4",
    ]  # fmt: skip
    assert evaluate.main(words) == 0
    output = capsys.readouterr()
    assert "ends in FullyConnected" in output.err
    assert "'photo'" in output.err
    assert "preprocessing --image-shape 3,16,16 --rgb-mean 120,110,100" in output.err
    found = json.loads(Run(foreign).evaluation_path.read_text())["epochs"]["0"]
    assert found["rank1_count"] == wanted["2"]["rank1_count"]
    assert found["loss"] == pytest.approx(wanted["2"]["loss"], rel=1e-4)
    np.testing.assert_array_equal(
        read_arrays(Run(foreign).confusion_path(0, ".npz"))["matrix"], matrix_of(prefix, 2)
    )
    # The first input is the default; others have names.
    for more, name in ((["--flip"], "flip"), (["--data-val", packed / "train.rec"], "train")):
        assert evaluate.main([*words, *map(str, more)]) == 0
        assert capsys.readouterr().out.startswith(f"epoch 0 {name}: ")


def test_a_network_of_another_program_needs_the_mean(foreign, packed, capsys):
    line = refusal(capsys, "--model-prefix", foreign, "--data-val", packed / "val.rec")
    assert "net-0000.params: " in line and "--rgb-mean" in line

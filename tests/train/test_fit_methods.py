"""Training with every method of optimisation: an interrupted run ends with the same parameters."""

import json

import numpy as np
import pytest
from conftest import one_line_error, run
from helpers.fit_runs import assert_resumes_exactly, history, words_of

from imagenet_trainer import fit
from imagenet_trainer.system.mxnet_import import mx


def train(words, *more):
    return fit.main([*words, *map(str, more)])


ALL = (
    "--ema 0.8 --ema-warmup 1 --accumulate 2 --mixup 0.4 --cutmix 1 --label-smoothing 0.1 "
    "--clip-gradient 0.05 --clip-gradient-norm 0.5"
).split()
MORE = "--no-bias-decay --zero-last-gamma --warmup-epochs 0.5 --auto-augment rand".split()
MORE += "--repeated-augmentation 2 --blur-pool --stochastic-depth 0.3 --bce-loss".split()


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(
            [*ALL, *MORE, "--optimizer", "lbsgd", "--lr-schedule", "cosine", "--lr", "0.01"],
            marks=pytest.mark.slow,
        ),
        # Each device keeps its own moving statistics; a resumed run must have them all.
        [*ALL, *MORE, "--optimizer", "nag", "--lr-step-every", "0.3", "--cpus", "2",
         "--gc-type", "2bit", "--gc-threshold", "0.05"],
        # With dropout, which every part draws separately.
        [*ALL, "--network", "squeezenet1.1", "--image-shape", "3,32,32", "--lr", "0.001",
         "--optimizer", "adamw", "--lr-schedule", "one-cycle", "--lr-final", "1e-5"],
    ],
    ids=["lbsgd-cosine", "nag-two-devices-2bit", "adamw-dropout-one-cycle"],
)  # fmt: skip
def test_a_run_interrupted_inside_an_epoch_resumes_exactly(packed, tmp_path, more):
    words = [*words_of(packed), "--disp-batches", "50", *more]
    if "squeezenet1.1" in more:
        where = words.index("--num-layers")
        del words[where : where + 2]
    assert_resumes_exactly(words, tmp_path)


def test_the_checkpoint_of_an_average_has_the_validated_parameters(packed, tmp_path):
    from imagenet_trainer import evaluate

    prefix = tmp_path / "model"
    words = [*words_of(packed), "--ema", "0.9", "--model-prefix", str(prefix)]
    assert train(words, "--num-epochs", 1) == 0
    _, arg, _ = mx.model.load_checkpoint(str(prefix), 1)
    assert evaluate.main(["--model-prefix", str(prefix), "--epochs", "1"]) == 0
    scored = json.loads((tmp_path / "evaluation.json").read_text())["epochs"]["1"]
    row = history(prefix)[-1]
    assert (float(row["val_rank1"]), float(row["val_rank5"])) == (scored["rank1"], scored["rank5"])
    trained = np.load(f"{prefix}-0001.npz")["state/trained:arg:fc1_weight"]
    assert (trained != arg["fc1_weight"].asnumpy()).any()


def test_the_symbol_of_a_run_stays_pure(packed, tmp_path):
    plain, mixed = tmp_path / "a" / "model", tmp_path / "b" / "model"
    assert train(words_of(packed), "--model-prefix", plain, "--num-epochs", 1) == 0
    more = ["--mixup", 0.2, "--label-smoothing", 0.1, "--accumulate", 2]
    assert train(words_of(packed), "--model-prefix", mixed, "--num-epochs", 1, *more) == 0
    texts = [(prefix.parent / "model-symbol.json").read_text() for prefix in (plain, mixed)]
    assert texts[0] == texts[1]


def test_config_json_holds_the_settings_of_a_recipe(packed, tmp_path):
    prefix = tmp_path / "model"
    words = [*words_of(packed), "--recipe", "resnet50-8k", "--model-prefix", str(prefix)]
    assert train(words, "--num-epochs", 1) == 0
    settings = json.loads((tmp_path / "config.json").read_text())["settings"]
    assert settings["recipe"] == "resnet50-8k" and settings["lr_scale_batch"] == 256
    assert settings["num_layers"] == 8 and settings["zero_last_gamma"] is True


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--batch-size", "9", "--mixup", "0.2"], "--batch-size 9: "),
        (["--accumulate", "3"], "--batch-size 8: cannot be split evenly into 3 accumulated parts"),
        (["--label-smoothing", "1"], "--label-smoothing: '1': must be 0 or more, and below 1"),
        (["--ema", "1"], "--ema: '1': must be"),
        (["--lr-schedule", "exponential"], "--lr-schedule"),
        (["--recipe", "resnet50"], "--recipe resnet50: no such recipe; did you mean resnet"),
    ],
)
def test_refused_in_one_line(packed, tmp_path, more, expected, capsys):
    try:
        code = train(words_of(packed), "--model-prefix", tmp_path / "model", *more)
    except SystemExit as end:
        code = end.code
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert code == 2 and len(lines) == 1 and expected in lines[0]
    assert not list(tmp_path.rglob("*.params"))


def test_the_command_lists_recipes_fast(tmp_path):
    result = run("-X", "importtime", "-m", "imagenet_trainer.fit", "--recipe", "list", cwd=tmp_path)
    assert "squeezenet" in result.stdout and "mxnet" not in result.stderr
    result = run("-m", "imagenet_trainer.fit", "--recipe", "x", cwd=tmp_path, check=None)
    one_line_error(result, "--recipe x: no such recipe", "resnet18-30")

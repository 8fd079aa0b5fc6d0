"""Runs whose files are missing, damaged, or of another network."""

from dataclasses import replace

import pytest
from conftest import needs_mxnet
from helpers.evaluated import refusal

from imagenet_trainer import evaluate
from imagenet_trainer.runs.run import Run


def test_a_run_without_config_json(prefix, tmp_path, monkeypatch, capsys):
    Run(prefix).config_path.unlink()
    monkeypatch.chdir(tmp_path)
    assert "--data-val data/val.rec: no such shard" in refusal(capsys, "--model-prefix", prefix)


def test_parameters_with_unknown_preprocessing(prefix, capsys):
    Run(prefix).state_path(2).unlink()
    line = refusal(capsys, "--model-prefix", prefix, "--epochs", "2")
    assert "model-0002.params: " in line and "--rgb-mean" in line
    # `all` are the epochs with known preprocessing.
    assert evaluate.main(["--model-prefix", str(prefix), "--epochs", "all"]) == 0
    assert "epoch 2" not in capsys.readouterr().out


def test_parameters_of_another_network(prefix, capsys):
    model = Run(prefix)
    first = model.load(1)
    arg = {**first.arg, "fc1_weight": first.arg["fc1_weight"][:2]}
    model.save(replace(first, arg=arg), 1)
    line = refusal(capsys, "--model-prefix", prefix, "--epochs", "1")
    assert "model-0001.params: fc1_weight is (2, 64)" in line and "(3, 64)" in line


@pytest.mark.parametrize("text", ["", '{"nodes": [', "{}", "3"])
def test_a_damaged_symbol(prefix, capsys, text):
    Run(prefix).symbol_path.write_text(text)
    assert "model-symbol.json: " in refusal(capsys, "--model-prefix", prefix)


@needs_mxnet
def test_a_batch_that_the_devices_cannot_divide(prefix, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--cpus", 3)
    assert "--batch-size 64: cannot be split evenly over 3 devices" in line


def test_an_empty_checkpoint_is_passed_over_with_a_note(prefix, capsys):
    Run(prefix).params_path(2).write_bytes(b"")
    assert evaluate.main(["--model-prefix", prefix]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("epoch 1:")
    assert "-0002.params: is empty; it is passed over" in output.err


@pytest.mark.parametrize("text", ['{"settings": 3}', '{"settings": {"data_val": 5}}'])
def test_a_config_json_of_another_program(prefix, capsys, text):
    Run(prefix).config_path.write_text(text)
    line = refusal(capsys, "--model-prefix", prefix)
    assert "config.json: " in line and "remove it" in line

import json
import os
import re
import shutil
import signal
import time

import numpy as np
import pytest
from conftest import needs_mxnet
from helpers.fit_runs import (
    assert_same,
    begin,
    history,
    parameters,
    train_until,
    wait_for,
    words,  # noqa: F401
    words_of,
)

from imagenet_trainer import fit
from imagenet_trainer.runs import params
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train import loop


def train(words, *more):
    return fit.main([*words, *map(str, more)])


@pytest.fixture(scope="module")
def straight(packed, tmp_path_factory):
    """Prefix of an uninterrupted run of two epochs."""
    prefix = tmp_path_factory.mktemp("straight") / "model"
    assert train(words_of(packed), "--model-prefix", prefix) == 0
    return prefix


# --- what a run leaves ---------------------------------------------------------------------------


def test_files_of_a_run(straight):
    assert sorted(os.listdir(straight.parent)) == [
        "config.json", "curves.png", "events.jsonl", "history.csv", "log.txt", "model-0001.npz",
        "model-0001.params", "model-0002.npz", "model-0002.params", "model-symbol.json",
        "tensorboard",
    ]  # fmt: skip


def test_the_time_of_an_epoch_includes_its_last_update(packed, tmp_path, monkeypatch):
    """What is pending then is waited for, once, and not in every update."""
    waits = []
    monkeypatch.setattr(loop, "wait_for", lambda engine: waits.append(time.sleep(0.3)))
    assert train(words_of(packed), "--model-prefix", tmp_path / "model") == 0
    events = list(map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines()))
    epochs = [one for one in events if one["event"] == "epoch"]
    assert len(waits) == len(epochs) == 2
    assert all(one["seconds"] > 0.3 for one in epochs)


@needs_mxnet
def test_mxnet_loads_the_checkpoint(straight):
    symbol, arg, aux = mx.model.load_checkpoint(str(straight), 2)
    module = mx.mod.Module(symbol)
    module.bind([("data", (4, 3, 16, 16))], [("softmax_label", (4,))], for_training=False)
    module.set_params(arg, aux)
    assert symbol.list_outputs() == ["softmax_output"]


def test_log_lines_are_those_that_parsers_read(straight):
    text = (straight.parent / "log.txt").read_text()
    assert "Records since" not in text  # no record was bad
    # The expressions of MXNet's tools/parse_log.py, and of Speedometer's readers.
    assert len(re.findall(r".*Epoch\[(\d+)\] Train-accuracy.*=([.\d]+)", text)) == 2
    assert len(re.findall(r".*Epoch\[(\d+)\] Validation-accuracy.*=([.\d]+)", text)) == 2
    assert len(re.findall(r".*Epoch\[(\d+)\] Time.*=([.\d]+)", text)) == 2
    batch = (
        r"Node\[0\] Epoch\[(\d+)\] Batch \[(\d+)-(\d+)\]"
        r"\tSpeed: ([.\d]+) samples/sec\taccuracy=([.\d]+)"
    )
    found = re.findall(batch, text)
    # 60 images in batches of 8: the tail of the first epoch opens the second.
    assert [(int(e), int(a), int(b)) for e, a, b, _, _ in found] == [
        (epoch, first, first + 1) for epoch, many in ((0, 7), (1, 8)) for first in range(many)
    ]


def test_history_counts_what_was_trained(straight):
    rows = history(straight)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(0 <= float(row["val_rank1"]) <= float(row["val_rank5"]) <= 1 for row in rows)
    # Shares of the 56 and 64 images that the two epochs' updates saw.
    for row, images in zip(rows, (56, 64)):
        hits = float(row["train_rank1"]) * images
        assert hits == pytest.approx(round(hits))


def test_it_learns(words, tmp_path):
    prefix = tmp_path / "model"
    assert train(words, "--model-prefix", prefix, "--num-epochs", 8, "--lr-step-epochs", 5) == 0
    assert float(history(prefix)[-1]["val_rank1"]) > 0.6


def test_the_same_seed_gives_the_same_run_and_another_does_not(words, straight, tmp_path):
    assert train(words, "--model-prefix", tmp_path / "a" / "model", "--data-nthreads", 3) == 0
    assert_same(parameters(tmp_path / "a" / "model", 2), parameters(straight, 2))
    assert train(words, "--model-prefix", tmp_path / "b" / "model", "--seed", 1) == 0
    other = parameters(tmp_path / "b" / "model", 2)
    assert any((other[name] != value).any() for name, value in parameters(straight, 2).items())


# --- interrupted, and run again ------------------------------------------------------------------


@pytest.mark.parametrize(
    "moments",
    [
        ["Epoch.0. Batch .2-"],
        # Around validation, and after an epoch's checkpoint.
        pytest.param(
            ["Train-accuracy", "Saved checkpoint", "Epoch.1. Batch .0-"], marks=pytest.mark.slow
        ),
    ],
)
def test_a_run_that_is_killed_and_interrupted_ends_with_the_same_parameters(
    words, straight, tmp_path, moments
):
    prefix = tmp_path / "model"
    # Every update is due for a checkpoint.
    often = ["--model-prefix", prefix, "--checkpoint-minutes", 1e-9]
    for moment in moments:
        process = begin(words, *often)
        wait_for(process, moment)
        process.kill()
        process.wait()
    process = begin(words, "--model-prefix", prefix)
    wait_for(process, "Epoch.1. Batch .2-")
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGINT
    assert "run the same command to continue" in rest and "Traceback" not in rest
    assert (tmp_path / "model-last.npz").exists()
    assert train(words, *often) == 0
    log = (tmp_path / "log.txt").read_text()
    assert "continuing" in log and "after epoch 1, update " in log
    assert_same(parameters(prefix, 2), parameters(straight, 2))
    assert_same(*(Run(str(one)).load(2).state for one in (prefix, straight)))
    assert history(prefix) == history(straight)


def test_a_shuffle_window_resumes_inside_an_epoch(words, straight, tmp_path):
    words = [*words, "--shuffle-window", "16"]
    assert train(words, "--model-prefix", tmp_path / "a" / "model") == 0
    train_until(10, words, "--model-prefix", tmp_path / "b" / "model", "--checkpoint-minutes", 1e-9)
    assert train(words, "--model-prefix", tmp_path / "b" / "model") == 0
    windowed = parameters(tmp_path / "a" / "model", 2)
    assert_same(parameters(tmp_path / "b" / "model", 2), windowed)
    whole = parameters(straight, 2)
    assert any((value != whole[name]).any() for name, value in windowed.items())


def test_a_share_of_the_images(words, tmp_path, capsys):
    # `assert_resumes_exactly` interrupts such runs.
    words = [*words, "--model-prefix", str(tmp_path / "model"), "--train-fraction", "0.4"]
    assert train(words, "--num-epochs", 1) == 0
    output = capsys.readouterr().err
    assert "24 training images" in output and "Epoch[0] Batch [2-3]" in output
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["data"]["train_images"] == 24
    words[-1] = "1"
    output = refusal(capsys, words)
    assert "--train-fraction 1.0: " in output and "with 0.4; " in output


def test_more_epochs_continue_a_finished_run(words, straight, tmp_path):
    prefix = tmp_path / "model"
    assert train(words, "--model-prefix", prefix, "--num-epochs", 1, "--save-period", 5) == 0
    assert train(words, "--model-prefix", prefix, "--save-period", 5) == 0
    assert_same(parameters(prefix, 2), parameters(straight, 2))


def test_an_epoch_without_a_number_is_resumed_from_the_newest(words, straight, tmp_path):
    prefix = tmp_path / "model"
    train_until(9, words, "--model-prefix", prefix, "--save-period", 2)
    assert not (tmp_path / "model-0001.params").exists()
    assert (tmp_path / "model-last.params").exists()
    assert train(words, "--model-prefix", prefix, "--save-period", 2) == 0
    assert_same(parameters(prefix, 2), parameters(straight, 2))


def test_load_epoch_continues_from_an_mxnet_checkpoint(words, straight, tmp_path):
    # Parameters as another MXNet program leaves them: no .npz, no config.json.
    for name in ("model-symbol.json", "model-0001.params"):
        (tmp_path / name).write_bytes((straight.parent / name).read_bytes())
    prefix = tmp_path / "model"
    assert train(words, "--model-prefix", prefix) == 2
    assert train(words, "--model-prefix", prefix, "--load-epoch", 1) == 0
    assert [row["epoch"] for row in history(prefix)] == ["2"]
    again = parameters(prefix, 2)
    assert train(words, "--model-prefix", prefix, "--load-epoch", 1, "--num-epochs", 3) == 0
    assert_same(parameters(prefix, 2), again)


def test_a_branch_with_larger_batches(words, straight, tmp_path):
    """Its epochs are whole ones, and a kill inside the first of them loses nothing."""
    more = [*words, "--batch-size", "20", "--load-epoch", "1", "--num-epochs", "3"]
    ours, theirs = (tmp_path / name / "model" for name in "ab")
    for prefix in (ours, theirs):
        prefix.parent.mkdir()
        for path in straight.parent.glob("model-0001.*"):
            (prefix.parent / path.name).write_bytes(path.read_bytes())
    assert train(more, "--model-prefix", ours) == 0
    often = ("--model-prefix", theirs, "--checkpoint-minutes", 1e-9)
    train_until(
        5, more, *often
    )  # the checkpoint of epoch 1 has 7 updates, here epoch 2 begins at 3
    assert Run(str(theirs)).progress().update == 5
    assert train(more, *often) == 0
    assert [row["epoch"] for row in history(ours)] == ["2", "3"]
    assert history(ours) == history(theirs)
    events = map(json.loads, (ours.parent / "events.jsonl").read_text().splitlines())
    assert [one["update"] for one in events if one["event"] == "epoch"] == [6, 9]
    assert_same(parameters(ours, 3), parameters(theirs, 3))


def test_a_branch_trains_what_was_frozen(words, tmp_path):
    first, branch = (tmp_path / name / "model" for name in "ab")
    assert train(words, "--model-prefix", first, "--freeze", "conv0", "--num-epochs", 1) == 0
    shutil.copytree(first.parent, branch.parent, ignore=shutil.ignore_patterns("*.json*", "*.csv"))
    more = [*words, "--model-prefix", str(branch), "--load-epoch", "1"]
    train_until(7, more)  # before its first update
    assert train(more) == 0
    frozen, trained = parameters(branch, 1), parameters(branch, 2)
    assert (frozen["arg:conv0_weight"] != trained["arg:conv0_weight"]).any()


# --- errors ------------------------------------------------------------------------


def refusal(capsys, words, *more):
    assert train(words, *more) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "fit: error: " in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--network", "resnet5"], "did you mean resnet50"),
        (["--num-layers", "9"], "9"),
        (["--data-train", "nowhere.rec"], "--data-train nowhere.rec"),
        (["--data-val", "nowhere.rec"], "--data-val nowhere.rec"),
        (["--batch-size", "64"], "--batch-size 64"),
        (["--num-classes", "4"], "--num-classes 4: "),
        (["--num-examples", "61"], "--num-examples 61: "),
        (["--gpus", "0"], "--gpus 0: "),
        (["--gpus", "0,1"], "--gpus 0,1: "),
        (["--val-resize", "12"], "--val-resize 12"),
        pytest.param(
            ["--cpus", "3"],
            "--batch-size 8: cannot be split evenly over 3 devices",
            marks=needs_mxnet,
        ),
        (["--dtype", "float16"], "--dtype float16"),
        (["--load-epoch", "7"], "model-0007.params: no such checkpoint"),
    ],
)
def test_refused_before_anything_is_trained(words, tmp_path, capsys, more, expected):
    assert expected in refusal(capsys, words, "--model-prefix", tmp_path / "a" / "model", *more)
    assert not list(tmp_path.rglob("*.params"))


def test_other_flags_for_an_existing_run(words, straight, capsys):
    before = parameters(straight, 2)
    line = refusal(capsys, words, "--model-prefix", straight, "--lr", "0.2", "--num-epochs", 3)
    assert "--lr 0.2: " in line and "with 0.05; " in line and "--model-prefix" in line
    line = refusal(capsys, words, "--model-prefix", straight, "--load-epoch", "1")
    assert "--load-epoch 1: " in line and "epoch 2" in line
    assert_same(parameters(straight, 2), before)


def test_flags_may_change_before_the_first_checkpoint(words, tmp_path, capsys):
    prefix = tmp_path / "model"
    line = refusal(capsys, words, "--model-prefix", prefix, "--lr", "1e30", "--num-epochs", "1")
    assert "not finite" in line and "another --model-prefix" in line
    assert train(words, "--model-prefix", prefix, "--num-epochs", "1") == 0


def test_other_images_for_an_existing_run(words, straight, packed, capsys):
    other = ["--data-train", packed / "val.rec"]
    assert "val.rec: " in refusal(capsys, words, "--model-prefix", straight, *other)


def test_other_validation_images_are_reported_once(words, straight, packed, tmp_path, capsys):
    shutil.copytree(straight.parent, tmp_path, dirs_exist_ok=True)
    other = ["--model-prefix", tmp_path / "model", "--data-val", packed / "train.rec"]
    message = "train.rec: has other images than before, so the scores"
    for expected in (True, False):
        assert train(words, *other) == 0
        assert (message in capsys.readouterr().err) is expected


def test_a_checkpoint_of_another_network(words, straight, tmp_path, capsys):
    for name in ("model-symbol.json", "model-0001.params"):
        (tmp_path / name).write_bytes((straight.parent / name).read_bytes())
    other = ["--load-epoch", "1", "--num-layers", "14"]
    line = refusal(capsys, words, "--model-prefix", tmp_path / "model", *other)
    assert "model-0001.params" in line and "another network" in line


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(words, tmp_path, capsys):
    prefix = tmp_path / "model"
    assert train(words, "--model-prefix", prefix, "--num-epochs", "1") == 0
    kept = parameters(prefix, 1)
    # The same parameters with one that is infinite, as another program might leave them.
    kept["arg:fc1_bias"][0] = np.inf
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model-0001.params").write_bytes(params.dumps(kept))
    line = refusal(capsys, words, "--model-prefix", tmp_path / "b" / "model", "--load-epoch", "1")
    assert "update 7" in line and "epoch 1, batch 0" in line and "not made" in line
    assert (tmp_path / "b" / "model-0001.params").read_bytes() == params.dumps(kept)
    assert not (tmp_path / "b" / "model-0002.params").exists()


def test_a_run_folder_that_cannot_be_written(words, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = refusal(capsys, words, "--model-prefix", tmp_path / "file" / "model")
    assert "file: " in line and "choose another location" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_run_folder(words, tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert "read-only" in refusal(capsys, words, "--model-prefix", tmp_path / "model")


def test_two_trainers_of_one_run(words, tmp_path, capsys):
    other = Run(str(tmp_path / "model"))
    other.open_for_training()
    assert "another process" in refusal(capsys, words, "--model-prefix", other.prefix)
    other.close()

"""Trainings and evaluations from shards on S3 and over HTTP."""

import os
import shutil
import signal
import time

import numpy as np
import pytest

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

from helpers.fit_runs import assert_same, begin, history, parameters, train_until
from helpers.object_server import http_server
from helpers.s3 import s3_server

from imagenet_trainer import evaluate, fit
from imagenet_trainer.explore import command as explore
from imagenet_trainer.explore import summary
from imagenet_trainer.metrics.predictions import load
from imagenet_trainer.system import block_cache, object_storage, remote_file, storage_faults


@pytest.fixture(autouse=True)
def storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(remote_file, "BLOCK", 1 << 14)
    monkeypatch.setattr(block_cache, "_chosen", ("", ""))
    monkeypatch.setattr(storage_faults, "_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(object_storage, "_state", object_storage._State())


def words_of(place, prefix):
    return [
        "--network", "resnet", "--num-layers", "8", "--image-shape", "3,16,16",
        "--data-train", f"{place}/train.rec", "--data-val", f"{place}/val.rec",
        "--cache-dir", "cache", "--cache-size", "1MB",
        "--batch-size", "8", "--num-epochs", "2", "--lr", "0.05", "--disp-batches", "1",
        "--random-resized-crop", "0", "--random-crop", "1", "--model-prefix", str(prefix),
    ]  # fmt: skip


SENT = 20  # more than are read when the shard is opened


def images_sent(state):
    return sum(name == "train.rec" for name, _, _ in state.requests)


def in_training(state, fault):
    """A fault of every answer after some images."""
    return lambda number, path: fault if images_sent(state) > SENT else ""


@pytest.fixture(scope="module")
def names(packed):
    endings = ("rec", "idx", "json", "lst")
    return [f"{name}.{ending}" for name in ("train", "val") for ending in endings]


def test_a_run_from_s3_that_is_resumed_is_the_uninterrupted_local_one(
    packed, names, tmp_path, monkeypatch
):
    monkeypatch.setattr(summary, "write_page", lambda *_: "page")  # it draws what was read
    local, remote = tmp_path / "local" / "model", tmp_path / "remote" / "model"
    assert fit.main([*words_of(packed, local), "--minival", "0.1"]) == 0
    with s3_server() as s3:
        s3.upload(packed, *names)
        words = [*words_of("s3://data", remote), "--minival", "0.1"]
        train_until(9, [*words, "--checkpoint-minutes", "1e-9"])
        shutil.rmtree("cache")
        assert fit.main([*words, "--cache-size", "20KB"]) == 0  # less than the set
        for epoch in (1, 2):
            assert_same(parameters(remote, epoch), parameters(local, epoch))
        assert history(remote) == history(local)
        assert evaluate.main(["--model-prefix", str(remote), "--cache-dir", "cache"]) == 0
        assert evaluate.main(["--model-prefix", str(local)]) == 0
        ours, theirs = (load(prefix.parent / "predictions-0002.npz") for prefix in (remote, local))
        for name in ("keys", "labels", "top", "probabilities", "rank"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), name)
        assert explore.main(["s3://data/val.rec", "--cache-dir", "cache", "--sample", "5"]) == 0
    assert sum(one.stat().st_size for one in os.scandir("cache")) > 10_000


def test_a_storage_that_fails_ends_the_training_with_one_line(packed, names, tmp_path, capsys):
    with http_server() as (address, state):
        state.objects = {name: (packed / name).read_bytes() for name in names}
        words = words_of(address, tmp_path / "model")
        state.fault = in_training(state, "500")
        assert fit.main([*words, "--cache-size", "20KB"]) == 75
        lines = [one for one in capsys.readouterr().err.splitlines() if ": error: " in one]
        assert len(lines) == 1 and f"{address}/train.rec: cannot be read (500" in lines[0]
        state.fails()
        assert fit.main([*words, "--cache-size", "20KB"]) == 0
        assert "the rest is fetched in every epoch" in capsys.readouterr().err


def test_ctrl_c_while_a_server_is_silent(packed, names, tmp_path):
    with http_server() as (address, state):
        state.objects = {name: (packed / name).read_bytes() for name in names}
        state.fault = in_training(state, "silent")
        process = begin([*words_of(address, tmp_path / "model"), "--cache-size", "0"])
        while images_sent(state) <= SENT:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # waits for the update
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        text = process.communicate()[1]
        # The second one may come when the training has stopped already.
        assert process.returncode in (130, -signal.SIGINT), text
        assert "Traceback" not in text


@pytest.mark.parametrize("size", ["big", "-1GB"])
def test_a_size_that_is_none(packed, tmp_path, size, capsys):
    assert fit.main([*words_of(packed, tmp_path / "model"), f"--cache-size={size}"]) == 2
    assert f"error: --cache-size {size}: must be a size such as 50GB" in capsys.readouterr().err

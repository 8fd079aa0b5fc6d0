import csv
import json
import os
import re
import shutil
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fake_nvml import FakeNvml
from helpers.fit_runs import default_engine, train_until, words_of
from helpers.tensorboard import points
from PIL import Image

from imagenet_trainer import fit
from imagenet_trainer.config import FitSettings
from imagenet_trainer.metrics.counts import Scores, score
from imagenet_trainer.runs import tracking
from imagenet_trainer.runs.checkpoint import Progress
from imagenet_trainer.runs.events import read_events
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.observers import Observers
from imagenet_trainer.viz import curves


def train(words, *more):
    return fit.main([*words, *map(str, more)])


@pytest.fixture(scope="module")
def straight(packed, tmp_path_factory, without_curves):
    """The folder of an uninterrupted run of two epochs of 7 and 8 updates, with curves."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", without_curves)
        assert train(words_of(packed), "--model-prefix", folder / "model") == 0
    return folder


@pytest.fixture
def words(packed):
    return words_of(packed)


def events_of(folder, kind):
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def losses(folder):
    return [(event["update"], event["loss"]) for event in events_of(folder, "interval")]


# --- a run from its beginning to its end ----------------------------------------------------------


def test_events_of_a_run(straight):
    kinds = [event["event"] for event in read_events(straight / "events.jsonl")]
    assert kinds == [
        "begin", *["interval"] * 7, "epoch", "validation", "checkpoint",
        *["interval"] * 8, "epoch", "validation", "checkpoint", "end",
    ]  # fmt: skip
    (start,) = events_of(straight, "begin")
    assert (start["update"], start["updates"], start["images"]) == (0, 15, 60)
    assert [update for update, _ in losses(straight)] == list(range(1, 16))
    assert events_of(straight, "end")[0]["how"] == "finished"
    assert [one["file"] for one in events_of(straight, "checkpoint")] == [
        "model-0001.params", "model-0002.params",
    ]  # fmt: skip


def test_json_prints_the_events_and_nothing_else(straight, packed, tmp_path, capsys):
    shutil.copytree(straight, tmp_path / "again")
    prefix = str(tmp_path / "again" / "model")
    assert train(words_of(packed), "--model-prefix", prefix, "--json") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == read_events(tmp_path / "again" / "events.jsonl")[-2:]
    assert [one["event"] for one in printed] == ["continue", "end"]
    (row,) = Run(prefix).read_history()[-1:]
    result = printed[-1]
    assert (result["prefix"], result["epochs_done"]) == (prefix, 2)
    assert result["val_rank1"] == float(row["val_rank1"]) and result["best_epoch"] in (1, 2)
    assert train(words_of(packed), "--json", "--summary") == 2


def test_events_agree_with_the_history(straight):
    with open(straight / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, epoch, validation in zip(
        rows, events_of(straight, "epoch"), events_of(straight, "validation")
    ):
        assert int(row["epoch"]) == epoch["epoch"] == validation["epoch"]
        assert float(row["train_loss"]) == epoch["train_loss"]
        assert float(row["val_rank1"]) == validation["rank1"]
        assert float(row["cpu_percent"]) == epoch["cpu_percent"] > 0
        assert float(row["memory_mb"]) == epoch["memory_mb"] > 50
        assert row["gpu_percent"] == ""  # there is none
        assert validation["images"] == 15
    # The intervals of the first epoch, one update each, add up to it.
    first = [loss for update, loss in losses(straight) if update <= 7]
    assert np.mean(first) == pytest.approx(float(rows[0]["train_loss"]))


def test_tensorboard_shows_the_same(straight):
    shown = points(straight / "tensorboard")
    found = [(step, value) for tag, step, value in shown if tag == "train/loss"]
    assert found == [(update, pytest.approx(loss, abs=1e-4)) for update, loss in losses(straight)]
    tags = {tag for tag, _, _ in shown}
    assert {"train/rank1", "train/learning_rate", "train/images_per_second", "train/wait_share",
            "validation/rank1", "machine/cpu_percent"} <= tags  # fmt: skip
    assert not any("rank5" in tag for tag in tags)  # always 1 with three classes
    assert [step for tag, step, _ in shown if tag == "validation/loss"] == [7, 15]


def test_the_remaining_time_decreases_to_zero(straight):
    # At the last update only what follows an epoch is left, which is measured after the first one.
    left = [event["seconds_left"] for event in events_of(straight, "interval")]
    assert all(value is None or value >= 0 for value in left) and left[-1] < max(left[1:8])
    lines = (straight / "log.txt").read_text().splitlines()
    assert sum("\tleft=0:00:" in line for line in lines) == 15


def test_curves_are_drawn(straight):
    assert Image.open(straight / "curves.png").size == (1320, 440)


# --- interrupted ----------------------------------------------------------------------------------


def test_what_a_resumed_run_repeats_is_recorded_once(words, straight, tmp_path):
    # Checkpoints are far between: what was made after the last one is made again.
    words = [*words, "--model-prefix", str(tmp_path / "model")]
    for update in (4, 11):  # before the first checkpoint, so that the run begins twice; after it
        train_until(update, words)
    with open(tmp_path / "events.jsonl", "ab") as file:
        file.write(b'{"time": "2026-')  # torn
    assert train(words) == 0
    assert losses(tmp_path) == losses(straight)
    (again,) = events_of(tmp_path, "continue")
    assert (again["update"], again["epochs_done"]) == (7, 1)
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    updates = [e["update"] for e in map(json.loads, lines) if e["event"] == "interval"]
    assert len(updates) > len(set(updates)) == 15  # the file only grows
    shown = [step for tag, step, _ in points(tmp_path / "tensorboard") if tag == "train/loss"]
    assert shown == list(range(1, 16))


def test_a_signal(words, tmp_path, monkeypatch):
    real = default_engine().train_batch

    def train_batch(engine, *batch):
        if engine._updates == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        real(engine, *batch)

    monkeypatch.setattr(default_engine(), "train_batch", train_batch)
    assert train(words, "--model-prefix", tmp_path / "model") == 128 + signal.SIGTERM
    events = read_events(tmp_path / "events.jsonl")
    assert [event["event"] for event in events[-3:]] == ["checkpoint", "interrupt", "end"]
    assert events[-1]["how"] == "interrupted" and events[-1]["signal"] == "SIGTERM"
    assert events[-3]["file"] == "model-last.params"
    assert events[-3]["update"] == events[-1]["update"] == losses(tmp_path)[-1][0]


def test_a_run_that_failed_shows_where(words, tmp_path, capsys):
    prefix = ["--model-prefix", tmp_path / "model", "--num-epochs", 1]
    # A rate that ends every training, watched at every update.
    assert train(words, *prefix, "--lr", "1e30", "--monitor", 1) == 2
    (end,) = events_of(tmp_path, "end")
    assert end["how"] == "failed" and "not finite" in end["error"]
    refused = int(re.search(r"the loss of update (\d+) is not finite", end["error"])[1])
    last = events_of(tmp_path, "statistics")[-1]
    assert last["update"] == refused + 1 and last["tensors"]["softmax_output"] is None
    assert f"The first tensor of update {refused} that is not finite: " in capsys.readouterr().err


# --- flags ----------------------------------------------------------------------------------------


def test_a_network_without_an_opinion_is_reported(straight, tmp_path, capsys):
    alike = score(np.full((8, 3), 1 / 3, np.float32), np.arange(8) % 3)
    with RunLog(None, 0) as log, Observers(session_of(tmp_path), log, UNDISTURBED) as observers:
        for update, scores in ((10, Scores()), (20, alike)):  # no image was usable: no loss
            progress = Progress(update // 10 - 1, update, Scores(40, 10, 30, 50.0))
            observers.on_epoch(progress, scores)
    (event,) = events_of(tmp_path, "dead_network")
    assert event["epoch"] == 2 and event["val_loss"] == pytest.approx(np.log(3), rel=1e-5)
    assert "--initializer" in capsys.readouterr().err
    assert events_of(straight, "dead_network") == []


def test_the_monitor(words, straight, tmp_path):
    more = ["--model-prefix", tmp_path / "model", "--monitor", 4, "--cpus", 2, "--num-epochs", 1]
    assert train(words, *more) == 0
    statistics = events_of(tmp_path, "statistics")
    assert [event["update"] for event in statistics] == [1, 5]
    value = statistics[0]["tensors"]["fc1_weight"]
    assert ("tensors/fc1_weight", 1, round(value, 5)) in [
        (tag, step, round(one, 5)) for tag, step, one in points(tmp_path / "tensorboard")
    ]
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert sum("fc1_weight_grad" in line and "Batch:       5" in line for line in lines) == 1


def test_without_tensorboard(words, tmp_path):
    more = ["--model-prefix", tmp_path / "model", "--num-epochs", 1, "--tensorboard", 0]
    assert train(words, *more) == 0
    assert not (tmp_path / "tensorboard").exists() and (tmp_path / "events.jsonl").exists()


def test_a_failed_plot_does_not_end_a_run(words, tmp_path, monkeypatch, capsys):
    def fail(rows, title, rank5):
        raise RuntimeError("no font\nanywhere")

    monkeypatch.setattr(curves, "draw", fail)
    assert train(words, "--model-prefix", tmp_path / "model", "--num-epochs", 1) == 0
    output = capsys.readouterr().err
    assert (
        output.count("The learning curves are not drawn any more: RuntimeError: no font any") == 1
    )
    assert events_of(tmp_path, "end")[0]["how"] == "finished"


def test_when_done(words, tmp_path, capsys):
    program = "import os, sys; print(os.path.exists(sys.argv[1]), sys.argv[2])"
    more = ["--model-prefix", tmp_path / "model", "--num-epochs", 1, "--when-done"]
    command = f'{sys.executable} -c "{program}" {{prefix}}-0001.params {{how}}'
    assert train(words, *more, command) == 0
    assert "--when-done" in (tmp_path / "log.txt").read_text()
    assert train(words, *more, "no-such-program") == 2
    assert "--when-done no-such-program: there is no such program" in capsys.readouterr().err


# --- with GPUs, and beside other workers ----------------------------------------------------------


UNDISTURBED = ()  # Interrupts without any


class Images(SimpleNamespace):
    """A dataset of three classes."""

    def __init__(self, count):
        super().__init__(classes=("a", "b", "c"))
        self._count = count

    def __len__(self):
        return self._count


def session_of(folder, rank=0, gpus=(), monitor=0, track=()):
    settings = FitSettings(
        gpus=gpus, num_epochs=2, batch_size=4, network="x", monitor=monitor, save_patience=0.0,
        track=track,
    )  # fmt: skip
    return SimpleNamespace(
        settings=settings, progress=Progress(), run=Run(str(folder / "model")), messages=["hello"],
        engine=SimpleNamespace(rank=rank, world_size=2), history=[], train=Images(40),
        first_update=lambda epoch: 10 * epoch, learning_rate=lambda update: 0.1,
    )  # fmt: skip


def watched(folder, rank=0, gpus=(), track=()):
    session = session_of(folder, rank, gpus, track=track)
    with RunLog(None, rank) as log, Observers(session, log, UNDISTURBED) as observers:
        progress = Progress(update=10, scores=Scores(40, 10, 30, 50.0), seconds=2.0)
        observers.on_interval(progress, 0, progress.scores, 2.0, 0.5)
        observers.on_epoch(progress, Scores(8, 4, 8, 4.0))
        observers.on_epoch_end()


def test_gpus_are_in_all_files(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    watched(tmp_path, gpus=(1,))
    (row,) = csv.DictReader((tmp_path / "history.csv").read_text().splitlines())
    assert (row["gpu_percent"], row["gpu_celsius"], row["gpu_watts"]) == ("90.0", "70.0", "250.0")
    assert events_of(tmp_path, "interval")[0]["gpu_memory_mb"] == 4 * 2**30 / 1e6
    shown = points(tmp_path / "tensorboard")
    assert ("gpu1/watts", 10, 250.0) in shown and ("gpu1/percent", 10, 90.0) in shown


def test_a_tracking_service_gets_what_tensorboard_gets(tmp_path, monkeypatch):
    seen, ended = [], []

    def open_service(name, run):
        assert name == "mlflow" and run.settings["batch_size"] == 4
        return SimpleNamespace(
            run_id="a",
            write=lambda *point: seen.append(point),
            finish=lambda *end: ended.append(end),
        )

    monkeypatch.setattr(tracking, "open_service", open_service)
    watched(tmp_path, track=("mlflow",))
    shown = [
        (tag, update, round(float(np.float32(value)), 5))  # as TensorBoard's file has them
        for update, values in seen
        for tag, value in values.items()
    ]
    assert shown == points(tmp_path / "tensorboard") and len(shown) > 8
    ((how, update, result),) = ended
    assert (how, update, result["val_rank1"], result["best_epoch"]) == ("finished", 10, 0.5, 1)


def test_only_the_first_worker_writes_files(tmp_path, capsys):
    watched(tmp_path, rank=1)
    assert not list(tmp_path.iterdir())
    assert "Node[1] Epoch[0] Batch [0-10]" in capsys.readouterr().err


def test_a_rollback_is_in_events_and_tensorboard(tmp_path):
    with RunLog(None, 0) as log, Observers(session_of(tmp_path), log, UNDISTURBED) as observers:
        for update in (5, 10):
            observers.on_interval(
                Progress(update=update), update - 5, Scores(20, 1, 2, 3.0), 1.0, 0.0
            )
        observers.on_rollback(Progress(update=5, rate_scale=0.5))
        observers.on_interval(Progress(update=10), 5, Scores(20, 1, 2, 6.0), 1.0, 0.0)
    assert [loss for _, loss in losses(tmp_path)] == [0.15, 0.3]
    shown = [value for tag, _, value in points(tmp_path / "tensorboard") if tag == "train/loss"]
    assert shown == [0.15, 0.3]


def test_other_processes_are_reported_once(tmp_path, monkeypatch, capsys):
    """Only where they matter: a training on the CPU, of one worker, for at least ten seconds."""

    class Taken:
        seconds, used = 11.0, 1.5

        def read(self):
            return self.used

    monkeypatch.setattr("imagenet_trainer.train.observers.Competition", Taken)
    monkeypatch.setattr("imagenet_trainer.train.observers.processors", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    for gpus, seconds, used, expected in (
        ((), 11.0, 1.5, 1), ((), 9.0, 1.5, 0), ((), 11.0, 0.3, 0), ((0,), 11.0, 1.5, 0),
        ((), 11.0, 2.5, 1),
    ):  # fmt: skip
        Taken.seconds, Taken.used = seconds, used
        folder = tmp_path / f"{len(gpus)}-{seconds}-{used}"
        folder.mkdir()
        session = session_of(folder, gpus=gpus)
        session.engine.world_size = 1
        with RunLog(None, 0) as log, Observers(session, log, UNDISTURBED) as observers:
            for update in (1, 2):
                progress = Progress(update=update)
                observers.on_interval(progress, update - 1, Scores(8, 1, 2, 3.0), 1.0, 0.0)
        fewer = 2 if used < 2 else 1
        found = capsys.readouterr().err.count(f"OMP_NUM_THREADS={fewer}")
        assert found == expected
        assert len(events_of(folder, "competition")) == expected

"""Tracking services; those of other companies are tested without a network."""

import json
import threading

import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.runs import tracking
from imagenet_trainer.runs.tracking import Tracker

SETTINGS = {"lr": 0.5, "network": "resnet", "gpus": (0, 1), "num_layers": None}
RESULT = {"val_rank1": 0.25, "best_epoch": 2, "prefix": "runs/a/model", "val_rank5": None}
VARIABLES = (
    "WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR", "WANDB_NAME",
    "MLFLOW_EXPERIMENT_NAME",
)  # fmt: skip


class Recorder:
    """A service that keeps what it gets."""

    run_id = "abc-1"

    def __init__(self):
        self.points, self.ended = [], []

    def write(self, update, values):
        self.points.append((update, values))

    def finish(self, how, update, result):
        self.ended.append((how, update, result))


@pytest.fixture
def lines():
    return []


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def track(name, folder, lines, updates=(1, 2), how="finished", **more):
    folder.mkdir(exist_ok=True)
    tracker = Tracker(name, folder, SETTINGS, lines.append, **more)
    for update in updates:
        tracker.write(update, {"train/loss": 1 / update, "train/rank5": float("nan"), "a b": 1})
    tracker.close(how, updates[-1], RESULT)


def test_a_service_gets_the_tags_of_tensorboard_and_the_id_of_the_run(
    tmp_path, lines, monkeypatch
):  # fmt: skip
    opened, service = [], Recorder()

    def open_service(name, run):
        opened.append((name, run.run_id, run.name, run.settings))
        return service

    monkeypatch.setattr(tracking, "open_service", open_service)
    (tmp_path / "tracking.json").write_text("{damaged")
    for _ in range(2):
        track("wandb", tmp_path, lines)
    assert opened == [("wandb", run_id, tmp_path.name, SETTINGS) for run_id in (None, "abc-1")]
    assert service.points[1] == (2, {"train/loss": 0.5, "a_b": 1})
    assert service.ended[0] == ("finished", 2, {"val_rank1": 0.25, "best_epoch": 2})
    assert json.loads((tmp_path / "tracking.json").read_text()) == {"wandb": "abc-1"}
    assert lines == []


def test_a_failure_is_one_line_without_passwords(tmp_path, lines, monkeypatch):
    def fail(name, run):
        raise OSError("no route to https://me:secret@example.org/x\nsecond line")

    monkeypatch.setattr(tracking, "open_service", fail)
    track("mlflow", tmp_path, lines)
    (line,) = lines
    assert line.startswith("--track mlflow: ") and "continues without it" in line
    assert "secret" not in line and "\n" not in line
    assert not (tmp_path / "tracking.json").exists()


def test_a_training_does_not_wait_for_a_service(tmp_path, lines, monkeypatch):
    release = threading.Event()

    def hang(name, run):
        release.wait(30)
        return Recorder()

    monkeypatch.setattr(tracking, "open_service", hang)
    track("wandb", tmp_path, lines, patience=0.05)
    release.set()
    assert len(lines) == 1 and "within 0.05 seconds" in lines[0]


def test_a_service_that_takes_no_values_is_not_waited_for_at_the_end(tmp_path, lines, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(tracking, "open_service", lambda name, run: release.wait(30))
    monkeypatch.setattr(tracking, "_MOST_WAITING", 1)
    tracker = Tracker("wandb", tmp_path, {}, lines.append)
    for update in (1, 2):
        tracker.write(update, {"train/loss": 1.0})
    monkeypatch.setattr(tracker._thread, "join", pytest.fail)
    tracker.close("finished", 2, {})
    release.set()
    assert len(lines) == 1 and "it does not take the values any more" in lines[0]


def test_a_missing_library_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(InputError, match=r"--track wandb: .*pip install"):
        tracking.check_library("wandb")


# --- the libraries themselves -------------------------------------------------------------------


def test_wandb_offline_continues_the_same_run(tmp_path, lines, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    track("wandb", tmp_path, lines)
    track("wandb", tmp_path, lines, (3,), "failed")
    run_id = json.loads((tmp_path / "tracking.json").read_text())["wandb"]
    assert lines == []
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))
    assert len(files) == 2
    for text in (b"train/loss", b"val_rank1", b"imagenet-trainer", b"num_layers"):
        assert text in files[0].read_bytes()


def test_wandb_without_a_login_is_one_line_and_asks_nothing(tmp_path, lines):
    pytest.importorskip("wandb").teardown()  # of the mode that it read before
    track("wandb", tmp_path, lines)
    assert len(lines) == 1 and "WANDB_MODE=offline" in lines[0]


@pytest.mark.parametrize("store", ["sqlite:///{}/mlflow.db", "file://{}/mlruns"])
def test_mlflow_has_the_same_values_in_one_run(tmp_path, lines, monkeypatch, store):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.format(tmp_path))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cats")
    track("mlflow", tmp_path / "run", lines, how="interrupted")
    track("mlflow", tmp_path / "run", lines, (3,))
    assert lines == []
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("cats").experiment_id])
    kept = json.loads((tmp_path / "run" / "tracking.json").read_text())
    assert kept == {"mlflow": run.info.run_id} and run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.5", "network": "resnet", "gpus": "[0, 1]",
                               "num_layers": "None"}  # fmt: skip
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((one.step, one.value) for one in losses) == [(1, 1), (2, 0.5), (3, 1 / 3)]
    assert run.data.metrics["val_rank1"] == 0.25 and run.data.tags["how"] == "finished"
    assert run.info.run_name == "run"


def test_mlflow_without_its_server_is_one_line(tmp_path, lines, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    track("mlflow", tmp_path, lines)
    assert len(lines) == 1 and "secret" not in lines[0] and "--track mlflow" in lines[0]

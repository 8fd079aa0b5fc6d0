"""Workers of a finished run end by themselves, those of another one meet the others."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from imagenet_trainer.config import FitSettings
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.checkpoint import Progress
from imagenet_trainer.train import finished, loop
from imagenet_trainer.train.finished import is_finished
from imagenet_trainer.train.loop import train
from imagenet_trainer.train.session import open_session

SETTINGS = {"num_epochs": 2, "lr": 0.4, "patience": 2}


@pytest.fixture(scope="module")
def opened(packed, tmp_path_factory):
    """A session of PyTorch that was opened alone."""
    session = open_session(
        FitSettings(
            network="resnet", num_layers=8, image_shape=(3, 16, 16), batch_size=8, engine="torch",
            data_train=str(packed / "train.rec"), data_val=str(packed / "val.rec"),
            model_prefix=str(tmp_path_factory.mktemp("finished") / "model"), **SETTINGS,
        )
    )  # fmt: skip
    yield session
    session.close()


@pytest.fixture
def session(opened):
    """The same without checkpoints."""
    for path in opened.run.folder.glob("model-*"):
        if path != opened.run.symbol_path:
            path.unlink()
    return opened


@pytest.fixture
def worker(session, monkeypatch):
    """Train as the worker with this rank that no torchrun started; whether it met the others."""
    for name, value in {"WORLD_SIZE": "2", "MASTER_ADDR": "first", "MASTER_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)

    class Met(Exception):
        pass

    def meet(*args):
        raise Met

    monkeypatch.setattr(loop, "open_session", meet)

    def ends(rank, **changed):
        monkeypatch.setenv("RANK", str(rank))
        try:
            return train(replace(session.settings, **changed)) == 0
        except Met:
            return False

    return ends


def test_workers_of_a_finished_run_end_at_once(session, worker, tmp_path, capsys, monkeypatch):
    done = ("touch", str(tmp_path / "done"))
    assert not worker(1)
    session.run.save(session.checkpoint(Progress(1, 7)), 1)
    assert not worker(0) and not worker(1)
    session.run.save(session.checkpoint(Progress(2, 15)), 2)
    assert worker(1, when_done=done) and not (tmp_path / "done").exists()
    assert worker(0, when_done=done) and (tmp_path / "done").exists()
    line = f"Node[0] The training of {session.run.prefix} is finished; a higher --num-epochs"
    assert line in session.run.log_path.read_text() and line in capsys.readouterr().err
    assert not worker(1, num_epochs=3)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # torchrun starts all workers again
    assert not worker(1)


def test_the_newest_checkpoint_decides(session):
    run, settings = session.run, session.settings
    run.save(session.checkpoint(Progress(2, 15)), 2)
    assert is_finished(run, settings)
    run.save(session.checkpoint(Progress(1, 9, rollbacks=1)), None)
    assert not is_finished(run, settings)
    run.state_path(None).write_bytes(b"damaged")  # the others will say so
    assert is_finished(run, settings)


def test_early_stopping(session):
    run, settings = session.run, replace(session.settings, num_epochs=9)
    rows = [{"epoch": e, "val_rank1": r, "val_loss": 1.0} for e, r in enumerate((0.5, 0.4, 0.4), 1)]
    run.write_history(rows)
    run.save(session.checkpoint(Progress(2, 15)), 2)
    assert not is_finished(run, settings)  # the third epoch has no checkpoint
    run.save(session.checkpoint(Progress(3, 22)), 3)
    assert is_finished(run, settings)
    assert not is_finished(run, replace(settings, patience=3))
    run.save(session.checkpoint(Progress(3, 24, Scores(16))), None)  # with a longer patience
    assert not is_finished(run, settings)


def test_other_settings_are_refused_as_ever(session, worker):
    session.run.save(session.checkpoint(Progress(2, 15)), 2)
    with pytest.raises(InputError, match=r"^--lr 0.1: .* was started with 0.4"):
        worker(1, lr=0.1)
    assert not is_finished(session.run, replace(session.settings, load_epoch=1))


def test_a_run_that_goes_on_is_read_once(session, worker, monkeypatch):
    session.run.save(session.checkpoint(Progress(1, 7)), 1)

    def read(settings):
        raise AssertionError("open_session reads it")

    monkeypatch.setattr(finished, "training_setup", read)
    assert not worker(1)

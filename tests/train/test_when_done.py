import json
import sys

import pytest
from conftest import needs_torch

from imagenet_trainer.config import FitSettings, values
from imagenet_trainer.errors import InputError, LostWorkerError
from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train import loop, when_done

# Writes its words and what it finds in its environment into the file named first.
REPORT = (
    "import json, os, sys; json.dump([sys.argv[2:], {k: v for k, v in os.environ.items()"
    " if k.startswith('IMAGENET_TRAINER_')}], open(sys.argv[1], 'w'))"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "received.json"


@pytest.fixture
def log():
    return []


def report(path, *words):
    return [sys.executable, "-c", REPORT, str(path), *words]


def after(command, log, error=None, interrupts=None):
    with when_done.run_afterwards(command, "runs/a/model", interrupts or Interrupts(), log.append):
        if error:
            raise error


def test_after_a_run_that_finished(path, log):
    after(report(path, "{how}-{exit_code}", "{prefix}", "{other} {"), log)
    words, environment = json.loads(path.read_text())
    assert words == ["finished-0", "runs/a/model", "{other} {"]
    assert environment == {
        "IMAGENET_TRAINER_HOW": "finished",
        "IMAGENET_TRAINER_EXIT_CODE": "0",
        "IMAGENET_TRAINER_PREFIX": "runs/a/model",
    }
    assert log == [f"--when-done {sys.executable}: done"]


@pytest.mark.parametrize(("error", "code"), [
    (InputError("x"), "2"), (LostWorkerError("x"), "75"), (OSError(28, "full"), "2"),
    (ZeroDivisionError(), "1"),
])  # fmt: skip
def test_after_a_run_that_failed(path, log, error, code):
    with pytest.raises(type(error)):
        after(report(path, "{how}", "{exit_code}"), log, error)
    assert json.loads(path.read_text())[0] == ["failed", code]


def test_not_after_a_signal(path, log):
    interrupts = Interrupts()
    interrupts.signal = 15
    after(report(path), log, interrupts=interrupts)
    assert not path.exists() and not log


def test_the_command_runs_without_a_shell(path, log, tmp_path):
    words = values.command(
        f"""{sys.executable} -c "{REPORT}" {path} $HOME ';' 'a b' `touch\\ x` *"""
    )
    after(words, log)
    assert json.loads(path.read_text())[0] == ["$HOME", ";", "a b", "`touch x`", "*"]


def test_a_prefix_stays_one_argument(path, log):
    with when_done.run_afterwards(
        report(path, "{prefix}"), "runs/a b; {how} $x/model", Interrupts(), log.append
    ):
        pass
    assert json.loads(path.read_text())[0] == ["runs/a b; {how} $x/model"]


def test_a_failed_command_is_logged_and_ignored(log):
    after([sys.executable, "-c", "raise SystemExit(3)"], log)
    after(["/nowhere/at-all"], log)
    assert log[0] == f"--when-done {sys.executable}: exit code 3"
    assert log[1].startswith("--when-done /nowhere/at-all: could not be run: ")


def test_no_command_without_the_flag(log):
    after((), log)
    assert not log


def test_a_missing_program_is_an_error_before_training():
    when_done.check_command(())
    when_done.check_command([sys.executable, "-c", "pass"])
    with pytest.raises(InputError, match="--when-done powerof: there is no such program"):
        when_done.check_command(["powerof"])


@needs_torch
def test_it_is_one_error_before_processes_start(monkeypatch):
    monkeypatch.setattr(loop, "run_processes", pytest.fail)
    with pytest.raises(InputError, match="--when-done powerof: "):
        loop.train(FitSettings(engine="torch", cpus=2, when_done=("powerof",)))


def test_quotes_that_are_not_closed():
    with pytest.raises(ValueError, match="quotes"):
        values.command("mail 'me")

import json
import sys

import pytest

from imagenet_trainer.config import values
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train import when_done

# Writes its words and what it finds in its environment into the file named first.
TELL = (
    "import json, os, sys; json.dump([sys.argv[2:], {k: v for k, v in os.environ.items()"
    " if k.startswith('IMAGENET_TRAINER_')}], open(sys.argv[1], 'w'))"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "told.json"


@pytest.fixture
def said():
    return []


def tell(path, *words):
    return [sys.executable, "-c", TELL, str(path), *words]


def after(command, said, error=None, interrupts=None):
    with when_done.run_afterwards(command, "runs/a/model", interrupts or Interrupts(), said.append):
        if error:
            raise error


def test_after_a_run_that_finished(path, said):
    after(tell(path, "{how}-{exit_code}", "{prefix}", "{other} {"), said)
    words, environment = json.loads(path.read_text())
    assert words == ["finished-0", "runs/a/model", "{other} {"]
    assert environment == {
        "IMAGENET_TRAINER_HOW": "finished",
        "IMAGENET_TRAINER_EXIT_CODE": "0",
        "IMAGENET_TRAINER_PREFIX": "runs/a/model",
    }
    assert said == [f"--when-done {sys.executable}: done"]


@pytest.mark.parametrize(("error", "code"), [(InputError("x"), "2"), (ZeroDivisionError(), "1")])
def test_after_a_run_that_failed(path, said, error, code):
    with pytest.raises(type(error)):
        after(tell(path, "{how}", "{exit_code}"), said, error)
    assert json.loads(path.read_text())[0] == ["failed", code]


def test_not_after_a_signal(path, said):
    interrupts = Interrupts()
    interrupts.signal = 15
    after(tell(path), said, interrupts=interrupts)
    assert not path.exists() and not said


def test_no_shell_sees_the_words(path, said, tmp_path):
    words = values.command(f"""{sys.executable} -c "{TELL}" {path} $HOME ';' 'a b' `touch\\ x` *""")
    after(words, said)
    assert json.loads(path.read_text())[0] == ["$HOME", ";", "a b", "`touch x`", "*"]


def test_a_prefix_is_one_word_whatever_is_in_it(path, said):
    with when_done.run_afterwards(
        tell(path, "{prefix}"), "runs/a b; {how} $x/model", Interrupts(), said.append
    ):
        pass
    assert json.loads(path.read_text())[0] == ["runs/a b; {how} $x/model"]


def test_its_failure_is_told_and_not_ours(said):
    after([sys.executable, "-c", "raise SystemExit(3)"], said)
    after(["/nowhere/at-all"], said)
    assert said[0] == f"--when-done {sys.executable}: exit code 3"
    assert said[1].startswith("--when-done /nowhere/at-all: could not be run: ")


def test_nothing_without_it(said):
    after((), said)
    assert not said


def test_a_program_that_is_not_there_is_told_before_the_training():
    when_done.check_command(())
    when_done.check_command([sys.executable, "-c", "pass"])
    with pytest.raises(InputError, match="--when-done powerof: there is no such program"):
        when_done.check_command(["powerof"])


def test_quotes_that_are_not_closed():
    with pytest.raises(ValueError, match="quotes"):
        values.command("mail 'me")

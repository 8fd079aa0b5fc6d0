"""Processes that a comparison starts: how they end, what they say, what they leave behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from imagenet_trainer.comparison import child_process as child
from imagenet_trainer.system.interrupts import Interrupts

LINUX = Path("/proc/self/stat").exists()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that makes a module for other processes and gives its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def made(code):
        (tmp_path / "some_command.py").write_text(code)
        return "some_command"

    return made


def test_how_a_command_ended(capsys):
    with Interrupts() as interrupts:
        ended = child.run("imagenet_trainer.fit", ["--no-such-flag"], interrupts)
    assert ended.code == 2 and ended.error.startswith("--no-such-flag: no such flag")
    assert ended.seconds > 0
    assert capsys.readouterr().err == ""  # the error is told by who asked


def test_words_and_what_it_says_beside_errors(module, capfd):
    name = module("import sys; print(sys.argv[1:]); sys.exit('other words')")
    ended = child.run(name, ["--a", "b c"], Interrupts())
    assert ended.code == 1 and ended.error == "it ended with 1: other words"
    told = capfd.readouterr()
    assert told.out == "['--a', 'b c']\n" and told.err == "other words\n"
    assert child.run(module("pass"), [], Interrupts())[:2] == (0, "")


def test_a_crash_is_told(module):
    name = module("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    ended = child.run(name, [], Interrupts())
    assert ended.code == 137 and "ended by SIGKILL, perhaps for want of memory" in ended.error


SAVING = """
import pathlib, signal, sys, time
def save(*_):
    print('saved', flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, save)
print('ready', flush=True)
pathlib.Path(__file__).with_name('ready').touch()
while True:
    time.sleep(0.01)  # signal.pause() would miss a signal that comes just before it
"""


@pytest.mark.parametrize(("saves", "code", "said"), [(True, 7, "saved\n"), (False, 137, "")])
def test_a_signal_goes_on_to_what_saves_and_kills_the_rest(
    module, tmp_path, capfd, saves, code, said
):
    interrupts = Interrupts()

    def interrupt():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        interrupts.signal = signal.SIGTERM

    threading.Thread(target=interrupt, daemon=True).start()
    ended = child.run(module(SAVING), [], interrupts, saves=saves)
    assert (ended.code, ended.error) == (code, "")
    assert capfd.readouterr().out == "ready\n" + said


@pytest.mark.skipif(not LINUX, reason="Linux ends processes with those that started them")
def test_it_ends_with_one_that_is_killed(module):
    code = (
        "from imagenet_trainer.comparison import child_process\n"
        "from imagenet_trainer.system.interrupts import Interrupts\n"
        f"with Interrupts() as found: child_process.run({module(SAVING)!r}, [], found, saves=True)"
    )
    path = f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        # The pipe ends when the last process that has it does.
        assert parent.stdout.read() == b"saved\n"


@pytest.mark.skipif(not LINUX, reason="Linux tells memory there")
def test_memory_of_a_session_is_its_own():
    ours = np.ones(50 << 20, np.uint8)  # which a process that is started would count as its own
    code = "import time; held = b'x' * (30 << 20); print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            process.stdout.readline()
            (found,) = child.peaks_of_session(process.pid).items()
        finally:
            process.kill()
    assert found[0] == process.pid and 30 << 20 < found[1] < 50 << 20 <= ours.nbytes

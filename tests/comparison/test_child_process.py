"""Child processes of a comparison: exit codes, output, signals, memory."""

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

from imagenet_trainer.comparison import child_process
from imagenet_trainer.system.interrupts import Interrupts

LINUX = Path("/proc/self/stat").exists()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module for child processes and returns its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def made(code):
        (tmp_path / "some_command.py").write_text(code)
        return "some_command"

    return made


def test_the_error_message_is_returned_and_not_printed(capsys):
    with Interrupts() as interrupts:
        ended = child_process.run("imagenet_trainer.fit", ["--no-such-flag"], interrupts)
    assert ended.code == 2 and ended.error.startswith("--no-such-flag: no such flag")
    assert ended.seconds > 0
    assert capsys.readouterr().err == ""


def test_output_is_forwarded(module, capfd):
    name = module("import sys; print(sys.argv[1:]); sys.exit('other words')")
    ended = child_process.run(name, ["--a", "b c"], Interrupts())
    assert ended.code == 1 and ended.error == "exit code 1: other words"
    output = capfd.readouterr()
    assert output.out == "['--a', 'b c']\n" and output.err == "other words\n"
    assert child_process.run(module("pass"), [], Interrupts())[:2] == (0, "")


def test_a_crash_is_reported(module):
    name = module("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    ended = child_process.run(name, [], Interrupts())
    assert ended.code == 137 and "SIGKILL" in ended.error


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


@pytest.mark.parametrize(("forwarded", "code", "output"), [(True, 7, "saved\n"), (False, 137, "")])
def test_a_signal_is_forwarded_or_the_process_is_killed(
    module, tmp_path, capfd, forwarded, code, output
):
    interrupts = Interrupts()

    def interrupt():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        interrupts.signal = signal.SIGTERM

    threading.Thread(target=interrupt, daemon=True).start()
    ended = child_process.run(module(SAVING), [], interrupts, forward_signals=forwarded)
    assert (ended.code, ended.error) == (code, "")
    assert capfd.readouterr().out == "ready\n" + output


@pytest.mark.skipif(not LINUX, reason="needs PR_SET_PDEATHSIG of Linux")
def test_it_ends_when_its_parent_is_killed(module):
    code = (
        "from imagenet_trainer.comparison import child_process\n"
        "from imagenet_trainer.system.interrupts import Interrupts\n"
        f"with Interrupts() as i: child_process.run({module(SAVING)!r}, [], i, True)"
    )
    path = f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        # The pipe ends when the last process that holds it ends.
        assert parent.stdout.read() == b"saved\n"


@pytest.mark.skipif(not LINUX, reason="needs /proc of Linux")
def test_peak_memory_excludes_that_of_the_parent():
    memory = np.ones(50 << 20, np.uint8)  # a forked process would inherit this peak
    code = "import time; held = b'x' * (30 << 20); print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            process.stdout.readline()
            (peak,) = child_process.peaks_of_session(process.pid).items()
        finally:
            process.kill()
    assert peak[0] == process.pid and 30 << 20 < peak[1] < 50 << 20 <= memory.nbytes

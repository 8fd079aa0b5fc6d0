import os
import random
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from imagenet_trainer.system.interrupts import Interrupts, signal_name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_recorded(number):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert not interrupts and interrupts.exit_code == 0
        os.kill(os.getpid(), number)
        assert interrupts and interrupts.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_acts():
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_signal_names():
    assert (signal_name(15), signal_name(signal.SIGINT)) == ("SIGTERM", "SIGINT")


# Runs a command and sends it SIGINT at its n-th import, opened file or other event of the
# interpreter after its first own import; prints the number of events.
AT_EVENT = """
import os, runpy, signal, sys
at, count = int(sys.argv[1]), 0

def hook(event, arguments):
    global count
    if "imagenet_trainer.config" in sys.modules and event in ("import", "open", "exec", "compile"):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(hook)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[2:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    print("events", count)
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit --summary", "doctor", "published", "compare", "export"])
def test_ctrl_c_at_any_import_has_no_traceback(command, tmp_path):
    def run_until(event):
        return subprocess.run(
            [sys.executable, "-c", AT_EVENT, str(event), *f"imagenet_trainer.{command}".split()],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True,
        )  # fmt: skip

    events = int(run_until(0).stdout.split()[-1])
    draw = random.Random(events)
    for _ in range(12):
        event = draw.randint(1, events)
        done = run_until(event)
        assert done.returncode in (-signal.SIGINT, 128 + signal.SIGINT), (event, done)
        assert "Traceback" not in done.stderr and "ignored" not in done.stderr, (event, done)

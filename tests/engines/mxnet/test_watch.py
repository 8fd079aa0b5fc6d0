"""What ends a process of ps-lite that would wait forever."""

import os
import queue
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, needs_mxnet
from helpers.launched import WORKER, Launched

from imagenet_trainer.engines.mxnet import watch
from imagenet_trainer.errors import InputError

TICK = 0.01


@pytest.fixture
def watched():
    """A function that watches counts of silent members, given look by look; the losses."""
    lost = queue.Queue()
    watches = []

    def begin(counts):
        looks = iter(counts)
        count = lambda group, seconds: next(looks, counts[-1])  # noqa: E731
        watches.append(watch.Watch(count, {"a worker": 4}, lost.put, TICK))
        return lost

    yield begin
    for one in watches:
        one.leave()


def test_a_silent_member_is_lost_once(watched):
    lost = watched([0, 0, 1])
    assert lost.get(timeout=20) == "a worker has not responded for 20 s"
    time.sleep(10 * TICK)
    assert lost.empty()


def test_a_suspended_machine_loses_nobody(watched):
    # All are silent at the first looks after it; then their heartbeats arrive.
    lost = watched([0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0])
    time.sleep(40 * TICK)
    assert lost.empty()


def test_who_left_is_not_lost():
    lost = []
    one = watch.Watch(lambda group, seconds: 1, {"a worker": 4}, lost.append, 1.0)
    one.leave()
    assert not one._thread.is_alive() and not lost


def test_host_names_become_addresses(monkeypatch):
    monkeypatch.setenv("DMLC_PS_ROOT_URI", "localhost")
    monkeypatch.setenv("DMLC_NODE_HOST", "127.0.0.1")
    monkeypatch.setenv("PS_HEARTBEAT_INTERVAL", "0")
    watch.prepare_environment()
    names = ("DMLC_PS_ROOT_URI", "DMLC_NODE_HOST", "PS_HEARTBEAT_INTERVAL")
    assert [os.environ[name] for name in names] == ["127.0.0.1", "127.0.0.1", "1"]
    monkeypatch.setenv("DMLC_PS_ROOT_URI", "no-such-host.invalid")
    with pytest.raises(InputError, match=r"^DMLC_PS_ROOT_URI no-such-host.invalid: no such host"):
        watch.prepare_environment()


def joining(limits, ignored=()):
    """A process that waits in C for others that never come, after its first line."""
    code = (
        "import ctypes, signal, sys\nfrom imagenet_trainer.engines.mxnet import watch\n"
        f"for number in {[int(n) for n in ignored]}: signal.signal(number, signal.SIG_IGN)\n"
        "record = lambda *_: print('recorded', flush=True)\n"
        "signal.signal(signal.SIGTERM, record)\n"
        f"with watch.joining('the scheduler', {limits}):\n"
        "    print('begins', flush=True)\n"
        "    libc = ctypes.CDLL(None)\n"
        "    while True: libc.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "begins\n"
    return process


def test_who_waits_says_for_what_and_ends():
    process = joining("0.1, 0.3")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert [line.split()[0] for line in said.splitlines()] == ["waiting", "error:"]
    assert said.count("the scheduler") == 2


def test_who_waits_obeys_the_first_signal():
    process = joining("0, 600")
    assert process.stderr.readline() == "waiting for the scheduler\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == -signal.SIGTERM


def test_handlers_return_when_all_are_present():
    before = signal.getsignal(signal.SIGTERM)
    with watch.joining("nobody"):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is before


@needs_mxnet
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stopped", "named"),
    [
        ("kvstore_worker.py", "scheduler 0] error: .* a worker has"),
        ("mxnet.serving", "a server has|the scheduler has"),
    ],
)
def test_a_process_that_hangs_ends_all_and_a_restart_continues(tmp_path, stopped, named):
    launched = Launched(("-n", 2, "-s", 1), (*WORKER, tmp_path / "end"))
    launched.until("connected", times=2)
    members = set(launched.members(stopped)) - set(launched.members("launch"))
    assert members
    os.kill(max(members), signal.SIGSTOP)
    began = time.monotonic()
    launched.until(f"({named}) not responded for 20 s")
    launched.until("launch: restart 1 of 3")
    assert time.monotonic() - began < 40
    launched.until("connected", times=2)
    (tmp_path / "end").touch()
    assert launched.end() == 0, launched.output
    assert launched.nobody_is_left()

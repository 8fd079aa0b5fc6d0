"""What ends a process of ps-lite that would wait forever."""

import os
import queue
import signal
import time

import pytest
from conftest import needs_mxnet
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

import subprocess
import sys
import time
from collections import namedtuple

import psutil
import pytest

from imagenet_trainer.system import competition
from imagenet_trainer.system.competition import Competition

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest")


def test_what_others_use(monkeypatch):
    """Two processors for ten seconds: 11 of 20 seconds were worked, 5 of them for this process."""
    clock, own = [100.0], [7.0]
    table = [Times(1, 1, 1, 50, 9, 0, 0, 0, 1), Times(2, 0, 1, 50, 9, 1, 1, 1, 0)]
    monkeypatch.setattr(competition.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(competition.time, "process_time", lambda: own[0])
    monkeypatch.setattr(competition.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: table)
    found = Competition()
    clock[0], own[0] = 110.0, 12.0
    table = [Times(4, 2, 2, 54, 9, 1, 0, 0, 3), Times(3, 0, 2, 58, 9, 1, 2, 3, 0)]
    assert found.seconds == 10
    assert found.read() == pytest.approx((11 - 5) / 10)
    clock[0] += 1
    assert found.read() == 0


def test_a_busy_process_is_seen():
    """Its processor time, measured by the system, is in the reading."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        found = Competition()
        before = sum(psutil.Process(busy.pid).cpu_times()[:2])
        time.sleep(1.0)
        used = sum(psutil.Process(busy.pid).cpu_times()[:2]) - before
        assert found.read() > 0.7 * used - 0.05
    finally:
        busy.kill()
        busy.wait()


@pytest.mark.parametrize("readings, found", [([0.1], 0.1), ([1.7, 0.2], 0.2), ([0.9, 1.4], 0.9)])
def test_a_short_peak_is_no_competition(monkeypatch, readings, found):
    left = list(readings)
    monkeypatch.setattr(competition.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Competition, "read", lambda self: left.pop(0))
    assert competition.busy_processors() == found
    assert not left

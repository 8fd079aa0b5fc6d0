"""Attempts whose jobs are small programs, without watchers or MXNet."""

import signal
import sys
import threading
import time

import pytest

from imagenet_trainer.launch import supervise
from imagenet_trainer.launch.plan import Job
from imagenet_trainer.launch.supervise import Attempt

# Obeys as a watcher does: `stop` ends it with 143, `kill` with 137.
OBEYS = """
import sys
print(f"begun {sys.argv[1]}", flush=True)
for line in sys.stdin:
    if line.startswith("stop"): print("saved", flush=True); sys.exit(128 + int(line.split()[1]))
    if line.startswith("kill"): sys.exit(137)
"""


def job(role, code, *words):
    return Job(f"{role} {words[0] if words else 0}", (sys.executable, "-c", code, *words), role)


def ends(role, code, after=0.0):
    return job(role, f"import sys, time; time.sleep({after}); sys.exit({code})")


@pytest.fixture
def attempt():
    told = []
    one = Attempt(told.append, grace=20.0)
    one.told = told
    return one


def test_all_end_well(attempt):
    assert attempt.run([ends("scheduler", 0), ends("server", 0), ends("worker", 0, 0.1)]) == 0
    assert attempt.told == []


def test_one_that_fails_ends_the_others(attempt, capfd):
    jobs = [job("server", OBEYS, "0"), job("worker", OBEYS, "0"), ends("worker", 7, 0.5)]
    assert attempt.run(jobs) == 7
    assert attempt.told == ["worker 0 ended with exit code 7; stopping the others"]
    assert "begun 0" in capfd.readouterr().out


def test_one_that_is_killed(attempt):
    dies = job("worker", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert attempt.run([job("worker", OBEYS, "0"), dies]) == 137
    assert attempt.told == ["worker 0 was ended by SIGKILL; stopping the others"]


def test_a_server_that_fails(attempt):
    assert attempt.run([ends("server", 3), job("worker", OBEYS, "0")]) == 3
    assert attempt.told == ["server 0 ended with exit code 3; stopping the others"]


def test_workers_that_stay_after_the_servers_are_done(attempt, monkeypatch):
    monkeypatch.setattr(supervise, "_CLOSING", 0.2)
    assert attempt.run([ends("server", 0), job("worker", OBEYS, "0")]) == 137
    assert "long after the servers ended" in attempt.told[0]


def test_a_signal_is_passed_on_to_workers_alone(attempt, capfd):
    def interrupt():
        while "begun" not in capfd.readouterr().out:
            time.sleep(0.02)
        attempt.stop(signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    jobs = [ends("server", 0, 0.5), job("worker", OBEYS, "0"), job("worker", OBEYS, "1")]
    assert attempt.run(jobs) == 143
    thread.join()
    assert attempt.told == ["SIGTERM: workers save and end"]
    assert capfd.readouterr().out.count("saved") == 2


def test_a_second_signal_does_not_wait(attempt):
    stays = job("worker", "import sys\nfor line in sys.stdin:\n if 'kill' in line: sys.exit(137)")
    attempt.stop(signal.SIGINT)
    attempt.stop(signal.SIGINT)
    assert attempt.run([stays]) == 130
    assert attempt.told == ["SIGINT: workers save and end", "SIGINT again: killing all"]


def test_workers_that_do_not_end_in_time(attempt, monkeypatch):
    monkeypatch.setattr(supervise, "_UNREACHABLE", 0.3)
    attempt._grace = 0.3
    attempt.stop(signal.SIGTERM)
    assert attempt.run([job("worker", "import sys; sys.stdin.read()")]) == 137
    assert "long after the signal" in attempt.told[1]


def test_what_does_not_answer_is_cut_off(attempt, monkeypatch):
    monkeypatch.setattr(supervise, "_UNREACHABLE", 0.3)
    deaf = job("worker", "import time; time.sleep(600)")
    assert attempt.run([deaf, ends("worker", 1, 0.5)]) == 1
    assert all(one.code is not None for one in attempt._running)


def test_a_program_that_is_not_there(attempt):
    with pytest.raises(FileNotFoundError):
        attempt.run([job("server", OBEYS, "0"), Job("mpirun", ("/no/such/mpirun",), None)])
    assert all(one.code is not None for one in attempt._running)


def test_lines_come_whole(attempt, capfd):
    writes = (
        "import os\nfor n in range(200): os.write(1, b'a' * 50); os.write(1, b'b' * 50 + b'\\n')"
    )
    assert attempt.run([job("worker", writes, str(n)) for n in range(3)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines == ["a" * 50 + "b" * 50] * 600

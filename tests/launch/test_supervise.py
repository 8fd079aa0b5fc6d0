"""Attempts whose jobs are small programs, without watchers and MXNet."""

import signal
import sys
import threading
import time

import pytest

from imagenet_trainer.launch import supervise
from imagenet_trainer.launch.plan import Job
from imagenet_trainer.launch.supervise import Attempt, cause_of

# Follows orders as a watcher does: `stop` ends it with 143, `kill` with 137.
FOLLOWS = """
import sys
print(f"started {sys.argv[1]}", flush=True)
for line in sys.stdin:
    if line.startswith("stop"): print("saved", flush=True); sys.exit(128 + int(line.split()[1]))
    if line.startswith("kill"): sys.exit(137)
"""


def job(role, code, *words):
    return Job(f"{role} {words[0] if words else 0}", (sys.executable, "-c", code, *words), role)


def ends(role, code, after=0.0):
    return job(role, f"import sys, time; time.sleep({after}); sys.exit({code})")


@pytest.fixture
def attempt(monkeypatch):
    lines = []
    attempt = Attempt(lines.append, grace=20.0)
    monkeypatch.setattr(supervise, "_LAST_LINES", 0.05)
    attempt.lines = lines
    return attempt


def test_success(attempt):
    assert attempt.run([ends("scheduler", 0), ends("server", 0), ends("worker", 0, 0.1)]) == 0
    assert attempt.lines == []


def test_a_worker_that_fails_ends_the_others(attempt, capfd):
    jobs = [job("server", FOLLOWS, "0"), job("worker", FOLLOWS, "0"), ends("worker", 7, 0.5)]
    assert attempt.run(jobs) == 7
    (line,) = attempt.lines
    assert line.startswith("worker 0 ") and "code 7" in line
    assert "started 0" in capfd.readouterr().out


def test_a_worker_that_is_killed(attempt):
    dies = job("worker", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert attempt.run([job("worker", FOLLOWS, "0"), dies]) == 137
    (line,) = attempt.lines
    assert line.startswith("worker 0 ") and "SIGKILL" in line


@pytest.mark.parametrize(
    ("codes", "cause"),
    [
        ((75, 2), 2),  # a wrong flag or file is not retried
        ((137, 2), 2),
        ((75, 1), 1),
        ((1, 3), 1),
        ((143, 75), 143),
        ((75, 75), 75),
    ],
)
def test_the_exit_code_is_that_of_the_cause(codes, cause):
    assert cause_of(codes) == cause


def test_a_worker_that_lost_another_one_may_end_first(attempt, monkeypatch):
    monkeypatch.setattr(supervise, "_LAST_LINES", 20.0)
    assert attempt.run([ends("worker", 75), ends("worker", 2, 0.5)]) == 2


def test_srun_returns_the_highest_exit_code_and_the_attempt_the_first(attempt, capfd):
    lines = ["launch: worker 1 on node7: exit code 2", "launch: worker 0 on node6: exit code 143"]
    program = f"import sys; print(*{lines}, sep='\\n', file=sys.stderr); sys.exit(143)"
    srun = Job("srun", (sys.executable, "-c", program), None, has_control=False)
    assert attempt.run([srun]) == 2
    assert attempt.lines == ["srun ended with exit code 2; stopping the others"]
    assert capfd.readouterr().err.splitlines() == lines


def test_an_exit_code_that_is_no_signals(attempt):
    assert attempt.run([ends("worker", 255)]) == 255  # of ssh
    assert attempt.lines == ["worker 0 ended with exit code 255; stopping the others"]


def test_a_server_that_fails(attempt):
    assert attempt.run([ends("server", 3), job("worker", FOLLOWS, "0")]) == 3
    (line,) = attempt.lines
    assert line.startswith("server 0 ") and "code 3" in line


def test_workers_still_running_after_the_servers_ended(attempt, monkeypatch):
    monkeypatch.setattr(supervise, "_CLOSING", 0.2)
    assert attempt.run([ends("server", 0), job("worker", FOLLOWS, "0")]) == 137
    assert "servers" in attempt.lines[0]


def test_a_signal_is_passed_to_workers_only(attempt, capfd):
    def interrupt():
        while "started" not in capfd.readouterr().out:
            time.sleep(0.02)
        attempt.stop(signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    jobs = [ends("server", 0, 0.5), job("worker", FOLLOWS, "0"), job("worker", FOLLOWS, "1")]
    assert attempt.run(jobs) == 143
    thread.join()
    (line,) = attempt.lines
    assert line.startswith("SIGTERM:")
    assert capfd.readouterr().out.count("saved") == 2


def test_a_second_signal_kills_all(attempt):
    stays = job("worker", "import sys\nfor line in sys.stdin:\n if 'kill' in line: sys.exit(137)")
    attempt.stop(signal.SIGINT)
    attempt.stop(signal.SIGINT)
    assert attempt.run([stays]) == 130
    first, second = attempt.lines
    assert first.startswith("SIGINT:") and second.startswith("SIGINT again:")


def test_workers_that_exceed_the_grace(attempt, monkeypatch):
    monkeypatch.setattr(supervise, "_UNREACHABLE", 0.3)
    attempt._grace = 0.3
    attempt.stop(signal.SIGTERM)
    assert attempt.run([job("worker", "import sys; sys.stdin.read()")]) == 137
    assert "signal" in attempt.lines[1]


def test_a_job_that_ignores_the_order_to_kill(attempt, monkeypatch):
    monkeypatch.setattr(supervise, "_UNREACHABLE", 0.3)
    deaf = job("worker", "import time; time.sleep(600)")
    assert attempt.run([deaf, ends("worker", 1, 0.5)]) == 1
    assert all(running.code is not None for running in attempt._jobs)


def test_a_missing_program(attempt):
    with pytest.raises(FileNotFoundError):
        attempt.run([job("server", FOLLOWS, "0"), Job("mpirun", ("/no/such/mpirun",), None)])
    assert all(running.code is not None for running in attempt._jobs)


def test_lines_are_not_interleaved(attempt, capfd):
    writes = (
        "import os\nfor n in range(200): os.write(1, b'a' * 50); os.write(1, b'b' * 50 + b'\\n')"
    )
    assert attempt.run([job("worker", writes, str(n)) for n in range(3)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines == ["a" * 50 + "b" * 50] * 600

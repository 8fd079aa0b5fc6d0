import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from conftest import ROOT

from imagenet_trainer.launch.member import environment_of, prefix_of
from imagenet_trainer.launch.plan import Member
from imagenet_trainer.system.machine import processors

SLEEPS = "import time; print('begun', flush=True); time.sleep(600)"


@pytest.fixture
def member(tmp_path):
    return Member(
        workers=2, servers=1, root="127.0.0.1", port=9, command=(sys.executable, "-c", SLEEPS),
        python=sys.executable, directory=str(tmp_path), role="worker", number=1, grace=0.5,
        name="node7", environment={"MXNET_X": "a b"},
    )  # fmt: skip


def started(member):
    words = [sys.executable, "-m", "imagenet_trainer.launch.member", member.encoded()]
    pipe = subprocess.PIPE
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def tells(member, code):
    return replace(member, command=(sys.executable, "-c", code))


def alive(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(number):
    for _ in range(100):
        if not alive(number):
            return True
        time.sleep(0.05)
    return False


def test_who_it_is(member):
    variables = environment_of(replace(member, on_host=2), "127.0.0.1", "lo")
    assert variables["DMLC_ROLE"] == "worker" and variables["IMAGENET_TRAINER_RANK"] == "1"
    assert (variables["DMLC_NUM_WORKER"], variables["DMLC_NUM_SERVER"]) == ("2", "1")
    assert variables["OMP_NUM_THREADS"] == str(max(1, processors() // 2))
    assert variables["MXNET_X"] == "a b"
    chosen = replace(member, environment={"OMP_NUM_THREADS": "7"})
    assert environment_of(chosen, "127.0.0.1", "lo")["OMP_NUM_THREADS"] == "7"
    server = replace(member, role="server", number=0, name="")
    assert "IMAGENET_TRAINER_RANK" not in environment_of(server, "127.0.0.1", "lo")
    assert prefix_of(member) == b"[worker 1 node7] " and prefix_of(server) == b"[server 0] "


def test_lines_get_a_prefix_and_the_exit_code_stays(member):
    code = "import os, sys; print(os.environ['DMLC_NODE_HOST'], os.environ['DMLC_INTERFACE']);"
    watcher = started(tells(member, code + "print('oh', end='', file=sys.stderr); sys.exit(5)"))
    out, err = watcher.stdout.read(), watcher.stderr.read()  # while its orders stay open
    assert out == "[worker 1 node7] 127.0.0.1 lo\n" and err == "[worker 1 node7] oh\n"
    assert watcher.wait() == 5
    watcher.communicate()


def test_an_order_stops_it(member):
    code = "import signal, sys, time; signal.signal(15, lambda *_: (print('saved'), sys.exit(143)))"
    watcher = started(tells(replace(member, grace=60.0), f"{code}; {SLEEPS}"))
    assert "begun" in watcher.stdout.readline()
    watcher.stdin.write("stop 15\n")
    watcher.stdin.flush()
    assert watcher.wait() == 143 and "saved" in watcher.stdout.read()
    watcher.communicate()


def test_what_it_started_goes_with_it(member):
    # A child of the worker that would outlive it, in the middle of which the order to kill comes.
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]);"
    watcher = started(tells(member, code + "print(p.pid, flush=True); p.wait()"))
    words = watcher.stdout.readline().split() + watcher.stdout.readline().split()
    number = next(int(word) for word in words if word.isdigit() and len(word) > 1)
    watcher.stdin.write("kill\n")
    watcher.stdin.flush()
    assert watcher.wait() == 137
    assert gone(number)
    watcher.communicate()


@pytest.mark.parametrize("role", ["worker", "server"])
def test_without_the_launcher_it_ends(member, role):
    # A server waits for workers and ignores the signal; it is killed when the time is over.
    deaf = "import signal; signal.signal(15, signal.SIG_IGN);" if role == "worker" else ""
    watcher = started(tells(replace(member, role=role), deaf + SLEEPS))
    if role == "worker":
        assert "begun" in watcher.stdout.readline()
    watcher.stdin.close()
    assert watcher.wait() == 137
    watcher.stdout.close()
    watcher.stderr.close()


def test_a_killed_watcher_takes_it_along(member):
    watcher = started(tells(member, "import os; print(os.getpid(), flush=True);" + SLEEPS))
    number = int(watcher.stdout.readline().split()[-1])
    watcher.kill()
    watcher.communicate()
    assert gone(number)


def test_one_line_for_a_mistake(member):
    far = replace(member, interface="wire0")
    watcher = started(far)
    assert "launch: error: --interface wire0" in watcher.communicate()[1]
    assert watcher.returncode == 2

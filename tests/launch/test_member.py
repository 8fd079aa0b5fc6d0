import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from conftest import ROOT, needs_mxnet

from imagenet_trainer.errors import InputError
from imagenet_trainer.launch import plan
from imagenet_trainer.launch.member import environment_of, prefix_of
from imagenet_trainer.launch.plan import Member
from imagenet_trainer.system.machine import processors

# A signal that comes just before a long sleep would be handled after it only.
SLEEPS = "import time; print('started', flush=True); [time.sleep(0.05) for _ in range(12000)]"


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


def runs(member, code):
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


def test_variables_and_prefix(member):
    variables = environment_of(replace(member, on_host=2))
    assert variables["DMLC_ROLE"] == "worker" and variables["IMAGENET_TRAINER_RANK"] == "1"
    assert (variables["DMLC_NUM_WORKER"], variables["DMLC_NUM_SERVER"]) == ("2", "1")
    assert variables["OMP_NUM_THREADS"] == str(max(1, processors() // 2))
    assert variables["MXNET_X"] == "a b"
    assert int(variables["PS_HEARTBEAT_INTERVAL"]) > 0  # else the scheduler takes it for lost
    chosen = replace(member, environment={"OMP_NUM_THREADS": "7"})
    assert environment_of(chosen)["OMP_NUM_THREADS"] == "7"
    server = replace(member, role="server", number=0, name="")
    assert "IMAGENET_TRAINER_RANK" not in environment_of(server)
    assert prefix_of(member) == b"[worker 1 node7] " and prefix_of(server) == b"[server 0] "


def test_variables_of_pytorch(member):
    torch = replace(member, engine="torch", servers=0, local=1, on_host=2, root="first", port=7)
    variables = environment_of(torch)  # the name of worker 0 may not be known yet
    assert not any(name.startswith(("DMLC", "IMAGENET")) for name in variables)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [variables[name] for name in names] == ["1", "2", "1", "2", "first", "7"]
    assert "GLOO_SOCKET_IFNAME" not in variables
    assert environment_of(replace(torch, interface="lo"))["GLOO_SOCKET_IFNAME"] == "lo"
    with pytest.raises(InputError, match="--interface wire0"):
        environment_of(replace(torch, interface="wire0"))


def test_lines_get_a_prefix_and_the_exit_code_stays(member):
    code = "import os, sys; print(os.environ['DMLC_NODE_HOST'], os.environ['DMLC_INTERFACE']);"
    watcher = started(runs(member, code + "print('oh', end='', file=sys.stderr); sys.exit(5)"))
    out, err = watcher.stdout.read(), watcher.stderr.read()  # while its standard input stays open
    assert out == "[worker 1 node7] 127.0.0.1 lo\n" and err == "[worker 1 node7] oh\n"
    assert watcher.wait() == 5
    watcher.communicate()


@pytest.mark.parametrize(
    ("slurm", "number"),
    [(False, signal.SIGUSR2), (False, signal.SIGTERM), (True, signal.SIGUSR2)],
)
def test_signals_of_mpirun_and_srun_stop_the_process(member, slurm, number, monkeypatch):
    # Not print, which fails if the signal comes while the program is still printing.
    handler = "lambda *_: (os.write(1, b'saved\\n'), sys.exit(143))"
    code = f"import os, signal, sys; signal.signal(15, {handler});"
    program = f"{code} print(os.getpid(), flush=True); {SLEEPS}"
    if slurm:
        monkeypatch.setenv("SLURM_PROCID", "1")
    watcher = started(runs(replace(member, grace=60.0, has_control=False), program))
    process = int(watcher.stdout.readline().split()[-1])
    assert "started" in watcher.stdout.readline()
    if slurm:  # srun's signals arrive at the watcher and at the process
        os.kill(process, number)
    watcher.send_signal(number)
    assert watcher.communicate()[0].count("saved") == 1
    assert watcher.returncode == 143


def test_slurm_signals_the_process_itself(member, monkeypatch):
    # The watcher does not add a second SIGTERM, at which a training would exit without saving.
    monkeypatch.setenv("SLURM_PROCID", "1")
    code = "import signal; signal.signal(15, lambda *_: print('signal', flush=True));"
    watcher = started(runs(replace(member, has_control=False), code + SLEEPS))
    assert "started" in watcher.stdout.readline()
    watcher.send_signal(signal.SIGTERM)
    assert "signal" not in watcher.communicate()[0]
    assert watcher.returncode == 137  # after the grace


def test_the_end_of_a_process_that_srun_started_is_a_line_for_the_launcher(member):
    watcher = started(runs(replace(member, has_control=False), "import sys; sys.exit(2)"))
    line = watcher.communicate()[1]
    assert plan.ending_in(line) == 2 == watcher.returncode and line.startswith("launch: worker 1 ")
    watcher = started(replace(member, interface="wire0", has_control=False))
    assert plan.ending_in(watcher.communicate()[1].splitlines()[-1]) == 2
    watcher = started(runs(replace(member, has_control=False), ""))
    assert watcher.communicate()[1] == ""


def test_an_order_stops_the_process(member):
    code = "import signal, sys, time; signal.signal(15, lambda *_: (print('saved'), sys.exit(143)))"
    watcher = started(runs(replace(member, grace=60.0), f"{code}; {SLEEPS}"))
    assert "started" in watcher.stdout.readline()
    watcher.stdin.write("stop 15\n")
    watcher.stdin.flush()
    assert watcher.wait() == 143 and "saved" in watcher.stdout.read()
    watcher.communicate()


def test_children_of_the_process_are_killed_too(member):
    # A child that would outlive the worker; the order to kill arrives while it sleeps.
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]);"
    watcher = started(runs(member, code + "print(p.pid, flush=True); p.wait()"))
    words = watcher.stdout.readline().split() + watcher.stdout.readline().split()
    number = next(int(word) for word in words if word.isdigit() and len(word) > 1)
    watcher.stdin.write("kill\n")
    watcher.stdin.flush()
    assert watcher.wait() == 137
    assert gone(number)
    watcher.communicate()


@pytest.mark.parametrize("role", ["worker", pytest.param("server", marks=needs_mxnet)])
def test_the_process_ends_without_the_launcher(member, role):
    # A server ignores the signal, since it waits for workers. It is killed after the grace.
    deaf = "import signal; signal.signal(15, signal.SIG_IGN);" if role == "worker" else ""
    watcher = started(runs(replace(member, role=role), deaf + SLEEPS))
    if role == "worker":
        assert "started" in watcher.stdout.readline()
    watcher.stdin.close()
    assert watcher.wait() == 137
    watcher.stdout.close()
    watcher.stderr.close()


def test_a_killed_watcher_ends_its_process(member):
    watcher = started(runs(member, "import os; print(os.getpid(), flush=True);" + SLEEPS))
    number = int(watcher.stdout.readline().split()[-1])
    watcher.kill()
    watcher.communicate()
    assert gone(number)


def test_an_error_is_one_line(member):
    watcher = started(replace(member, interface="wire0"))
    assert "launch: error: --interface wire0" in watcher.communicate()[1]
    assert watcher.returncode == 2

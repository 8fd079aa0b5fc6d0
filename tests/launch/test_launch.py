"""The launcher as a user runs it: whole trainings by several processes on 127.0.0.1."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from helpers import train_shard
from helpers.fit_runs import assert_same, history, parameters, words_of

from imagenet_trainer import fit

TWO = ("-n", "2", "-s", "1")


class Launched:
    """A launcher under way, whose processes all carry a mark in their environment."""

    def __init__(self, flags, command, before=()):
        self.mark = f"LAUNCH_TEST={uuid.uuid4()}"
        name, value = self.mark.split("=")
        environment = {**os.environ, name: value, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        words = [*before, sys.executable, str(ROOT / "tools" / "launch.py"), *flags, *command]
        self.process = subprocess.Popen(
            list(map(str, words)),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.told = ""

    def until(self, pattern):
        """Read lines until one has the pattern."""
        for line in self.process.stdout:
            self.told += line
            if re.search(pattern, line):
                return
        raise AssertionError(self.told)

    def end(self):
        """Read the rest; return the exit code."""
        self.told += self.process.communicate()[0]
        return self.process.returncode

    def members(self, words=""):
        """Process numbers that carry the mark and have the words in their command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = self.mark.encode() in (folder / "environ").read_bytes()
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if marked and words in line:
                found.append(int(folder.name))
        return found

    def nobody_is_left(self):
        for _ in range(100):  # what was killed a moment ago
            if not self.members():
                return True
            time.sleep(0.1)
        return False


def fit_command(packed, prefix, *more):
    words = ["python", "-m", "imagenet_trainer.fit", *words_of(packed), "--kv-store", "dist_sync"]
    return [*words, "--model-prefix", prefix, *more]


@pytest.fixture(scope="module")
def straight(packed, tmp_path_factory):
    """Prefix of an uninterrupted run of two workers."""
    prefix = tmp_path_factory.mktemp("straight") / "model"
    launched = Launched(TWO, fit_command(packed, prefix))
    assert launched.end() == 0, launched.told
    assert launched.nobody_is_left()
    text = (prefix.parent / "log.txt").read_text()
    assert "Node[0] Epoch[1] Validation-accuracy" in text
    assert re.search(r"^\[worker 1\] .* Node\[1\] Epoch\[0\] Batch \[0-1\]", launched.told, re.M)
    return prefix


def test_two_workers_do_what_one_does_and_their_number_may_change(packed, tmp_path):
    # The order of images shows in the parameters: another one would end elsewhere.
    rec, files = str(packed / "train.rec"), [str(tmp_path / f"{n}.npz") for n in range(4)]
    train_shard.train("device", rec, 0, 18, "", str(tmp_path / "one.npz"))
    train_shard.train("device", rec, 0, 6, "", str(tmp_path / "third.npz"))
    script = str(ROOT / "tests" / "helpers" / "train_shard.py")
    for part, kv_store in enumerate(("dist_sync", "device", "dist_device_sync")):
        words = [kv_store, rec, 6 * part, 6 * part + 6, files[part], files[part + 1]]
        if kv_store == "device":
            train_shard.train(*words)
        else:
            launched = Launched(TWO, ["python", script, *words])
            assert launched.end() == 0, launched.told
    for ours, theirs in ((files[1], "third.npz"), (files[3], "one.npz")):
        with np.load(ours) as several, np.load(tmp_path / theirs) as one:
            assert sorted(several.files) == sorted(one.files)
            for name in set(one.files) - {"counts"}:
                np.testing.assert_allclose(several[name], one[name], 1e-5, 1e-5, err_msg=name)
            both = several["counts"], one["counts"][-6:]
            np.testing.assert_allclose(*both, rtol=1e-5)  # of all workers together


def test_compressed_two_workers_are_two_devices_to_the_last_bit(packed, tmp_path):
    # Sums of what is sent are exact, so it does not matter where they are made; what is kept goes
    # from one to the other with the state.
    rec, script = str(packed / "train.rec"), str(ROOT / "tests" / "helpers" / "train_shard.py")
    first, both, last = (str(tmp_path / f"{name}.npz") for name in ("first", "both", "last"))
    train_shard.train("device", rec, 0, 4, "", first, 2, 0.2)
    launched = Launched(TWO, ["python", script, "dist_sync", rec, 4, 12, first, both, 1, 0.2])
    assert launched.end() == 0, launched.told
    train_shard.train("local", rec, 4, 12, first, last, 2, 0.2)
    with np.load(both) as workers, np.load(last) as devices:
        assert "state/kept:1:conv_weight" in workers.files
        assert sorted(workers.files) == sorted(devices.files)
        # What is counted and looked at, unlike what is trained, is added up in another order.
        told = {name for name in workers.files if name == "counts" or name.startswith("seen/")}
        for name in set(workers.files) - told:
            np.testing.assert_array_equal(workers[name], devices[name], name)
        for name in told:
            np.testing.assert_allclose(workers[name], devices[name], rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_one_asynchronous_worker_does_what_the_plain_one_does(packed, tmp_path):
    # Its servers make the updates: rate, momentum and decay have to be there too.
    rec, script = str(packed / "train.rec"), str(ROOT / "tests" / "helpers" / "train_shard.py")
    train_shard.train("device", rec, 0, 6, "", str(tmp_path / "plain.npz"))
    words = ["python", script, "dist_async", rec, 0, 6, "none", tmp_path / "server.npz"]
    launched = Launched(("-n", "1", "-s", "2"), words)
    assert launched.end() == 0, launched.told
    with np.load(tmp_path / "plain.npz") as plain, np.load(tmp_path / "server.npz") as server:
        assert {n for n in server.files if n.startswith("state")} == {"state/updates"}
        for name in {n for n in server.files if n not in ("state/updates", "counts")}:
            np.testing.assert_allclose(server[name], plain[name], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(server["counts"], plain["counts"], rtol=1e-5)


def killed_in_the_second_epoch(command):
    """The launcher of a training, one of whose workers is killed there."""
    launched = Launched(TWO, [*command, "--checkpoint-minutes", 1e-9])
    launched.until(r"Node\[0\] Epoch.1. Batch .3-")
    workers = launched.members(" -m imagenet_trainer.fit --network resnet")
    workers.remove(launched.process.pid)  # whose command line ends with theirs
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    assert launched.end() == 0, launched.told
    assert launched.nobody_is_left()
    assert "launch: restart 1 of 3" in launched.told
    return launched


def test_a_killed_worker_ends_in_the_same_state_after_the_restart(packed, straight, tmp_path):
    prefix = tmp_path / "model"
    launched = killed_in_the_second_epoch(fit_command(packed, prefix))
    assert "was ended by SIGKILL; stopping the others" in launched.told
    assert re.search(r"continuing .* after epoch 1, update (9|1\d)", launched.told)
    # Moving statistics differ between the workers: the checkpoint held those of both.
    assert_same(parameters(prefix, 2), parameters(straight, 2))
    assert history(prefix) == history(straight)


@pytest.mark.slow
def test_a_killed_worker_with_compressed_gradients(packed, tmp_path):
    more = "--gc-type 2bit --gc-threshold 0.1 --cpus 2 --kv-store dist_device_sync".split()
    straight, prefix = tmp_path / "straight" / "model", tmp_path / "killed" / "model"
    launched = Launched(TWO, fit_command(packed, straight, *more))
    assert launched.end() == 0, launched.told
    assert "with 4 devices 7 gradients travel in 32 bits" in launched.told
    killed_in_the_second_epoch(fit_command(packed, prefix, *more))
    for epoch in (1, 2):
        assert_same(parameters(prefix, epoch), parameters(straight, epoch))
    # At the end of an epoch all devices keep the same.
    with np.load(f"{straight}-0002.npz") as state:
        assert int(state["state/kept_by"]) == 4 and state["state/kept:conv0_weight"].any()


def test_sigterm_saves_and_ends_all_and_one_worker_goes_on(packed, straight, tmp_path, capsys):
    prefix = tmp_path / "model"
    launched = Launched(TWO, fit_command(packed, prefix))
    launched.until(r"Node\[1\] Epoch.1. Batch .2-")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.end() == 143, launched.told
    assert launched.nobody_is_left() and "restart" not in launched.told
    stopped = re.findall(r"Stopped after update (\d+)", launched.told)
    assert len(stopped) == 2 and len(set(stopped)) == 1
    assert (tmp_path / "model-last.npz").exists()
    assert fit.main([*words_of(packed), "--model-prefix", str(prefix)]) == 0
    told = capsys.readouterr().err
    assert "workers was 2 and is 1" in told and f"update {stopped[0]}" in told
    assert [row["epoch"] for row in history(prefix)] == ["1", "2"]
    assert history(prefix)[0] == history(straight)[0]


def test_a_killed_launcher_leaves_no_process(tmp_path):
    begun = "import sys, time; print('begun', flush=True); time.sleep(600)"
    launched = Launched((*TWO, "--grace", "1"), ["python", "-c", begun])
    launched.until("begun")
    launched.until("begun")
    assert len(launched.members()) > 6  # the launcher, and four processes with their watchers
    launched.process.kill()
    launched.process.wait()
    assert launched.nobody_is_left()


@pytest.mark.slow
def test_a_mistake_is_told_and_not_tried_again(packed, tmp_path):
    command = fit_command(packed, tmp_path / "model", "--batch-size", "9")
    launched = Launched(TWO, command)
    assert launched.end() == 2, launched.told
    assert launched.nobody_is_left() and "restart" not in launched.told
    assert "fit: error: --batch-size 9" in launched.told and "multiple of 2" in launched.told


# --- a stand-in for mpirun ------------------------------------------------------------------------

_MPIRUN = """#!{python}
import os, signal, subprocess, sys
words = sys.argv[1:]
count = int(words[words.index("-n") + 1])
ranks = [
    subprocess.Popen(words[words.index("env"):], env={{**os.environ, "PMIX_RANK": str(rank)}})
    for rank in range(count)
]
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda number, frame: [rank.send_signal(number) for rank in ranks])
sys.exit(max([rank.wait() for rank in ranks]))
"""


@pytest.mark.slow
def test_one_command_that_starts_all(packed, tmp_path, monkeypatch):
    (tmp_path / "mpirun").write_text(_MPIRUN.format(python=sys.executable))
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    prefix = tmp_path / "run" / "model"
    launched = Launched((*TWO, "--launcher", "mpi"), fit_command(packed, prefix))
    launched.until(r"^\[worker 1\] .*Node\[1\] Epoch.1. Batch .2-")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.end() == 143, launched.told
    assert launched.nobody_is_left()
    assert len(re.findall("Stopped after update", launched.told)) == 2
    assert (prefix.parent / "model-last.npz").exists()


# --- namespaces of the network as separate machines -----------------------------------------------

# Stands for ssh: its host is an address of 10.77.0.0/24, its last word goes to a shell there.
_SSH = """#!/bin/sh
for last; do :; done
while [ "${1#10.77.0.}" = "$1" ]; do shift; done
exec ip netns exec "launch-test-${1#10.77.0.}" sh -c "$last"
"""


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def namespaces():
    """Three machines on one wire: launch-test-1, -2 and -3, with 10.77.0.1 to 10.77.0.3."""
    names = [f"launch-test-{number}" for number in (1, 2, 3)]
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", names[0], "link", "add", "wire", "type", "bridge")
            ip("-n", names[0], "addr", "add", "10.77.0.1/24", "dev", "wire")
            ip("-n", names[0], "link", "set", "wire", "up")
            for number in (2, 3):
                name, port = f"launch-test-{number}", f"port{number}"
                words = ("type", "veth", "peer", "name", "eth7", "netns", name)
                ip("-n", names[0], "link", "add", port, *words)
                ip("-n", names[0], "link", "set", port, "master", "wire", "up")
                ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth7")
                ip("-n", name, "link", "set", "eth7", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or str(error)
            pytest.skip(f"no network namespaces here: {reason.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_namespaces_as_separate_machines(packed, straight, tmp_path, namespaces):
    (tmp_path / "ssh").write_text(_SSH)
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "hosts").write_text("10.77.0.2\n10.77.0.3\n")
    prefix = tmp_path / "run" / "model"
    flags = ("-n", "2", "-s", "2", "-H", tmp_path / "hosts", "--ssh", tmp_path / "ssh")
    command = fit_command(packed, prefix, "--checkpoint-minutes", 1e-9)
    launched = Launched(flags, command, before=("ip", "netns", "exec", namespaces[0]))
    launched.until(r"Node\[0\] Epoch.1. Batch .3-")
    assert re.search(
        r"2 workers and 2 servers by ssh, the scheduler at 10\.77\.0\.1:", launched.told
    )
    assert re.search(r"^\[worker 1 10\.77\.0\.3\] .*Node\[1\]", launched.told, re.M)
    inside = ip("netns", "pids", namespaces[2]).split()
    servers = [n for n in launched.members("launch.serving") if str(n) in inside]
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)
    assert launched.end() == 0, launched.told
    assert "server 1 on 10.77.0.3 was ended by SIGKILL" in launched.told
    assert launched.nobody_is_left()
    assert not any(ip("netns", "pids", name) for name in namespaces)
    assert_same(parameters(prefix, 2), parameters(straight, 2))

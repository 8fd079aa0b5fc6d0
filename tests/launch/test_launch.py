"""The launcher as a user runs it: several processes on 127.0.0.1, and on three namespaces."""

import os
import re
import signal
import time

import numpy as np
import pytest
from conftest import ROOT, needs_mxnet
from helpers import train_shard
from helpers.fit_runs import assert_same, history, parameters, words_of
from helpers.launched import WORKER, Launched
from helpers.namespaces import ip, namespaces  # noqa: F401

from imagenet_trainer import fit

pytestmark = needs_mxnet

TWO = ("-n", "2", "-s", "1")


def fit_command(packed, prefix, *more):
    words = ["python", "-m", "imagenet_trainer.fit", *words_of(packed), "--kv-store", "dist_sync"]
    return [*words, "--model-prefix", prefix, *more]


@pytest.mark.parametrize(
    "kv_stores",
    [("dist_sync", "device"),
     pytest.param(("dist_sync", "device", "dist_device_sync"), marks=pytest.mark.slow)],
)  # fmt: skip
def test_two_workers_train_as_one_and_their_number_may_change(packed, tmp_path, kv_stores):
    # The parameters depend on the order of the images.
    rec, files = str(packed / "train.rec"), [str(tmp_path / f"{n}.npz") for n in range(4)]
    script = str(ROOT / "tests" / "helpers" / "train_shard.py")
    for part, kv_store in enumerate(kv_stores):
        words = [kv_store, rec, 6 * part, 6 * part + 6, files[part], files[part + 1]]
        if kv_store == "device":
            train_shard.train(*words)
        else:
            launched = Launched(TWO, ["python", script, *words])
            assert launched.end() == 0, launched.output
        train_shard.train("device", rec, 0, 6 * part + 6, "", str(tmp_path / "one.npz"))
        with np.load(files[part + 1]) as several, np.load(tmp_path / "one.npz") as one:
            assert sorted(several.files) == sorted(one.files)
            for name in set(one.files) - {"counts"}:
                np.testing.assert_allclose(several[name], one[name], 1e-5, 1e-5, err_msg=name)
            both = several["counts"], one["counts"][-6:]
            np.testing.assert_allclose(*both, rtol=1e-5)  # of all workers together


@pytest.mark.slow
def test_two_compressed_workers_are_two_devices_bit_for_bit(packed, tmp_path):
    # Sums of compressed gradients are exact wherever they are made, and the state holds the
    # residuals of the compression.
    rec, script = str(packed / "train.rec"), str(ROOT / "tests" / "helpers" / "train_shard.py")
    first, both, last = (str(tmp_path / f"{name}.npz") for name in ("first", "both", "last"))
    train_shard.train("device", rec, 0, 4, "", first, 2, 0.2)
    words = ["dist_device_sync", rec, 4, 12, first, both, 1, 0.2]
    launched = Launched(TWO, ["python", script, *words])
    assert launched.end() == 0, launched.output
    train_shard.train("local", rec, 4, 12, first, last, 2, 0.2)
    with np.load(both) as workers, np.load(last) as devices:
        assert "state/kept:1:conv_weight" in workers.files
        assert sorted(workers.files) == sorted(devices.files)
        # Counts and monitored values, unlike gradients, are summed in another order.
        monitored = {name for name in workers.files if name == "counts" or name.startswith("seen/")}
        for name in set(workers.files) - monitored:
            np.testing.assert_array_equal(workers[name], devices[name], name)
        for name in monitored:
            np.testing.assert_allclose(workers[name], devices[name], rtol=1e-6, err_msg=name)


@pytest.mark.slow
def test_one_asynchronous_worker_trains_as_a_plain_one(packed, tmp_path):
    # The servers make the updates: they need learning rate, momentum and decay.
    rec, script = str(packed / "train.rec"), str(ROOT / "tests" / "helpers" / "train_shard.py")
    train_shard.train("device", rec, 0, 6, "", str(tmp_path / "plain.npz"))
    words = ["python", script, "dist_async", rec, 0, 6, "none", tmp_path / "server.npz"]
    launched = Launched(("-n", "1", "-s", "2"), words)
    assert launched.end() == 0, launched.output
    with np.load(tmp_path / "plain.npz") as plain, np.load(tmp_path / "server.npz") as server:
        assert {n for n in server.files if n.startswith("state")} == {"state/updates"}
        for name in {n for n in server.files if n not in ("state/updates", "counts")}:
            np.testing.assert_allclose(server[name], plain[name], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(server["counts"], plain["counts"], rtol=1e-5)


def killed_in_the_second_epoch(command):
    """Launch a training, kill one of its workers; return the launcher, which starts it again."""
    launched = Launched(TWO, [*command, "--checkpoint-minutes", 1e-9])
    launched.until(r"Node\[0\] Epoch.1. Batch .3-")
    workers = launched.members(" -m imagenet_trainer.fit --network resnet")
    workers.remove(launched.process.pid)  # its command line contains theirs
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    launched.until("launch: restart 1 of 3")
    return launched


def test_a_killed_worker_restarts_and_sigterm_saves(packed, tmp_path, capsys):
    # Two gradients have the same sum in any order, so two devices of one process are a reference.
    straight, prefix = tmp_path / "straight" / "model", tmp_path / "killed" / "model"
    assert fit.main([*words_of(packed), "--cpus", "2", "--model-prefix", str(straight)]) == 0
    more = ("--num-epochs", 3)
    launched = killed_in_the_second_epoch(fit_command(packed, prefix, *more))
    launched.until(r"Node\[1\] Epoch.2. Batch .2-")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.end() == 143, launched.output
    assert launched.nobody_is_left() and "restart 2" not in launched.output
    assert "was ended by SIGKILL" in launched.output
    assert re.search(r"continuing .* after epoch 1, update (9|1\d)", launched.output)
    assert re.search(r"^\[worker 1\] .* Node\[1\] Epoch\[0\] Batch \[0-1\]", launched.output, re.M)
    assert "Node[0] Epoch[1] Validation-accuracy" in (prefix.parent / "log.txt").read_text()
    # Moving statistics differ between the workers: the checkpoint holds those of both.
    assert_same(parameters(prefix, 2), parameters(straight, 2))
    assert history(prefix) == history(straight)
    stopped = re.findall(r"Stopped after update (\d+)", launched.output)
    assert len(stopped) == 2 and len(set(stopped)) == 1
    assert (prefix.parent / "model-last.npz").exists()
    # One worker continues.
    assert fit.main([*words_of(packed), "--model-prefix", str(prefix), *map(str, more)]) == 0
    log = capsys.readouterr().err
    assert "workers was 2 and is 1" in log and f"update {stopped[0]}" in log
    assert [row["epoch"] for row in history(prefix)] == ["1", "2", "3"]
    assert history(prefix)[:2] == history(straight)


@pytest.mark.slow
def test_a_killed_worker_with_compressed_gradients(packed, tmp_path):
    more = "--gc-type 2bit --gc-threshold 0.1 --cpus 2 --kv-store dist_device_sync".split()
    straight, prefix = tmp_path / "straight" / "model", tmp_path / "killed" / "model"
    launched = Launched(TWO, fit_command(packed, straight, *more))
    assert launched.end() == 0, launched.output
    assert re.search("4 devices .* 7 gradients", launched.output)
    launched = killed_in_the_second_epoch(fit_command(packed, prefix, *more))
    assert launched.end() == 0, launched.output
    assert launched.nobody_is_left()
    for epoch in (1, 2):
        assert_same(parameters(prefix, epoch), parameters(straight, epoch))
    # At the end of an epoch all devices have the same residuals.
    with np.load(f"{straight}-0002.npz") as state:
        assert int(state["state/kept_by"]) == 4 and state["state/kept:conv0_weight"].any()


def test_a_killed_launcher_leaves_no_process(tmp_path):
    sleeps = "import time; print('started', flush=True); time.sleep(600)"
    launched = Launched((*TWO, "--grace", "1"), ["python", "-c", sleeps])
    launched.until("started", times=2)
    assert len(launched.members()) > 6  # the launcher, and four processes with their watchers
    launched.process.kill()
    launched.process.wait()
    assert launched.nobody_is_left()


# --- network namespaces as separate machines ------------------------------------------------------

# Replaces ssh: the host is an address of 10.77.0.0/24; a shell there runs the last argument.
_SSH = """#!/bin/sh
for last; do :; done
while [ "${1#10.77.0.}" = "$1" ]; do shift; done
exec ip netns exec "NAMESPACE-${1#10.77.0.}" sh -c "$last"
"""


def launched_on_two_machines(tmp_path, namespaces):
    """A launch from the first namespace with a worker in each of the others, connected."""
    (tmp_path / "ssh").write_text(_SSH.replace("NAMESPACE", namespaces[0].rpartition("-")[0]))
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "hosts").write_text("10.77.0.2\n10.77.0.3\n")
    flags = (*TWO, "-H", tmp_path / "hosts", "--ssh", tmp_path / "ssh")
    command = (*WORKER, tmp_path / "end")
    launched = Launched(flags, command, before=("ip", "netns", "exec", namespaces[0]))
    launched.until("connected", times=2)
    return launched


def test_namespaces_as_separate_machines(tmp_path, namespaces):
    launched = launched_on_two_machines(tmp_path, namespaces)
    assert re.search(
        r"2 workers and 1 server by ssh, the scheduler at 10\.77\.0\.1:", launched.output
    )
    assert re.search(r"^\[worker 1 10\.77\.0\.3\] connected to 2", launched.output, re.M)
    inside = ip("netns", "pids", namespaces[1]).split()
    servers = [n for n in launched.members("mxnet.serving") if str(n) in inside]
    assert len(servers) == 1
    os.kill(servers[0], signal.SIGKILL)
    launched.until("launch: restart 1 of 3")
    assert "server 0 on 10.77.0.2 was ended by SIGKILL" in launched.output
    launched.until("connected", times=2)
    (tmp_path / "end").touch()
    assert launched.end() == 0, launched.output
    assert launched.nobody_is_left()
    assert not any(ip("netns", "pids", name) for name in namespaces)


@pytest.mark.slow
def test_a_cut_link_ends_all_and_a_restart_continues(tmp_path, namespaces):
    launched = launched_on_two_machines(tmp_path, namespaces)
    ip("-n", namespaces[0], "link", "set", "port3", "down")
    began = time.monotonic()
    launched.until("a worker has not responded for 20 s")
    launched.until("launch: restart 1 of 3")
    assert time.monotonic() - began < 40
    ip("-n", namespaces[0], "link", "set", "port3", "up")
    launched.until("connected", times=2)
    (tmp_path / "end").touch()
    assert launched.end() == 0, launched.output
    assert launched.nobody_is_left()

"""Two processes of torchrun's against one, with gloo."""

import os
import sys
import time

import numpy as np
import pytest

pytest.importorskip("torch")

import torch_worker
from conftest import ROOT, run

from imagenet_trainer.engines.workers import gathered
from imagenet_trainer.launch.main import main as launch

START = (
    "import sys; from imagenet_trainer.launch.torchrun import start; "
    "sys.exit(start(2, ['-m', 'torch_worker', *sys.argv[2:]], int(sys.argv[1])))"
)


def two_workers(folder, mode, restarts=0):
    path = f"{ROOT}:{ROOT / 'tests'}"
    return run("-c", START, restarts, folder, mode, env={"PYTHONPATH": path}, check=None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What one process and two left in a folder."""
    folder = tmp_path_factory.mktemp("workers")
    one, _ = torch_worker.opened()
    torch_worker.train(one, 0, 3)
    torch_worker.save(one, folder / "half-by-one.npz")
    torch_worker.train(one, 3, 6)
    torch_worker.save(one, folder / "one.npz")
    result = two_workers(folder, "all")
    assert result.returncode == 0, result.stderr
    return folder


def assert_close(ours, theirs, atol=1e-5):
    with np.load(ours) as one, np.load(theirs) as other:
        assert sorted(one.files) == sorted(other.files)
        for name in one.files:
            np.testing.assert_allclose(one[name], other[name], atol=atol, err_msg=name)


def test_two_workers_give_what_one_does(trained):
    assert_close(trained / "two.npz", trained / "one.npz")
    with np.load(trained / "told-0.npz") as first, np.load(trained / "told-1.npz") as second:
        assert first["counts"][0] == 6 * torch_worker.BATCH
        np.testing.assert_array_equal(first["counts"], second["counts"])


def test_the_number_of_workers_may_change_between_halves(trained):
    assert_close(trained / "one-then-two.npz", trained / "one.npz")
    engine, _ = torch_worker.opened()
    torch_worker.load(engine, trained / "half-by-two.npz")
    torch_worker.train(engine, 3, 6)
    torch_worker.save(engine, trained / "two-then-one.npz")
    assert_close(trained / "two-then-one.npz", trained / "one.npz")


def test_moving_statistics_are_the_mean_of_what_the_workers_saw(trained):
    # Each worker normalises its own half; the half twice has the same mean and variance.
    images, labels = torch_worker.batches()[0]
    halves = []
    for half in (slice(0, 4), slice(4, 8)):
        engine, _ = torch_worker.opened(batch_norm=True)
        double = np.concatenate([images[half]] * 2), np.concatenate([labels[half]] * 2)
        engine.train_batch(*double, 0.0)
        halves.append(engine.get_params()[1])
    with np.load(trained / "normed.npz") as held:
        for name in ("bn_moving_mean", "bn_moving_var"):
            wanted = (halves[0][name] + halves[1][name]) / 2
            np.testing.assert_allclose(held[f"params:{name}"], wanted, atol=1e-6)
            assert np.abs(halves[0][name] - halves[1][name]).max() > 1e-4


def test_the_monitor_tells_of_the_whole_batch(trained):
    engine, _ = torch_worker.opened(monitor=1)
    torch_worker.train(engine, 0, 2)
    wanted = engine.read_statistics()[1][1]
    for rank in (0, 1):
        with np.load(trained / f"told-{rank}.npz") as told:
            seen = {name[5:]: told[name] for name in told.files if name.startswith("seen:")}
        assert len(seen) == len(wanted) and {"data", "conv_weight", "fc_bias_grad"} <= seen.keys()
        # In the same order; some have no name of their own but a number of MXNet's.
        for (name, value), theirs in zip(seen.items(), wanted.values()):
            assert value == pytest.approx(theirs, rel=1e-4), name


def test_one_worker_s_infinite_loss_stops_all(trained):
    for rank in (0, 1):
        with np.load(trained / f"told-{rank}.npz") as told:
            assert told["stopped"]


@pytest.mark.slow
def test_a_worker_that_dies_ends_all_and_a_restart_goes_on(tmp_path, trained):
    result = two_workers(tmp_path, "killed")
    assert result.returncode == 128 + 9
    assert "worker 1 ended with -9, and all others with it" in result.stderr
    assert two_workers(tmp_path, "killed").returncode == 0  # from what was kept
    assert_close(tmp_path / "kept.npz", trained / "one.npz")


@pytest.mark.slow
def test_torchrun_restarts_by_itself(tmp_path, trained):
    assert two_workers(tmp_path, "killed", restarts=1).returncode == 0
    assert_close(tmp_path / "kept.npz", trained / "one.npz")


@pytest.mark.slow
def test_a_worker_that_is_silent_ends_all_within_a_minute(tmp_path):
    result = two_workers(tmp_path, "stopped")
    took = time.time() - float((tmp_path / "stopped.txt").read_text())
    assert result.returncode == 75
    told = "lost another one: worker 1 of 2 has given no sign for 20 s"
    assert f"error: worker 0 of 2 ({os.uname().nodename}) {told}" in result.stderr
    assert "torchrun: worker 0 ended with 75, and all others with it" in result.stderr
    assert took < 60  # 20 until it is missed, 30 that torchrun waits for it


def test_a_mistake_is_not_tried_again(tmp_path):
    result = two_workers(tmp_path, "refused", restarts=3)
    assert result.returncode == 2
    assert (tmp_path / "attempts.txt").read_text() == "x"
    # Both workers say it, and their lines may run into each other.
    assert "fit: error: --data-train x.rec: is not there" in result.stderr
    assert "Traceback" not in result.stderr and "torchrun:" not in result.stderr


def test_the_launcher_starts_torchrun(capsys):
    words = ["--engine", "torch", "-n", "4", "--dry-run", "python", "-m", "imagenet_trainer.fit"]
    assert launch(words) == 0
    assert capsys.readouterr().out.split() == [
        "torchrun", "--standalone", "--nproc-per-node", "4", "--max-restarts", "0", "--no-python",
        sys.executable, "-m", "imagenet_trainer.fit",
    ]  # fmt: skip
    assert launch(["--engine", "torch", "--launcher", "mpi", "-n", "2", "python"]) == 2
    assert "run on each of them `torchrun --nnodes" in capsys.readouterr().err


def test_workers_are_gathered_in_order():
    class Second:
        rank, world_size = 1, 2

        def sum(self, values):
            return values + np.array([5.0, 0.0])

    np.testing.assert_array_equal(gathered(np.array([7.0]), Second()), [[5.0], [7.0]])

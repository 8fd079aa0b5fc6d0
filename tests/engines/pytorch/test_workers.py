"""Two processes of torchrun compared with one, with gloo."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from conftest import ROOT, run
from helpers import torch_worker
from helpers.tiny_engine import BATCH, MEAN, SIDE, STD, batches, network

from imagenet_trainer.engines import Devices, Optimizer, Training, choice
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.pytorch import devices as torch_devices
from imagenet_trainer.engines.pytorch import engine as torch_engine
from imagenet_trainer.engines.pytorch import workers as torch_workers
from imagenet_trainer.engines.pytorch.workers import TorchWorkers
from imagenet_trainer.engines.workers import gathered
from imagenet_trainer.errors import InputError, LostWorkerError
from imagenet_trainer.launch import torchrun
from imagenet_trainer.launch.addresses import LOOPBACK, free_port
from imagenet_trainer.launch.main import main as launch

START = (
    "import sys; from imagenet_trainer.launch.torchrun import start; "
    "sys.exit(start(2, ['-m', 'helpers.torch_worker', *sys.argv[2:]], int(sys.argv[1])))"
)


def two_workers(folder, mode, restarts=0):
    path = f"{ROOT}:{ROOT / 'tests'}"
    env = {"PYTHONPATH": path, "TMPDIR": str(folder)}
    result = run("-c", START, restarts, folder, mode, env=env, check=None)
    left = {one.name for one in (*folder.glob("torch*/"), *folder.glob("tmp*/"))}
    assert {name.partition("_")[0] for name in left} <= {"torchinductor"}  # PyTorch's own cache
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the results of one process and of two."""
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


def test_two_workers_equal_one(trained):
    assert_close(trained / "two.npz", trained / "one.npz")
    with np.load(trained / "results-0.npz") as first, np.load(trained / "results-1.npz") as second:
        assert first["counts"][0] == 6 * torch_worker.BATCH
        np.testing.assert_array_equal(first["counts"], second["counts"])


def test_the_number_of_workers_may_change_between_halves(trained):
    assert_close(trained / "one-then-two.npz", trained / "one.npz")
    engine, _ = torch_worker.opened()
    torch_worker.load(engine, trained / "half-by-two.npz")
    torch_worker.train(engine, 3, 6)
    torch_worker.save(engine, trained / "two-then-one.npz")
    assert_close(trained / "two-then-one.npz", trained / "one.npz")


def test_moving_statistics_are_the_mean_over_the_workers(trained):
    # Each worker normalises its own half; a batch of two equal halves has the same moments.
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


def test_synchronised_batch_norm_of_two_workers_equals_that_of_one(trained):
    one, _ = torch_worker.opened(batch_norm=True)
    torch_worker.train(one, 0, 6)
    torch_worker.save(one, trained / "whole.npz")
    assert_close(trained / "synced-False.npz", trained / "whole.npz")
    with (
        np.load(trained / "synced-False.npz") as ours,
        np.load(trained / "synced-True.npz") as again,
    ):
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], again[name], name)


def test_the_monitor_covers_the_whole_batch(trained):
    engine, _ = torch_worker.opened(monitor=1)
    torch_worker.train(engine, 0, 2)
    wanted = engine.read_statistics()[1][1]
    for rank in (0, 1):
        with np.load(trained / f"results-{rank}.npz") as results:
            seen = {name[5:]: results[name] for name in results.files if name.startswith("seen:")}
        assert len(seen) == len(wanted) and {"data", "conv_weight", "fc_bias_grad"} <= seen.keys()
        # In the same order, as MXNet numbers nodes without a name.
        for (name, value), theirs in zip(seen.items(), wanted.values()):
            assert value == pytest.approx(theirs, rel=1e-4), name


def test_sums_do_not_change_their_argument(trained):
    for rank in (0, 1):
        with np.load(trained / f"results-{rank}.npz") as results:
            np.testing.assert_array_equal(results["mine"], [1, 5])
            np.testing.assert_array_equal(results["sum"], [2, 10])


def test_one_worker_s_infinite_loss_stops_all(trained):
    for rank in (0, 1):
        with np.load(trained / f"results-{rank}.npz") as results:
            assert results["stopped"]


@pytest.mark.slow
def test_a_worker_that_dies_ends_all_and_a_restart_continues(tmp_path, trained):
    result = two_workers(tmp_path, "killed")
    assert result.returncode == 128 + 9
    assert "worker 1 ended with -9, and all others with it" in result.stderr
    assert two_workers(tmp_path, "killed").returncode == 0  # from the checkpoint
    assert_close(tmp_path / "kept.npz", trained / "one.npz")


@pytest.mark.slow
def test_torchrun_restarts_by_itself(tmp_path, trained):
    assert two_workers(tmp_path, "killed", restarts=1).returncode == 0
    assert_close(tmp_path / "kept.npz", trained / "one.npz")


@pytest.mark.slow
def test_a_worker_that_hangs_ends_all_within_a_minute(tmp_path):
    result = two_workers(tmp_path, "stopped")
    took = time.time() - float((tmp_path / "stopped.txt").read_text())
    assert result.returncode == 75
    message = "lost another one: worker 1 of 2 has not responded for 20 s"
    assert f"error: worker 0 of 2 ({os.uname().nodename}) {message}" in result.stderr
    assert "torchrun: worker 0 ended with 75, and all others with it" in result.stderr
    assert took < 60  # 20 s until it is lost, then 30 s of torchrun


@pytest.mark.slow
def test_an_input_error_of_one_worker_ends_all_without_a_retry(tmp_path):
    result = two_workers(tmp_path, "refused", restarts=3)
    assert result.returncode == 2
    assert (tmp_path / "attempts.txt").read_text() == "x"
    assert "fit: error: --data-train x.rec: is not there" in result.stderr
    assert "fit: error: another worker cannot begin" in result.stderr
    assert "Traceback" not in result.stderr and "torchrun:" not in result.stderr


def test_an_engine_communicates_from_its_first_update_on(monkeypatch):
    class Joined(Exception):
        pass

    def join(*args, **more):
        raise Joined

    monkeypatch.setattr(torch_engine, "shared", join)
    workers = TorchWorkers.__new__(TorchWorkers)
    workers.rank, workers.world_size = 0, 2
    how, shape = Training(Optimizer("sgd", 0.9, 1e-3)), (BATCH, SIDE, SIDE, 3)
    engine = open_engine(network(), Devices(engine="torch"), shape, MEAN, STD, how, workers)
    images, labels = batches()[0]
    with pytest.raises(Joined):
        engine.train_batch(images[: BATCH // 2], labels[: BATCH // 2], 0.1)


def test_a_worker_of_a_killed_torchrun_ends(tmp_path):
    starts = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"
    env = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "RANK": "0",
        "WORLD_SIZE": "1", "MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(free_port(LOOPBACK)),
        "TORCHELASTIC_RUN_ID": "one",
    }  # fmt: skip
    launcher = subprocess.Popen(
        [sys.executable, "-c", starts, "-m", "helpers.torch_worker", str(tmp_path), "orphaned"],
        stdout=subprocess.PIPE, env={**os.environ, **env},
    )  # fmt: skip
    with launcher.stdout:
        assert launcher.stdout.readline() == b"ready\n"
        launcher.kill()
        assert launcher.stdout.read() == b""  # until the worker has ended
    launcher.wait()
    assert (tmp_path / "ended.txt").read_text() == "SIGTERM"


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({0: (75, 7), 1: (2, 7)}, (2, 1)),
        ({0: (75, 7), 1: (2, 8)}, (2, 1)),
        ({0: (-6, 7), 1: (2, 7)}, (2, 1)),
        ({0: (75, 7), 1: (-9, 7)}, (137, 1)),
        ({0: (-15, 7), 1: (1, 7)}, (1, 1)),
        ({1: (-9, 7), 0: (-15, 8)}, (137, 1)),
        ({0: (75, 7), 1: (-9, 37)}, (75, 0)),  # it hung, and torchrun killed it
        ({0: (1, 8), 1: (3, 7)}, (3, 1)),
        ({0: (75, 8), 1: (75, 7)}, (75, 1)),
        ({0: (-15, 7), 1: (143, 7)}, (143, 1)),
    ],
)
def test_the_exit_code_is_that_of_the_worker_that_failed(found, wanted):
    assert torchrun.first_failure(found) == wanted


@pytest.fixture
def lost_one(monkeypatch):
    """A worker, its sleeps, and functions to call during a sleep by number."""
    sleeps, happens = [], {}
    worker = TorchWorkers.__new__(TorchWorkers)
    worker.rank, worker.world_size, worker._is_lost = 0, 2, False
    worker._handler = signal.getsignal(signal.SIGTERM)

    def sleep(seconds):
        sleeps.append(seconds)
        happens.get(len(sleeps), lambda: None)()

    monkeypatch.setattr(torch_workers.time, "sleep", sleep)
    yield worker, sleeps, happens
    signal.signal(signal.SIGTERM, worker._handler)


def lose(worker):
    with pytest.raises(LostWorkerError) as error, worker.lost_errors():
        raise RuntimeError(
            "[/build/pair.cc:553] Connection closed by peer [1.2.3.4]:5. This is typically luck"
        )
    return str(error.value)


def test_a_worker_that_lost_another_waits_for_torchruns_signal(lost_one):
    worker, sleeps, happens = lost_one
    happens[3] = lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as at a signal
    here = f"worker 0 of 2 ({os.uname().nodename}) lost another one: Connection closed by peer "
    assert lose(worker) == (
        f"{here}[1.2.3.4]:5; the same command continues from the last checkpoint"
    )
    assert len(sleeps) == 3
    lose(worker)
    assert len(sleeps) == 3  # it has waited


def test_a_worker_that_lost_another_ends_without_torchrun(lost_one):
    worker, sleeps, _ = lost_one
    lose(worker)
    assert sum(sleeps) == pytest.approx(10)


def test_other_errors_than_lost_connections_pass(lost_one):
    worker, sleeps, _ = lost_one
    with pytest.raises(RuntimeError, match="shapes"), worker.lost_errors():
        raise RuntimeError("shapes differ")
    assert not sleeps


def test_nccl_on_gpus_and_gloo_on_hosts(monkeypatch):
    calls = []
    monkeypatch.setattr(
        torch_workers.dist, "init_process_group", lambda *a, **k: calls.append((a, k["device_id"]))
    )
    gpu = torch.device("cuda", 3)
    torch_workers._join(gpu, None, 0, 2)
    assert calls == [(("cpu:gloo,cuda:nccl",), gpu)]


def test_restarts_by_torchrun_need_a_separate_store(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(InputError, match=r"--max-restarts 3: .*TORCH_DISABLE_SHARE_RDZV_TCP_STORE"):
        TorchWorkers(torch.device("cpu"))


@pytest.mark.parametrize(
    ("name", "text", "most"),
    [
        ("RANK", "2", 1),
        ("RANK", "-1", 1),
        ("WORLD_SIZE", "0", 2147483647),
        ("MASTER_PORT", "²", 65535),
    ],
)
def test_variables_that_are_no_numbers(monkeypatch, name, text, most):
    usual = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "first", "MASTER_PORT": "9"}
    for variable, value in {**usual, name: text}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=rf"^{name} {text}: must be .* to {most}; .*launch.py"):
        TorchWorkers(torch.device("cpu"))


@pytest.mark.parametrize(("workers", "place"), [("1", "0"), ("3", "0"), (None, "2")])
def test_a_worker_for_each_gpu(monkeypatch, workers, place):
    monkeypatch.setattr(torch_devices, "devices_of", lambda devices: [torch.device("cpu")] * 2)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert torch_devices.device_here(Devices((0, 1))) == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", place)
    if workers:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", workers)
    message = f"^gpus 0,1: .* {workers or 3} workers.* --nproc-per-node 2"
    with pytest.raises(InputError, match=message):
        torch_devices.device_here(Devices((0, 1)))


@pytest.fixture
def attempts(monkeypatch):
    """Replace the attempts of torchrun; signals and variables are restored."""
    for name in ("OMP_NUM_THREADS", "TORCH_CPP_LOG_LEVEL", *choice.TORCHRUN, "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    before = signal.getsignal(signal.SIGHUP)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield lambda do: monkeypatch.setattr(torchrun, "_once", do)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("handler", "kept"), [(signal.SIG_IGN, True), (signal.SIG_DFL, False)])
def test_nohup_protects_the_workers(attempts, handler, kept):
    signal.signal(signal.SIGHUP, handler)
    seen = []

    def once(count, words):
        seen.append(signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return 0, 0

    attempts(once)
    assert torchrun.start(2, ["x"]) == 0
    assert seen == [kept]


@pytest.mark.parametrize("program", [["-m", "imagenet_trainer.fit"], ["python", "fit.py"]])
def test_flags_of_the_program_are_not_torchruns(attempts, monkeypatch, program):
    # --monitor is a prefix of two of torchrun's flags.
    from torch.distributed import run

    seen = []
    monkeypatch.setattr(run, "run", seen.append)
    assert torchrun.start(2, [*program, "--monitor", "1", "--max-restarts", "9"]) == 0
    (parsed,) = seen
    there = ["-m"] * parsed.module + [parsed.training_script, *parsed.training_script_args]
    assert there == [*program, "--monitor", "1", "--max-restarts", "9"]
    assert parsed.no_python != parsed.module
    assert parsed.max_restarts == 0 and parsed.nproc_per_node == "2"


def test_a_signal_between_two_attempts_ends_quietly(attempts):
    from torch.distributed.elastic.multiprocessing.api import SignalException

    def once(count, words):
        raise SignalException("Process 1 got signal: 15", signal.SIGTERM)

    attempts(once)
    assert torchrun.start(2, ["x"], restarts=3) == 143


def test_the_launcher_without_pytorch(monkeypatch, capsys):
    monkeypatch.setattr(choice, "has_torch", lambda: False)
    assert launch(["--engine", "torch", "-n", "2", "python", "-m", "x"]) == 2
    assert "--engine torch: PyTorch is not installed" in capsys.readouterr().err


def test_the_launcher_starts_torchrun(capsys):
    words = ["--engine", "torch", "-n", "4", "--dry-run", "python", "-m", "imagenet_trainer.fit"]
    assert launch(words) == 0
    assert capsys.readouterr().out.split() == [
        "torchrun", "--standalone", "--nproc-per-node", "4", "--max-restarts", "0", "--no-python",
        sys.executable, "-m", "imagenet_trainer.fit",
    ]  # fmt: skip


def test_workers_are_gathered_in_order():
    class Second:
        rank, world_size = 1, 2

        def sum(self, values):
            return values + np.array([5.0, 0.0])

    np.testing.assert_array_equal(gathered(np.array([7.0]), Second()), [[5.0], [7.0]])

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from helpers.worker_threads import Threads

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.factory import join_workers
from imagenet_trainer.engines.mxnet import workers as mxnet_workers
from imagenet_trainer.engines.workers import (
    ALONE,
    check_equal,
    mean_of,
    of_all_devices,
    share,
    together,
)
from imagenet_trainer.errors import InputError, LostWorkerError


def test_shares_are_contiguous_and_differ_by_at_most_one():
    for total in (0, 1, 15, 16, 50001):
        parts = Threads(4).run(lambda workers: share(total, workers))  # noqa: B023
        assert [n for part in parts for n in part] == list(range(total))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert share(7, ALONE) == range(7)


def test_arrays_of_all_devices_are_in_the_order_of_the_ranks():
    def work(workers):
        here = [
            {"mean": np.full((2, 3), 10 * workers.rank + d, np.float32), "var": np.full(1, 0.1 * d)}
            for d in range(2)
        ]
        return of_all_devices(here, workers), mean_of(of_all_devices(here, workers))

    for everywhere, average in Threads(3).run(work):
        assert [one["mean"][0, 0] for one in everywhere] == [0, 1, 10, 11, 20, 21]
        assert everywhere[5]["mean"].dtype == np.float32 and everywhere[5]["mean"].shape == (2, 3)
        assert everywhere[3]["var"].dtype == np.float64 and everywhere[3]["var"] == [0.1]
        assert (average["mean"] == 10.5).all() and average["mean"].dtype == np.float32


def test_a_network_without_statistics():
    assert Threads(2).run(lambda workers: mean_of(of_all_devices([{}], workers))) == [{}, {}]


def test_together_all_workers_complete_or_none():
    def work(workers):
        with together(workers):
            if workers.rank == 1:
                raise InputError("--data-train nowhere.rec: is not there")
        return "done"

    first, second, third = Threads(3).run(work)
    assert str(second) == "--data-train nowhere.rec: is not there"
    assert "another worker cannot begin" in str(first) and str(first) == str(third)
    assert first.exit_code == third.exit_code == 2  # the same command would fail again
    with together(ALONE):
        pass


def test_a_worker_that_crashes_while_another_one_opens_is_not_the_users_mistake():
    def work(workers, error):
        with together(workers):
            if workers.rank == 1:
                raise error

    for error in (KeyError("a bug"), LostWorkerError("no route"), KeyboardInterrupt()):
        first, second, third = Threads(3).run(lambda workers: work(workers, error))  # noqa: B023
        assert second is error and str(first) == str(third)
        assert first.exit_code == third.exit_code == 75 and "another worker ended" in str(first)


def test_a_difference_is_an_error_in_all_workers():
    def work(workers):
        check_equal({"lr": 0.1, "seed": 0}, workers, "has other flags")
        check_equal({"seed": workers.rank // 2}, workers, "has other seeds")

    assert [str(error) for error in Threads(4).run(work)] == ["worker 2 of 4 has other seeds"] * 4
    check_equal(1, ALONE, "never")


def test_long_sums_are_chunked(monkeypatch):
    lengths = []

    class Twice(mxnet_workers.KVStoreWorkers):
        def __init__(self):
            """Without servers."""

        def _sum(self, values):
            lengths.append(len(values))
            return 2 * values

    monkeypatch.setattr(mxnet_workers, "_CHUNK", 4)
    for count in (0, 3, 4, 9):
        np.testing.assert_array_equal(Twice().sum(np.arange(count)), 2.0 * np.arange(count))
    assert lengths == [3, 4, 4, 4, 1]


def test_kvstores_and_the_launcher(monkeypatch):
    for name in ("DMLC_ROLE", "DMLC_NUM_WORKER", "DMLC_PS_ROOT_URI"):
        monkeypatch.delenv(name, raising=False)
    assert join_workers(Devices()) is ALONE
    with pytest.raises(InputError, match=r"^kv_store dist_sync: .*DMLC_ROLE.*tools/launch.py -n"):
        join_workers(Devices(kv_store="dist_sync"))
    monkeypatch.setenv("DMLC_ROLE", "worker")
    monkeypatch.setenv("DMLC_NUM_WORKER", "2")
    with pytest.raises(InputError, match=r"^kv_store device: .* use dist_sync"):
        join_workers(Devices())


def test_a_server_by_its_environment_does_not_serve_while_modules_are_imported():
    # MXNet's import itself serves, with names that ps-lite cannot resolve, and unpickles.
    code = "import sys, imagenet_trainer.engines.mxnet.workers; sys.exit('mxnet' in sys.modules)"
    environment = {**os.environ, "DMLC_ROLE": "server"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=60)

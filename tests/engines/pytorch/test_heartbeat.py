"""Workers in threads of one process that share a store of torch.distributed."""

import threading
from datetime import timedelta

import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer.engines.pytorch.heartbeat import Heartbeat

PATIENCE, BEGINNING, TICK = 40, 60, 0.02


@pytest.fixture
def three():
    """Three workers' heartbeats; the reason that each gives for a lost one; an event for any."""
    from torch.distributed import TCPStore

    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    lost_workers, anyone = {}, threading.Event()

    def opened(rank):
        store = TCPStore(
            "127.0.0.1", server.port, is_master=False, wait_for_workers=False,
            timeout=timedelta(seconds=20),
        )  # fmt: skip

        def lost(why):
            lost_workers[rank] = why
            anyone.set()

        return Heartbeat(store, rank, 3, lost, PATIENCE, BEGINNING, TICK)

    hearts = [opened(rank) for rank in range(3)]
    yield hearts, lost_workers, anyone
    for heart in hearts:
        heart._end()


def test_a_worker_that_never_begins_is_lost(three):
    (first, second, _), lost_workers, anyone = three
    first.begin(), second.begin()
    assert anyone.wait(60)
    assert lost_workers == {1: "worker 2 of 3 has not responded for 1.2 s"}


def test_a_worker_that_leaves_is_not_lost(three):
    hearts, lost_workers, anyone = three
    for heart in hearts:
        heart.begin()
    assert not anyone.wait(2 * PATIENCE * TICK)
    hearts[2].leave()
    assert not anyone.wait(2 * PATIENCE * TICK)
    assert lost_workers == {}


def test_a_worker_that_hangs_is_lost(three):
    hearts, lost_workers, anyone = three
    for heart in hearts:
        heart.begin()
    assert not anyone.wait(2 * PATIENCE * TICK)
    stopped = threading.Event()
    hearts[0]._ended.wait = lambda seconds: stopped.wait(3600)  # like a stopped process
    assert anyone.wait(60)
    assert lost_workers == {2: "worker 0 of 3 has not responded for 0.8 s"}
    stopped.set()


def test_a_lost_store(three):
    hearts, lost_workers, anyone = three

    class Gone:
        def set(self, key, value):
            raise RuntimeError("Connection reset by peer")

    hearts[0].begin()
    hearts[0]._store = Gone()
    assert anyone.wait(60)
    assert lost_workers == {0: "the first worker's machine has not responded for 0.8 s"}


def test_a_worker_that_hangs_at_once_is_lost(three):
    hearts, lost_workers, anyone = three
    hearts[0]._beat = hearts[0]._watch = lambda: None  # hangs right after its start
    for heart in hearts:
        heart.begin()
    assert anyone.wait(60)
    assert lost_workers == {2: "worker 0 of 3 has not responded for 0.8 s"}


def test_a_worker_that_ends_without_leaving_is_lost(three):
    hearts, lost_workers, anyone = three
    for heart in hearts:
        heart.begin()
    while hearts[1]._patience["next"] != PATIENCE:  # until the third one's first heartbeat
        assert not anyone.wait(TICK)
    hearts[2]._end()  # as at the end of the interpreter, after an error
    assert anyone.wait(60)
    assert lost_workers == {1: "worker 2 of 3 has not responded for 0.8 s"}

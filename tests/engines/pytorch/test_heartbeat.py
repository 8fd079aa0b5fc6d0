"""Workers that share a store of torch.distributed's, in threads of one process."""

import threading
from datetime import timedelta

import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer.engines.pytorch.heartbeat import Heartbeat

PATIENCE, BEGINNING, TICK = 40, 60, 0.02


@pytest.fixture
def three():
    """Three workers' heartbeats; what each of them tells of a lost one; who has told."""
    from torch.distributed import TCPStore

    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told, anyone = {}, threading.Event()

    def opened(rank):
        store = TCPStore(
            "127.0.0.1", server.port, is_master=False, wait_for_workers=False,
            timeout=timedelta(seconds=20),
        )  # fmt: skip

        def lost(why):
            told[rank] = why
            anyone.set()

        return Heartbeat(store, rank, 3, lost, PATIENCE, BEGINNING, TICK)

    hearts = [opened(rank) for rank in range(3)]
    yield hearts, told, anyone
    for heart in hearts:
        heart._end()


def test_who_never_begins_is_missed_by_the_one_before(three):
    (first, second, _), told, anyone = three
    first.begin(), second.begin()
    assert anyone.wait(60)
    assert told == {1: "worker 2 of 3 has not responded for 1.2 s"}


def test_who_leaves_is_not_missed(three):
    hearts, told, anyone = three
    for heart in hearts:
        heart.begin()
    assert not anyone.wait(2 * PATIENCE * TICK)
    hearts[2].leave()
    assert not anyone.wait(2 * PATIENCE * TICK)
    assert told == {}


def test_who_stops_is_missed_by_the_one_before(three):
    hearts, told, anyone = three
    for heart in hearts:
        heart.begin()
    assert not anyone.wait(2 * PATIENCE * TICK)
    stopped = threading.Event()
    hearts[0]._ended.wait = lambda seconds: stopped.wait(3600)  # as a stopped process does nothing
    assert anyone.wait(60)
    assert told == {2: "worker 0 of 3 has not responded for 0.8 s"}
    stopped.set()


def test_a_store_that_is_gone_is_told(three):
    hearts, told, anyone = three

    class Gone:
        def set(self, key, value):
            raise RuntimeError("Connection reset by peer")

    hearts[0].begin()
    hearts[0]._store = Gone()
    assert anyone.wait(60)
    assert told == {0: "the first worker's machine has not responded for 0.8 s"}


def test_who_stops_at_once_is_missed_by_the_one_before(three):
    hearts, told, anyone = three
    hearts[0]._beat = hearts[0]._watch = lambda: None  # stopped as soon as it had begun
    for heart in hearts:
        heart.begin()
    assert anyone.wait(60)
    assert told == {2: "worker 0 of 3 has not responded for 0.8 s"}


def test_who_ends_without_having_done_its_work_is_missed(three):
    hearts, told, anyone = three
    for heart in hearts:
        heart.begin()
    while hearts[1]._patience["next"] != PATIENCE:  # until it has heard of the third
        assert not anyone.wait(TICK)
    hearts[2]._end()  # as at the end of the interpreter, after an error
    assert anyone.wait(60)
    assert told == {1: "worker 2 of 3 has not responded for 0.8 s"}

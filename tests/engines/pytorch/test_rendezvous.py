"""How workers find worker 0 without torchrun."""

import socket
import time

import pytest

pytest.importorskip("torch")

from imagenet_trainer.engines.pytorch import rendezvous
from imagenet_trainer.engines.pytorch.rendezvous import Rendezvous
from imagenet_trainer.launch.addresses import LOOPBACK, free_port


@pytest.fixture
def pauses(monkeypatch):
    """Functions to call in the first pauses between attempts, and the port of the store.

    A busy machine may need more attempts than a test has reasons for; only so many in all.
    """
    happens, more = [], iter(range(100))
    port = free_port(LOOPBACK)
    monkeypatch.setenv("MASTER_ADDR", LOOPBACK)
    monkeypatch.setenv("MASTER_PORT", str(port))
    sleep = time.sleep

    def pause(seconds):
        if happens:
            happens.pop(0)()
        else:
            next(more)
            sleep(seconds)

    monkeypatch.setattr(rendezvous.time, "sleep", pause)
    return happens, port


def test_worker_0_may_come_last(pauses):
    happens, port = pauses
    one, stores = Rendezvous(1, 2), []

    def begins():
        assert str(one) == (
            f"worker 0 of 2 at 127.0.0.1:{port} (MASTER_ADDR, MASTER_PORT): Connection refused"
        )
        stores.append(Rendezvous(0, 2).open())

    happens.append(begins)
    one.open().set("key", "value")
    assert stores[0].get("key") == b"value"
    assert str(one).startswith("the other workers of 2 (WORLD_SIZE), which meet at 127.0.0.1:")


def test_the_store_of_the_last_attempt_is_left_alone(pauses):
    # Worker 1 died and is started again, before worker 0 has noticed it.
    happens, _ = pauses
    old = [Rendezvous(0, 2).open()]
    Rendezvous(1, 2).open()
    again, stores = Rendezvous(1, 2), []

    def ends():
        assert "it has not left the last attempt yet" in str(again)
        old.clear()
        stores.append(Rendezvous(0, 2).open())

    happens.append(ends)
    again.open().set("key", "new")
    assert not happens and stores[0].get("key") == b"new"


def test_an_answer_that_came_too_late(pauses, monkeypatch):
    stores = [Rendezvous(0, 2).open()]
    join = rendezvous.dist.TCPStore.compare_set
    answers = [RuntimeError("Socket Timeout")]

    def late(store, *args):
        value = join(store, *args)
        if answers:
            raise answers.pop()
        return value

    monkeypatch.setattr(rendezvous.dist.TCPStore, "compare_set", late)
    Rendezvous(1, 2).open().set("key", "value")
    assert not answers and stores[0].get("key") == b"value"


def test_a_port_in_use(pauses):
    happens, port = pauses
    with socket.socket() as other:
        other.bind((LOOPBACK, port))
        other.listen()
        zero = Rendezvous(0, 1)

        def frees():
            assert "address already in use" in str(zero)
            other.close()

        happens.append(frees)
        zero.open()


def test_an_unknown_name(pauses, monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "no-such-host.invalid")
    one = Rendezvous(3, 4)
    assert one._attempt() is None
    assert str(one).startswith("worker 0 of 4 at no-such-host.invalid:")

"""How workers find worker 0 without torchrun."""

import os
import re
import socket
import time

import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer.engines.pytorch import rendezvous
from imagenet_trainer.engines.pytorch.rendezvous import Rendezvous
from imagenet_trainer.errors import InputError
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
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")  # restored at the end
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
    assert str(one).startswith("connections between the 2 workers, ") and "firewall" in str(one)


def test_who_waits_names_those_who_are_missing(pauses):
    zero = Rendezvous(0, 4)
    store = zero.open()
    assert str(zero).startswith("worker 1 and 2 more of 4 (WORLD_SIZE), which meet at 127.0.0.1:")
    others = [Rendezvous(number, 4).open() for number in (1, 3)]
    assert str(zero).startswith("worker 2 of 4 (WORLD_SIZE), ") and store and others


def test_the_store_of_the_last_attempt_is_left_alone(pauses):
    # Worker 1 died and is started again, before worker 0 has noticed it.
    happens, _ = pauses
    old = [Rendezvous(0, 2).open()]
    Rendezvous(1, 2).open()
    again, stores = Rendezvous(1, 2), []

    def ends():
        assert "its worker 1 is another process; the last attempt has not ended" in str(again)
        old.clear()
        stores.append(Rendezvous(0, 2).open())

    happens.append(ends)
    again.open().set("key", "new")
    assert not happens and stores[0].get("key") == b"new"


@pytest.mark.parametrize(("size", "version"), [(3, rendezvous.__version__), (2, "0.0.1")])
def test_workers_that_were_started_differently(pauses, monkeypatch, size, version):
    store = Rendezvous(0, 2).open()
    monkeypatch.setattr(rendezvous, "__version__", version)
    other = f"{size} workers, imagenet_trainer {version}, PyTorch {torch.__version__}; worker 0 has"
    with pytest.raises(InputError, match=re.escape(other)):
        Rendezvous(1, size).open()
    assert store.get("group").startswith(b"2 workers, ")


def test_gloo_uses_the_interface_of_the_connection(pauses, monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    store = Rendezvous(0, 2).open()
    assert os.environ.pop("GLOO_SOCKET_IFNAME") == "lo" and store
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    Rendezvous(1, 2).open()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "ib0"


@pytest.mark.parametrize(("host", "interface"), [("127.0.0.1", "lo"), ("node1", "eth7")])
def test_gloo_uses_no_loopback_interface_for_the_name_of_a_machine(
    pauses, monkeypatch, host, interface
):
    # Debian has `127.0.1.1 node1` in /etc/hosts of node1.
    monkeypatch.setenv("MASTER_ADDR", host)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    monkeypatch.setattr(rendezvous, "address_towards", lambda address: "10.0.0.9")
    found = {"127.0.1.1": "lo", "10.0.0.9": "eth7"}
    monkeypatch.setattr(rendezvous, "interface_of", found.get)
    Rendezvous(0, 2)._choose_interface("127.0.1.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == interface


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


@pytest.mark.parametrize("address", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_does_not_lead_worker_0_to_itself(pauses, monkeypatch, address):
    # A launcher repeats nothing after this error, in which another machine would be waited for.
    happens, _ = pauses
    monkeypatch.setenv("MASTER_ADDR", address)
    monkeypatch.setattr(rendezvous, "_REACHES", 0.01)
    zero, now = Rendezvous(0, 2), time.monotonic
    happens += [lambda: None, lambda: monkeypatch.setattr(
        rendezvous.time, "monotonic", lambda: now() + rendezvous._LEADS_HERE
    )]  # fmt: skip
    with pytest.raises(InputError, match=f"^MASTER_ADDR {address}: does not lead to worker 0"):
        zero.open()
    assert not happens


def test_an_unknown_name(pauses, monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "no-such-host.invalid")
    one = Rendezvous(3, 4)
    assert one._attempt() is None
    assert str(one).startswith("worker 0 of 4 at no-such-host.invalid:")

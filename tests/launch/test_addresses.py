import errno
import socket

import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.launch.addresses import (
    address_of,
    address_towards,
    free_port,
    is_here,
    resolve,
)
from imagenet_trainer.system.hosts import interface_of


def test_loopback_is_this_machine():
    assert resolve("localhost") == "127.0.0.1"
    assert is_here("localhost") and is_here("127.0.0.1") and is_here(socket.gethostname())
    assert address_towards("localhost") == "127.0.0.1"
    assert interface_of("127.0.0.1") == "lo" and address_of("lo") == "127.0.0.1"


def test_other_machines():
    assert not is_here("192.0.2.250")  # for documentation, RFC 5737
    assert not is_here("no-such-host.invalid")


def test_a_free_port_can_be_bound():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port("127.0.0.1")))


def test_no_port_is_free(monkeypatch):
    class Full(socket.socket):
        def bind(self, address):
            raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket, "socket", Full)
    assert is_here("127.0.0.1")
    with pytest.raises(InputError, match=r"^127\.0\.0\.1: no port is free .*--port"):
        free_port("127.0.0.1")


def test_errors_name_host_interface_and_address():
    with pytest.raises(InputError, match=r"^no-such-host.invalid: "):
        resolve("no-such-host.invalid")
    with pytest.raises(InputError, match=r"--interface wire0: .*\blo\b"):
        address_of("wire0")
    with pytest.raises(InputError, match="--interface a-name-that-is-too-long-for-linux"):
        address_of("a-name-that-is-too-long-for-linux")
    with pytest.raises(InputError, match=r"--host-address 192\.0\.2\.250: "):
        free_port("192.0.2.250")
    assert interface_of("192.0.2.250") is None


def test_no_route(monkeypatch):
    def unreachable(self, address):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    with pytest.raises(InputError, match=r"10\.0\.0\.9: .*--host-address"):
        address_towards("10.0.0.9")

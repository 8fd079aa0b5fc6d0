"""The addresses, interfaces and ports of this machine that the processes of a run use."""

import contextlib
import errno
import socket

from imagenet_trainer.errors import InputError
from imagenet_trainer.system import hosts
from imagenet_trainer.system.hosts import interfaces, resolve

LOOPBACK = "127.0.0.1"


def is_here(host: str) -> bool:
    """Whether a name or address is this machine's; False for an unknown one."""
    if host == socket.gethostname():
        return True
    with contextlib.suppress(InputError):
        address = resolve(host)
        try:
            with socket.socket() as probe:
                probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL  # also if it has no free port
        return True
    return False


def address_towards(host: str) -> str:
    """Return this machine's address on the route to a host; InputError if there is no route."""
    target = resolve(host)
    try:
        return hosts.address_towards(target)
    except OSError as error:
        raise InputError(
            f"{host}: no route to {target} ({error.strerror}); name this machine's address "
            "with --host-address, or the interface with --interface"
        ) from error


def address_of(interface: str) -> str:
    """Return the IPv4 address of an interface; InputError if it has none, naming the others."""
    addresses = interfaces()
    if interface in addresses:
        return addresses[interface]
    names = ", ".join(name for _, name in socket.if_nameindex())
    raise InputError(
        f"--interface {interface}: has no IPv4 address on this machine; its interfaces: {names}"
    )


def free_port(address: str) -> int:
    """Return a free TCP port; InputError if the address is another machine's, or none is free."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise InputError(
                    f"--host-address {address}: is not an address of this machine "
                    f"({error.strerror}); name one that it has"
                ) from error
            raise InputError(
                f"{address}: no port is free ({error.strerror}); choose one with --port"
            ) from error
        return probe.getsockname()[1]

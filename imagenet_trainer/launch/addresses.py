"""The addresses, interfaces and ports of this machine that the processes of a run use."""

import contextlib
import fcntl
import ipaddress
import socket
import struct
from typing import Optional

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.hosts import resolve

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915  # from Linux's sockios.h: the IPv4 address of an interface
_NAME_BYTES = 15  # of an interface's name in struct ifreq, without the final zero


def is_here(host: str) -> bool:
    """Whether a name or address is this machine's; False for an unknown one."""
    if host == socket.gethostname():
        return True
    with contextlib.suppress(InputError):
        address = resolve(host)
        # Only addresses of this machine can be bound.
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((address, 0))
            return True
    return False


def address_towards(host: str) -> str:
    """Return this machine's address on the route to a host; InputError if there is no route."""
    target = resolve(host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))  # sends nothing, only looks the route up
        except OSError as error:
            raise InputError(
                f"{host}: no route to {target} ({error.strerror}); name this machine's address "
                "with --host-address, or the interface with --interface"
            ) from error
        return probe.getsockname()[0]


def address_of(interface: str) -> str:
    """Return the IPv4 address of an interface; InputError if it has none, naming the others."""
    name = interface.encode()
    if len(name) <= _NAME_BYTES:
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError), probe:
            request = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name))
            return socket.inet_ntoa(request[20:24])
    names = ", ".join(name for _, name in socket.if_nameindex())
    raise InputError(
        f"--interface {interface}: has no IPv4 address on this machine; its interfaces: {names}"
    )


def interface_of(address: str) -> Optional[str]:
    """Return the interface whose first address this is; None if there is none."""
    if ipaddress.ip_address(address).is_loopback:
        return "lo"
    for _, name in socket.if_nameindex():
        with contextlib.suppress(InputError):
            if address_of(name) == address:
                return name
    return None


def free_port(address: str) -> int:
    """Return a free TCP port of this machine; InputError if the address is not this machine's."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise InputError(
                f"--host-address {address}: is not an address of this machine "
                f"({error.strerror}); name one that it has"
            ) from error
        return probe.getsockname()[1]

"""Which of a machine's addresses, interfaces and ports the processes of a run talk through."""

import contextlib
import fcntl
import ipaddress
import socket
import struct
from typing import Optional

from imagenet_trainer.errors import InputError

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915  # from Linux's sockios.h: the IPv4 address of an interface
_NAME_BYTES = 15  # of an interface's name in struct ifreq, without the closing zero


def resolve(host: str) -> str:
    """The IPv4 address of a host name (ps-lite knows no IPv6); InputError for an unknown one."""
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{host}: no such host ({reason}); correct its name") from error


def is_here(host: str) -> bool:
    """Whether a name or address is this machine's own; False for an unknown one."""
    if host == socket.gethostname():
        return True
    with contextlib.suppress(InputError):
        address = resolve(host)
        # Only addresses of this machine can be bound.
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind((address, 0))
            return True
    return False


def address_towards(host: str) -> str:
    """Return this machine's address on the route to a host; InputError where there is no route."""
    target = resolve(host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect((target, 9))  # sends nothing, only asks for the route
        except OSError as error:
            raise InputError(
                f"{host}: no route to {target} ({error.strerror}); name this machine's address "
                "with --host-address, or the interface with --interface"
            ) from error
        return one.getsockname()[0]


def address_of(interface: str) -> str:
    """The IPv4 address of an interface; InputError, with those that there are, for another."""
    name = interface.encode()
    if len(name) <= _NAME_BYTES:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            answer = fcntl.ioctl(one, _SIOCGIFADDR, struct.pack("256s", name))
            return socket.inet_ntoa(answer[20:24])
    names = ", ".join(found for _, found in socket.if_nameindex())
    raise InputError(f"--interface {interface}: has no IPv4 address here; there are {names}")


def interface_of(address: str) -> Optional[str]:
    """The interface with this address; None if it is nobody's first one."""
    if ipaddress.ip_address(address).is_loopback:
        return "lo"
    for _, name in socket.if_nameindex():
        with contextlib.suppress(InputError):
            if address_of(name) == address:
                return name
    return None


def free_port(address: str) -> int:
    """A TCP port of this machine that nobody listens at; InputError if the address is not here."""
    with socket.socket() as one:
        try:
            one.bind((address, 0))
        except OSError as error:
            raise InputError(
                f"--host-address {address}: is not an address of this machine ({error.strerror})"
            ) from error
        return one.getsockname()[1]

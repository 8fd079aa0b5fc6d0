"""The addresses of host names, and the network interfaces of this machine."""

import ipaddress
import socket
from typing import Dict, Optional

from imagenet_trainer.errors import InputError

ANYWHERE = "10.255.255.255"  # of no machine: its route is the default route


def resolve(host: str) -> str:
    """Return the IPv4 address of a host name (ps-lite has no IPv6); InputError if unknown."""
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{host}: no such host ({reason}); correct its name") from error


def address_towards(address: str) -> str:
    """Return this machine's address on the route to another address; OSError without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing, only looks the route up
        return probe.getsockname()[0]


def interface_of(address: str) -> Optional[str]:
    """Return the interface whose first IPv4 address this is; None if there is none."""
    if ipaddress.ip_address(address).is_loopback:
        return "lo"
    found = (name for name, other in interfaces().items() if other == address)
    return next(found, None)


def interfaces() -> Dict[str, str]:
    """The first IPv4 address of each interface that has one."""
    import psutil  # see machine

    return {
        name: next(one.address for one in found if one.family == socket.AF_INET)
        for name, found in psutil.net_if_addrs().items()
        if any(one.family == socket.AF_INET for one in found)
    }

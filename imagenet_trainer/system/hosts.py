"""The addresses of host names."""

import socket

from imagenet_trainer.errors import InputError


def resolve(host: str) -> str:
    """Return the IPv4 address of a host name (ps-lite has no IPv6); InputError if unknown."""
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{host}: no such host ({reason}); correct its name") from error

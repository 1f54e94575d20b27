"""The address that a server listens on."""

import errno
import ipaddress
import socket

from tl_toolkit.errors import UsageError


def listen(host: str, port: int) -> socket.socket:
    """Take an address, so that nobody else can have it while the model is loaded.

    Args:
        host: A name or an IP address of this machine.
        port: 0 for a free one.

    Raises:
        UsageError: It cannot be had.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"No host is named {host!r}: choose 127.0.0.1, 0.0.0.0 or another of this machine.") from error
    listener = socket.socket(family, kind, number)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"Port {port} of {host} is in use. Choose another: --port 0 takes a free one.") from error
        if error.errno == errno.EACCES:
            raise UsageError(f"Port {port} needs more rights than this user has. Choose one above 1023.") from error
        raise UsageError(f"{host} port {port} cannot be used: {error.strerror}.") from error
    return listener


def is_local(listener: socket.socket) -> bool:
    """Return whether only programs of this machine can connect."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def address_of(listener: socket.socket, host: str) -> str:
    """Return the URL of a server.

    Args:
        listener: What `listen` returned.
        host: The host that it was given.
    """
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

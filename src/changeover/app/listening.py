"""The port of a server of this project, taken before anything else is started."""

from __future__ import annotations

import errno
import socket

from changeover.core.errors import ConfigError


def address_of(listener: socket.socket) -> str:
    """The address as a client writes it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int, *, host_by: str = "`--host`", port_by: str = "`--port`") -> socket.socket:
    """Take a port.

    Args:
        host: Address to listen on.
        port: 0 takes any free one.
        host_by: What says another address, as a person knows it: a setting or an option.
        port_by: What says another port.

    Raises:
        ConfigError: It is in use, or the host is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends every piece at once. Without it, whatever goes out in two pieces on a connection
    # that stays open waits 40 ms for the caller's system to acknowledge the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        if isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
            advice = f"Give an address of this machine by {host_by}."
        else:
            advice = f"Give another port by {port_by}, or 0 for any free one."
        raise ConfigError(f"Cannot listen on `{host}:{port}`: {exc.strerror}. {advice}") from exc
    return listener

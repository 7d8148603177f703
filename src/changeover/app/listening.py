"""The port of a server of this project, taken before anything else is started."""

from __future__ import annotations

import socket

from changeover.core.errors import ConfigError


def address_of(listener: socket.socket) -> str:
    """The address as a client writes it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int, *, said_by: str = "`--port`") -> socket.socket:
    """Take a port.

    Args:
        host: Of this machine.
        port: 0: any that is free.
        said_by: What somebody who has to choose another changes.

    Raises:
        ConfigError: It is in use, or the host is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        raise ConfigError(
            f"Cannot listen on `{host}:{port}`: {exc.strerror}. Set another {said_by}, or 0 for any free one."
        ) from exc
    return listener

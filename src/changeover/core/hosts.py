"""Names under which a server may be called: a browser that was led astray by a name of its own gets no answer."""

from __future__ import annotations

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EVERY_ADDRESS = ("0.0.0.0", "::")
"""Of this machine: to listen there gives no name by which one could be called."""


def named(host: str) -> tuple[str, ...]:
    """The name that an address to listen on gives.

    >>> named("10.0.0.7"), named("fd00::7"), named("0.0.0.0")
    (('10.0.0.7',), ('[fd00::7]',), ())
    """
    bare = host.strip("[]")
    return () if bare in EVERY_ADDRESS else (f"[{bare}]" if ":" in bare else bare,)

"""Who acts where nobody does, as histories name them.

What the system decided has to follow from its evidence, and its reasons are our own words: no person is called like it.
"""

from __future__ import annotations

SYSTEM = "changeover"
"""Brings rollouts on, and starts what was declared."""
WATCH = "watch"
"""Takes over declarations whose files have changed."""
NOBODY = frozenset({SYSTEM, WATCH})


def user(name: str) -> str:
    """How a user of this machine is named; services like to run as a user called `changeover`.

    >>> user("ana"), user("changeover")
    ('ana', 'user:changeover')
    """
    return f"user:{name}" if name in NOBODY else name

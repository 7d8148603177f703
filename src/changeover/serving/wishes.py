"""What may be wanted of an engine that answers, one thing at a time; its keeper does it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from changeover.serving.backends import Launch


@dataclass(frozen=True)
class Sleep:
    """Asked of a keeper: end the process until somebody asks for it again."""

    why: str


@dataclass(frozen=True)
class Renew:
    """Asked of a keeper: a fresh process in place of the present one."""

    why: str
    beside: bool
    """Memory holds both for a while: the present one answers until the fresh one can."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """Asked of a keeper: a process that is started otherwise, in place of the present one."""

    launch: Launch
    done: asyncio.Future[None]
    """Says whether it has taken over."""


Wish = Sleep | Renew | Exchange

"""What may be wanted of an engine that answers, one thing at a time; its keeper does it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from changeover.core.errors import EngineError
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
    beside: bool
    """As in `Renew`; else the present one ends first, once it has answered, and requests wait."""
    done: asyncio.Future[None]
    """Says whether it has taken over."""


class NotHeldError(EngineError):
    """A process that was started otherwise did not come up in the other's place, which is started as it was."""


Wish = Sleep | Renew | Exchange

"""Who is unloaded so that another engine has room: a pure decision over what memory holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from changeover.serving.memory import Fit, Held, fits

RESTS_S: Final = 30.0
"""Nobody is waited for at one that was last asked this long ago: the calls of an evaluation come with pauses."""

Need = Literal["incumbent", "candidate", "former", "none"]
"""What for a route or a rollout names a deployment; the first of these that holds."""


@dataclass(frozen=True, kw_only=True)
class Tenant(Held):
    """A deployment whose engine is in memory, or shall be."""

    need: Need = "none"
    in_flight: int = 0
    """Requests under way there."""
    unused_s: float = math.inf
    """Since its last request."""
    idle: bool = False
    """It was not asked for as long as its operator lets it stay."""
    pinned: bool = False
    """Its operator wants it to stay."""
    rests_s: float = RESTS_S

    @property
    def may_go(self) -> bool:
        """Whether it is ever unloaded for another. Who may have to answer a task at once is not."""
        return bool(self.bytes) and not self.pinned and (self.need == "none" or (self.need == "former" and self.idle))

    @property
    def rests(self) -> bool:
        """Whether nobody would notice now."""
        return not self.in_flight and (self.idle or self.unused_s >= self.rests_s)


@dataclass(frozen=True)
class Unload:
    """It has room once these are unloaded, in this order; none where it has room now."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoRoom:
    """It has none, and this is why."""

    fit: Fit
    until_rest: tuple[str, ...] = ()
    """There will be room when these are in use no more; empty where that does not help."""


def make_room(budget: int, running: Sequence[Tenant], starting: Held) -> Unload | NoRoom:
    """Decide who is unloaded for an engine that shall start.

    What nobody needs goes before a former incumbent that is idle, what was not asked for longest first, and no more of
    them than have to. An incumbent, a candidate, one that is pinned and one with a request under way never go.

    Args:
        budget: Bytes for all engines together.
        running: What is in memory; the starting one's own name is left out.
        starting: Who shall start, and what it needs.
    """
    others = [each for each in running if each.name != starting.name]
    fit = fits(budget, others, starting)
    if fit.ok:
        return Unload()
    missing = fit.beside + fit.needs - budget
    movable = sorted((each for each in others if each.may_go), key=_who_goes_first)
    resting = [each for each in movable if each.rests]
    if fit.needs > budget or sum(each.bytes for each in resting) < missing:
        helps = fit.needs <= budget and sum(each.bytes for each in movable) >= missing
        return NoRoom(fit, tuple(each.name for each in movable if not each.rests) if helps else ())
    goes: list[Tenant] = []
    for each in resting:
        if sum(gone.bytes for gone in goes) >= missing:
            break
        goes.append(each)
    for each in reversed(goes[:-1]):  # a small one that was to go first may be spared by a large one after it
        if sum(gone.bytes for gone in goes) - each.bytes >= missing:
            goes.remove(each)
    return Unload(tuple(each.name for each in goes))


def _who_goes_first(tenant: Tenant) -> tuple[bool, float, int, str]:
    return tenant.need != "none", -tenant.unused_s, -tenant.bytes, tenant.name

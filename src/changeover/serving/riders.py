"""Which adapters an engine is to hold next: a pure decision. The keeper of the engine asks it whenever somebody comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from changeover.serving.plan import Adapter


@dataclass(frozen=True)
class Load:
    """Another process that holds these, some of them for the first time."""

    adapters: tuple[Adapter, ...]
    new: tuple[Adapter, ...]


def next_load(held: Sequence[Adapter], wanted: Sequence[Adapter], *, one_by_one: bool) -> Load | None:
    """What to start in place of a process, or None where it holds all that is wanted.

    One that nobody wants any more is no reason for another process: it is left out of the next one.

    Args:
        held: By the process that runs.
        wanted: By deployments that shall run.
        one_by_one: After several failed together, so that only the one at fault is refused.
    """
    lacking = [each for each in wanted if each not in held]
    if not lacking:
        return None
    new = tuple(lacking[:1] if one_by_one else lacking)
    kept = tuple(each for each in held if each in wanted)
    return Load(adapters=kept + new, new=new)

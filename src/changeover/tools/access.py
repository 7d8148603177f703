"""Who may use which tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from changeover.core.clock import Clock
from changeover.core.errors import UnknownToolError, nearest
from changeover.core.threads import in_thread
from changeover.gateway.keys import ADMINS, Key, Keyring
from changeover.gateway.resolve import may_call
from changeover.store.engine import Store
from changeover.tools.declarations import Tool


def may_use(key: Key, tool: Tool) -> bool:
    """Whether a key may run a tool: it may call all its tasks, and `[access]` names it, its team, or nobody.

    Admins are let past `[access]`: they could make themselves such a key.
    """
    access = tool.declared.access
    if key.role not in ADMINS:
        if access.teams and key.team not in access.teams:
            return False
        if access.keys and key.name not in access.keys:
            return False
    return all(may_call(key, task) for task in tool.tasks)


def usable(key: Key, tools: Mapping[str, Tool]) -> dict[str, Tool]:
    """The tools that a key may run, by name."""
    return {name: tool for name, tool in sorted(tools.items()) if may_use(key, tool)}


def find_usable(key: Key, tools: Mapping[str, Tool], name: str) -> Tool:
    """A tool that a key may run. Whoever may not gets the words for an unknown one, and learns nothing.

    Raises:
        UnknownToolError: There is none of that name, for this key.
    """
    may = usable(key, tools)
    if name not in may:
        raise UnknownToolError(f"No tool named `{name[:200]}`. {nearest(name[:200], may)}")
    return may[name]


@dataclass(frozen=True)
class Keys:
    """Keys by their ids, as they are now: of runs that go on after the request which began them."""

    keyring: Keyring
    store: Store
    clock: Clock

    def now(self, id: str) -> Key | None:
        """A key that may be used; None of one that is revoked, has expired, or is not known here yet."""
        found = next((key for key in self.keyring.keys if key.id == id), None)
        return None if found is None or found.expired(self.clock.now()) else found

    async def find(self, id: str) -> Key | None:
        """A key that may be used, one that was made a moment ago included.

        Raises:
            StoreError: The store cannot be used.
        """
        if self.now(id) is None:
            await in_thread(partial(self.keyring.reload, self.store))
        return self.now(id)

"""Who is signed in, and what each role may do here."""

from __future__ import annotations

from dataclasses import dataclass

from changeover.gateway.keys import RIGHTS, Right, Role

VOUCHED = "oidc:"
"""Before the name of whom an identity provider vouches for, in histories and as the name of their keys."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who signed in."""

    name: str
    """As they are greeted."""
    actor: str
    """As histories name them: `key:NAME`, or what the identity provider calls them."""
    role: Role
    tasks: frozenset[str] | None = None
    """Tasks they may look at and act on; None: every task."""

    def may(self, right: Right) -> bool:
        """Whether their role has a right."""
        return right in RIGHTS.get(self.role, frozenset())

    def may_for_all(self, right: Right) -> bool:
        """Whether their role has a right, and they may use it where it concerns every task."""
        return self.may(right) and self.tasks is None

    def may_see(self, task: str) -> bool:
        """Whether a task is theirs."""
        return self.tasks is None or task in self.tasks


def person_names(name: str) -> bool:
    """Whether a key was made for somebody whom an identity provider vouches for, by its name."""
    return name.startswith(VOUCHED)

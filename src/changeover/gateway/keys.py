"""API keys: made here, shown once, kept as digests only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, func, insert, select, update

from changeover.core.digest import sha256_text
from changeover.core.errors import ConfigError, nearest
from changeover.core.ids import new_id, new_secret
from changeover.gateway.limits import Limit
from changeover.store.engine import Store
from changeover.store.schema import keys

Role = Literal["application", "operator", "monitor"]
"""An application calls tasks. An operator may do everything: name a variant, as evaluations do, read `/metrics` and the
state in `/healthz`. A monitor reads these two and calls nothing."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A known caller. The secret itself is nowhere."""

    id: str
    name: str
    role: Role
    team: str | None = None
    tasks: frozenset[str] | None = None
    """Tasks it may call; None: every task."""
    deployments: frozenset[str] = frozenset()
    """Deployments it may name in `model`, past any task."""
    limits: tuple[Limit, ...] = ()
    team_limits: tuple[Limit, ...] = ()
    """Shared by all keys of the team."""
    expires_at: datetime | None = None


def issue_key(connection: Connection, *, name: str, role: Role, now: datetime) -> str:
    """Make a key and return it: the only time that anybody sees it."""
    secret = new_secret("co")
    connection.execute(
        # 256 random bits need no slow hash: there is nothing to guess.
        insert(keys).values(
            id=new_id("key"),
            name=name,
            role=role,
            digest=sha256_text(secret),
            created_at=now,
            deployments=[],
            limits=[],
        )
    )
    return secret


def revoke_key(connection: Connection, name: str, now: datetime) -> None:
    """Make every key of that name useless."""
    live = keys.c.revoked_at.is_(None)
    done = connection.execute(update(keys).where(keys.c.name == name, live).values(revoked_at=now))
    if done.rowcount == 0:
        known = connection.execute(select(keys.c.name).where(live)).scalars()
        raise ConfigError(f"No key named `{name}`. {nearest(name, known)}")


def count_keys(connection: Connection, role: Role) -> int:
    """How many keys of a role may be used."""
    return connection.execute(
        select(func.count()).select_from(keys).where(keys.c.role == role, keys.c.revoked_at.is_(None))
    ).scalar_one()


def load_keys(connection: Connection) -> dict[str, Key]:
    """Every usable key by its digest."""
    rows = connection.execute(select(keys).where(keys.c.revoked_at.is_(None)))
    return {row.digest: Key(id=row.id, name=row.name, role=row.role) for row in rows}


@dataclass
class Keyring:
    """The usable keys, in memory: looking one up never touches the store."""

    by_digest: Mapping[str, Key] = field(default_factory=dict[str, Key])

    def find(self, secret: str) -> Key | None:
        # Looking up a digest leaks no timing about the secret: an attacker cannot choose digests.
        return self.by_digest.get(sha256_text(secret))

    def reload(self, store: Store) -> None:
        with store.read() as connection:
            self.by_digest = load_keys(connection)

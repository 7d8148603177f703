"""API keys and the teams that own them: keys are made here, shown once, and kept as digests only."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, get_args

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from changeover.core.digest import sha256_text
from changeover.core.errors import ConfigError, nearest
from changeover.core.ids import new_id, new_secret
from changeover.gateway.limits import MOST, Limit
from changeover.store.engine import Store
from changeover.store.schema import keys, teams

Role = Literal["application", "viewer", "operator", "approver", "admin"]
"""An application calls tasks and tools. A viewer looks at everything but keys, and calls nothing. An operator looks, calls,
and may begin and steer rollouts; an approver looks, calls, and may approve and override; an admin may do everything."""

ROLES: tuple[Role, ...] = get_args(Role)
Right = Literal["call", "look", "operate", "approve", "administer"]
"""Call tasks and tools; look at everything but keys; start, steer and take back switches; agree to them; manage keys."""
RIGHTS: Mapping[Role, frozenset[Right]] = {
    "application": frozenset({"call"}),
    "viewer": frozenset({"look"}),
    "operator": frozenset({"call", "look", "operate"}),
    "approver": frozenset({"call", "look", "approve"}),
    "admin": frozenset({"call", "look", "operate", "approve", "administer"}),
}
"""The one table of who may what: the gateway's routes, the console's pages and the docs are made from it."""


def roles_with(right: Right) -> frozenset[Role]:
    """Roles that have a right."""
    return frozenset(role for role, rights in RIGHTS.items() if right in rights)


CALLERS = roles_with("call")
LOOKERS = roles_with("look")
STEERERS = roles_with("operate")
"""They may also name a variant or a deployment in `model`, as evaluations do; where they are not limited to some tasks, they
see everybody's jobs."""
ADMINS = roles_with("administer")
"""They are let past what a key could be made to pass."""

LONGEST_NAME = 80
LONGEST_TEAM = 50
"""Characters; a team's name is part of what its spending is kept under."""
PLACE = 32
"""Characters of a digest by which keys are found."""


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

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    @cached_property
    def least_limits(self) -> tuple[int, int]:
        """The smallest limit in tokens and in millionths of a dollar, its own or its team's: none may ask for more."""
        every = (*self.limits, *self.team_limits)
        tokens, usd = ([limit.amount for limit in every if limit.unit == unit] for unit in ("tokens", "usd"))
        return min(tokens, default=MOST), min(usd, default=MOST)


@dataclass(frozen=True, kw_only=True)
class Team:
    """Who owns keys: a budget of its own, and a line in the usage report."""

    name: str
    limits: tuple[Limit, ...]
    keys: int
    """That may be used."""


def issue_key(
    connection: Connection,
    *,
    name: str,
    role: Role,
    now: datetime,
    team: str | None = None,
    tasks: Iterable[str] | None = None,
    deployments: Iterable[str] = (),
    limits: Iterable[Limit] = (),
    expires_at: datetime | None = None,
) -> str:
    """Make a key and return it: the only time that anybody sees it.

    Raises:
        ConfigError: The name cannot be one, or there is no such team.
    """
    _check_name(name, "a key", LONGEST_NAME)
    if team is not None:
        find_team(connection, team)
    secret = new_secret("co")
    connection.execute(
        # 256 random bits need no slow hash: there is nothing to guess.
        insert(keys).values(
            id=new_id("key"),
            name=name,
            role=role,
            digest=sha256_text(secret),
            created_at=now,
            team=team,
            tasks=None if tasks is None else sorted(set(tasks)),
            deployments=sorted(set(deployments)),
            limits=_documents(limits),
            expires_at=expires_at,
        )
    )
    return secret


def change_keys(connection: Connection, name: str, **values: Any) -> list[Key]:
    """Change every usable key of that name or id, and return them as they are now; their secrets stay.

    Args:
        connection: In a transaction.
        name: Of keys, or the id of one.
        values: Any of `team`, `tasks`, `deployments`, `limits` and `expires_at`, as a `Key` has them.
    """
    if values.get("team") is not None:
        find_team(connection, values["team"])
    stored = dict(values)
    for column in ("tasks", "deployments"):
        if stored.get(column) is not None:
            stored[column] = sorted(stored[column])
    if "limits" in stored:
        stored["limits"] = _documents(stored["limits"])
    ids = [key.id for key in find_keys(connection, name)]
    if stored:
        connection.execute(update(keys).where(keys.c.id.in_(ids)).values(**stored))
    return find_keys(connection, name)


def find_keys(connection: Connection, name: str) -> list[Key]:
    """Every usable key of that name, or the one of that id.

    Raises:
        ConfigError: There is none; names the nearest.
    """
    live = load_keys(connection).values()
    found = [key for key in live if name in (key.name, key.id)]
    if not found:
        raise ConfigError(f"No key named `{name}`. {nearest(name, {key.name for key in live})}")
    return found


def revoke_key(connection: Connection, name: str, now: datetime) -> None:
    """Make every key of that name, or the one of that id, useless."""
    live = keys.c.revoked_at.is_(None)
    named = or_(keys.c.name == name, keys.c.id == name)
    done = connection.execute(update(keys).where(named, live).values(revoked_at=now))
    if done.rowcount == 0:
        known = connection.execute(select(keys.c.name).where(live)).scalars()
        raise ConfigError(f"No key named `{name}`. {nearest(name, set(known))}")


def revoke_expired(connection: Connection, name: str, now: datetime) -> None:
    """Make the keys of a name that have expired already useless for good, so that nobody keeps them in memory."""
    old = keys.c.revoked_at.is_(None) & (keys.c.name == name) & (keys.c.expires_at <= now)
    connection.execute(update(keys).where(old).values(revoked_at=now))


def count_keys(connection: Connection, role: Role) -> int:
    """How many keys of a role may be used."""
    return connection.execute(
        select(func.count()).select_from(keys).where(keys.c.role == role, keys.c.revoked_at.is_(None))
    ).scalar_one()


def was_issued(connection: Connection, role: Role, *, beside: str) -> bool:
    """Whether there was ever a key of a role, revoked ones included, with another name than `beside`."""
    found = select(keys.c.id).where(keys.c.role == role, keys.c.name != beside).limit(1)
    return connection.execute(found).first() is not None


def load_keys(connection: Connection) -> dict[str, Key]:
    """Every key that was not revoked, by its digest; those that have expired are among them."""
    shared = {team.name: _limits(team.limits) for team in connection.execute(select(teams.c.name, teams.c.limits))}
    rows = connection.execute(select(keys).where(keys.c.revoked_at.is_(None)).order_by(keys.c.name, keys.c.id))
    return {
        row.digest: Key(
            id=row.id,
            name=row.name,
            role=row.role,
            team=row.team,
            tasks=None if row.tasks is None else frozenset(row.tasks),
            deployments=frozenset(row.deployments),
            limits=_limits(row.limits),
            team_limits=shared.get(row.team, ()),
            expires_at=row.expires_at,
        )
        for row in rows
    }


def make_team(connection: Connection, name: str, limits: Iterable[Limit], now: datetime) -> None:
    """Make a team.

    Raises:
        ConfigError: The name cannot be one, or is taken.
    """
    _check_name(name, "a team", LONGEST_TEAM)
    if connection.execute(select(teams.c.name).where(teams.c.name == name)).first() is not None:
        raise ConfigError(f"There is a team `{name}` already. `changeover team set` changes its limits.")
    connection.execute(insert(teams).values(name=name, limits=_documents(limits), created_at=now))


def change_team(connection: Connection, name: str, limits: Iterable[Limit]) -> None:
    """Replace a team's limits. They hold for all its keys within a second."""
    find_team(connection, name)
    connection.execute(update(teams).where(teams.c.name == name).values(limits=_documents(limits)))


def remove_team(connection: Connection, name: str) -> None:
    """Remove a team that owns no usable key. What it used stays in the usage report.

    Raises:
        ConfigError: There is no such team, or it owns keys.
    """
    team = find_team(connection, name)
    if team.keys:
        owned = sorted({key.name for key in load_keys(connection).values() if key.team == name})
        raise ConfigError(
            f"Team `{name}` owns keys: {', '.join(owned)}. Revoke them, or move them: `changeover key set KEY --team`."
        )
    connection.execute(update(keys).where(keys.c.team == name).values(team=None))
    connection.execute(delete(teams).where(teams.c.name == name))


def find_team(connection: Connection, name: str) -> Team:
    """A team by its name.

    Raises:
        ConfigError: There is none; names the nearest.
    """
    known = {team.name: team for team in all_teams(connection)}
    if name not in known:
        raise ConfigError(f"No team named `{name}`. {nearest(name, known)} `changeover team new` makes one.")
    return known[name]


def all_teams(connection: Connection) -> list[Team]:
    """Every team, by name."""
    owned = select(keys.c.team, func.count()).where(keys.c.revoked_at.is_(None)).group_by(keys.c.team)
    counts = {row[0]: int(row[1]) for row in connection.execute(owned)}
    rows = connection.execute(select(teams).order_by(teams.c.name))
    return [Team(name=row.name, limits=_limits(row.limits), keys=counts.get(row.name, 0)) for row in rows]


class Keyring:
    """The keys that were not revoked, in memory: looking one up never touches the store."""

    def __init__(self, by_digest: Mapping[str, Key] | None = None) -> None:
        self._known: dict[str, Key] = {}
        self._places: dict[str, tuple[tuple[str, Key], ...]] = {}
        self.hold(by_digest or {})

    @property
    def keys(self) -> Iterable[Key]:
        return self._known.values()

    def find(self, secret: bytes) -> Key | None:
        """The key of a secret; None of one that is unknown or revoked. It may have expired: see `authenticate`."""
        digest = sha256(secret).hexdigest()
        # The first half finds the place, and whoever does not know a secret cannot choose it; the whole digest is
        # compared without a hint of where it differs.
        for known, key in self._places.get(digest[:PLACE], ()):
            if hmac.compare_digest(known, digest):
                return key
        return None

    def hold(self, by_digest: Mapping[str, Key]) -> None:
        """Replace the keys. One that has not changed stays the same object: what is known about it stays valid."""
        before = self._known
        known = {digest: before[digest] if before.get(digest) == key else key for digest, key in by_digest.items()}
        places: dict[str, tuple[tuple[str, Key], ...]] = {}
        for digest, key in known.items():
            places[digest[:PLACE]] = (*places.get(digest[:PLACE], ()), (digest, key))
        self._known, self._places = known, places

    def reload(self, store: Store) -> None:
        with store.read() as connection:
            loaded = load_keys(connection)
        self.hold(loaded)


def _check_name(name: str, what: str, longest: int) -> None:
    if not name or len(name) > longest or not name[0].isalnum() or not name.isprintable() or name != name.strip():
        raise ConfigError(
            f"`{name}` cannot name {what}: at most {longest} printable characters, the first a letter or a digit."
        )


def _limits(documents: Sequence[Mapping[str, Any]]) -> tuple[Limit, ...]:
    return tuple(Limit.from_document(document) for document in documents)


def _documents(limits: Iterable[Limit]) -> list[dict[str, Any]]:
    return [limit.document() for limit in limits]

"""Keys and teams: who may call what, and how much. For administrators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import Response

from changeover.app import keys as deeds
from changeover.app.prepare import LOCAL_OPERATOR
from changeover.console.people import person_names
from changeover.console.routes import Page
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, ConfigError, RequestError
from changeover.gateway.keys import LONGEST_NAME, LONGEST_TEAM, ROLES, Key, Role, Team, all_teams, load_keys
from changeover.serving.queries import all_deployments

MOST = 500
"""Rows that are shown; more are found by their names."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a form says of a key, as it was typed."""

    name: str = ""
    role: Role = "application"
    team: str = ""
    every_task: bool = True
    tasks: frozenset[str] = frozenset()
    deployments: frozenset[str] = frozenset()
    limits: str = ""
    """One a line."""
    expires: str = ""

    @classmethod
    def of_form(cls, form: FormData) -> Wish:
        """As it was sent.

        Raises:
            RequestError: There is no such role.
        """
        role = text_of(form, "role") or "application"
        found: Role | None = next((each for each in ROLES if each == role), None)
        if found is None:
            raise RequestError(f"There is no role `{role[:40]}`. Known: {', '.join(ROLES)}.")
        return cls(
            name=text_of(form, "name"),
            role=found,
            team=text_of(form, "team"),
            every_task=text_of(form, "which") != "some",
            tasks=_several(form, "task"),
            deployments=_several(form, "deployment"),
            limits=text_of(form, "limits"),
            expires=text_of(form, "expires"),
        )

    @classmethod
    def of_key(cls, key: Key) -> Wish:
        """As it stands."""
        return cls(
            name=key.name,
            role=key.role,
            team=key.team or "",
            every_task=key.tasks is None,
            tasks=key.tasks or frozenset(),
            deployments=key.deployments,
            limits="\n".join(str(limit) for limit in key.limits),
            expires="" if key.expires_at is None else key.expires_at.date().isoformat(),
        )

    def chosen_tasks(self) -> list[str] | None:
        """None: every task.

        Raises:
            RequestError: Some were meant, and none is chosen.
        """
        if self.every_task:
            return None
        if not self.tasks:
            raise RequestError("Choose the tasks that the key may call, or every task.")
        return sorted(self.tasks)

    def end(self, now: datetime) -> datetime | None:
        """When it expires: at the beginning of that day in UTC; None: never.

        Raises:
            RequestError: It is no date, or lies in the past.
        """
        if not self.expires:
            return None
        try:
            end = datetime.fromisoformat(self.expires).replace(tzinfo=UTC)
        except ValueError as exc:
            raise RequestError(f"`{self.expires[:40]}` is no date. Write it as in `2026-11-01`.") from exc
        if end <= now:
            raise RequestError(f"`{self.expires}` lies in the past.")
        return end


def _several(form: FormData, name: str) -> frozenset[str]:
    return frozenset(each for each in form.getlist(name) if isinstance(each, str))


def _lines(text: str) -> list[str]:
    return text.split()


async def keys(visit: Visit) -> Response:
    """Every key that may be used, and the teams."""
    return await _listed(visit)


async def _listed(
    visit: Visit,
    status: int = 200,
    *,
    error: str | None = None,
    wish: Wish | None = None,
    team: str = "",
    limits: str = "",
) -> Response:
    wanted = visit.query("q").lower()

    def look(connection: Connection) -> tuple[list[Key], list[Team], list[str]]:
        known = list(load_keys(connection).values())
        names = [row.name for row in all_deployments(connection)]
        return known, all_teams(connection), names

    known, teams, deployments = await visit.read(look)
    found = [key for key in known if not wanted or wanted in f"{key.name} {key.role} {key.team or ''} {key.id}".lower()]
    return visit.page(
        "keys/keys.html",
        status,
        keys=[key for key in found if not person_names(key.name)][:MOST],
        people=[key for key in found if person_names(key.name) and not key.expired(visit.installation.clock.now())][
            :MOST
        ],
        teams=teams,
        error=error,
        wish=wish or Wish(),
        opened=wish is not None,
        team_typed=team,
        limits=limits,
        asked=visit.query("q"),
        now=visit.installation.clock.now(),
        longest=LONGEST_NAME,
        longest_team=LONGEST_TEAM,
        **_choices(visit, teams, deployments),
    )


def _choices(visit: Visit, teams: Sequence[Team], deployments: Sequence[str]) -> dict[str, Any]:
    """What the fields of a key offer."""
    return {
        "roles": ROLES,
        "team_names": [team.name for team in teams],
        "tasks": sorted(visit.installation.tasks),
        "deployments": sorted(deployments),
    }


async def make(visit: Visit) -> Response:
    """Make a key, and show it: once."""
    async with visit.form() as form:
        wish = Wish.of_form(form)
    now = visit.installation.clock.now()
    try:
        grant = deeds.Grant(tasks=wish.chosen_tasks() or (), deployments=sorted(wish.deployments))
        end = wish.end(now)
        secret = await visit.do(
            lambda: deeds.new_key(
                visit.installation,
                wish.name,
                visit.person.actor,
                role=wish.role,
                team=wish.team or None,
                grant=grant,
                limits=_lines(wish.limits),
                expires_at=end,
            )
        )
    except ChangeoverError as wrong:
        return await _listed(visit, _status(wrong), error=wrong.message, wish=wish)
    return visit.page("keys/made.html", name=wish.name, role=wish.role, secret=secret)


async def key(visit: Visit) -> Response:
    """One key, and what can be changed about it."""
    return await _shown(visit)


async def _shown(visit: Visit, status: int = 200, *, error: str | None = None, wish: Wish | None = None) -> Response:
    def look(connection: Connection) -> tuple[Key, list[Team], list[str]]:
        names = [row.name for row in all_deployments(connection)]
        return _key(connection, visit.parameter("key")), all_teams(connection), names

    found, teams, deployments = await visit.read(look)
    return visit.page(
        "keys/key.html",
        status,
        key=found,
        local=found.name == LOCAL_OPERATOR,
        wish=wish or Wish.of_key(found),
        error=error,
        now=visit.installation.clock.now(),
        **_choices(visit, teams, deployments),
    )


def _key(connection: Connection, id: str) -> Key:
    """A usable key by its id alone: names may be of several.

    Raises:
        RequestError: There is none.
    """
    found = next((key for key in load_keys(connection).values() if key.id == id), None)
    if found is None:
        raise NoSuchKey(f"There is no key `{id[:60]}`, or it was revoked.")
    return found


class NoSuchKey(RequestError):
    """There is no such key, or not any more."""

    status = 404
    code = "no_such_key"


async def change(visit: Visit) -> Response:
    """Change what a key may do; its secret stays."""
    async with visit.form() as form:
        wish = Wish.of_form(form)
    found = await visit.read(lambda connection: _key(connection, visit.parameter("key")))
    now = visit.installation.clock.now()
    try:
        grant = deeds.Grant(tasks=wish.chosen_tasks() or (), deployments=sorted(wish.deployments))
        same_end = wish.expires == Wish.of_key(found).expires
        end = found.expires_at if same_end else wish.end(now)

        def change_it() -> None:
            tasks, deployments = grant.checked(visit.installation)
            deeds.set_keys(
                visit.installation,
                found.id,
                visit.person.actor,
                limits=_lines(wish.limits),
                no_limits=True,
                team=wish.team or None,
                tasks=tasks,
                deployments=deployments or (),
                expires_at=end,
            )

        await visit.do(change_it)
    except ChangeoverError as wrong:
        return await _shown(visit, _status(wrong), error=wrong.message, wish=wish)
    visit.tell("{}: changed. It holds within a second.", found.name)
    return visit.go(f"/keys/{quote(found.id, safe='')}")


async def revoke(visit: Visit) -> Response:
    """Make a key useless."""
    async with visit.form() as form:
        by = visit.by(text_of(form, "reason"))
    found = await visit.read(lambda connection: _key(connection, visit.parameter("key")))
    await visit.do(lambda: deeds.revoke(visit.installation, found.id, by.actor, by.reason))
    visit.tell("{} was revoked: within a second it opens nothing.", found.name)
    return visit.go("/keys")


async def make_team(visit: Visit) -> Response:
    """Make a team."""
    async with visit.form() as form:
        name, limits = text_of(form, "name"), text_of(form, "limits")
    try:
        await visit.do(lambda: deeds.new_team(visit.installation, name, visit.person.actor, _lines(limits)))
    except ChangeoverError as wrong:
        return await _listed(visit, _status(wrong), error=wrong.message, team=name, limits=limits)
    visit.tell("Team {} was made.", name)
    return visit.go("/keys#teams")


async def change_team(visit: Visit) -> Response:
    """Replace a team's limits."""
    name = visit.parameter("team")
    async with visit.form() as form:
        limits = _lines(text_of(form, "limits"))
    await visit.do(lambda: deeds.set_team(visit.installation, name, visit.person.actor, limits, no_limits=True))
    visit.tell("The limits of team {} hold within a second.", name)
    return visit.go("/keys#teams")


async def remove_team(visit: Visit) -> Response:
    """Remove a team that owns no key."""
    name = visit.parameter("team")
    async with visit.form():
        await visit.do(lambda: deeds.remove_team(visit.installation, name, visit.person.actor))
    visit.tell("Team {} was removed.", name)
    return visit.go("/keys#teams")


def _status(wrong: ChangeoverError) -> int:
    """What was typed is no fault of ours."""
    return 400 if isinstance(wrong, ConfigError) else wrong.status


PAGES = (
    Page(path="/keys", endpoint=keys, right="administer", whole=True),
    Page(path="/keys", endpoint=make, right="administer", whole=True, methods=("POST",)),
    Page(path="/keys/{key}", endpoint=key, right="administer", whole=True),
    Page(path="/keys/{key}", endpoint=change, right="administer", whole=True, methods=("POST",)),
    Page(path="/keys/{key}/revoke", endpoint=revoke, right="administer", whole=True, methods=("POST",)),
    Page(path="/teams", endpoint=make_team, right="administer", whole=True, methods=("POST",)),
    Page(path="/teams/{team:path}/limits", endpoint=change_team, right="administer", whole=True, methods=("POST",)),
    Page(path="/teams/{team:path}/remove", endpoint=remove_team, right="administer", whole=True, methods=("POST",)),
)

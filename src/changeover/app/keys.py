"""Keys and teams as people change them: by names that exist, and with a note of who did it in the audit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from changeover.app.installation import Installation
from changeover.core.digest import sha256_text
from changeover.core.errors import ConfigError, nearest
from changeover.gateway.keys import (
    Key,
    Role,
    Team,
    change_keys,
    change_team,
    find_keys,
    find_team,
    issue_key,
    load_keys,
    make_team,
    revoke_key,
)
from changeover.gateway.keys import remove_team as remove
from changeover.gateway.limits import change_limits
from changeover.serving.queries import all_deployments
from changeover.store.audit import note
from changeover.tasks.declarations import find_task
from changeover.tools.declarations import find_tool


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a key may name."""

    tasks: Iterable[str] = ()
    tools: Iterable[str] = ()
    """It may call all tasks that these ask."""
    deployments: Iterable[str] = ()

    def checked(self, installation: Installation) -> tuple[list[str] | None, list[str] | None]:
        """Tasks and deployments that exist; None where none was named.

        Raises:
            ConfigError: There is none of a name, or a tool asks no task.
        """
        named = [*self.tasks, *_asked_by(installation, self.tools)]
        tasks = [find_task(installation.tasks, task).name for task in dict.fromkeys(named)]
        deployments = list(self.deployments)
        if deployments:
            with installation.store.read() as connection:
                known = [row.name for row in all_deployments(connection)]
            for name in deployments:
                if name not in known:
                    raise ConfigError(f"No deployment named `{name}`. {nearest(name, known)}")
        return tasks or None, deployments or None


def _asked_by(installation: Installation, tools: Iterable[str]) -> list[str]:
    """Every task that some tools ask."""
    asked: list[str] = []
    for name in tools:
        tasks = find_tool(installation.tools, name).tasks
        if not tasks:
            raise ConfigError(f"`{name}` asks no task, so any key may run it. Leave `--tool {name}` out.")
        asked += tasks
    return asked


def new_key(
    installation: Installation,
    name: str,
    actor: str,
    *,
    role: Role = "application",
    team: str | None = None,
    grant: Grant | None = None,
    limits: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> str:
    """Make a key and return its secret: the only time that anybody sees it.

    Raises:
        ConfigError: The name cannot be one, or something that it names does not exist.
    """
    tasks, deployments = (grant or Grant()).checked(installation)
    with installation.store.write() as connection:
        secret = issue_key(
            connection,
            name=name,
            role=role,
            now=installation.clock.now(),
            team=team,
            tasks=tasks,
            deployments=deployments or (),
            limits=change_limits((), limits),
            expires_at=expires_at,
        )
        made = load_keys(connection)[sha256_text(secret)]
        _note(installation, connection, actor, "key new", f"key {name}", document_of_key(made))
    return secret


def set_keys(
    installation: Installation,
    name: str,
    actor: str,
    *,
    limits: Iterable[str] = (),
    no_limits: bool = False,
    **changes: Any,
) -> list[Key]:
    """Change every usable key of a name or id, within a second and without a new secret.

    Args:
        installation: The project.
        name: Of keys, or the id of one.
        actor: Who does it.
        limits: `UNIT/PERIOD=AMOUNT`; `=none` removes one, the others stay.
        no_limits: Remove all first.
        changes: Any of `team`, `tasks`, `deployments` and `expires_at`, as `change_keys` takes them.

    Raises:
        ConfigError: There is no such key or team, or a limit cannot be read.
    """
    changed: list[Key] = []
    asked = list(limits)
    with installation.store.write() as connection:
        for key in find_keys(connection, name):
            if asked or no_limits:
                changes["limits"] = change_limits(() if no_limits else key.limits, asked)
            after = change_keys(connection, key.id, **changes)
            changed += after
            for each in after:
                detail = _differences(document_of_key(key), document_of_key(each))
                _note(installation, connection, actor, "key set", f"key {key.name}", detail)
    return changed


def revoke(installation: Installation, name: str, actor: str, reason: str = "") -> None:
    """Make every key of that name, or the one of that id, useless within a second.

    Raises:
        ConfigError: There is none.
    """
    with installation.store.write() as connection:
        gone = find_keys(connection, name)
        revoke_key(connection, name, installation.clock.now())
        for key in gone:
            detail = {"id": key.id, "role": key.role}
            _note(installation, connection, actor, "key revoke", f"key {key.name}", detail, reason)


def new_team(installation: Installation, name: str, actor: str, limits: Iterable[str] = ()) -> Team:
    """Make a team; its limits hold for all its keys together.

    Raises:
        ConfigError: The name cannot be one, or is taken; or a limit cannot be read.
    """
    with installation.store.write() as connection:
        make_team(connection, name, change_limits((), limits), installation.clock.now())
        made = find_team(connection, name)
        _note(installation, connection, actor, "team new", f"team {name}", document_of_team(made))
    return made


def set_team(
    installation: Installation, name: str, actor: str, limits: Iterable[str] = (), *, no_limits: bool = False
) -> Team:
    """Change a team's limits, within a second.

    Raises:
        ConfigError: There is no such team, or a limit cannot be read.
    """
    with installation.store.write() as connection:
        team = find_team(connection, name)
        change_team(connection, name, change_limits(() if no_limits else team.limits, limits))
        changed = find_team(connection, name)
        detail = _differences(document_of_team(team), document_of_team(changed))
        _note(installation, connection, actor, "team set", f"team {name}", detail)
    return changed


def remove_team(installation: Installation, name: str, actor: str) -> None:
    """Remove a team that owns no key any more. What it used stays in the usage report.

    Raises:
        ConfigError: There is no such team, or it owns keys.
    """
    with installation.store.write() as connection:
        remove(connection, name)
        _note(installation, connection, actor, "team remove", f"team {name}", {})


def document_of_key(key: Key) -> dict[str, Any]:
    """A key as JSON; the secret itself is nowhere."""
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "team": key.team,
        "tasks": None if key.tasks is None else sorted(key.tasks),
        "deployments": sorted(key.deployments),
        "limits": [str(limit) for limit in key.limits],
        "team_limits": [str(limit) for limit in key.team_limits],
        "expires_at": key.expires_at,
    }


def document_of_team(team: Team) -> dict[str, Any]:
    """A team as JSON."""
    return {"name": team.name, "keys": team.keys, "limits": [str(limit) for limit in team.limits]}


def _differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What a change has changed, each as it was and as it is."""
    return {name: [before[name], after[name]] for name in after if before[name] != after[name]}


def _note(
    installation: Installation,
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    detail: dict[str, Any],
    reason: str = "",
) -> None:
    told = msgspec.to_builtins(detail)  # times as texts
    now = installation.clock.now()
    note(connection, at=now, actor=actor, action=action, subject=subject, reason=reason, detail=told)

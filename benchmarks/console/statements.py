"""What each page asks of the database: how many statements, and whether one of them reads `exchanges` from end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import Connection, event

from changeover.app.installation import open_installation
from changeover.console.app import console
from changeover.console.desk import Desk
from changeover.core.settings import open_project
from changeover.store.engine import Store

HOST = "console.test"


@dataclass
class Asked:
    """Statements as they went to the database."""

    statements: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])

    def hear(self, store: Store) -> None:
        """Listen to a store from now on."""

        def before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
            self.statements.append((statement, parameters))

        event.listen(store.engine, "before_cursor_execute", before)

    def take(self) -> list[tuple[str, Any]]:
        taken, self.statements = self.statements, []
        return [
            each for each in taken if each[0].lstrip()[:6].upper() in ("SELECT", "WITH R", "INSERT", "UPDATE", "DELETE")
        ]


@dataclass(frozen=True)
class Queried:
    """What one address asked."""

    statements: int
    whole: Sequence[str]
    """Statements that read `exchanges` from end to end."""


async def statements_of(project: Path, addresses: Sequence[str]) -> Mapping[str, Queried]:
    """Ask for pages in this process, and listen to what they ask."""
    installation = open_installation(open_project(project))
    desk, asked = Desk(installation), Asked()
    app = console(desk.gateway, hosts=(HOST,), most_body_bytes=1 << 20, desk=desk)
    secrets = json.loads((project / ".changeover" / "keys.json").read_text())
    found: dict[str, Queried] = {}
    transport = httpx2.ASGITransport(app=app)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            await client.post("/sign-in", data={"key": secrets.get("admin") or secrets["operator"]})
            asked.hear(installation.store)
            for address in addresses:
                asked.take()
                await client.get(address)
                said = asked.take()
                found[address] = Queried(len(said), _whole(installation.store, said))
    finally:
        await app.state.sessions.close()
        installation.store.close()
    return found


def _whole(store: Store, said: Sequence[tuple[str, Any]]) -> list[str]:
    about = {statement: parameters for statement, parameters in said if "exchanges" in statement}
    with store.read() as connection:
        return [statement for statement, parameters in about.items() if reads_whole(connection, statement, parameters)]


def reads_whole(connection: Connection, statement: str, parameters: Any) -> bool:
    """Whether the database would read the table, or an index of it, from one end to the other."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return any(str(row[3]).startswith("SCAN exchanges") for row in rows)
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    return any(map(_without_bound, _nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])))


def _nodes(plan: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", ()) for node in _nodes(part))]


def _without_bound(node: Mapping[str, Any]) -> bool:
    bounded = "Index Cond" in node or "Recheck Cond" in node
    return node.get("Relation Name") == "exchanges" and not bounded

"""Rollouts without a running system: the real store and actions, requests as gateways record them, and what fails.

The clock goes where it is told, and the store is gone or interrupted at the worst moment.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from tests.support import stores
from tests.support.exchanges import exchange

from changeover.core.ids import new_id
from changeover.evals.queries import Comparison, add_comparison, end_comparison
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.rollouts.decide import ACTIVE, Rollout
from changeover.rollouts.queries import find_rollout, latest_rollout
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import add_deployment, keep_variant
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import metadata
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import add_exchanges, route_history
from changeover.tasks.routes import Route

START = datetime(2026, 1, 1, tzinfo=UTC)
DEPLOYMENTS = ("old", "new", "newer")

OUTCOMES: Mapping[str, Mapping[str, Any]] = {
    "good": {},
    "failed": {"status": 502, "error": "model_failed"},
    "cut": {"truncated": True},
    "left": {"abandoned": True},
    "wrong": {"status": 400},
    "violating": {"violation": "empty"},
    "slow": {"duration_ms": 60_000.0},
    "stepped in": {},
}
"""What becomes of a request, as it is recorded; `stepped in`: it failed, and another variant answered."""
BAD = ("failed", "cut", "stepped in")


class Killed(BaseException):
    """As `kill -9`: nothing of whoever it hits runs on."""


class JumpingClock:
    """A clock whose wall time goes where it is told; the other one only goes forward."""

    def __init__(self) -> None:
        self._now = START
        self._monotonic = 0.0

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)  # no two moments are the same
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def passes(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jumps(self, by: timedelta) -> None:
        self._now += by


class InterruptedStore(Store):
    """A store where something happens to the next transaction that writes."""

    before: Callable[[], None] | None = None
    """Done once, between the look that led to the transaction and the transaction."""
    dies: bool | None = None
    """Whoever writes next is killed: False: before the commit, True: after it."""

    @contextmanager
    def write(self) -> Generator[Connection]:
        before, self.before = self.before, None
        if before is not None:
            before()
        dies, self.dies = self.dies, None
        with super().write() as connection:
            yield connection
            if dies is False:
                raise Killed
        if dies is True:
            raise Killed


def variant(task: str, deployment: str, version: int = 1) -> Variant:
    engine = EnginePart(backend="echo", engine="echo", engine_version=str(version), model=deployment)
    return Variant.of(task, deployment, Bundle(engine=engine, prompt_name="p", prompt="Be brief.", parameters={}))


@dataclass(frozen=True)
class Facts:
    """Everything that the store holds about rollouts, read at one moment; rows as the database gives them."""

    routes: Sequence[Any]
    events: Sequence[Any]
    rollouts: Sequence[Any]
    approvals: Sequence[Any]
    overrides: Sequence[Any]
    exchanges: Sequence[Any]
    comparisons: Sequence[Any]

    def newest_route(self, task: str) -> Any:
        return [route for route in self.routes if route.task == task][-1]

    def routes_of(self, rollout: int) -> list[Any]:
        return [route for route in self.routes if route.rollout == rollout]

    def events_of(self, rollout: int) -> list[Any]:
        return [event for event in self.events if event.rollout == rollout]


class World:
    """Tasks, each answered by `old` at first, on a store of their own."""

    def __init__(self, url: str, tasks: Sequence[str]) -> None:
        """Set up.

        Args:
            url: Of a database without a schema, or of a SQLite file that is not there yet.
            tasks: Their names.
        """
        self.url, self.tasks, self.clock = url, tuple(tasks), JumpingClock()
        stores.lay(url)
        self.store = InterruptedStore.connect(url)
        migrate(self.store)
        self.versions = dict.fromkeys(DEPLOYMENTS, 1)
        self.down: set[str] = set()
        with self.store.write() as connection:
            for name in DEPLOYMENTS:
                add_deployment(
                    connection,
                    name=name,
                    backend="echo",
                    model=name,
                    options={},
                    engine={},
                    actor="ana",
                    now=START,
                )
            for task in self.tasks:
                begin(connection, variant(task, "old"), self.by("ana"))
                for name in DEPLOYMENTS:
                    keep_variant(connection, variant(task, name), START)

    @property
    def file(self) -> Path:
        return Path(self.url.removeprefix("sqlite:///"))

    def by(self, actor: str, reason: str = "because") -> By:
        return By(actor=actor, reason=reason, now=self.clock.now())

    def is_ready(self, deployment: str) -> bool:
        return deployment not in self.down

    def present(self, task: str, deployment: str) -> Variant:
        """The variant that a deployment gives a task now."""
        return variant(task, deployment, self.versions[deployment])

    def route(self, task: str, back: int = 0) -> Route:
        """The newest route, or one that gateways which are late still answer by."""
        with self.store.read() as connection:
            newest = route_history(connection, task, limit=back + 1)
        return newest[-1]

    def latest(self, task: str) -> Rollout | None:
        with self.store.read() as connection:
            return latest_rollout(connection, task)

    def active(self, task: str) -> Rollout | None:
        found = self.latest(task)
        return found if found is not None and found.state in ACTIVE else None

    def now(self, rollout: Rollout) -> Rollout:
        with self.store.read() as connection:
            found = find_rollout(connection, rollout.id)
        assert found is not None
        return found

    def compared(self, task: str, incumbent: str, candidate: str, verdict: str) -> str:
        """A comparison that has ended; gives its id."""
        id = new_id("cmp")
        with self.store.write() as connection:
            add_comparison(
                connection,
                Comparison(
                    id=id,
                    task=task,
                    incumbent=incumbent,
                    candidate=candidate,
                    dataset=new_id("ds"),
                    scorer="s",
                    plan={},
                    actor="ana",
                    verdict=None,
                    summary=None,
                    started_at=self.clock.now(),
                    ended_at=None,
                ),
            )
            end_comparison(connection, id, verdict=verdict, summary={}, now=self.clock.now())
        return id

    def asked(self, route: Route, outcome: str, *, candidate: bool, copy: bool = False) -> Exchange:
        """Record a request as the gateway does that answers by a route; gives the record."""
        variant = (route.candidate if candidate else None) or route.incumbent
        side = "shadow" if copy else "candidate" if variant == route.candidate else "incumbent"
        fields: dict[str, Any] = {"variant": variant, "side": side, **OUTCOMES[outcome]}
        if outcome == "stepped in":
            other = route.incumbent if variant != route.incumbent else route.former
            fields |= {"variant": other, "failed_variants": (variant,), "attempts": 2}
            fields |= {"status": 502} if other is None else {}
        made = exchange(
            task=route.task,
            revision=route.revision,
            started_at=self.clock.now(),
            internal=copy,
            shadow_of="req_x" if copy else None,
            **fields,
        )
        with self.store.append() as connection:
            add_exchanges(connection, [made])
        return made

    def facts(self) -> Facts:
        tables = metadata.tables
        with self.store.read() as connection:

            def rows(name: str, order: str = "id") -> Sequence[Any]:
                table = tables[name]
                return connection.execute(select(table).order_by(table.c[order])).all()

            seen = tables["exchanges"].c
            columns = (seen.id, seen.task, seen.revision, seen.variant, seen.failed_variants, seen.status)
            columns += (seen.truncated, seen.abandoned, seen.shadow_of)
            return Facts(
                routes=rows("routes", "revision"),
                events=rows("rollout_events"),
                rollouts=rows("rollouts"),
                approvals=rows("approvals"),
                overrides=rows("overrides"),
                exchanges=connection.execute(select(*columns)).all(),
                comparisons=rows("comparisons", "started_at"),
            )

    def close(self) -> None:
        self.store.close()

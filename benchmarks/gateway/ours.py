"""Ours as its users run it: a project, `changeover up`, and every feature of the door on.

Authentication, a route, limits (requests and tokens a minute, a month's budget), every exchange recorded whole into
SQLite, usage with its price, metrics.
"""

from __future__ import annotations

import compileall
import json
import sqlite3
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import update

import changeover
from benchmarks.gateway.gateways import Place, Running, first_answer
from benchmarks.gateway.load import Target
from benchmarks.gateway.process import NotStartedError, free_port, said, started
from changeover.app.create import create_installation
from changeover.app.deploy import declared_variant, deploy
from changeover.core.settings import open_project
from changeover.gateway.keys import issue_key
from changeover.gateway.limits import Limit
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import note_state
from changeover.store.schema import keys

TASK = "invoices"
MODEL = "mock"
KEY_NAME = "bench"
PLENTY = 10**12
"""Limits that are checked and never reached."""
LIMITS = (
    Limit(unit="requests", per="minute", amount=PLENTY),
    Limit(unit="tokens", per="minute", amount=PLENTY),
    Limit(unit="usd", per="month", amount=PLENTY),
)

SETTINGS = """\
name = "bench"
[gateway]
max_in_flight = 4096
{client}
[prices.{model}]
usd_per_million_prompt_tokens = 0.1
usd_per_million_completion_tokens = 0.4
"""

DECLARATION = """\
description = "Reads invoices."
prompt = "invoices.prompt.md"
dataset = "../evals/invoices.jsonl"
first_incumbent = "echo"
record = "full"
[scorer]
name = "contains"
"""


@dataclass(frozen=True, kw_only=True)
class Ours:
    """A row of the table like the others."""

    client: str | None = None
    """`gateway.client`; None: the setting's default."""
    name: str = "changeover"

    @property
    def title(self) -> str:
        client = "" if self.client is None else f", {self.client}"
        return f"changeover {changeover.__version__}{client}"

    def install(self, *, now: bool) -> None:
        """Compile the package, as an installation does: a first start that compiles is no start that users see twice."""
        del now
        compileall.compile_dir(Path(changeover.__file__).parent, quiet=2)

    @contextmanager
    def running(self, place: Place) -> Generator[Running]:
        project = place.directory / "project"
        secret = make_project(project, place.upstream, self.client)
        port = free_port()
        began = time.monotonic()
        program = str(Path(sys.executable).with_name("changeover"))
        with started(
            (program, "up", "--json", "--until-stdin-closes", "--port", str(port)),
            core=place.cores.gateway,
            directory=project,
            pipe=True,
        ) as process:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise NotStartedError(f"it ended before it said where it listens: {said(project)}")
            headers = {"authorization": f"Bearer {secret}"}
            target = Target(port=port, model=TASK, headers=headers, pid=process.pid)
            yield first_answer(target, began, project, process.poll)


def make_project(directory: Path, upstream: int, client: str | None) -> str:
    """Write a project with one task that the upstream answers; gives the secret of its key."""
    for name in ("tasks", "evals"):
        (directory / name).mkdir(parents=True)
    chosen = "" if client is None else f'client = "{client}"'
    (directory / "changeover.toml").write_text(SETTINGS.format(client=chosen, model=MODEL))
    (directory / "tasks" / f"{TASK}.toml").write_text(DECLARATION)
    (directory / "tasks" / f"{TASK}.prompt.md").write_text("")
    row = {"id": "1", "input": "Which total?", "target": "1,280.00"}
    (directory / "evals" / f"{TASK}.jsonl").write_text(json.dumps(row) + "\n")
    installation = create_installation(open_project(directory))
    now = installation.clock.now()
    options = {"base_url": f"http://127.0.0.1:{upstream}/v1", "model": MODEL}
    deploy(installation, EnginePlan(deployment=MODEL, backend="openai", model=MODEL, options=options), "benchmark")
    with installation.store.write() as connection:
        note_state(connection, MODEL, state="ready", detail="", now=now)
    variant = declared_variant(installation, TASK, MODEL)
    limits = [limit.document() for limit in LIMITS]
    with installation.store.write() as connection:
        begin(connection, variant, By(actor="benchmark", reason="first", now=now))
        secret = issue_key(connection, name=KEY_NAME, role="application", now=now)
        connection.execute(update(keys).where(keys.c.name == KEY_NAME).values(limits=limits))
    installation.store.close()
    return secret


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the store of a gateway that has ended holds."""

    exchanges: int
    whole: int
    """Of these, with their content."""
    counted: int
    """Requests in the usage counters."""


def kept(project: Path) -> Kept:
    """Read a store back, to see that what was measured did its work."""
    with closing(sqlite3.connect(project / ".changeover" / "changeover.db")) as connection:
        exchanges, whole = connection.execute(
            "SELECT count(*), coalesce(sum(request IS NOT NULL), 0) FROM exchanges"
        ).fetchone()
        (counted,) = connection.execute("SELECT coalesce(sum(requests), 0) FROM usage").fetchone()
    return Kept(exchanges=exchanges, whole=whole, counted=counted)

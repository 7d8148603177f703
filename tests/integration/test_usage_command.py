"""`changeover key`, `team` and `usage` as people use them: the commands on a real project, the system down."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select, text
from tests.support.projects import open_written, write_project
from tests.unit.gateway.test_usage import ONE

from changeover.app.prepare import first_admin_key, first_keys
from changeover.cli.guard import run_guarded
from changeover.cli.main import COMMANDS
from changeover.core.clock import SystemClock
from changeover.gateway.keys import Keyring, issue_key, make_team
from changeover.gateway.usage import Usage
from changeover.gateway.usage_queries import FACETS, usage_lines
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import keys, metadata
from changeover.tasks.exchanges import Exchange

HOSTILE = "x'; DROP TABLE usage; --"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was started once, and is down."""
    directory = write_project(tmp_path_factory.mktemp("projects") / "bank", ["echo", "other"])
    open_written(directory).store.close()
    return directory


@pytest.fixture
def project(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same without keys, teams and usage."""
    store = Store.open(f"sqlite:///{written / '.changeover' / 'changeover.db'}")
    with store.write() as connection:
        for table in ("keys", "teams", "usage"):
            connection.execute(metadata.tables[table].delete())
    store.close()
    monkeypatch.chdir(written)
    return written


class Said:
    """What a command printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)

    @property
    def refused(self) -> str:
        assert self.status == 2, (self.out, self.err)
        assert "Traceback" not in self.err
        return " ".join(self.err.split())


class Commands:
    """Runs commands in this process, as `changeover` does."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, name: str, *arguments: str) -> Said:
        self._capture.readouterr()
        status = run_guarded(name, COMMANDS[name][0], arguments)
        return Said(status, *self._capture.readouterr())


@pytest.fixture
def changeover(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def opened(project: Path) -> Store:
    return Store.open(f"sqlite:///{project / '.changeover' / 'changeover.db'}")


def used(store: Store, exchanges: Sequence[Exchange]) -> None:
    usage = Usage("gw_1", SystemClock())
    for exchange in sorted(exchanges, key=lambda one: one.started_at):
        usage.count(exchange)
    with store.append() as connection:
        usage.write(connection)


def test_a_key_is_made_listed_changed_and_revoked(project: Path, changeover: Commands) -> None:
    changeover("team", "new", "finance", "--limit", "usd/month=500")
    made = changeover(
        "key", "new", "invoices", "--team", "finance", "--task", "echo", "--expires", "30d",
        "--limit", "requests/minute=600", "--limit", "concurrent=8", "--json",
    ).json  # fmt: skip
    listed = changeover("key", "list")
    assert made["key"] not in listed.out
    assert all(word in listed.out for word in ("invoices", "finance", "requests/minute=600", "concurrent=8", "echo"))
    [before] = changeover("key", "list", "--json").json
    assert (before["limits"], before["team_limits"]) == (["requests/minute=600", "concurrent=8"], ["usd/month=500"])
    assert changeover("key", "set", "invoices", "--limit", "usd/day=2.5", "--all-tasks", "--no-team").status == 0
    ring = Keyring()
    ring.reload(store := opened(project))
    found = ring.find(made["key"].encode())
    assert found is not None
    assert (found.id, found.team, found.tasks) == (before["id"], None, None)
    assert [str(limit) for limit in found.limits] == ["requests/minute=600", "usd/day=2.50", "concurrent=8"]
    assert changeover("key", "revoke", before["id"]).status == 0
    ring.reload(store)
    assert ring.find(made["key"].encode()) is None
    store.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["new", "a", "--limit", "requests/minut=5"], "Did you mean `minute`?"),
        (["new", "a", "--limit", "dollars/month=5"], "nothing is counted in `dollars`"),
        (["new", "a", "--limit", "usd/month=1", "--limit", "usd/month=2"], "given twice"),
        (["new", "a", "--task", "ecko"], "Did you mean `echo`?"),
        (["new", "a", "--deployment", "ehco"], "Did you mean `echo`?"),
        (["new", "a", "--team", "nobody"], "No team named `nobody`"),
        (["new", "a", "--role", "monitor"], "'monitor' is not one of 'application', 'viewer', 'operator'"),
        (["new", "a", "--expires", "soon"], "--expires soon"),
        (["new", "a", "--expires", "2020-01-01"], "lies in the past"),
        (["new", "=cmd"], "cannot name a key"),
        (["set", "a"], "Nothing to change"),
        (["set", "a", "--team", "x", "--no-team"], "contradict each other"),
        (["set", "a", "--limit", "usd/month=5"], "No key named `a`"),
        (["revoke", "a"], "No key named `a`"),
    ],
)
def test_what_is_wrong_about_a_key_is_said_in_a_line(
    project: Path, changeover: Commands, arguments: list[str], says: str
) -> None:
    assert says in changeover("key", *arguments).refused
    assert changeover("key", "list", "--json").json == []


def test_a_team_is_made_listed_changed_and_removed(project: Path, changeover: Commands) -> None:
    changeover("team", "new", "finance", "--limit", "usd/month=500", "--limit", "tokens/day=2M")
    changeover("key", "new", "invoices", "--team", "finance")
    changeover("team", "set", "finance", "--limit", "usd/month=none")
    assert changeover("team", "list", "--json").json == [
        {"name": "finance", "keys": 1, "limits": ["tokens/day=2000000"]}
    ]
    assert "owns keys: invoices" in changeover("team", "remove", "finance").refused
    changeover("key", "revoke", "invoices")
    assert changeover("team", "remove", "finance").status == 0
    assert "finance" not in changeover("team", "list").out
    assert "No team named `finance`" in changeover("team", "set", "finance", "--no-limits").refused


def test_the_first_start_makes_an_admin_key_and_an_application_key_once(project: Path) -> None:
    installation = open_written(project)
    application, admin = first_keys(installation), first_admin_key(installation)
    assert application is not None
    assert admin is not None
    assert (first_keys(installation), first_admin_key(installation)) == (None, None)
    ring = Keyring()
    ring.reload(installation.store)
    roles = [key.role for secret in (application, admin) if (key := ring.find(secret.encode())) is not None]
    assert roles == ["application", "admin"]
    with installation.store.read() as connection:
        stored = str(connection.execute(select(keys)).all())
    assert application not in stored
    assert admin not in stored
    installation.store.close()


@pytest.fixture
def month(project: Path) -> Path:
    """A little traffic: two teams, prices for one deployment, one key with a name made to hurt."""
    now = datetime.now(UTC)
    store = opened(project)
    with store.write() as connection:
        make_team(connection, "desk", (), now)
        make_team(connection, HOSTILE, (), now)
        issue_key(connection, name=HOSTILE, role="application", now=now, team=HOSTILE)
        key_id = connection.execute(select(keys.c.id)).scalar_one()
    base = replace(ONE, started_at=now - timedelta(minutes=1), cost_microusd=1_500_000)
    free = replace(base, task="other", deployment="own", cost_microusd=None)
    traffic = [base] * 3
    traffic += [replace(free, team=HOSTILE, key=key_id, usage_estimated=estimated) for estimated in (True, False)]
    traffic += [replace(free, team=None, task="echo", deployment=None, status=503, prompt_tokens=None)]
    traffic += [replace(base, started_at=now - timedelta(days=10)), replace(base, internal=True)]
    used(store, traffic)
    store.close()
    return project


def test_the_report_says_who_used_how_much_and_what_it_costs(month: Path, changeover: Commands) -> None:
    said = changeover("usage", "--by", "team,task,deployment", "--since", "7d", "--json").json
    lines = {(line["team"], line["task"], line["deployment"]): line for line in said["lines"]}
    assert lines["desk", "summarise", "small"] == {
        "team": "desk",
        "task": "summarise",
        "deployment": "small",
        "requests": 3,
        "failed": 0,
        "prompt_tokens": 300,
        "completion_tokens": 60,
        "estimated_requests": 0,
        "usd": 4.5,
        "unpriced_requests": 0,
    }
    own = lines[HOSTILE, "other", "own"]
    assert (own["requests"], own["usd"], own["estimated_requests"], own["unpriced_requests"]) == (2, None, 1, 2)
    assert lines[None, "echo", None]["failed"] == 1
    assert (said["total"]["requests"], said["total"]["usd"]) == (6, 4.5)
    assert changeover("usage", "--since", "30d", "--json").json["total"]["requests"] == 7
    assert changeover("usage", "--internal", "--json").json["total"]["requests"] == 1


def test_the_report_as_a_table_is_whole_and_has_a_total(month: Path, changeover: Commands) -> None:
    said = changeover("usage", "--by", "team,key,task", "--since", "7d")
    assert said.status == 0
    rows = [" ".join(line.split()) for line in said.out.splitlines()]
    assert rows[0] == "team key task requests failed prompt tokens completion tokens estimated USD"
    assert f"{HOSTILE} {HOSTILE} other 2 0 200 40 50 % –" in rows
    assert "desk key_1 summarise 3 0 300 60 – 4.50" in rows
    assert rows[-1].startswith("total 6 1 500 120 17 % 4.50 + 3 unpriced")
    assert "requests of applications" in said.err


def test_the_report_as_csv_is_safe_to_open_and_adds_up(month: Path, changeover: Commands) -> None:
    said = changeover("usage", "--by", "day,task", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert sum(int(row["requests"]) for row in rows) == 7
    assert len({row["day"] for row in rows}) == 2
    assert all(datetime.fromisoformat(row["day"]) for row in rows)
    assert {row["usd"] for row in rows} >= {"1.500000", "4.500000"}


def test_hours_and_days_are_in_utc_and_bounds_leave_out_the_rest(month: Path, changeover: Commands) -> None:
    day = datetime.now(UTC) - timedelta(days=10)
    bounds = ["--since", f"{day:%Y-%m-%d}", "--until", f"{day + timedelta(days=1):%Y-%m-%d}"]
    said = changeover("usage", "--by", "hour,day", *bounds, "--json").json
    [line] = said["lines"]
    assert (line["hour"], line["day"], line["requests"]) == (f"{day:%Y-%m-%d %H}:00", f"{day:%Y-%m-%d}", 1)


def test_a_report_without_traffic_says_so(project: Path, changeover: Commands) -> None:
    assert "nothing was counted" in changeover("usage").out
    assert changeover("usage", "--json").json["lines"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--by", "taem"], "Did you mean `team`?"),
        (["--by", "team,team"], "twice"),
        (["--by", ""], "Known: day"),
        (["--by", "team; DROP TABLE usage"], "not counted by"),
        (["--since", "yesterday"], "`--since yesterday`: write a length such as"),
        (["--since", "2026-13-01"], "--since 2026-13-01"),
        (["--since", "999999w"], "--since 999999w"),
        (["--until", "2020-01-01"], "is not before"),
        (["--since", "' OR 1=1 --"], "--since ' OR 1=1 --"),
    ],
)
def test_what_is_wrong_about_a_report_is_said_in_a_line(
    month: Path, changeover: Commands, arguments: list[str], says: str
) -> None:
    assert says in changeover("usage", *arguments).refused
    assert changeover("usage", "--json").json["total"]["requests"] == 7


def test_the_report_is_the_same_on_postgresql(postgres_url: str) -> None:
    store = Store.connect(postgres_url)
    migrate(store)
    now = datetime.now(UTC)
    with store.write() as connection:
        make_team(connection, HOSTILE, (), now)
        issue_key(connection, name=HOSTILE, role="application", now=now, team=HOSTILE)
        key_id = connection.execute(select(keys.c.id)).scalar_one()
    rows = [replace(ONE, started_at=now, key=key_id, team=HOSTILE), replace(ONE, started_at=now, cost_microusd=None)]
    used(store, rows)
    used(store, rows)  # once more: totals, not additions
    with store.read() as connection:
        lines = usage_lines(connection, FACETS, now - timedelta(hours=1), now + timedelta(hours=1), internal=False)
        assert connection.execute(text("SELECT count(*) FROM usage")).scalar() == 2
    hour, day = f"{now:%Y-%m-%d %H}:00", f"{now:%Y-%m-%d}"
    assert [line.of for line in lines] == [
        ("desk", "summarise", "small", "key_1", day, hour),
        (HOSTILE, "summarise", "small", HOSTILE, day, hour),
    ]
    assert [line.requests for line in lines] == [1, 1]
    store.close()


def test_the_audit_says_who_changed_keys_teams_and_declarations(project: Path, changeover: Commands) -> None:
    open_written(project).store.close()
    changeover("team", "new", "finance")
    changeover("key", "new", "invoices", "--team", "finance")
    changeover("key", "set", "invoices", "--limit", "concurrent=2")
    changeover("key", "revoke", "invoices")
    told = changeover("audit", "--json").json
    done = [(act["action"], act["subject"]) for act in told["acts"]]
    assert done[:4] == [
        ("key revoke", "key invoices"),
        ("key set", "key invoices"),
        ("key new", "key invoices"),
        ("team new", "team finance"),
    ]
    assert ("start", "revision 1") in done
    assert told["after"] is None
    first = changeover("audit", "--limit", "2", "--json").json
    rest = changeover("audit", "--after", first["after"], "--json").json
    assert first["acts"] + rest["acts"] == told["acts"]
    assert "team new" in changeover("audit", "--action", "team new", "--since", "1h").out
    assert "nothing of that was done" in changeover("audit", "--actor", "nobody").out
    assert "no place in the audit" in changeover("audit", "--after", "nowhere").refused

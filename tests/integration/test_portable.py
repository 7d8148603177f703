"""Exports of real rows on either database: nothing is lost or half-written, and what was damaged or edited is refused."""

from __future__ import annotations

import json
import os
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import JSON, Connection, func, insert, null, select, text
from tests.support.exchanges import exchange
from tests.support.postgres import keep_in
from tests.support.projects import deploy_echo, open_written, write_project
from tests.support.tool_calls import write_tool

from changeover.app.installation import Installation, open_installation, read_declarations
from changeover.app.portable import archive as archives
from changeover.app.portable.arrive import arrive_here, arrive_in_new, checked
from changeover.app.portable.files import belongings_of
from changeover.app.portable.leave import ABSENT, Asking, leave
from changeover.app.portable.manifest import MANIFEST, PUBLIC_KEY, SIGNATURE, Manifest
from changeover.app.portable.queries import LEFT_OUT, rows_of, shapes
from changeover.core.digest import canonical_json, sha256_file
from changeover.core.errors import ChangeoverError, ConfigError
from changeover.core.settings import Project, open_project
from changeover.evals.datasets.dataset import Dataset
from changeover.evals.datasets.queries import keep_version
from changeover.evals.queries import StoredAnswer, StoredScore, add_answers, add_scores, find_answers
from changeover.gateway.keys import issue_key, make_team
from changeover.library.state_queries import keep_states
from changeover.library.states import Reached
from changeover.rollouts.pack.sign import public_pem
from changeover.store.engine import Store
from changeover.store.migrate import migrate
from changeover.store.schema import comparisons, feedback, metadata, rollouts, routes, spending
from changeover.tasks.queries import add_exchanges, append_route, current_route

AT = datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def installation(tmp_path: Path, store_url: str) -> Generator[Installation]:
    """A project with rows of every kind that is hard to carry."""
    project = keep_in(write_project(tmp_path / "here"), store_url)
    (project / "policy.toml").write_text("monthly_users = 5\n")
    (project / "tasks" / ".hidden").write_text("not a declaration")
    (project / "notes.txt").write_text("nobody's declaration")
    opened = open_written(project)
    fill(opened)
    yield opened
    opened.store.close()


def fill(installation: Installation) -> None:
    variant = deploy_echo(installation, "new")
    dataset = Dataset.load(installation.tasks["echo"].dataset)
    with installation.store.write() as connection:
        make_team(connection, "blue", (), AT)
        issue_key(connection, name="app", role="application", now=AT, team="blue", tasks=["echo"])
        keep_version(connection, dataset, AT)
        answers = [answer(variant.bundle.digest, f"s{n}", f"said {n} \u2028 \U0001f600") for n in range(3)]
        [first, *_] = add_answers(connection, [*answers, answer("b" * 64, "s9", None)], AT)
        add_scores(
            connection, {(first.id, "scorer"): StoredScore(value=0.1 + 0.2, detail={"read": "words"}, error=None)}
        )
        route = current_route(connection, "echo")
        assert route is not None
        connection.execute(
            insert(spending).values(holder="key:1", unit="tokens", per="day", period=AT, spent=7, leased=9)
        )
        plan = {"holder": variant.id}
        usual = {"task": "echo", "incumbent": route.incumbent, "candidate": variant.id, "plan": plan, "actor": "ana"}
        begun = {"state": "done", "step": 0, "step_started_at": AT, "reason": "", "created_at": AT}
        connection.execute(insert(rollouts).values(**usual, **begun, hold={"why": "a person"}))
        measured = {**usual, "dataset": "d" * 64, "scorer": "s", "started_at": AT}
        connection.execute(insert(comparisons).values(id="cmp_1", **measured, pool=null(), summary=None))
        connection.execute(insert(comparisons).values(id="cmp_2", **measured, pool={"a": None}, summary=JSON.NULL))
        values = {"task": "echo", "variant": variant.id, "good": False, "comment": "bad words", "key": "k", "at": AT}
        connection.execute(insert(feedback).values(exchange="req_0", **values))
        add_exchanges(
            connection,
            # Not in the order of their ids or times: they arrived so.
            [
                exchange(f"req_{n}", started_at=AT - timedelta(seconds=n), request='{"a": "\x00"}', response="héllo")
                for n in (5, 0, 9, 2)
            ],
        )
        keep_states(connection, [Reached(card="tiny", state="served", at=AT, evidence={"n": 1})])


def answer(bundle: str, sample: str, text: str | None) -> StoredAnswer:
    return StoredAnswer(
        id=0,
        bundle=bundle,
        sample=sample,
        repeat=0,
        text=text,
        error=None if text else "it failed",
        finish_reason=None,
        prompt_tokens=None,
        completion_tokens=2,
        duration_ms=1e-7,
    )


def everything(store: Store) -> dict[str, list[dict[str, Any]]]:
    with store.read() as connection:
        return {shape.name: list(rows_of(connection, shape.name)) for shape in shapes()}


def given_out(installation: Installation, place: Path, key: Ed25519PrivateKey, **more: bool) -> Manifest:
    return leave(installation, place, Asking(**more), key)


def bring(place: Path, into: Path | Project) -> None:
    with checked(place, None) as (archive, manifest):
        if isinstance(into, Project):
            arrive_here(archive, manifest, into)
        else:
            arrive_in_new(archive, manifest, into)


def prepared(directory: Path, url: str | None = None) -> Project:
    """A project that has settings and nothing else."""
    directory.mkdir()
    store = "" if url is None else f'[store]\nurl = "{url}"\n'
    (directory / "changeover.toml").write_text(f'name = "there"\n{store}')
    return open_project(directory)


@pytest.mark.parametrize("name", ["out", "out.zip"])
@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_every_row_and_every_declaration_arrives_as_it_was(
    installation: Installation,
    tmp_path: Path,
    key: Ed25519PrivateKey,
    name: str,
    to: str,
    request: pytest.FixtureRequest,
) -> None:
    manifest = given_out(installation, tmp_path / name, key, keys=True)
    url = request.getfixturevalue("postgres_server").fresh() if to == "postgresql" else None
    project = prepared(tmp_path / "there", url)
    bring(tmp_path / name, project)
    before, store = everything(installation.store), Store.open(project.store_url)
    after = everything(store)
    for rows in (before, after):
        for row in rows["dataset_versions"]:
            row["path"] = row["path"].rpartition("/")[2]
        for row in rows["spending"]:
            del row["leased"]
        for row in rows["deployments"]:
            row.pop("address", None)
            row.pop("pid", None)
    assert after == before
    assert {table.name: table.rows for table in manifest.tables} == {name: len(rows) for name, rows in before.items()}
    assert [row["id"] for row in after["exchanges"]] == ["req_5", "req_0", "req_9", "req_2"]
    with store.read() as connection:
        assert empty_fields(connection) == {"cmp_1": (True, False), "cmp_2": (False, False)}
        assert connection.execute(select(func.sum(spending.c.leased))).scalar_one() == 0
        [path] = connection.execute(text("SELECT path FROM dataset_versions")).scalars()
    assert path == str((project.root / "evals" / "echo.jsonl").resolve())
    with store.write() as connection:
        route = current_route(connection, "echo")
        assert route is not None
        assert append_route(connection, route).revision > route.revision, "numbers go on after those that came"
    store.close()
    for file in ("tasks/echo.toml", "tasks/echo.prompt.md", "evals/echo.jsonl", "policy.toml"):
        assert (project.root / file).read_bytes() == (installation.project.root / file).read_bytes()
    assert not (project.root / "tasks" / ".hidden").exists()
    assert not (project.root / "notes.txt").exists()
    again = open_installation(project)
    assert again.tasks["echo"].declared == installation.tasks["echo"].declared
    again.store.close()


def empty_fields(connection: Connection) -> Mapping[str, tuple[bool, bool]]:
    """Of comparisons: whether `pool` and `summary` are empty fields. The value `null` of JSON is none."""
    rows = connection.execute(select(comparisons.c.id, comparisons.c.pool.is_(None), comparisons.c.summary.is_(None)))
    return {row[0]: (bool(row[1]), bool(row[2])) for row in rows}


def test_every_table_goes_out_but_those_that_are_named() -> None:
    assert {shape.name for shape in shapes()} | LEFT_OUT == set(metadata.tables)


def test_without_content_no_text_is_left_and_none_is_taken_for_an_answer(
    installation: Installation, tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    given_out(installation, tmp_path / "out", key, content=False)
    for path in (tmp_path / "out" / "tables").iterdir():
        content = path.read_text()
        assert not any(words in content for words in ("héllo", "said 1", "bad words", "it failed")), path.name
    bring(tmp_path / "out", tmp_path / "there")
    store = Store.open(open_project(tmp_path / "there").store_url)
    with store.read() as connection:
        rows = everything(store)
        digest = next(row["bundle"] for row in rows["answers"])
        assert find_answers(connection, [digest], ["s0", "s1"]) == []
    assert {row["error"] for row in rows["answers"]} == {ABSENT}
    assert {row["content"] for row in rows["exchanges"]} == {"none"}
    assert rows["scores"][0]["value"] == 0.1 + 0.2
    store.close()


def test_keys_open_nothing_unless_they_were_asked_for(
    installation: Installation, tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    given_out(installation, tmp_path / "out", key)
    digests = [row["digest"] for row in everything(installation.store)["keys"]]
    assert digests
    assert not any(digest in (tmp_path / "out" / "tables" / "keys.jsonl").read_text() for digest in digests)
    bring(tmp_path / "out", tmp_path / "there")
    store = Store.open(open_project(tmp_path / "there").store_url)
    assert all("revoked_at" in row for row in everything(store)["keys"])
    store.close()


@pytest.fixture
def good(tmp_path: Path, key: Ed25519PrivateKey) -> Path:
    """An export of a project on SQLite, as a directory."""
    opened = open_written(write_project(tmp_path / "source"))
    fill(opened)
    given_out(opened, tmp_path / "good", key, keys=True)
    opened.store.close()
    return tmp_path / "good"


def edited(good: Path, key: Ed25519PrivateKey | None, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, with the digests of the files as they are, and sign it if there is a key."""
    manifest = json.loads((good / MANIFEST).read_bytes())
    for name, listed in manifest["files"].items():
        if (good / name).is_file():
            listed |= {"sha256": sha256_file(good / name), "bytes": (good / name).stat().st_size}
    change(manifest)
    content = canonical_json(manifest).encode() + b"\n"
    (good / MANIFEST).write_bytes(content)
    if key is not None:
        (good / SIGNATURE).write_bytes(key.sign(content))
        (good / PUBLIC_KEY).write_bytes(public_pem(key.public_key()))


def refused(good: Path, tmp_path: Path) -> str:
    """What an import says that is refused; nothing of it may be there then."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ChangeoverError) as said:
        bring(good, tmp_path / "there")
    assert sorted(tmp_path.iterdir()) == before, "nothing is left"
    return said.value.message


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda good: (good / "tables" / "routes.jsonl").unlink(), "not whole"),
        (lambda good: (good / "tables" / "routes.jsonl").write_text(""), "damaged or edited"),
        (lambda good: (good / "declarations" / "tasks" / "echo.toml").write_text("x"), "damaged or edited"),
        (lambda good: (good / "tables" / "extra.jsonl").write_text("{}\n"), "does not list"),
        (lambda good: (good / MANIFEST).write_bytes((good / MANIFEST).read_bytes()[:99]), "no export"),
        (lambda good: (good / SIGNATURE).write_bytes(bytes(64)), "not signed"),
        (lambda good: (good / PUBLIC_KEY).write_bytes(b"none"), "no export"),
        (lambda good: (good / MANIFEST).unlink(), "no export"),
        (lambda good: (good / "tables" / "link.jsonl").symlink_to("/etc/passwd"), "no regular file"),
        (lambda good: edited(good, None, lambda manifest: manifest.update(content=False)), "not signed"),
    ],
)
def test_what_is_damaged_or_edited_is_refused(
    good: Path, tmp_path: Path, damage: Callable[[Path], Any], expected: str
) -> None:
    damage(good)
    assert expected in refused(good, tmp_path)


def rewrite(good: Path, table: str, change: Callable[[list[dict[str, Any]]], list[Any]]) -> None:
    file = good / "tables" / f"{table}.jsonl"
    rows = change([json.loads(line) for line in file.read_text().splitlines()])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("variants", lambda rows: [], "rows, and the manifest says"),
        ("routes", lambda rows: [{**row, "incumbent": "nobody"} for row in rows], "contradict"),
        ("routes", lambda rows: [{**row, "task": 7} for row in rows], "`task` is no text"),
        ("routes", lambda rows: [{**row, "task": "x", "what": 1} for row in rows], "unknown key `what`"),
        ("routes", lambda rows: [{**row, "created_at": "yesterday"} for row in rows], "no time"),
        ("routes", lambda rows: [{**row, "created_at": "2026-01-01T00:00:00"} for row in rows], "no time"),
        ("routes", lambda rows: [[1] for _ in rows], "no JSON object"),
        ("keys", lambda rows: rows * 2, "contradict"),
        ("rollouts", lambda rows: [{key: row[key] for key in row if key != "state"} for row in rows], "contradict"),
    ],
)
def test_rows_that_cannot_be_are_refused_even_under_a_good_signature(
    good: Path, tmp_path: Path, key: Ed25519PrivateKey, table: str, change: Callable[[Any], Any], expected: str
) -> None:
    rewrite(good, table, change)
    edited(good, key, lambda manifest: None)
    assert expected in refused(good, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../there.txt",
        "declarations/../../there.txt",
        "/etc/there.txt",
        "declarations/.changeover/operator.key",
        "declarations/a/.git/hooks/post-checkout",
        "declarations/a\\..\\b",
        "other/file.txt",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(good: Path, tmp_path: Path, key: Ed25519PrivateKey, name: str) -> None:
    manifest = json.loads((good / MANIFEST).read_bytes())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    edited(good, key, lambda was: was["files"].update(manifest["files"]))
    assert "no export has" in refused(good, tmp_path)


def test_a_zip_file_with_strange_members_is_refused(good: Path, tmp_path: Path) -> None:
    place = tmp_path / "bad.zip"
    for strange, expected in (("../there.txt", "does not list"), (f"tables/{'x' * 9}.jsonl", "does not list")):
        shutil.make_archive(str(place.with_suffix("")), "zip", good)
        with zipfile.ZipFile(place, "a") as archive:
            archive.writestr(strange, "x")
        assert expected in refused(place, tmp_path)
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr(MANIFEST, "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(MANIFEST, "{}")
    assert "two files of one name" in refused(place, tmp_path)
    place.write_bytes(b"PK no zip file")
    assert "no export" in refused(place, tmp_path)
    shutil.make_archive(str(place.with_suffix("")), "zip", good)
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    assert "no export" in refused(place, tmp_path)
    assert "not there" in refused(tmp_path / "nothing.zip", tmp_path)


def test_only_the_key_that_is_trusted_will_do(good: Path, key: Ed25519PrivateKey) -> None:
    with checked(good, key.public_key()) as (_, manifest):
        assert manifest.project == "test"
    with (
        pytest.raises(ConfigError, match="the key that you trust"),
        checked(good, Ed25519PrivateKey.generate().public_key()),
    ):
        pass


def test_a_newer_export_is_refused_and_an_older_one_becomes_a_new_one(
    good: Path, tmp_path: Path, key: Ed25519PrivateKey
) -> None:
    newer = shutil.copytree(good, tmp_path / "newer")
    edited(newer, key, lambda manifest: manifest.update(schema="9999"))
    assert "Upgrade changeover" in refused(newer, tmp_path)
    edited(newer, key, lambda manifest: manifest.update(format=2))
    assert "Upgrade changeover" in refused(newer, tmp_path)
    late = {"observations", "library_syncs", "licence_texts", "card_states", "tunings", "audit"}
    rewrite(newer, "exchanges", lambda rows: [{key: row[key] for key in row if key != "begun_by"} for row in rows])
    edited(newer, key, lambda manifest: manifest.update(format=1, schema="0004"))
    assert "no such table" in refused(newer, tmp_path), "these tables came later"

    def as_before(manifest: dict[str, Any]) -> None:
        manifest.update(format=1, schema="0004")
        manifest["tables"] = [table for table in manifest["tables"] if table["name"] not in late]
        for table in manifest["tables"]:
            table["columns"].pop("begun_by", None)
        manifest["files"] = {name: each for name, each in manifest["files"].items() if Path(name).stem not in late}

    for name in late:
        (newer / "tables" / f"{name}.jsonl").unlink()
    edited(newer, key, as_before)
    bring(newer, tmp_path / "there")
    store = Store.open(open_project(tmp_path / "there").store_url)
    rows = everything(store)
    assert len(rows["exchanges"]) == 4
    assert rows["card_states"] == []
    store.close()


def test_nothing_is_imported_where_anything_is(good: Path, tmp_path: Path, installation: Installation) -> None:
    with pytest.raises(ConfigError, match="not empty: it has `evals/echo"):
        bring(good, installation.project)
    before = everything(installation.store)
    for directory in ("tasks", "evals"):
        shutil.rmtree(installation.project.root / directory)
    with pytest.raises(ConfigError, match=r"not empty: it has `policy\.toml`|store has rows"):
        bring(good, installation.project)
    (installation.project.root / "policy.toml").unlink()
    with pytest.raises(ConfigError, match="its store has rows in"):
        bring(good, installation.project)
    assert everything(installation.store) == before
    assert sorted(path.name for path in installation.project.root.iterdir()) == [
        ".changeover",
        "changeover.toml",
        "notes.txt",
    ]
    with pytest.raises(ConfigError, match="is there already"):
        bring(good, tmp_path)


def test_an_import_that_fails_leaves_a_project_as_it_was(good: Path, tmp_path: Path, key: Ed25519PrivateKey) -> None:
    rewrite(good, "scores", lambda rows: [{**row, "answer": 999} for row in rows])
    edited(good, key, lambda manifest: None)
    project = prepared(tmp_path / "there")
    with pytest.raises(ConfigError, match="contradict"):
        bring(good, project)
    assert [path.name for path in project.root.iterdir()] == ["changeover.toml"]


def test_a_store_that_was_made_and_never_used_takes_an_import(good: Path, tmp_path: Path) -> None:
    project = prepared(tmp_path / "there")
    project.state.mkdir()
    store = Store.connect(project.store_url)
    migrate(store)
    store.close()
    bring(good, project)
    store = Store.open(project.store_url)
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(routes)).scalar_one() > 0
    store.close()


def test_a_project_whose_directories_are_called_otherwise_is_told_so(good: Path, tmp_path: Path) -> None:
    project = prepared(tmp_path / "there")
    (project.root / "changeover.toml").write_text('name = "there"\ntasks = "aufgaben"\n')
    with pytest.raises(ConfigError, match="`tasks` is `aufgaben`"):
        bring(good, open_project(project.root))


def test_an_export_is_never_written_over_anything_and_leaves_nothing_when_it_fails(
    installation: Installation, tmp_path: Path, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken.zip"
    taken.write_text("mine")
    with pytest.raises(ConfigError, match="there already"):
        given_out(installation, taken, key)
    with pytest.raises(ConfigError, match="there already"):
        given_out(installation, tmp_path, key)
    assert taken.read_text() == "mine"
    (installation.project.root / "tasks" / "other.txt").write_text("x")
    os.chmod(installation.project.root / "tasks" / "other.txt", 0)
    before = sorted(tmp_path.iterdir())
    for name in ("out", "out.zip"):
        monkeypatch.setattr(archives.Output, "write", _disk_full)
        with pytest.raises(ConfigError, match="No space left"):
            given_out(installation, tmp_path / name, key)
        assert sorted(tmp_path.iterdir()) == before


def _disk_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_what_lies_outside_the_project_is_named(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    project = write_project(tmp_path / "p")
    shutil.move(project / "evals" / "echo.jsonl", tmp_path / "cases.jsonl")
    task = project / "tasks" / "echo.toml"
    task.write_text(task.read_text().replace("../evals/echo.jsonl", "../../cases.jsonl"))
    opened = open_written(project)
    manifest = given_out(opened, tmp_path / "out", key)
    assert manifest.outside == [str(tmp_path / "cases.jsonl")]
    opened.store.close()


def test_the_stores_address_is_left_out_however_it_is_written(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    secret = "hunter2-canary"
    for number, written in enumerate(('[store]\nurl = "{}"\n', 'store = {{ url = "{}" }}\n', 'store.url = "{}"\n')):
        project = write_project(tmp_path / f"p{number}")
        settings = project / "changeover.toml"
        url = f"sqlite:///{tmp_path}/{secret}{number}.db"
        head, _, rest = settings.read_text().partition("\n")
        line = written.format(url)
        settings.write_text(f"{head}\n{rest}{line}" if line.startswith("[") else f"{head}\n{line}{rest}")
        opened = open_written(project)
        given_out(opened, tmp_path / f"out{number}", key)
        told = (tmp_path / f"out{number}" / "declarations" / "changeover.toml").read_text()
        assert secret not in told
        bring(tmp_path / f"out{number}", tmp_path / f"there{number}")
        opened.store.close()


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    opened = open_written(write_project(tmp_path / "p"))
    content = "x" * 4_000
    for part in range(10):
        with opened.store.append() as connection:
            add_exchanges(
                connection,
                [exchange(f"req_{part}_{n}", request=content, response=content) for n in range(1_000)],
            )
    tracemalloc.start()
    given_out(opened, tmp_path / "out.zip", key)
    bring(tmp_path / "out.zip", tmp_path / "there")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    opened.store.close()
    assert most < 30e6, "80 MB of content went through"


def test_tools_go_out_with_everything_in_their_folders(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p")
    folder = write_tool(project)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "steps.pyc").write_bytes(b"x")
    opened = open_project(project)
    _, tasks, _ = read_declarations(opened)
    names = belongings_of(opened, tasks).files.keys()
    assert {"tools/say/tool.toml", "tools/say/output.schema.json", "tools/say/tasks/say.jsonl"} <= names
    assert not any("__pycache__" in name for name in names)

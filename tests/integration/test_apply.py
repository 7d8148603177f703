"""Applying declarations on a real store: what changes, what is refused, and that it is all of it or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update
from tests.support import postgres
from tests.support.processes import Ended, begin, changeover, end_of, until
from tests.support.projects import TASK, open_written, write_project

from changeover.app.apply import Change, apply
from changeover.app.create import create_installation
from changeover.app.installation import Installation, open_installation, read_again
from changeover.app.prepare import prepare
from changeover.app.watch import watch
from changeover.cli.main import run_command
from changeover.core.clock import SystemClock
from changeover.core.errors import ArtifactError, ConfigError
from changeover.core.settings import open_project
from changeover.gateway.snapshot import Snapshots
from changeover.store.schema import applied, deployments, routes
from changeover.tasks.applied import newest_applied, tasks_of

TASK_FILE = "tasks/echo.toml"


@pytest.fixture
def project(tmp_path: Path, store_url: str) -> Path:
    """A project with the tasks `echo` and `other`, on either kind of store."""
    return postgres.keep_in(write_project(tmp_path / "p", ("echo", "other")), store_url)


@pytest.fixture
def started(project: Path) -> Generator[Installation]:
    """It was started once, and does not run."""
    installation = open_written(project)
    yield installation
    installation.store.close()


def edit(installation: Installation, old: str, new: str, file: str = TASK_FILE) -> None:
    path = installation.project.root / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))


def declare(installation: Installation, name: str) -> Path:
    """Write one more task."""
    file = installation.project.root / "tasks" / f"{name}.toml"
    file.write_text(TASK.format(timeout_s=20, record="full", bake_s=300, steps=""))
    return file


def looked(installation: Installation) -> Snapshots:
    """What a gateway knows that looks now."""
    snapshots = Snapshots(installation.store, installation.clock)
    snapshots.refresh()
    return snapshots


def state(installation: Installation) -> tuple[int, int, int]:
    """How many declarations, routes and deployments were ever written."""
    with installation.store.read() as connection:
        counts = [connection.execute(select(func.count()).select_from(t)).scalar_one() for t in (applied, routes)]
        return counts[0], counts[1], connection.execute(select(func.count()).select_from(deployments)).scalar_one()


OWN_CARD = """
[[cards]]
id = "own-hunyuan"
display_name = "Own Hunyuan"
family = "own"
vendor = "Ourselves"
modalities_in = ["text"]
modalities_out = ["text"]
weights = "open"
chat_format = "chatml"
licence = { id = "tencent-hunyuan-3d-omni" }
sources = [{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-21 }]
"""


def test_a_card_of_our_own_that_the_policy_does_not_allow_is_said_and_stops_nothing(
    started: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = started.project.root
    (root / "library").mkdir()
    (root / "library" / "own.toml").write_text(OWN_CARD)
    monkeypatch.chdir(root)
    assert run_command(["apply", "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["not_allowed"] == [], "without a policy nothing is refused"
    (root / "policy.toml").write_text('operates_in = ["DE"]\n')
    edit(started, "timeout_s = 20", "timeout_s = 21")
    for arguments, ending in ((["--check"], "nothing was changed"), ([], "applied as revision 2")):
        assert run_command(["apply", *arguments]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "warning `own-hunyuan` is not allowed by clause" in shown
        assert shown.endswith(ending)
    assert "hunyuan3d-omni" not in shown, "of the cards that ship nobody asked"


def test_a_start_applies_what_stands_in_the_files(started: Installation) -> None:
    with started.store.read() as connection:
        first = newest_applied(connection)
    assert first is not None
    assert tasks_of(first.document, started.project.root) == started.tasks
    assert first.actor == "changeover"
    assert set(looked(started).current.tasks) == {"echo", "other"}
    prepare(read_again(started))
    assert state(started)[0] == 1, "a second start has nothing to apply"


def test_new_changed_and_removed_tasks_hold_from_one_commit_on(started: Installation) -> None:
    gateway = looked(started)
    during = gateway.current.tasks["echo"]
    edit(started, "timeout_s = 20", "timeout_s = 7")
    declare(started, "fresh")
    (started.project.tasks / "other.toml").unlink()
    edited = read_again(started)

    shown = apply(edited, "ana", check=True)
    assert not shown.committed
    assert not gateway.refresh(), "looking changes nothing"

    done = apply(edited, "ana")
    assert done.committed
    assert done.changes == shown.changes
    assert done.changes == (
        Change(task="echo", kind="changed", changes=("timeout_s 20 → 7",), incumbent="echo"),
        Change(task="fresh", kind="new", incumbent="echo"),
        Change(task="other", kind="removed"),
    )
    assert gateway.refresh()
    assert set(gateway.current.tasks) == {"echo", "fresh"}
    assert gateway.current.applied == done.revision
    assert gateway.current.tasks["echo"].task.declared.timeout_s == 7
    assert gateway.current.tasks["fresh"].variants.keys() == {gateway.current.tasks["fresh"].route.incumbent}
    assert during.task.declared.timeout_s == 20, "a request that is under way ends as it began"

    again = apply(read_again(started), "ana")
    assert (again.committed, again.changes, again.revision) == (False, (), done.revision)


def test_a_task_that_comes_back_is_answered_by_who_answered_it_last(started: Installation) -> None:
    file = started.project.tasks / "other.toml"
    text_of_it = file.read_text()
    before = looked(started).current.tasks["other"].route
    file.unlink()
    apply(read_again(started), "ana")
    assert "other" not in looked(started).current.tasks
    file.write_text(text_of_it)
    assert apply(read_again(started), "ana").changes == (Change(task="other", kind="new", incumbent="echo"),)
    assert looked(started).current.tasks["other"].route == before


def test_an_edited_prompt_waits_for_a_switch_and_the_incumbent_keeps_what_it_was_measured_with(
    started: Installation,
) -> None:
    old = looked(started).current.tasks["echo"]
    edit(started, "Say it again.", "Say it twice.\nSlowly.", "tasks/echo.prompt.md")
    edit(started, "temperature = 0.0", "temperature = 0.5")
    echo, other = apply(read_again(started), "ana").changes
    assert (echo.changes, echo.waits) == ((), ("prompt changed (2 lines)", "temperature 0 → 0.5"))
    assert other.waits == ("prompt changed (2 lines)",)
    live = looked(started).current.tasks["echo"]
    assert live.task.prompt == "Say it twice.\nSlowly."
    assert live.variants == old.variants
    edit(started, "Say it twice.\nSlowly.", "Say it again.", "tasks/echo.prompt.md")
    _, other = apply(read_again(started), "ana").changes
    assert other.waits == ()
    assert other.changes == ("prompt and parameters: as `echo` answers already",)


def test_a_first_incumbent_is_said_to_matter_no_more(started: Installation) -> None:
    edit(started, 'first_incumbent = "echo"', 'first_incumbent = "smollm2-135m-instruct"')
    (change,) = apply(read_again(started), "ana").changes
    assert change.changes == ("first_incumbent echo → smollm2-135m-instruct (matters only to a task without a route)",)
    assert change.incumbent == "echo"


BROKEN: dict[str, tuple[str, str, str]] = {
    "a key": ("timeout_s", "timeuot_s", "`timeuot_s`: unknown key. Did you mean `timeout_s`?"),
    "a value": ("timeout_s = 20", "timeout_s = -1", "`timeout_s` = `-1`: "),
    "a scorer": ('"contains"', '"contians"', "Did you mean `contains`?"),
    "a card": ('= "echo"', '= "smollm2-135-instruct"', "Did you mean `smollm2-135m-instruct`?"),
    "a prompt": ("echo.prompt.md", "ecko.prompt.md", "`prompt`: cannot read `ecko.prompt.md`"),
    "a dataset": ("echo.jsonl", "ecko.jsonl", "`dataset`: no file `../evals/ecko.jsonl`"),
    "not toml": ("[gate]", "[gate", "Expected ']'"),
}


@pytest.mark.parametrize(("old", "new", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_and_everything_goes_on_as_it_was(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    started = open_written(write_project(tmp_path / "p", ("echo", "other")))
    gateway, before = looked(started), state(started)
    edit(started, old, new)
    declare(started, "fresh")  # would be fine, and waits too
    for check in (True, False):
        with pytest.raises(ConfigError) as caught:
            apply(read_again(started), "ana", check=check)
        assert caught.value.message.startswith(f"{started.project.root / TASK_FILE}: ")
        assert said in caught.value.message
    assert state(started) == before
    assert not gateway.refresh()

    # The next start says why, and answers as before.
    again = create_installation(open_project(started.project.root))
    assert [problem.message for problem in again.problems] == [caught.value.message]
    assert again.tasks == started.tasks
    prepare(again)
    assert state(started) == before
    assert set(looked(again).current.tasks) == {"echo", "other"}
    for each in (again, started):
        each.store.close()


def test_a_card_that_is_broken_stops_no_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = write_project(tmp_path / "p")
    open_written(directory).store.close()
    (directory / "library").mkdir()
    (directory / "library" / "own.toml").write_text("[[cards]]\nid = 1\n")
    with pytest.raises(ConfigError, match=r"own\.toml"):
        open_installation(open_project(directory))
    installation = open_written(directory)
    assert "own.toml" in caplog.text
    assert "applied last" in caplog.text
    assert set(installation.tasks) == {"echo"}
    installation.store.close()


def test_a_project_that_was_never_started_refuses_to_start_broken(project: Path) -> None:
    file = project / TASK_FILE
    file.write_text(file.read_text().replace("timeout_s", "timeuot_s"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="timeuot_s"):
            create_installation(open_project(project))


def test_weights_that_are_missing_are_named_before_anything_is_written(
    started: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHANGEOVER_CACHE", str(tmp_path / "empty"))
    installation = open_installation(open_project(started.project.root))
    before = state(started)
    declare(started, "fresh")
    declare(started, "worse").write_text(
        (started.project.root / TASK_FILE).read_text().replace('= "echo"', '= "smollm2-135m-instruct"')
    )
    with pytest.raises(ArtifactError, match="changeover pull smollm2-135m-instruct"):
        apply(read_again(installation), "ana")
    assert state(started) == before
    installation.store.close()


def test_many_that_apply_at_once_write_whole_declarations_one_after_the_other(started: Installation) -> None:
    """Half of them with one more task than the others."""
    without = read_again(started)
    file = declare(started, "fresh")
    with_it = read_again(started)
    file.unlink()
    failed: list[BaseException] = []

    def applies(installation: Installation) -> None:
        for _ in range(5):
            try:
                apply(installation, "ana")
            except BaseException as exc:
                failed.append(exc)

    threads = [threading.Thread(target=applies, args=(each,)) for each in (without, with_it) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [repr(each) for each in failed] == []
    with started.store.read() as connection:
        rows = connection.execute(select(applied).order_by(applied.c.revision)).all()
        begun = connection.execute(select(func.count()).where(routes.c.task == "fresh")).scalar_one()
    assert begun == 1
    sizes = [len(row.document["tasks"]) for row in rows]
    assert set(sizes) == {2, 3}
    assert all(a != b for a, b in itertools.pairwise(sizes)), "nobody wrote what held already"
    assert [row.changes[0]["kind"] for row in rows[1:]] == ["new" if size == 3 else "removed" for size in sizes[1:]]


def test_a_kill_in_the_middle_leaves_nothing(own_postgres: postgres.Server, tmp_path: Path) -> None:
    """Held just before its last row, when everything else is written."""
    url = own_postgres.fresh()
    started = open_written(postgres.keep_in(write_project(tmp_path / "p"), url))
    before = state(started)
    names = [declare(started, f"fresh-{n}").stem for n in range(5)]
    with own_postgres.connect(url.rpartition("/")[2]) as holding:
        holding.execute("BEGIN")
        holding.execute("LOCK TABLE applied IN SHARE ROW EXCLUSIVE MODE")
        process = begin(started.project.root, "apply")
        with own_postgres.connect() as watching:
            until(lambda: _waits_for_lock(watching))
        process.kill()
        assert end_of(process).status == -signal.SIGKILL
        holding.execute("ROLLBACK")
    assert state(started) == before
    done = changeover(started.project.root, "apply", "--json")
    assert done.status == 0, done
    assert [change["task"] for change in done.json["changes"]] == names
    assert state(started) == (before[0] + 1, before[1] + 5, before[2])
    started.store.close()


def _waits_for_lock(connection: object) -> bool:
    row = connection.execute(  # type: ignore[attr-defined]
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO applied%'"
    ).fetchone()
    return row[0] > 0


def test_kills_at_any_time_leave_all_or_nothing(tmp_path: Path) -> None:
    started = open_written(write_project(tmp_path / "p"))
    took = _timed(lambda: changeover(started.project.root, "apply"))
    for attempt in range(6):
        names = {declare(started, f"fresh-{attempt}-{n}").stem for n in range(20)}
        process = begin(started.project.root, "apply")
        time.sleep(took * (0.5 + 0.15 * attempt))
        process.kill()
        end_of(process)
        with started.store.read() as connection:
            begun = set(connection.execute(select(routes.c.task)).scalars()) & names
            newest = newest_applied(connection)
        assert newest is not None
        assert begun == names & newest.document["tasks"].keys()
        assert begun in (set(), names)
    started.store.close()


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_declarations_of_a_newer_version_change_nothing_and_are_said(
    started: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = looked(started)
    with started.store.write() as connection:
        newest = newest_applied(connection)
        assert newest is not None
        document = json.loads(json.dumps(newest.document))
        document["tasks"]["echo"]["declared"]["of_tomorrow"] = 1
        row = {"digest": "x", "actor": "ana", "changes": [], "created_at": started.clock.now()}
        connection.execute(applied.insert().values(document=document, **row))
    assert gateway.refresh()
    assert set(gateway.current.tasks) == {"echo", "other"}
    assert "of_tomorrow" in caplog.text
    assert not gateway.refresh(), "it is said once"
    assert apply(read_again(started), "ana").committed, "and does not stand in the way of ours"


def test_a_deployment_is_known_by_its_name_while_it_shall_run(started: Installation) -> None:
    gateway = looked(started)
    live = gateway.current.deployments["echo"]
    (variant,) = live.variants.values()
    assert (variant.task, variant.deployment, variant.bundle.prompt, dict(variant.bundle.parameters)) == (
        "@echo",
        "echo",
        "",
        {},
    )
    assert live.route.incumbent == variant.id
    with started.store.write() as connection:
        connection.execute(update(deployments).values(desired="stopped"))
    assert gateway.refresh()
    assert gateway.current.deployments == {}


async def test_a_gateway_answers_from_its_last_snapshot_while_the_store_is_gone(
    own_postgres: postgres.Server, tmp_path: Path
) -> None:
    started = open_written(postgres.keep_in(write_project(tmp_path / "p"), own_postgres.fresh()))
    gateway = Snapshots(started.store, SystemClock())
    following = asyncio.create_task(gateway.follow())
    try:
        await reached(lambda: set(gateway.current.tasks) == {"echo"})
        assert not gateway.stale
        await asyncio.to_thread(own_postgres.stop)
        await reached(lambda: gateway.stale)
        assert gateway.stale_since is not None
        assert (started.clock.now() - gateway.stale_since).total_seconds() < 60
        assert set(gateway.current.tasks) == {"echo"}
        await asyncio.to_thread(own_postgres.start)
        await reached(lambda: not gateway.stale)
        declare(started, "fresh")
        await asyncio.to_thread(apply, read_again(started), "ana")
        await reached(lambda: "fresh" in gateway.current.tasks)
    finally:
        following.cancel()
        await asyncio.wait([following])
        started.store.close()


async def test_watched_files_are_applied_when_they_change_and_refused_once(
    started: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gateway = looked(started)

    def lives(timeout_s: float) -> bool:
        gateway.refresh()
        return gateway.current.tasks["echo"].task.declared.timeout_s == timeout_s

    watching = asyncio.create_task(watch(started))
    try:
        edit(started, "timeout_s = 20", "timeout_s = 7")
        await reached(lambda: lives(7))
        edit(started, "timeout_s = 7", "timeout_s = -1")
        await reached(lambda: "not applied" in caplog.text)
        await asyncio.sleep(1.5)
        assert caplog.text.count("not applied") == 1
        assert lives(7)
        edit(started, "timeout_s = -1", "timeout_s = 8")
        await reached(lambda: lives(8))
        assert not watching.done()
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def reached(condition: Callable[[], bool], patience_s: float = 20) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.02)


def test_other_commands_leave_out_what_is_broken_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = open_written(write_project(tmp_path / "p", ("echo", "other")))
    edit(started, "timeout_s", "timeuot_s")
    monkeypatch.chdir(started.project.root)

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        return Ended(run_command(arguments), *capsys.readouterr())

    for command in (["status"], ["history", "other"], ["status", "other", "--json"]):
        ended = run(*command)
        assert ended.status == 0, ended
        assert f"left out: {started.project.root / TASK_FILE}: `timeuot_s`: unknown key." in ended.err
    for command in (["history", "echo"], ["compare", "echo", "--candidate", "x"], ["apply"], ["apply", "--check"]):
        assert "`timeuot_s`: unknown key. Did you mean `timeout_s`?" in run(*command).refused(2)
    started.store.close()


def test_the_command_shows_what_changes_and_what_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = open_written(write_project(tmp_path / "p", ("echo", "other")))
    monkeypatch.chdir(started.project.root)
    edit(started, "temperature = 0.0", "temperature = 0.5")
    edit(started, "timeout_s = 20", "timeout_s = 7")
    declare(started, "fresh")
    (started.project.tasks / "other.toml").unlink()

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert run_command(arguments) == 0
        return capsys.readouterr().out

    assert run("apply", "--check") == (
        "echo  changed\n  timeout_s 20 → 7\n  waits for a switch: temperature 0 → 0.5\n"
        "  echo answers as it was measured until  changeover switch echo --to echo\n"
        "fresh  new  answered by echo\n"
        "other  removed  requests for it get a 404; its history stays\n"
        "could be applied; nothing was changed\n"
    )
    told = json.loads(run("apply", "--json"))
    assert (told["revision"], told["committed"], len(told["changes"])) == (2, True, 3)
    assert run("apply") == "nothing to apply; revision 2 holds\n"
    started.store.close()


def test_a_store_of_before_takes_over_what_stands_in_the_files(started: Installation) -> None:
    """Its tasks have routes; nothing was ever applied."""
    with started.store.write() as connection:
        connection.execute(text("DELETE FROM applied"))
    before = state(started)
    prepare(read_again(started))
    assert state(started) == (1, *before[1:])
    assert set(looked(started).current.tasks) == {"echo", "other"}

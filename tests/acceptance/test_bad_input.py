"""Bad input gets one clear line on standard error and the right exit status; nothing is lost and nothing is begun."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import socket
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.processes import Ended, Up, begin, changeover, end_of, system, until
from tests.support.projects import open_written, write_project
from tests.unit.library.gguf_builder import build

from changeover.app.local import operator_key
from changeover.cli.main import run_command

Refused = Callable[..., str]

USAGE, FAIL = 2, 1
TASK_FILE, SETTINGS, DATASET = "tasks/echo.toml", "changeover.toml", "evals/echo.jsonl"

CARD = """\
[[cards]]
id = "own"
display_name = "Own"
family = "own"
vendor = "us"
modalities_in = ["text"]
modalities_out = ["text"]
weights = "open"
sources = [{{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-01-01 }}]
{more}
[cards.licence]
id = "Apache-2.0"
in_package = false
[[cards.artifacts]]
format = "gguf"
quantisation = "Q8_0"
size_bytes = {size}
sha256 = "{sha256}"
[[cards.artifacts.sources]]
path = "{path}"
"""
WEIGHTS = build()
"""A header and tensors that are right, of a model that no engine can load."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that was never started."""
    return write_project(tmp_path / "p")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_project(tmp_path_factory.mktemp("started") / "p")
    open_written(directory).store.close()
    return directory


@pytest.fixture
def started(template: Path, tmp_path: Path) -> Path:
    """A project that was started once and does not run."""
    return shutil.copytree(template, tmp_path / "started")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cache"
    monkeypatch.setenv("CHANGEOVER_CACHE", str(directory))
    return directory


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    """A running project, with a second engine `twin` and a card `own` whose weights no engine can load."""
    directory = write_project(tmp_path_factory.mktemp("running") / "p")
    write_card(directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHANGEOVER_CACHE", str(directory.parent / "cache"))
        with system(directory) as it:
            assert it.call("deploy", "twin", "--engine", "echo").status == 0
            yield it


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Run a command in this process, see that it is refused in one line, and give that line."""

    def run(directory: Path, status: int, *arguments: str) -> str:
        monkeypatch.chdir(directory)
        capsys.readouterr()
        ended = Ended(run_command(arguments), *capsys.readouterr())
        assert ended.out == "", ended
        return ended.refused(status)

    return run


def write_card(project: Path, weights: bytes = WEIGHTS, more: str = "", **facts: Any) -> None:
    """Put a card `own` into the project's library; its weights are a file beside the project."""
    source = project.parent / "own.gguf"
    source.write_bytes(weights)
    known = {"size": len(weights), "sha256": hashlib.sha256(weights).hexdigest(), "path": source, "more": more}
    (project / "library").mkdir(exist_ok=True)
    (project / "library" / "own.toml").write_text(CARD.format(**{**known, **facts}))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def kept(project: Path) -> tuple[Mapping[str, bytes], Sequence[str]]:
    """Everything that a refused command must leave as it was: the project's files, and the store's rows."""
    state = project / ".changeover"
    files = {
        str(file): file.read_bytes() for file in project.rglob("*") if file.is_file() and state not in file.parents
    }
    if not state.is_dir():
        return files, ()
    with closing(sqlite3.connect(state / "changeover.db")) as database:
        return files, list(database.iterdump())


# Words that mean nothing here.

MISTYPED: list[tuple[Sequence[str], int, str]] = [
    (["stats"], USAGE, "No command `stats`. Did you mean `status`? Near: "),
    (["--verbose"], USAGE, "No command `--verbose`. "),
    (["status", "--jsn"], USAGE, "No such option: --jsn"),
    (["ask"], USAGE, "Missing argument 'task'. See `changeover ask --help`."),
    (["history", "echo", "--limit", "0"], USAGE, "Invalid value for '--limit'"),
    (["key"], USAGE, ""),
    (["history", "ecko"], USAGE, "No task named `ecko`. Did you mean `echo`? Known: echo."),
    (["status", "ecko"], USAGE, "No task named `ecko`. "),
    (["eval", "ecko"], USAGE, "No task named `ecko`. "),
    (["compare", "ecko", "--candidate", "echo"], USAGE, "No task named `ecko`. "),
    (["switch", "ecko", "--to", "echo"], USAGE, "No task named `ecko`. "),
    (["promote", "ecko"], USAGE, "No task named `ecko`. "),
    (["abort", "ecko"], USAGE, "No task named `ecko`. "),
    (["rollback", "ecko"], USAGE, "No task named `ecko`. "),
    (["promote", "a\\[/] [bold] ["], USAGE, "No task named `a\\[/] [bold] [`. "),
    (["promote", ":100:"], USAGE, "No task named `:100:`. "),
    (["undeploy", "ecko"], USAGE, "No deployment named `ecko`. Did you mean `echo`?"),
    (["key", "revoke", "nobody"], USAGE, "No key named `nobody`. "),
    (["models", "smollm2-135-instruct"], USAGE, "No card named `smollm2-135-instruct`. Did you mean `smollm2-135m-"),
    (["pull", "smollm2-135-instruct"], USAGE, "No card named `smollm2-135-instruct`. Did you mean `smollm2-135m-"),
    (["deploy", "smollm2-135-instruct"], USAGE, "No card named `smollm2-135-instruct`. Did you mean `smollm2-135m-"),
    (["deploy", "x", "--engine", "vlm"], USAGE, "No engine named `vlm`. Did you mean `vllm`? Known: adapter, echo, "),
    (["deploy", "x", "--engine", "vllm"], USAGE, "No card named `x`. "),
    (["deploy", "x", "--url", "http://127.0.0.1:9/v1"], USAGE, "`--url` is the address of a server that runs: say "),
    (["deploy", "smollm2-135m-instruct", "--engine", "ollama", "--threads", "2"], USAGE, "`--engine ollama` has no `--th"),
    (["deploy", "smollm2-135m-instruct", "--engine", "sglang", "--replicas", "2"], USAGE, "`--replicas` is Ray's work, "),
    (["deploy", "smollm2-135m-instruct", "--on", "h300x8"], USAGE, "No accelerator named `h300`. "),
    (["deploy", "smollm2-135m-instruct", "--on", "h200", "--engine", "ray"], USAGE, "`ray` is not started by hand on "),
    (["deploy", "qwen3-max", "--host", "nobody"], USAGE, "No host named `nobody` for `qwen3-max`. Known: Alibaba Cloud"),
    (["deploy", "gemma-3-4b-it"], FAIL, "`gemma-3-4b-it` cannot run here with `"),
    (["deploy", "x", "--engine", "openai"], USAGE, "`--engine openai` needs `--url`, such as "),
    (["deploy", "x", "--engine", "openai", "--url", "here"], USAGE, "deployment `x`: `base_url` must look like "),
    (["deploy", "x", "--engine", "echo", "--option", "delay_s"], USAGE, "`--option delay_s`: write NAME=VALUE"),
    (["deploy", "x", "--engine", "echo", "--option", "dely_s=1"], USAGE, "deployment `x`: `dely_s`: unknown key. Did you"),
    (["deploy", "x", "--engine", "echo", "--option", "delay_s=soon"], USAGE, "deployment `x`: `delay_s` = `soon`: "),
    (["deploy", "../x", "--engine", "echo"], USAGE, "`../x` cannot name a deployment. "),
    (["init", "."], USAGE, "`.` is not empty. Name a new directory."),
    (["init", "a*b"], USAGE, "`a*b` cannot be a project's name: "),
    (["init", SETTINGS], USAGE, f"`{SETTINGS}` "),
    (["init", f"{SETTINGS}/inside"], USAGE, f"`{SETTINGS}/inside` "),
    (["up", "--port", "70000"], USAGE, "Invalid value for '--port'"),
    (["up", "--port", "http"], USAGE, "Invalid value for '--port'"),
    # What would be right, at another time.
    (["ask", "echo", "hello"], FAIL, "Project `test` is not running. Start it in another terminal: `changeover up`."),
    (["eval", "echo"], FAIL, "Project `test` is not running. "),
    (["compare", "echo", "--candidate", "twin"], FAIL, "Project `test` is not running. "),
    (["switch", "echo", "--to", "twin"], FAIL, "Project `test` is not running. "),
    (["promote", "echo"], FAIL, "`echo` has no rollout under way. "),
    (["abort", "echo"], FAIL, "`echo` has no rollout under way. "),
    (["rollback", "echo"], FAIL, "`echo` has no former incumbent to bring back. "),
    (["undeploy", "echo"], FAIL, "`echo` "),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "message"), MISTYPED, ids=[" ".join(case[0]) for case in MISTYPED])
def test_a_command_that_cannot_be_done_says_so_in_a_line_and_changes_nothing(
    started: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str],
    status: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(started)
    before = kept(started)
    ended = Ended(run_command(arguments), *capsys.readouterr())
    assert ended.refused(status).startswith(message)
    assert kept(started) == before


PROJECT_COMMANDS = [
    ["status"], ["up"], ["ask", "echo", "hello"], ["eval", "echo"], ["compare", "echo", "--candidate", "twin"],
    ["switch", "echo", "--to", "twin"], ["history", "echo"], ["rollback", "echo"], ["deploy", "twin"], ["key", "list"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", PROJECT_COMMANDS, ids=[command[0] for command in PROJECT_COMMANDS])
def test_outside_a_project_a_command_says_how_to_make_one(
    tmp_path: Path, refused: Refused, arguments: Sequence[str]
) -> None:
    message = refused(tmp_path, USAGE, *arguments)
    assert message == f"No `changeover.toml` in `{tmp_path}` or above it. Make a project with `changeover init NAME`."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["status"], ["history", "echo"], ["rollback", "echo"], ["key", "new", "mine"]])
def test_a_project_that_was_never_started_is_not_begun_by_another_command(
    project: Path, refused: Refused, arguments: Sequence[str]
) -> None:
    assert refused(project, FAIL, *arguments) == (
        "Project `test` was never started, so it has no store yet. Start it once with `changeover up`; the store stays when "
        "it is stopped."
    )
    assert not (project / ".changeover").exists()


def test_what_a_key_is_needed_for_is_never_shown(started: Path, refused: Refused) -> None:
    for more in (["--url", "http://me:hunter2@host/v1"], ["--url", "http://host/v1", "--key-env", "sk-hunter2"]):
        assert "hunter2" not in refused(started, USAGE, "deploy", "x", "--engine", "openai", *more)
    settings = started / SETTINGS
    settings.write_text(settings.read_text() + '[store]\nurl = "nosuch://me:hunter2@host/db"\n')
    assert "hunter2" not in refused(started, USAGE, "status")


# Declarations.

DECLARED: list[tuple[str, str, str, str]] = [
    (TASK_FILE, "margin", "margn", "`gate.margn`: unknown key. Did you mean `margin`? Known: about, "),
    (TASK_FILE, "description", "descripton", "`descripton`: unknown key. Did you mean `description`? "),
    (TASK_FILE, 'description = "Says it again."\n', "", "`description`: missing. Add it."),
    (TASK_FILE, "timeout_s = 20", 'timeout_s = "long"', "`timeout_s` = `long`: input should be a valid number"),
    (TASK_FILE, "canary = 0.2", "canary = 1.5", "`steps[0].canary` = `1.5`: input should be less than 1."),
    (TASK_FILE, "canary = 0.2", "canary = 0.9", "`steps`: the canary share goes down ([0.9, 0.5]). "),
    (TASK_FILE, '"contains"', '"contians"', "No scorer named `contians`. Did you mean `contains`? Known: "),
    (TASK_FILE, '"contains"', '"contains"\noptions = {ignore_cas = true}', "scorer `contains`: `ignore_cas`: unknown key."),
    (TASK_FILE, '"echo"', '"smollm2-135-instruct"', "No card named `smollm2-135-instruct`. Did you mean `smollm2-135m"),
    (TASK_FILE, "echo.prompt.md", "ecko.prompt.md", "`prompt`: cannot read `ecko.prompt.md`: "),
    (TASK_FILE, "echo.jsonl", "ecko.jsonl", "`dataset`: no file `../evals/ecko.jsonl`. Write it, or name another."),
    (TASK_FILE, "[gate]", "[gate", "Expected ']' at the end of a table declaration (at line "),
    (SETTINGS, "port = 0", "prt = 0", "`gateway.prt`: unknown key. Did you mean `port`? Known: "),
    (SETTINGS, "port = 0", "port = 99999", "`gateway.port` = `99999`: "),
    (SETTINGS, "port = 0", 'host = ""', "`gateway.host` = ``: "),
    (SETTINGS, 'name = "test"', 'name = ""', "`name` = ``: "),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "message"), DECLARED, ids=[f"{case[1]}={case[2]}" for case in DECLARED])
def test_a_wrong_declaration_names_its_file_and_what_is_wrong_in_it(
    project: Path, refused: Refused, file: str, old: str, new: str, message: str
) -> None:
    replace(project / file, old, new)
    assert refused(project, USAGE, "status").startswith(f"{project / file}: {message}")


def test_task_files_that_are_none(project: Path, refused: Refused) -> None:
    odd = project / "tasks" / "Say it.toml"
    odd.write_text("")
    assert refused(project, USAGE, "status").startswith(f"{odd}: a task's name has lower-case letters, ")
    odd.rename(project / "tasks" / "echo.prompt.md")
    (project / TASK_FILE).write_bytes(b"\xff")
    assert refused(project, USAGE, "status").startswith(f"{project / TASK_FILE}: not UTF-8 text (byte 0). ")
    (project / TASK_FILE).unlink()
    assert refused(project, USAGE, "status").startswith(f"`{project / 'tasks'}` declares no task. ")
    shutil.rmtree(project / "tasks")
    assert refused(project, USAGE, "status").startswith(f"No directory `{project / 'tasks'}`. ")


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("nonsense", USAGE, "`store.url`: cannot use "),
        ("nosuch://host/db", USAGE, "`store.url`: cannot use `nosuch://host/db`: "),
        ("sqlite://host/db", USAGE, "`store.url`: cannot use `sqlite://host/db`: "),
        ("sqlite://host:port/db", USAGE, "`store.url`: cannot use "),
        ("sqlite:////nowhere/to/be/found.db", FAIL, "The store cannot be used: unable to open database file. "),
    ],
)
def test_a_store_that_cannot_be_reached(started: Path, refused: Refused, url: str, status: int, message: str) -> None:
    with (started / SETTINGS).open("a") as settings:
        settings.write(f'[store]\nurl = "{url}"\n')
    assert refused(started, status, "status").startswith(message)


def test_a_store_of_a_newer_version_is_left_alone(started: Path, refused: Refused) -> None:
    with closing(sqlite3.connect(started / ".changeover" / "changeover.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    before = kept(started)
    starting = begin(started, "up")
    assert refused(started, FAIL, "status").startswith("The store has schema `9999`, ")
    assert end_of(starting).refused(FAIL).startswith("The store has schema `9999`, newer than ")
    assert kept(started) == before


def test_a_store_that_is_no_database_is_left_alone(started: Path, refused: Refused) -> None:
    state = started / ".changeover"
    for file in state.glob("changeover.db*"):
        file.unlink()
    (state / "changeover.db").write_bytes(b"not a database" * 100)
    starting = begin(started, "up")
    for message in (refused(started, FAIL, "status"), end_of(starting).refused(FAIL)):
        assert message.startswith("The store cannot be used: file is not a database. ")
    assert (state / "changeover.db").read_bytes() == b"not a database" * 100


# Datasets. The system runs, so that nothing but the dataset is in the way.

GOOD = json.dumps({"id": "a", "input": "say ok", "target": "ok"})
LINES: dict[str, tuple[Sequence[str], str]] = {
    "empty": ([], ": the file has no sample. "),
    "no target": ([GOOD, '{"id": "b", "input": "say ok"}'], ":2: the sample has no target. "),
    "broken": ([GOOD, "", '{"id": "b", '], ":3: not JSON at column "),
    "unknown key": (
        ['{"id": "b", "input": "x", "target": "ok", "tag": []}'],
        ":1: `tag`: unknown key. Did you mean `tags`? ",
    ),
    "twice": ([GOOD, GOOD], ":2: id `a` is also the sample's on line 1. "),
    "line 100": ([GOOD, *[""] * 98, "{"], ":100: not JSON at column "),
    "unreadable": ([GOOD, '{"id": "b", "input": "x", "target": {"al": ["ok"]}}'], ":2: "),
}


@pytest.fixture
def dataset(up: Up) -> Generator[Path]:
    file = up.project / DATASET
    text = file.read_text()
    yield file
    file.write_text(text)


@pytest.mark.parametrize(
    "command", [["eval", "echo"], ["compare", "echo", "--candidate", "twin"]], ids=lambda it: it[0]
)
@pytest.mark.parametrize(("lines", "message"), LINES.values(), ids=LINES)
def test_a_dataset_is_refused_with_file_and_line_before_anything_is_asked(
    up: Up, dataset: Path, refused: Refused, command: Sequence[str], lines: Sequence[str], message: str
) -> None:
    dataset.write_text("".join(f"{line}\n" for line in lines))
    before = answers(up.project)
    assert refused(up.project, USAGE, *command).startswith(f"{dataset}{message}")
    assert answers(up.project) == before


def answers(project: Path) -> int:
    with closing(sqlite3.connect(project / ".changeover" / "changeover.db")) as database:
        return database.execute("SELECT count(*) FROM answers").fetchone()[0]


def test_a_missing_dataset_is_named(up: Up, dataset: Path, refused: Refused) -> None:
    dataset.unlink()
    message = refused(up.project, USAGE, "eval", "echo")
    assert message.startswith(f"{up.project / TASK_FILE}: `dataset`: no file `../evals/echo.jsonl`. ")
    assert up.ask() == "hello there", "who runs already needs no dataset to answer"


# What only a running system can refuse.


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["ask", "ecko", "hello"], USAGE, "No task named `ecko`. Did you mean `echo`? Known: echo."),
        (["compare", "echo", "--candidate", "twn"], USAGE, "Did you mean `twin`?"),
        (["eval", "echo", "--deployment", "twn"], USAGE, "Did you mean `twin`?"),
        (["switch", "echo", "--to", "smollm2-135-instruct"], USAGE, "Did you mean `smollm2-135m-instruct`?"),
        (["compare", "echo", "--candidate", "echo"], FAIL, "`echo` already answers `echo` "),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, list) else "",
)
def test_a_running_system_names_the_nearest(
    up: Up, refused: Refused, arguments: Sequence[str], status: int, message: str
) -> None:
    assert message in refused(up.project, status, *arguments)


def test_a_second_start_is_refused_and_the_first_goes_on(up: Up) -> None:
    message = changeover(up.project, "up").refused(USAGE)
    assert message == f"This project is running already at {up.address}. Stop it first (Ctrl-C)."
    assert up.ask() == "hello there"


def test_a_port_in_use_is_named_before_anything_is_started(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = changeover(project, "up", "--port", str(port))
    assert ended.refused(USAGE) == (
        f"Cannot listen on `127.0.0.1:{port}`: Address already in use. "
        "Give another port by `--port`, or 0 for any free one."
    )
    assert not (project / ".changeover" / "changeover.db").exists()


# Weights.


def test_a_card_of_ones_own_with_an_unknown_key_is_named(project: Path, refused: Refused) -> None:
    write_card(project, more="parameter_b = 0.1")
    for command in (["models"], ["pull", "own"], ["status"]):
        message = refused(project, USAGE, *command)
        assert message.startswith(
            f"{project / 'library' / 'own.toml'}: `cards[0].parameter_b`: unknown key. Did you mean `parameters_b`? "
        )


DAMAGED: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "no GGUF": (b"NOPE" + WEIGHTS[4:], {}, "it does not begin with `GGUF`"),
    "cut short": (WEIGHTS[:200], {}, "is not a usable GGUF file: "),
    "other digest": (WEIGHTS, {"sha256": "0" * 64}, "Nothing of it is kept."),
    "too long": (WEIGHTS, {"size": 100}, "Nothing of it is kept."),
    "not there": (WEIGHTS, {"path": "/nowhere/own.gguf"}, "`/nowhere/own.gguf` cannot be read: "),
}


@pytest.mark.parametrize(("weights", "facts", "message"), DAMAGED.values(), ids=DAMAGED)
def test_weights_that_are_not_right_are_refused_and_not_kept(
    project: Path, cache: Path, refused: Refused, weights: bytes, facts: dict[str, Any], message: str
) -> None:
    write_card(project, weights, **facts)
    assert message in refused(project, FAIL, "pull", "own")
    assert of_weights(cache) == []


def of_weights(cache: Path) -> list[Path]:
    return [file for file in cache.rglob("*") if file.is_file() and file.name != "pull.lock"]


def test_what_is_refused_is_not_called_verified(
    project: Path, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card(project, sha256="0" * 64)
    monkeypatch.chdir(project)
    assert run_command(["pull", "own"]) == FAIL
    assert "verified" not in capsys.readouterr().err
    assert of_weights(cache) == []


def test_an_option_that_is_wrong_is_refused_before_the_weights_are_fetched(
    started: Path, cache: Path, refused: Refused
) -> None:
    write_card(started)
    message = refused(started, USAGE, "deploy", "own", "--option", "slts=2")
    assert message.startswith("deployment `own`: `slts`: unknown key. Did you mean `slots`? ")
    assert of_weights(cache) == []


def test_a_first_incumbent_whose_weights_are_damaged_stops_the_start(project: Path, cache: Path) -> None:
    write_card(project, WEIGHTS[:200])
    replace(project / TASK_FILE, 'first_incumbent = "echo"', 'first_incumbent = "own"')
    assert "is not a usable GGUF file: " in changeover(project, "up").refused(FAIL)
    assert of_weights(cache) == []
    with closing(sqlite3.connect(project / ".changeover" / "changeover.db")) as database:
        routes = database.execute("SELECT count(*) FROM routes").fetchone()[0]
    assert routes == 0, "no route is begun that nobody can answer"


def test_an_engine_that_does_not_start_says_why_and_hinders_nobody(up: Up, refused: Refused) -> None:
    message = refused(up.project, FAIL, "deploy", "own")
    assert message.startswith("`own` does not start: gave up: ")
    assert "llama.embedding_length" in message
    log = Path(message.partition("Its log: ")[2])
    assert log.is_file()
    assert up.ask() == "hello there"
    assert up.ready("echo") is not None
    assert up.ready("own") is None


# A full disk, as a limit on the size of files has it.

needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process can be set on Linux only")


def limit(process: int, size: int) -> None:
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def health(up: Up, project: Path) -> dict[str, Any]:
    key = operator_key(project / ".changeover")
    asked = urllib.request.Request(f"{up.address}/healthz", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=5) as response:
        return json.loads(response.read())


def recorded(project: Path, text: str) -> int:
    with closing(sqlite3.connect(project / ".changeover" / "changeover.db")) as database:
        found = database.execute("SELECT count(*) FROM exchanges WHERE instr(request, ?) > 0", (text,))
        return found.fetchone()[0]


@needs_limits
def test_a_full_disk_stops_no_answer_and_loses_no_record(project: Path) -> None:
    with system(project) as up:
        up.ask(text="before it is full")
        until(lambda: recorded(project, "before it is full") == 1)
        limit(up.process.pid, 0)
        for number in range(5):
            assert up.ask(text=f"while it is full, {number}") == f"while it is full, {number}"
        time.sleep(0.5)  # a write has been tried by now
        assert health(up, project)["records_waiting"] == 5
        assert recorded(project, "while it is full") == 0
        limit(up.process.pid, resource.RLIM_INFINITY)
        until(lambda: recorded(project, "while it is full") == 5, 10)
        until(lambda: health(up, project)["records_waiting"] == 0)
        seen = health(up, project)
        assert (seen["records_lost"], seen["records_without_content"]) == (0, 0)
        assert up.ask() == "hello there"
        assert "Traceback" not in up.log()


@needs_limits
def test_on_a_full_disk_nothing_is_half_begun(project: Path, started: Path, cache: Path, tmp_path: Path) -> None:
    before = kept(started)
    write_card(project)
    commands = [
        (started, ["key", "new", "mine"]),
        (project, ["up"]),
        (project, ["pull", "own"]),
        (tmp_path, ["init", "fresh"]),
    ]
    limited = [begin(where, *command, preexec_fn=lambda: limit(os.getpid(), 0)) for where, command in commands]
    ended = [end_of(process) for process in limited]
    assert of_weights(cache) == []
    assert kept(started) == before
    for each in ended:
        each.refused(FAIL)
    assert changeover(tmp_path, "init", "fresh").status == 0, "what the first try left does not stand in the way"

"""A policy as a user meets it: models that a licence keeps from a task are not fetched, not started, and take nothing over."""

import hashlib
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.fake_hub import fake_hub
from tests.support.processes import Up, command, system, until
from tests.support.projects import write_project

from changeover.rollouts.queries import latest_rollout

TEXT = b"Do no harm.\n"
LIBRARY = """
[[licences]]
id = "stern"
name = "Stern Community License"
spdx = false
free_to_modify = true
commercial_use = true
source = "ourselves"
grade = "run"
checked = 2026-11-21
conditions = [
  { kind = "forbidden-uses", uses = ["credit-decisions"], clause = "5(c)", quote = "no high-stakes decisions", source = "ourselves", grade = "run" },
  { kind = "size", measure = "monthly-users", over = 1000000, then = "licence", clause = "4", quote = "more than 1 million monthly active users", source = "ourselves", grade = "run" },
]

[[cards]]
id = "stern-1"
display_name = "Stern 1"
family = "stern"
vendor = "Stern"
modalities_in = ["text"]
modalities_out = ["text"]
weights = "open"
chat_format = "chatml"
repositories = ["stern/stern-1"]
licence = { id = "stern", text_sha256 = "TEXT_SHA256" }
sources = [{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-21 }]

[[cards]]
id = "free-1"
display_name = "Free 1"
family = "free"
vendor = "Free"
modalities_in = ["text"]
modalities_out = ["text"]
weights = "open"
chat_format = "chatml"
licence = { id = "MIT" }
sources = [{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-21 }]
""".replace("TEXT_SHA256", hashlib.sha256(TEXT).hexdigest())
POLICY = 'operates_in = ["SG"]\nmonthly_users = {users}\n[tasks.credit]\nuses = ["credit-decisions"]\n'


class _Model(BaseHTTPRequestHandler):
    """A model that others run; it says what it is asked to say."""

    def do_GET(self) -> None:
        self._say({"object": "list", "data": []})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = f"ok {asked['messages'][-1]['content']}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
        self._say({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

    def _say(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def hosted() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def write_bank(directory: Path, users: int) -> Path:
    write_project(directory, tasks=("credit", "mail"))
    for task in ("credit", "mail"):
        file = directory / "tasks" / f"{task}.toml"
        file.write_text(file.read_text().replace("margin = 0.05", "margin = 0.3"))
    (directory / "library").mkdir()
    (directory / "library" / "own.toml").write_text(LIBRARY)
    (directory / "policy.toml").write_text(POLICY.format(users=users))
    return directory


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, hosted: str) -> Generator[Up]:
    with system(write_bank(tmp_path_factory.mktemp("policy") / "p", users=900_000)) as it:
        for name in ("stern-1", "free-1"):
            assert it.call("deploy", name, "--engine", "openai", "--url", hosted).status == 0
        yield it


def policy(up: Up, users: int) -> None:
    (up.project / "policy.toml").write_text(POLICY.format(users=users))


def test_a_task_is_not_given_to_a_model_whose_licence_excludes_its_use_and_the_clause_is_quoted(up: Up) -> None:
    said = up.call("switch", "credit", "--to", "stern-1").refused(1)
    assert "`stern-1` is not allowed for `credit` by clause 5(c) of `stern`" in said
    assert "«no high-stakes decisions»" in said
    with up.opened() as installation, installation.store.read() as connection:
        assert latest_rollout(connection, "credit") is None


def test_the_same_model_may_take_over_a_task_that_is_used_for_something_else(up: Up) -> None:
    began = up.call("switch", "mail", "--to", "stern-1", "--detach", "--json")
    assert began.status == 0, began
    assert up.call("abort", "mail").status == 0


def test_a_trial_measures_it_where_it_may_answer_and_says_denied_where_it_may_not(up: Up) -> None:
    rows = {row["task"]: row for row in up.call("trial", "stern-1", "--json").json["tasks"]}
    assert (rows["credit"]["kind"], rows["mail"]["kind"]) == ("denied", "measured")
    assert "clause 5(c)" in rows["credit"]["recommendation"]
    shown = up.call("trial").out
    assert "clause 5(c): forbidden uses" in next(line for line in shown.splitlines() if line.startswith("credit"))
    assert "1 denied" in shown


def test_a_rollout_is_held_once_the_organisation_has_outgrown_the_licence_and_goes_on_when_that_is_settled(
    up: Up,
) -> None:
    try:
        assert up.call("switch", "mail", "--to", "stern-1", "--detach", "--json").status == 0
        policy(up, 2_000_000)
        held = until(lambda: _hold(up, "mail"))
        assert "clause 4 of `stern`" in held
        refused = up.call("promote", "mail").refused(1)
        assert "stays where it is" in refused
        assert "clause 4" in refused
        assert "stays where it is" in up.call("resume", "mail").refused(1)
        granted = '\n[[granted]]\nlicence = "stern"\nclause = "4"\nby = "ana"\non = 2026-11-01\nreason = "contract 7, signed"\n'
        (up.project / "policy.toml").write_text(POLICY.format(users=2_000_000).replace("[tasks", granted + "[tasks"))
        assert up.call("resume", "mail").status == 0
    finally:
        up.call("abort", "mail")
        policy(up, 900_000)


def test_a_licence_whose_text_changes_on_the_hub_blocks_until_somebody_accepts_it(up: Up) -> None:
    settings = up.project / "changeover.toml"
    before = settings.read_text()
    with fake_hub() as hub:
        repository = hub.add("stern/stern-1", {"LICENSE": TEXT})
        settings.write_text(f'{before}[sources]\nonline = true\nhub_endpoint = "{hub.address}"\n')
        try:
            first = up.call("library", "sync", "hub", "--card", "stern-1")
            assert "licence text noted  stern-1" in first.out, first
            assert up.call("switch", "mail", "--to", "stern-1", "--detach", "--json").status == 0
            commit = repository.commit({"LICENSE": TEXT + b"Not on Mondays.\n"})
            synced = up.call("library", "sync", "hub", "--card", "stern-1")
            assert "the licence's text changed: somebody has to read it  stern-1" in synced.out, synced
            assert commit in " ".join(synced.out.split())
            held = until(lambda: _hold(up, "mail"))
            assert f"has another text at stern/stern-1@{commit}/LICENSE" in held
            assert up.call("abort", "mail").status == 0
            said = up.call("switch", "mail", "--to", "stern-1").refused(1)
            assert f"has another text at stern/stern-1@{commit}/LICENSE" in said
            assert "changeover licences accept stern-1" in said
            accepted = up.call("licences", "accept", "stern-1", "--reason", "read it")
            assert accepted.status == 0, accepted
            assert up.call("switch", "mail", "--to", "stern-1", "--detach", "--json").status == 0
            assert "licence" not in up.call("library", "sync", "hub", "--card", "stern-1").out, (
                "the same text is no news"
            )
        finally:
            up.call("abort", "mail")
            settings.write_text(before)


def test_what_answers_already_goes_on_and_is_shown_as_not_allowed(up: Up) -> None:
    assert up.call("switch", "mail", "--to", "stern-1", "--detach", "--json").status == 0
    leave = ("--gate", "evaluation", "--expires", "1h", "--approver", "ben", "--reason", "x")
    assert up.call("override", "mail", *leave).status == 0
    try:
        assert up.call("promote", "mail").status == 0
        until(lambda: up.answering("mail") == "stern-1")  # a gateway follows within a moment
        policy(up, 2_000_000)
        assert up.answering("mail") == "stern-1"
        assert "not allowed" in up.call("status").out
        assert up.call("status", "mail", "--json").json["tasks"][0]["not_allowed"]
    finally:
        policy(up, 900_000)
        assert up.call("rollback", "mail").status == 0


def test_a_broken_policy_stops_commands_and_takeovers_but_no_answer(up: Up) -> None:
    (up.project / "policy.toml").write_text("monthly_user = 1\n")
    try:
        said = up.call("switch", "mail", "--to", "free-1").refused(2)
        assert "`monthly_user`: unknown key. Did you mean `monthly_users`?" in said
        assert up.answering("mail") == "echo"
    finally:
        policy(up, 900_000)


def test_a_model_that_needs_a_licence_is_neither_fetched_nor_started(tmp_path: Path) -> None:
    project = write_bank(tmp_path / "p", users=2_000_000)
    (project / "library" / "big.toml").write_text(
        LIBRARY.split("[[cards]]")[1].replace("stern-1", "stern-2").join(["[[cards]]", ""])
        + '[[cards.artifacts]]\nformat = "gguf"\nquantisation = "Q8_0"\nsize_bytes = 10\n'
        + f'sha256 = "{"c" * 64}"\nsources = [{{ path = "/nowhere/model.gguf" }}]\n'
    )
    said = command(project, "pull", "stern-2").refused(1)
    assert "`stern-2` needs a person's decision by clause 4 of `stern`" in said
    task = project / "tasks" / "mail.toml"
    task.write_text(task.read_text().replace('first_incumbent = "echo"', 'first_incumbent = "stern-2"'))
    assert "clause 4 of `stern`" in command(project, "up").refused(1)


def _hold(up: Up, task: str) -> str | None:
    with up.opened() as installation, installation.store.read() as connection:
        rollout = latest_rollout(connection, task)
    return None if rollout is None or rollout.hold is None else rollout.hold.reason

"""`changeover deploy` on the running system: at a host, on the embedded engine, and interrupted."""

from __future__ import annotations

import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.support.processes import PATIENCE_S, Up, begin, end_of, start, until
from tests.support.projects import write_project

from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.pull import present
from changeover.serving.queries import all_deployments

MODEL = "smollm2-135m-instruct"
KEY = "the-key-of-nearby"
FAR = """\
[[cards]]
id = "far"
display_name = "Far"
family = "far"
vendor = "Somebody"
weights = "closed"
licence = { id = "MIT" }
sources = [{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-30 }]
[[cards.hosted]]
host = "Nearby"
id = "far"
base_url = "ADDRESS"
api = "openai"
key_variable = "NEARBY_KEY"
pin = "alias"
snapshots = ["far-2026-01-01"]
"""


class _Host(BaseHTTPRequestHandler):
    """Answers who has the key, and remembers which model was asked."""

    asked: list[str] = []  # noqa: RUF012 - one for all of its requests

    def do_GET(self) -> None:
        self._say({"object": "list", "data": []})

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(document["model"])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "from afar"}}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        self._say({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

    def _say(self, document: object) -> None:
        known = self.headers["authorization"] == f"Bearer {KEY}"
        body = json.dumps(document if known else {"error": {"message": "no key"}}).encode()
        self.send_response(200 if known else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    """A running project whose library has a card that is hosted here."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Host)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    project = write_project(tmp_path_factory.mktemp("deploying") / "p")
    (project / "library").mkdir()
    address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    (project / "library" / "far.toml").write_text(FAR.replace("ADDRESS", address))
    it = start(project, environment={"NEARBY_KEY": KEY})
    yield it
    it.stop()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hosted_card_answers_under_its_dated_name_with_the_key_that_the_system_has(up: Up) -> None:
    deployed = up.call("deploy", "far")
    assert deployed.status == 0, deployed
    assert deployed.out.startswith("far  ready  openai · http://127.0.0.1:")
    assert KEY not in deployed.out + deployed.err
    key = up.call("key", "new", "pinned", "--deployment", "far", "--json").json["key"]
    body = json.dumps({"model": "far", "messages": [{"role": "user", "content": "hello"}]}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{up.address}/v1/chat/completions", body, headers)

    def answered() -> str | None:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return str(json.loads(response.read())["choices"][0]["message"]["content"])
        except urllib.error.HTTPError:
            return None  # the gateway does not know the key yet

    assert until(answered) == "from afar"
    assert set(_Host.asked) == {"far-2026-01-01"}


@pytest.mark.models
def test_a_real_model_is_planned_fetched_started_asked_and_listed(up: Up) -> None:
    if not present(Catalogue.load().card(MODEL).artifacts[0], cache_directory()):
        pytest.skip(f"{MODEL} is not in the cache `{cache_directory()}`; `changeover pull {MODEL}` fetches it")
    deployed = up.call("deploy", MODEL, "--slots", "1", "--context", "512", "--json")
    assert deployed.status == 0, deployed
    assert deployed.err.startswith(f"{MODEL}  local · Q4_1 · needs ")
    row = deployed.json
    assert (row["engine"], row["state"], row["quantisation"]) == ("local", "ready", "Q4_1")
    assert row["memory_bytes"] > 90_000_000
    assert "first answer checked" in row["detail"]
    again = up.call("deploy", MODEL)
    assert again.status == 0
    assert "is there already; it keeps the options it has" in again.err
    assert up.call("undeploy", MODEL).status == 0


def test_who_interrupts_the_waiting_is_told_that_the_engine_goes_on_starting(up: Up) -> None:
    waiting = begin(up.project, "deploy", "slow", "--engine", "echo", "--option", "ready_delay_s=25")

    def starting() -> bool:
        with up.opened() as installation, installation.store.read() as connection:
            return any(row.name == "slow" and row.state == "starting" for row in all_deployments(connection))

    until(lambda: starting() and len(up.engines()) == 2)
    waiting.send_signal(signal.SIGINT)
    ended = end_of(waiting)
    assert ended.status == 130, ended
    assert "slow goes on starting: `changeover status` shows how far it is" in ended.err
    assert up.call("undeploy", "slow").status == 0

"""A token in every secret there is, every kind of success and failure, and then a search: it is found nowhere.

Black box: `changeover up` as a process, real sockets, an engine elsewhere that gives its key away wherever it can, a
collector of traces, both databases. What is searched: logs, the database, all files of the state directory, spans,
metrics, every answer with its headers, and what the commands print.
"""

import base64
import http.client
import json
import re
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import psycopg
import pytest
from tests.support import postgres
from tests.support.collector import Collector, collector
from tests.support.processes import PATIENCE_S, Up, command, start, until
from tests.support.projects import TASK, write_project

UPSTREAM = "sk-canary-upstream-3f9d27c1a8"
OTLP = "canary-otlp-b81e60d45c"
UNKNOWN = "co-canary-unknown-77ab0e93d2-0123456789012345678901"
CHAT = "/v1/chat/completions"
GENERATED = re.compile(rb"(?<![A-Za-z0-9])(?:co|engine)-[A-Za-z0-9_-]{40,}")
"""What the system makes itself: keys and engines' secrets."""
LETS_SLIP = (
    "401",
    "403",
    "400",
    "422",
    "429",
    "500",
    "503",
    "html",
    "headers",
    "redirect",
    "cut",
    "malformed",
    "shape",
)
FAULTS = ("error_500", "cut_after", "malformed_event", "wrong_json", "refuse")
"""Of the echo engine."""


class Indiscreet(BaseHTTPRequestHandler):
    """An engine elsewhere that repeats the key it was called with. The last word of the question says how."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"object": "list", "data": [{"id": "leaky", "object": "model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        how = str(asked["messages"][-1]["content"]).split()[-1]
        key = self.headers["authorization"].removeprefix("Bearer ")
        assert key == UPSTREAM
        if how.isdigit():
            self._answer(int(how), {"error": {"message": f"Incorrect key: {key}", "param": key, "code": key}}, key)
        elif how == "html":
            self._send(200, f"<html>{key}</html>".encode(), "text/html", key)
        elif how == "shape":
            self._answer(200, {"detail": f"no shape {key}", "choices": [key]}, key)
        elif how == "redirect":
            self._answer(302, {}, key, location=f"http://127.0.0.1:9/?key={key}")
        elif how in ("cut", "malformed"):
            self._stream(how, key)
        else:
            message = {"role": "assistant", "content": "a fine answer"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
            self._answer(200, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}, key)

    def _stream(self, how: str, key: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("x-api-key", key)
        self.send_header("connection", "close")
        self.end_headers()
        chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a "}}]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        if how == "malformed":
            self.wfile.write(f'data: {{"error": "{key}"\n\n: {key}\n\n'.encode())
        self.close_connection = True

    def _answer(self, status: int, body: Mapping[str, Any], key: str | None = None, **headers: str) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", key, **headers)

    def _send(self, status: int, body: bytes, kind: str, key: str | None, **headers: str) -> None:
        self.send_response(status, key)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if key is not None:
            for name in ("x-api-key", "x-goog-api-key", "authorization", "set-cookie", "server-timing", "x-request-id"):
                self.send_header(name, key)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def indiscreet() -> Generator[str]:
    """That engine, on a port of its own. Gives its base address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Indiscreet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Seen:
    """Everything that anybody could read, by where it was."""

    texts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    statuses: set[int] = field(default_factory=set[int])

    def add(self, where: str, text: str | bytes) -> None:
        key = f"{len(self.texts)} {where}"
        self.texts[key] = text if isinstance(text, bytes) else text.encode()

    def leaks(self, secrets: Mapping[str, str]) -> list[str]:
        """Where which secret was found."""
        found = [f"{name} in {where}" for name, secret in secrets.items() for where in self._where(secret)]
        found += [f"a generated secret in {where}" for where, text in self.texts.items() if GENERATED.search(text)]
        return found

    def _where(self, secret: str) -> Iterator[str]:
        raw = secret.encode()
        for spelt in {raw, quote(secret, safe="").encode(), base64.b64encode(raw).rstrip(b"="), raw[6:], raw[:-6]}:
            yield from (where for where, text in self.texts.items() if spelt in text)


class Client:
    """Asks, and notes all that comes back."""

    def __init__(self, up: Up, seen: Seen) -> None:
        self._where = urlsplit(up.address)
        self._seen = seen

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, own_words: bool = False, **headers: str
    ) -> tuple[int, bytes]:
        """Send a request. With `own_words` the answer may repeat what the caller has just said, and is not searched."""
        connection = http.client.HTTPConnection(self._where.hostname or "", self._where.port, timeout=PATIENCE_S)
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"content-type": "application/json", **given})
            response = connection.getresponse()
            try:
                text = response.read()
            except http.client.IncompleteRead as cut:
                text = cut.partial
            if not own_words:
                self._seen.add(f"answer to {method} {path} {body!r:.80}", f"{response.reason}\n{response.headers}")
                self._seen.add(f"answer to {method} {path} {body!r:.80}", text)
            self._seen.statuses.add(response.status)
            return response.status, text
        finally:
            connection.close()

    def chat(self, key: str, model: str, text: str, *, own_words: bool = False, **fields: Any) -> tuple[int, bytes]:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **fields}).encode()
        return self.ask("POST", CHAT, body, own_words=own_words, authorization=f"Bearer {key}")


def written(directory: Path, spans: Collector, form: str) -> Path:
    """A project with tasks that succeed, that are masked and that fail in several ways, and with all telemetry on."""
    write_project(directory, ("echo",), timeout_s=4, gateway="ready_wait_s = 5\nbreaker_failures = 1000")
    fields: dict[str, Any] = {"timeout_s": 4, "bake_s": 300, "steps": ""}
    (directory / "tasks" / "masked.toml").write_text(TASK.format(record="redacted", **fields))
    for fault in FAULTS:
        text = TASK.format(record="full", **fields) + f'[echo]\nfault = "{fault}"\n'
        (directory / "tasks" / f"{fault}.toml").write_text(text)
    with (directory / "changeover.toml").open("a") as settings:
        settings.write(
            f'[telemetry]\notlp_endpoint = "{spans.address}"\notlp_headers_env = "CANARY_OTLP"\nlog = "{form}"\n'
        )
    return directory


def misuse(client: Client, key: str, revoked: str) -> None:
    """Everything a caller can get wrong, with a key in every place where one can be put."""
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello"}]}).encode()
    basic = base64.b64encode(f"user:{key}".encode()).decode()
    for headers in (
        {},
        {"authorization": f"Bearer {UNKNOWN}"},
        {"authorization": f"Bearer {revoked}"},
        {"authorization": f"Basic {basic}"},
        {"authorization": key},
        {"authorization": f"Bearer {key}", "x_api_key": UNKNOWN},
        {"authorization": f"Bearer {key}{key}"},
        {"x_api_key": key, "cookie": f"key={key}", "x_forwarded_for": key, "user_agent": key},
        {"x_api_key": key, "traceparent": f"00-{key}", "tracestate": f"key={key}"},
    ):
        client.ask("POST", CHAT, body, **headers)
    allowed = {"authorization": f"Bearer {key}"}
    client.ask("POST", f"{CHAT}?api_key={key}", body, own_words=True, **allowed)
    client.ask("GET", f"/{key}", own_words=True, **allowed)
    client.ask("GET", f"/v1/models/{key}", own_words=True, **allowed)
    client.ask("DELETE", CHAT, **allowed)
    client.chat(key, "no-such-task", "hello")
    client.chat(key, key, "hello", own_words=True)
    for broken in (b"{", b'{"model": 1}', b'{"model": "echo"}', b"\xff", f'{{"model": "{key}"'.encode()):
        client.ask("POST", CHAT, broken, own_words=True, **allowed)
    client.ask("POST", CHAT, b'{"model": "echo", "base_url": "http://127.0.0.1:9", "messages": []}', **allowed)
    client.ask("POST", CHAT, b"x", content_length=str(9 << 20), **allowed)
    client.ask("GET", "/metrics", **allowed)


def use(client: Client, key: str, pinned: str) -> None:
    """Successes, and every failure that an engine can bring about."""
    for stream in (False, True):
        assert client.chat(key, "echo", "hello there", stream=stream)[0] == 200
        # The caller's own words come back to it, and are recorded without what they hold.
        for secret in (key, UPSTREAM, OTLP):
            assert client.chat(key, "masked", f"my token: {secret}", stream=stream, own_words=True)[0] == 200
        for fault in FAULTS:
            client.chat(key, fault, "hello there", stream=stream)
        for how in ("well", *LETS_SLIP):
            client.chat(pinned, "leaky", f"answer {how}", stream=stream)
    assert client.chat(pinned, "leaky", "answer well")[0] == 200


def rows_of(url: str) -> str:
    """Everything in a PostgreSQL database."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return "\n".join(
            f"{name}: {row}" for (name,) in tables for row in connection.execute(f'SELECT * FROM "{name}"'.encode())
        )


def new_key(up: Up, name: str, *options: str) -> str:
    made = up.call("key", "new", name, "--json", *options)
    assert made.status == 0, made
    return str(made.json["key"])


@pytest.mark.parametrize(("database", "form"), [("sqlite", "text"), ("postgresql", "json")])
def test_no_secret_is_found_anywhere(tmp_path: Path, request: pytest.FixtureRequest, database: str, form: str) -> None:
    seen = Seen()
    secrets = {"the upstream's key": UPSTREAM, "the collector's header": OTLP}
    with indiscreet() as upstream, collector() as spans:
        project = written(tmp_path / "project", spans, form)
        url = None
        if database == "postgresql":
            url = request.getfixturevalue("postgres_url")
            postgres.keep_in(project, url)
            secrets["the store's password"] = postgres.PASSWORD
        up = start(
            project, environment={"CANARY_UPSTREAM": UPSTREAM, "CANARY_OTLP": f"authorization=Bearer {OTLP},x-team=a"}
        )
        try:
            secrets |= _run(up, upstream, seen)
            # A busy machine may lose a batch of spans, which is allowed: more requests make more of them.
            until(lambda: len(spans.spans) > 20 or not up.ask(), 2 * PATIENCE_S)
            _look_at_processes(up, seen, secrets)
        finally:
            up.process.stdin.close() if up.process.stdin is not None else None
            up.process.wait(2 * PATIENCE_S)
            seen.add("standard output", up.process.stdout.read() if up.process.stdout is not None else "")
            up.stop()
    assert f"Bearer {OTLP}" in {headers.get("authorization") for headers in spans.headers}
    seen.add("spans", b"".join(each.SerializeToString() for each in spans.requests))
    _collect(project, seen, url)
    assert {200, 400, 401, 403, 404, 405, 413, 502} <= seen.statuses
    assert seen.leaks(secrets) == []
    # The search itself works: what was recorded is there to be found.
    assert any(
        b"a fine answer" in text or b"hello there" in text for where, text in seen.texts.items() if "store" in where
    )


def _run(up: Up, upstream: str, seen: Seen) -> dict[str, str]:
    """Use the system in every way; gives the secrets that came into being."""
    deployed = up.call(
        *("deploy", "leaky", "--engine", "openai", "--url", upstream, "--key-env", "CANARY_UPSTREAM", "--name", "leaky")
    )
    assert deployed.status == 0, deployed
    seen.add("deploy", deployed.out + deployed.err)
    assert up.call("team", "new", "risk").status == 0
    pinned, revoked = new_key(up, "pinned", "--deployment", "leaky", "--team", "risk"), new_key(up, "revoked")
    assert up.call("key", "revoke", "revoked").status == 0
    operator = (up.project / ".changeover" / "operator.key").read_text().strip()
    until(lambda: _answers(up, pinned), 2 * PATIENCE_S)
    client = Client(up, seen)
    use(client, up.key, pinned)
    misuse(client, up.key, revoked)
    _refuse_in_commands(up, seen)
    for path in ("/metrics", "/healthz", "/openapi.json", "/v1/models"):
        assert client.ask("GET", path, authorization=f"Bearer {operator}")[0] == 200
    for arguments in (("status",), ("key", "list"), ("team", "list"), ("usage",), ("history", "echo")):
        for more in ((), ("--json",)):
            ended = up.call(*arguments, *more)
            assert ended.status == 0, ended
            seen.add(" ".join(arguments), ended.out + ended.err)
    return {
        "an application's key": up.key,
        "a pinned key": pinned,
        "a revoked key": revoked,
        "the operator's": operator,
    }


def _answers(up: Up, key: str) -> bool:
    return Client(up, Seen()).chat(key, "leaky", "answer well")[0] == 200


def _refuse_in_commands(up: Up, seen: Seen) -> None:
    """Mistakes on the command line, with a secret where one may end up by mistake."""
    for arguments in (
        ("deploy", "x", "--engine", "openai", "--url", "http://127.0.0.1:9/v1", "--key-env", UPSTREAM),
        ("deploy", "y", "--engine", "openai", "--url", f"http://user:{UPSTREAM}@127.0.0.1:9/v1"),
        ("deploy", "z", "--engine", "openai", "--url", f"http://127.0.0.1:9/v1?key={UPSTREAM}"),
    ):
        ended = up.call(*arguments)
        assert ended.status == 2, ended
        seen.add("refused deploy", ended.out + ended.err)


def _look_at_processes(up: Up, seen: Seen, secrets: Mapping[str, str]) -> None:
    """Engines are told no secret where other programs could read it."""
    for engine in up.engines():
        try:
            seen.add("command line of an engine", "\n".join(engine.cmdline()))
            seen.add(
                "environment of an engine", "\n".join(f"{name}={value}" for name, value in engine.environ().items())
            )
        except psutil.Error:
            continue
    assert secrets


def _collect(project: Path, seen: Seen, url: str | None) -> None:
    """Logs, files of the state directory, rows."""
    seen.add("log", (project / "up.log").read_bytes())
    assert (project / "up.log").stat().st_size > 0
    for file in sorted((project / ".changeover").rglob("*")):
        if file.is_file() and file.name not in ("operator.key",):
            seen.add(f"store or state file {file.name}", file.read_bytes())
    if url is not None:
        seen.add("store's rows", rows_of(url))


def test_a_store_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path) -> None:
    secret = "canary-store-5d1c9e"
    for url in (
        f"postgresql://app:{secret}@127.0.0.1:9/changeover",
        f"postgresql://app:{secret}@[nonsense/changeover",
        f"mysql://app:{secret}@127.0.0.1/changeover",
        f"postgresql://app:{secret}@extra@127.0.0.1:9/changeover",
        f"postgresql://127.0.0.1:9/changeover?user=app&password={secret}",
    ):
        project = postgres.keep_in(write_project(tmp_path / f"p{abs(hash(url))}"), url)
        (project / ".changeover").mkdir()
        for arguments in (("up",), ("status",)):
            ended = command(project, *arguments)
            assert ended.status != 0
            assert secret not in ended.out + ended.err, (url, arguments)

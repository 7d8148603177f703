"""The log: text or JSON lines, UTC, and no secret whichever way it came."""

import io
import json
import logging
import warnings
from urllib.parse import quote

import pytest

from changeover.app.logs import register_secret, set_up_logging, without_secrets
from changeover.core.ids import new_secret

CANARY = "canary 9f2c/secret+value"


pytestmark = pytest.mark.usefixtures("own_logs")


def set_up(form: str) -> io.StringIO:
    stream = io.StringIO()
    set_up_logging("json" if form == "json" else "text", stream)
    return stream


def test_a_line_of_text_has_time_level_logger_message_and_fields() -> None:
    stream = set_up("text")
    logging.getLogger("changeover.gateway.door").warning("slow: %d ms", 12, extra={"request": "req_1", "note": "a b"})
    time, _, rest = stream.getvalue().partition(" ")
    assert time.endswith("Z")
    assert len(time) == len("2026-01-01T12:00:00.000Z")
    assert rest == 'WARNING changeover.gateway.door: slow: 12 ms request=req_1 note="a b"\n'


def test_a_json_line_is_one_object_whatever_the_message() -> None:
    stream = set_up("json")
    logging.getLogger("a.b").info(
        "two\nlines \x1b[31m %s", "über", extra={"task": "summarise", "status": 200, "none": None}
    )
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info",
        "logger": "a.b",
        "message": "two\nlines \x1b[31m über",
        "task": "summarise",
        "status": 200,
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_part_of_its_event(form: str) -> None:
    stream = set_up(form)
    try:
        raise ValueError("what went wrong")
    except ValueError:
        logging.getLogger("a").exception("failed")
    lines = stream.getvalue().splitlines()
    if form == "json":
        (line,) = lines
        assert "ValueError: what went wrong" in json.loads(line)["exception"]
    else:
        assert lines[0].endswith("ERROR a: failed")
        assert lines[-1] == "  ValueError: what went wrong"
        assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_registered_secret_is_in_no_line_however_it_came(form: str) -> None:
    register_secret(CANARY)
    stream = set_up(form)
    log = logging.getLogger("a")
    log.info("with %s inside", CANARY)
    log.info("as a URL %s", quote(CANARY, safe=""))
    log.info("as JSON %s", json.dumps({"key": CANARY}))
    log.info({"key": CANARY})
    log.info("field", extra={"field": CANARY, "inner": {"a": CANARY}})
    log.info("wrong call %s %s", CANARY)
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as exc:
            raise RuntimeError(f"because of {CANARY}") from exc
    except RuntimeError:
        log.exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"beware of {CANARY}", UserWarning, stacklevel=1)
    said = stream.getvalue()
    assert "canary" not in said
    assert said.count("[secret]") >= 9


@pytest.mark.parametrize("prefix", ["co", "engine"])
def test_our_own_secrets_are_known_by_their_shape(prefix: str) -> None:
    stream = set_up("text")
    secret = new_secret(prefix)
    logging.getLogger("a").info("key=%s header 'Bearer %s' url http://x/?k=%s.", secret, secret, secret)
    assert secret not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdefgh.12345", "Authorization: Bearer [secret]"),
        ("postgresql+psycopg://app:pw1@host/db", "postgresql+psycopg://app:[secret]@host/db"),
        ("http://127.0.0.1:8100/v1 and a@b", "http://127.0.0.1:8100/v1 and a@b"),
        ("co-operation, engine-room", "co-operation, engine-room"),
    ],
)
def test_what_carries_a_secret_by_its_form_is_masked(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_short_values_and_none_are_not_looked_for() -> None:
    register_secret(None)
    register_secret("the")
    assert without_secrets("the end") == "the end"


def test_a_secret_that_begins_as_another_does_is_masked_whole() -> None:
    register_secret("abcdef-one")
    register_secret("abcdef-one-and-more")
    assert without_secrets("x abcdef-one-and-more y") == "x [secret] y"


def test_libraries_log_in_the_same_form_and_only_once() -> None:
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(io.StringIO()))
    set_up("json")
    stream = set_up("json")
    for name in ("uvicorn.error", "aiohttp.server", "sqlalchemy.engine.Engine", "alembic.runtime"):
        logging.getLogger(name).warning("said")
    logging.getLogger("alembic.runtime").info("not said")
    assert [json.loads(line)["logger"] for line in stream.getvalue().splitlines()] == [
        "uvicorn.error",
        "aiohttp.server",
        "sqlalchemy.engine.Engine",
        "alembic.runtime",
    ]

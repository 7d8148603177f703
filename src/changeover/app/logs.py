"""The system's log: lines of text or of JSON on one stream, UTC, with no secret in them.

`changeover up` sets it up before anything else is opened. Whatever a message, an exception or a field holds passes a
filter that knows the shapes of our own secrets, and the values of all others that were registered.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from changeover.core.secrets import MASK, register_secret, without_registered
from changeover.gateway.redact.secrets import OURS

__all__ = ["register_secret", "set_up_logging", "without_secrets"]

QUIET = ("alembic", "asyncio", "uvicorn.access", "httpx", "httpx2", "urllib3")
"""Loggers of libraries that tell nothing of interest below a warning."""

_OURS = re.compile(rf"(?<![A-Za-z0-9]){OURS}")
_BEARER = re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}")
_AUTHORITY = re.compile(r"(?<=://)([^\s/:@\"'<>]{0,256}):[^\s/@\"'<>]{1,256}(?=@)")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_FIELD = re.compile(r"[a-z][a-z0-9_.]{0,63}")


def without_secrets(text: str) -> str:
    """What a log would show of a text."""
    text = _OURS.sub(MASK, without_registered(text))
    text = _BEARER.sub(rf"\1\2{MASK}", text)
    return _AUTHORITY.sub(rf"\1:{MASK}", text) if "://" in text else text


class _Formatter(logging.Formatter):
    """What both forms have in common: the time, the fields, and nothing secret."""

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What was given as `extra`, such as `request` and `task`."""
        given = {
            name: value for name, value in vars(record).items() if name not in _STANDARD and _FIELD.fullmatch(name)
        }
        return {name: _plain(value) for name, value in given.items() if value is not None}

    def time(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

    def exception(self, record: logging.LogRecord) -> str | None:
        if record.exc_info is not None and record.exc_info[0] is not None:
            # Never the values of local variables, which `traceback` can show and people then paste.
            return "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return record.exc_text or None

    def words(self, record: logging.LogRecord) -> str:
        try:
            return record.getMessage()
        except Exception:  # a wrong call of the logger must not hide what it was about
            return f"{record.msg} {record.args!r}"


class TextLines(_Formatter):
    """One line for each event: time, level, logger, message, fields as `name=value`; a traceback follows indented."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_token(value)}" for name, value in self.fields(record).items())
        words = self.words(record).replace("\n", "\n  ")
        line = f"{self.time(record)} {record.levelname} {record.name}: {words}{fields}"
        problem = self.exception(record)
        if problem is not None:
            line += "\n  " + problem.replace("\n", "\n  ")
        return without_secrets(line)


class JsonLines(_Formatter):
    """One JSON object for each event."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": self.time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.words(record),
            **self.fields(record),
        }
        problem = self.exception(record)
        if problem is not None:
            event["exception"] = problem
        return json.dumps({name: _masked(value) for name, value in event.items()}, ensure_ascii=False)


def set_up_logging(form: Literal["text", "json"], stream: TextIO, level: int = logging.INFO) -> None:
    """Send every log of this process to one stream, libraries' too. May be called again.

    Args:
        form: `text` or `json`, as `telemetry.log` says.
        stream: Where to; standard error, usually.
        level: The least of what is written.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "aiohttp.server", "aiohttp.client", "sqlalchemy.engine"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _masked(value: Any) -> Any:
    return without_secrets(value) if isinstance(value, str) else value


def _token(value: Any) -> str:
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)

"""What both clients send and read, without the sending: requests, answers, events, and how long trouble is borne."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from changeover.client.failures import ERROR_STATUS, ClientError, JobCancelled, Unreachable, failed, failure_of
from changeover.client.inputs import encode
from changeover.client.values import Event, Job, Piece, Progress, Result, Tool
from changeover.core.errors import ConfigError, StoreError

URL_VARIABLE = "CHANGEOVER_URL"
KEY_VARIABLE = "CHANGEOVER_KEY"
CONNECT_S = 10.0
SILENCE_S = 3_600.0
"""How long a run may say nothing: a large model that reads a long document takes its time."""
TRIES = 30
"""In a row, after the link to a job broke; the job goes on meanwhile."""
BETWEEN_TRIES_S = 1.0
MOST_EVENT_BYTES = 64 * 1024 * 1024
"""Of one event: a result may be large."""

How = Literal["result", "stream", "job"]
Value = TypeVar("Value")

Ask = tuple[str, str, dict[str, Any]]
"""A request: method, path, options."""


class _Tools(msgspec.Struct):
    data: list[Tool]


class _Jobs(msgspec.Struct):
    data: list[Job]


def settings(url: str | None, key: str | None, silence_s: float) -> dict[str, Any]:
    """Options of an HTTP client that speaks to a gateway.

    Raises:
        ConfigError: No address or no key is given, nor stands in the environment.
    """
    address = (url or os.environ.get(URL_VARIABLE) or "").rstrip("/").removesuffix("/v1")
    secret = key or os.environ.get(KEY_VARIABLE)
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"`{address}` is no address of a gateway. Give one such as `http://127.0.0.1:8100`, or set `{URL_VARIABLE}`."
        )
    if not secret:
        raise ConfigError(f"No key. Give the application's, or set `{KEY_VARIABLE}`.")
    return {
        "base_url": address,
        "headers": as_key(secret),
        "timeout": httpx2.Timeout(silence_s, connect=CONNECT_S, pool=None),
        "follow_redirects": False,
        "trust_env": parts.hostname not in ("127.0.0.1", "localhost", "::1"),  # no proxy leads to this machine
    }


def as_key(secret: str) -> dict[str, str]:
    """The header that says whose key it is; white space around that, such as the end of a file's line, is left out.

    Raises:
        ConfigError: It cannot be a key; it is not repeated, for it may be one but for a letter.
    """
    key = secret.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError("The key has a space, a line break or another sign in it that no key has. Copy it once more.")
    return {"authorization": f"Bearer {key}"}


def list_tools() -> Ask:
    return "GET", "/v1/tools", {}


def one_tool(name: str) -> Ask:
    return "GET", f"/v1/tools/{quote(name, safe='')}", {}


def run_tool(name: str, inputs: Mapping[str, Any], how: How) -> Ask:
    return "POST", f"/v1/tools/{quote(name, safe='')}", {"params": {"as": how}, **encode(inputs)}


def list_jobs() -> Ask:
    return "GET", "/v1/jobs", {}


def one_job(id: str) -> Ask:
    return "GET", f"/v1/jobs/{quote(id, safe='')}", {}


def events_of(id: str) -> Ask:
    return "GET", f"/v1/jobs/{quote(id, safe='')}/events", {}


def end_job(id: str) -> Ask:
    return "DELETE", f"/v1/jobs/{quote(id, safe='')}", {}


def check(response: httpx2.Response) -> None:
    """See that an answer, which was read, is none of an error.

    Raises:
        ClientError: It is.
    """
    if response.status_code >= ERROR_STATUS:
        raise failure_of(response.content, response.status_code, response.headers.get("retry-after"))


def read(response: httpx2.Response, kind: type[Value]) -> Value:
    """What an answer says.

    Raises:
        ClientError: It is an error, or not what a gateway answers.
    """
    check(response)
    return _decoded(response.content, kind)


def read_tools(response: httpx2.Response) -> list[Tool]:
    return read(response, _Tools).data


def read_jobs(response: httpx2.Response) -> list[Job]:
    return read(response, _Jobs).data


def read_event(kind: str, data: str) -> Event | None:
    """What an event says; None: nothing for the caller.

    Raises:
        ClientError: The run failed, or was cancelled.
    """
    if kind == "progress":
        return _decoded(data, Progress)
    if kind == "text":
        return _decoded(data, Piece)
    if kind == "result":
        return _decoded(data, Result)
    if kind == "error":
        raise failure_in(cast("dict[str, Any]", _decoded(data, dict)))
    return None


def result_of(job: Job) -> Result | None:
    """The result of a job that is done; None while it goes on.

    Raises:
        ClientError: It failed, or was cancelled.
    """
    if job.state == "cancelled":
        raise JobCancelled(f"Job `{job.id}` was cancelled. Run `{job.tool}` again.")
    if job.state == "failed":
        raise failure_in(job.error or {})
    if job.state == "done" and job.result is None:
        raise Unreachable(f"Job `{job.id}` is done, and its result is not kept any more. Run `{job.tool}` again.")
    return job.result


def goes_on(failure: ClientError) -> bool:
    """Whether a job goes on although it could not be looked at: the link broke, or the gateway's store is gone for now."""
    return isinstance(failure, Unreachable) or failure.code == StoreError.code


def failure_in(envelope: Mapping[str, Any]) -> ClientError:
    """The error of an envelope, or of what stands inside one."""
    error = cast("dict[str, Any]", envelope.get("error") or dict(envelope))
    return failed(error, str(error.get("message") or "The run failed, and nobody said why."), None)


def broken(exc: httpx2.HTTPError, address: object) -> Unreachable:
    """A link that failed, in a sentence."""
    if isinstance(exc, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Unreachable(f"No gateway answers at {address}. Start it (`changeover up`), or give its address.")
    if isinstance(exc, httpx2.TimeoutException):
        return Unreachable(f"The gateway at {address} said nothing for too long. Run it as a job, which goes on.")
    why = str(exc) or type(exc).__name__
    return Unreachable(f"The gateway at {address} broke off: {why}. Run it again; a job goes on over a restart.")


def _decoded(data: bytes | str, kind: type[Value]) -> Value:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as exc:
        raise Unreachable(f"What answers there speaks no language of this client's: {exc}.") from exc

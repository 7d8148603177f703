"""What goes wrong, as the caller meets it: the server's own sentence, with its code."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from changeover.core import errors
from changeover.core.errors import ChangeoverError

ERROR_STATUS = 400
"""From here on an answer is an error."""


class ClientError(ChangeoverError):
    """Anything that this client reports."""


class ToolFailed(ClientError):
    """The gateway refused a request, or a run failed: with its message, `status`, `code`, `retryable` and `source`."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        retryable: bool,
        source: errors.Source = "gateway",
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retryable = retryable
        self.source = source
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class JobCancelled(ClientError):
    """Somebody cancelled the job; it has no result."""

    status = 409
    code = "job_cancelled"


class Unreachable(ClientError):
    """The gateway does not answer, broke off, or what answers there is no gateway."""

    status = 503
    code = "unreachable"
    retryable = True


def failure_of(body: bytes, status: int, retry_after: str | None = None) -> ClientError:
    """The error that an answer holds; of one without an envelope, what there is."""
    try:
        fields = msgspec.json.decode(body)
        error = cast("dict[str, Any]", fields["error"])
        message = str(error["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return Unreachable(f"No gateway answers there: status {status}, and no error that one would send.")
    return failed(error, message, status, retry_after)


def failed(error: dict[str, Any], message: str, status: int | None, retry_after: str | None = None) -> ClientError:
    """The error of an envelope. Where no status is known, what its code means says it."""
    code = str(error.get("code") or ChangeoverError.code)
    if code == JobCancelled.code:
        return JobCancelled(message)
    kind = _KINDS.get(code, ChangeoverError)
    source: errors.Source = "model" if error.get("source") == "model" else "gateway"
    return ToolFailed(
        message,
        status=kind.status if status is None else status,
        code=code,
        retryable=bool(error.get("retryable", kind.retryable or status in (429, 503))),
        source=source,
        request_id=error.get("request_id"),
        retry_after_s=float(retry_after) if retry_after is not None and retry_after.isdigit() else None,
    )


def _kinds(kind: type[ChangeoverError]) -> dict[str, type[ChangeoverError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            found = {**_kinds(child), **found}
    return found


_KINDS = _kinds(ChangeoverError)
"""What each code of the system means."""

"""What went wrong on the way to an engine, in words that follow its name. The same, whichever client met it."""

from __future__ import annotations

import errno
import os
from typing import Final

from changeover.serving.status import REFUSES_KEY

SLOW_TO_CONNECT: Final = "cannot be reached (connecting took too long)"
NOT_ANSWERED: Final = "closed the connection before it answered"
CUT_SHORT: Final = "broke off within its answer"
NO_HTTP: Final = "sent something that is no HTTP answer"
BROKEN: Final = "broke the connection"
UNKNOWN_HOST: Final = "its host name is not known"
TLS_REFUSED: Final = "its TLS certificate or handshake was refused"


def unreachable(reason: str) -> str:
    """For a connection that could not be made."""
    return f"cannot be reached ({reason})"


def reason_of(number: int | None) -> str:
    """The system's words for an error number; never an exception's own text, which holds addresses."""
    return os.strerror(number).lower() if number is not None and number in errno.errorcode else "no connection"


def nothing_within(name: str, limit_s: float) -> str:
    """No answer at all came in time."""
    return f"`{name}` sent nothing within {limit_s:g} s."


def silent(name: str, stall_s: float, *, began: bool) -> str:
    """The head of an answer came, and then nothing more in time.

    Args:
        name: The deployment's.
        stall_s: Longest silence that was allowed, seconds.
        began: Whether some of the body had been there.
    """
    if began:
        return f"`{name}` fell silent for {stall_s:g} s within its answer."
    return f"`{name}` began an answer and sent nothing of it in time."


def too_long(name: str, limit: int) -> str:
    """An answer that is read whole does not end."""
    return f"`{name}` sent more than {limit >> 20} MiB."


def encoded(name: str, encoding: str) -> str:
    """The answer is compressed though it must not be."""
    shown = "".join(each for each in encoding if each.isprintable())[:40]
    return f"`{name}` answered in `{shown}` though it was asked for plain bytes."


def unready(status: int) -> str | None:
    """Why a probe's status means that the engine cannot answer. Many servers have no list of models: 404 is fine."""
    if status in (401, 403):
        return f"{REFUSES_KEY} (status {status})"
    if status >= 500 or 300 <= status < 400:
        return f"answers with status {status}"
    return None

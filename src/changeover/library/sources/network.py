"""Asking other people's servers: patient, bounded, and without giving the token to anybody else.

`huggingface_hub` uses one client for everything; `careful()` gives it this one for a while.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils import parse_ratelimit_headers
from huggingface_hub.utils._http import default_client_factory

from changeover.core.errors import ConfigError, SourceError
from changeover.core.secrets import register_secret, without_registered
from changeover.core.settings import SourceSettings
from changeover.library.sources.documents import MOST_BYTES

TRIES: Final = 4
LONGEST_WAIT_S: Final = 300.0
"""Before the next try: the window in which the Hub counts requests. A server that asks for more is left alone."""
FIRST_WAIT_S: Final = 0.5
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
MOST_REDIRECTS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much is asked for and taken, beside the time that a server may be silent."""

    most_bytes: int = MOST_BYTES
    """Of one answer."""
    most_seconds: float = 600.0
    """For one answer, however steadily it drips."""
    most_requests: int = 20_000
    """Of one sync. More would be paging that does not end."""
    most_listed: int = 20_000
    """Things that are counted of one kind; then the count is `or more`."""
    sleep: Callable[[float], None] = time.sleep


USUAL: Final = Bounds()


class Careful(httpx2.BaseTransport):
    """Answers are read whole, within a time and a size; what is passing is asked for again."""

    def __init__(self, name: str, timeout_s: float, bounds: Bounds) -> None:
        self._name = name
        self._timeout = httpx2.Timeout(timeout_s)
        self._bounds = bounds
        self._asked = 0
        # A client and no bare transport: it knows the proxies of the environment.
        self._client = httpx2.Client(follow_redirects=False, timeout=self._timeout)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, up to four times.

        Raises:
            SourceError: There is no answer, or none that can be used.
        """
        # Whoever sends it may have asked for no limit at all, and compressed answers have no size that can be trusted.
        request.extensions = {**request.extensions, "timeout": self._timeout.as_dict()}
        request.headers["Accept-Encoding"] = "identity"
        asked, said = 0.0, ""
        for attempt in range(TRIES):
            if attempt:
                self._bounds.sleep(max(asked, FIRST_WAIT_S * 2 ** (attempt - 1)))
            self._asked += 1
            if self._asked > self._bounds.most_requests:
                raise self._error(request, f"there is no end after {self._bounds.most_requests} requests")
            try:
                answer = self._answer(request)
            except (httpx2.TransportError, httpx2.StreamError) as exc:
                asked, said = 0.0, f"{_words(exc)}, {attempt + 1} times"
                continue
            if answer.status_code not in AGAIN:
                return answer
            said = f"it answers {answer.status_code}, {attempt + 1} times"
            asked = _asked_to_wait(answer)
            if asked > LONGEST_WAIT_S:
                said = f"it answers {answer.status_code} and asks to wait {asked:.0f} s"
                break
        raise self._error(request, said)

    def close(self) -> None:
        self._client.close()

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        answer = self._client.send(request, stream=True)
        try:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise self._error(request, "it compresses what it was asked not to compress")
            body = bytearray()
            begun = time.monotonic()
            for part in answer.iter_raw():
                body += part
                if time.monotonic() - begun > self._bounds.most_seconds:
                    raise self._error(request, f"its answer is not whole after {self._bounds.most_seconds:g} s")
                if len(body) > self._bounds.most_bytes:
                    raise self._error(request, f"it answers with more than {self._bounds.most_bytes} bytes")
        finally:
            answer.close()
        return httpx2.Response(answer.status_code, headers=answer.headers, content=bytes(body), request=request)

    def _error(self, request: httpx2.Request, said: str) -> SourceError:
        where = f"{request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"
        return SourceError(without_registered(f"{self._name} cannot be used: {said} (`{where}`). Nothing was written."))


def token_of(variable: str) -> str | None:
    """The token in an environment variable, which from now on no log shows; None: there is none."""
    token = os.environ.get(variable, "").strip() or None
    register_secret(token)
    return token


def refuse_offline(name: str, settings: SourceSettings, *, online: bool) -> None:
    """Refuse to ask a server where the project or the environment says that nobody is asked.

    Raises:
        ConfigError: It does; says what to do.
    """
    if not (settings.online or online):
        raise ConfigError(
            f"{name} is asked over the network, and `sources.online` is false. "
            "Add `--online`, set it to true in changeover.toml, or give a file with `--file`."
        )
    if constants.is_offline_mode():
        raise ConfigError(f"{name} is asked over the network, and HF_HUB_OFFLINE forbids it. Unset it.")


@contextmanager
def careful(name: str, settings: SourceSettings, bounds: Bounds) -> Generator[httpx2.Client]:
    """A careful client, which is also the one of `huggingface_hub` until the end of the block.

    Redirects are followed, and another origin gets no token: httpx takes the header away.
    """
    transport = Careful(name, settings.timeout_s, bounds)

    def made() -> httpx2.Client:
        return httpx2.Client(transport=transport, follow_redirects=True, max_redirects=MOST_REDIRECTS)

    setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # noqa: B010 - a constant to the type checker, read at each request
    set_client_factory(made)
    client = made()
    try:
        yield client
    finally:
        client.close()
        set_client_factory(default_client_factory)


def download(url: str, name: str, settings: SourceSettings, bounds: Bounds = USUAL) -> bytes:
    """A list of models that somebody keeps at an address.

    Raises:
        SourceError: It cannot be had whole.
    """
    with careful(name, settings, bounds) as client:
        try:
            answer = client.get(url)
        except httpx2.HTTPError as exc:
            raise SourceError(f"{name} cannot be used: {_words(exc)} (`{url}`). Nothing was written.") from exc
    if answer.status_code != 200:
        raise SourceError(f"{name} cannot be used: it answers {answer.status_code} (`{url}`). Nothing was written.")
    return answer.content


def _words(error: Exception) -> str:
    return without_registered(" ".join(str(error).split())[:200]) or type(error).__name__


def _asked_to_wait(answer: httpx2.Response) -> float:
    """Seconds that the server asks to wait; where it names a date, the usual wait is as good."""
    limit = parse_ratelimit_headers(answer.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    value = answer.headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() else 0.0

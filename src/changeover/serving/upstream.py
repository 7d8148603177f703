"""The way to one engine: sends a body, gives back what arrives, and says in our own words what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Final, final

import aiohttp
import msgspec
from yarl import URL

from changeover.core.errors import ChangeoverError, RequestError, UpstreamError
from changeover.serving.answer import Answer
from changeover.serving.refusals import MAX_REFUSAL_BYTES, classify, retry_after, words_for
from changeover.serving.session import make_session, post

__all__ = ["Answer", "Sending", "Upstream", "make_session"]

PROBE_S: Final = 2.0
REFUSAL_S: Final = 2.0
"""Longest wait for the words of a refusal; its status is known by then."""


class _Flights:
    """Counts what is in flight, and tells when nothing is."""

    def __init__(self) -> None:
        self.count = 0
        self.none = asyncio.Event()
        self.none.set()

    def up(self) -> None:
        self.count += 1
        self.none.clear()

    def down(self) -> None:
        self.count -= 1
        if self.count == 0:
            self.none.set()


@final
class Sending:
    """A request to an engine, from the moment it is sent until somebody leaves the context."""

    def __init__(self, flights: _Flights, opening: Callable[[], Awaitable[Answer]]) -> None:
        self._flights = flights
        self._opening = opening
        self._answer: Answer | None = None

    async def __aenter__(self) -> Answer:
        self._flights.up()
        try:
            self._answer = await self._opening()
        except BaseException:
            self._flights.down()
            raise
        return self._answer

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
            self._flights.down()


@final
class Upstream:
    """One engine's OpenAI-compatible address."""

    def __init__(
        self,
        name: str,
        base_url: str,
        secret: str | None,
        model: str | None,
        session: aiohttp.ClientSession,
        *,
        probe_path: str = "/v1/models",
    ) -> None:
        """Set the address up; nothing is sent yet.

        Args:
            name: The deployment's name, for messages.
            base_url: With a path of its own (`https://host/api/v1`), that path stands in for `/v1`.
            secret: Bearer token for the engine.
            model: Replaces the `model` field of each request; None leaves it as it is.
            session: From `make_session`.
            probe_path: What is asked to learn whether the engine can answer.
        """
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.heard = 0
        """Pieces of answers that have arrived: while it grows, the engine is alive."""
        self._secret = secret
        self._session = session
        self._probe_path = probe_path
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if secret is not None:
            self._headers["Authorization"] = f"Bearer {secret}"
        self._urls: dict[str, URL] = {}
        self._flights = _Flights()

    @property
    def in_flight(self) -> int:
        """Requests whose answer is awaited or being read."""
        return self._flights.count

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        await self._flights.none.wait()

    async def ready(self) -> bool:
        """Whether the engine can answer now."""
        return await self.probe() is None

    async def probe(self, timeout_s: float = PROBE_S) -> str | None:
        """Ask the engine whether it can answer; None if so, else why not, to follow its name."""
        headers = {**self._headers, "Connection": "close"}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.get(self._url(self._probe_path), headers=headers, allow_redirects=False) as response,
            ):
                return _unready(response.status)
        except aiohttp.ClientError as exc:
            return words_for(exc)
        except TimeoutError:
            return f"sent nothing within {timeout_s:g} s"

    def send(self, path: str, body: bytes, *, first_byte_s: float, stall_s: float) -> Sending:
        """Send a body; enter the result to get the answer, leave it to be done with the engine.

        Leaving early closes the connection, so that the engine stops working on the request.

        Args:
            path: As engines know it, such as `/v1/chat/completions`. Never from a caller.
            body: A JSON object.
            first_byte_s: Longest wait for the first byte of the answer's body, seconds. Headers alone are not
                enough: engines send them before they have read the prompt.
            stall_s: Longest silence after that.

        Raises:
            RequestError: On entering: the engine says the request is wrong.
            CapacityError: On entering: the engine has too much to do.
            UpstreamError: On entering and while the answer is read: everything else.
        """
        return Sending(self._flights, partial(self._open, path, body, first_byte_s, stall_s))

    async def _open(self, path: str, body: bytes, first_byte_s: float, stall_s: float) -> Answer:
        outgoing = body if self.model is None else _with_model(body, self.model)
        first_byte_at = asyncio.get_running_loop().time() + first_byte_s
        try:
            async with asyncio.timeout_at(first_byte_at):
                response = await post(self._session, self._url(path), outgoing, self._headers)
                refusal = await self._refusal(response)
        except aiohttp.ClientError as exc:
            raise UpstreamError(f"`{self.name}` {words_for(exc)}.") from exc
        except TimeoutError as exc:
            raise UpstreamError(f"`{self.name}` sent nothing within {first_byte_s:g} s.") from exc
        if refusal is not None:
            raise refusal
        return Answer(self.name, response, first_byte_at=first_byte_at, stall_s=stall_s, on_piece=self._hear)

    async def _refusal(self, response: aiohttp.ClientResponse) -> ChangeoverError | None:
        """The error for a response that is no answer; it is closed then."""
        encoding = response.headers.get("Content-Encoding", "identity")
        if 200 <= response.status < 300:
            if encoding == "identity":
                return None
            response.close()
            return UpstreamError(f"`{self.name}` answered in `{encoding}` though it was asked for plain bytes.")
        said = b""
        try:
            async with asyncio.timeout(REFUSAL_S):
                while len(said) < MAX_REFUSAL_BYTES and (part := await response.content.readany()):
                    said += part
        except (aiohttp.ClientError, TimeoutError):
            pass  # the status says enough
        finally:
            response.close()
        wait_s = retry_after(response.headers.get("Retry-After"))
        return classify(self.name, response.status, said[:MAX_REFUSAL_BYTES], wait_s, secret=self._secret)

    def _hear(self) -> None:
        self.heard += 1

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            tail = path.removeprefix("/v1") if URL(self.base_url).path != "/" else path
            url = self._urls[path] = URL(self.base_url + tail)
        return url


def _with_model(body: bytes, model: str) -> bytes:
    """The body with another `model`; everything else keeps its bytes."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError("The body is not a JSON object.") from exc
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


def _unready(status: int) -> str | None:
    """Why a probe's status means that the engine cannot answer. Many servers have no list of models: 404 is fine."""
    if status in (401, 403):
        return f"refuses its key (status {status})"
    if status >= 500 or 300 <= status < 400:
        return f"answers with status {status}"
    return None

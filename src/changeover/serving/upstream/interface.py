"""What the rest of the system knows of the way to engines, whichever client speaks to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol

from changeover.serving.patch import Patch

MAX_ANSWER_BYTES: Final = 64 << 20
"""Of an answer that is read whole. An engine that sends more has lost its way."""
KEEPALIVE_S: Final = 4.0
"""Below the 5 s after which common servers (uvicorn, llama.cpp, Node) close an idle connection themselves."""
CONNECT_S: Final = 10.0
PROBE_S: Final = 2.0
REFUSAL_S: Final = 2.0
"""Longest wait for the words of a refusal; its status is known by then."""

Headers = Iterable[tuple[str, str]]
"""Names and values, to be sent beside our own."""


class Answer(Protocol):
    """What an engine answers: its status and its body. One reader at a time."""

    @property
    def status(self) -> int:
        """HTTP status, 200 to 299: all others are errors."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Only `content-type`; empty text if the engine sent none."""
        ...

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: It broke off, stalled, or is longer than 64 MiB.
        """
        ...

    async def piece(self) -> bytes:
        """What has arrived since, or the next that does; empty at the end.

        Raises:
            UpstreamError: It broke off or stalled.
        """
        ...

    async def pour(self, into: Callable[[bytes], bool]) -> bool:
        """Hand on the body as it arrives, each piece at the moment when it is here.

        Args:
            into: Is given all that has arrived since; gives False to be given no more for now. What it raises ends this.

        Returns:
            Whether that was all of the body. If not, pour again.

        Raises:
            UpstreamError: It broke off or stalled.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; what arrived together is given together.

        Raises:
            UpstreamError: It broke off or stalled.
        """
        ...

    def close(self) -> None:
        """Be done with it; a second time does nothing.

        What was not read is not waited for: its connection is closed, so that the engine stops working on it.
        """
        ...


class Sending(Protocol):
    """A request to an engine, from the moment it is sent until somebody leaves the context."""

    async def __aenter__(self) -> Answer: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Upstream(Protocol):
    """One engine's OpenAI-compatible address."""

    @property
    def name(self) -> str:
        """The deployment's."""
        ...

    @property
    def base_url(self) -> str:
        """Without a slash at its end."""
        ...

    @property
    def model(self) -> str | None:
        """Replaces the `model` field of each request; None leaves it as it is."""
        ...

    @property
    def heard(self) -> int:
        """Pieces of answers that have arrived: while it grows, the engine is alive."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests whose answer is awaited or being read."""
        ...

    @property
    def answered(self) -> int:
        """Requests that have ended, however they did, also those of other processes as far as they tell."""
        ...

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        ...

    async def ready(self) -> bool:
        """Whether the engine can answer now."""
        ...

    async def probe(self, timeout_s: float = PROBE_S) -> str | None:
        """Ask the engine whether it can answer; None if so, else why not, to follow its name."""
        ...

    def open(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
        as_is: bool = False,
    ) -> Coroutine[Any, Any, Answer]:
        """Send a body and wait for the head of the answer. Whoever gets the answer must `close` it.

        Args:
            path: As engines know it, such as `/v1/chat/completions`. Never from a caller.
            body: A JSON object.
            first_byte_s: Longest wait for the first byte of the answer's body, seconds. Headers alone are not
                enough: engines send them before they have read the prompt.
            stall_s: Longest silence after that.
            headers: Sent beside our own, whose names they must not have; printable ASCII.
            as_is: The body names the model already: it is not read again to replace it.

        Raises:
            RequestError: The engine says the request is wrong, or a header cannot be sent.
            CapacityError: The engine has too much to do.
            UpstreamError: Everything else; also while the answer is read.
        """
        ...

    def fetch(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
    ) -> Coroutine[Any, Any, bytes]:
        """Send a body that names the model already, and read the whole answer. As `open` and `Answer.read` together."""
        ...

    def send(
        self,
        path: str,
        body: bytes,
        *,
        first_byte_s: float,
        stall_s: float,
        headers: Headers = (),
        as_is: bool = False,
    ) -> Sending:
        """As `open`: enter the result to get the answer, leave it to be done with the engine.

        Leaving early closes the connection, so that the engine stops working on the request.
        """
        ...


class Client(Protocol):
    """Carries the requests to all engines. Made in a running event loop and used from that alone."""

    def upstream(
        self,
        name: str,
        base_url: str,
        secret: str | None,
        model: str | None,
        *,
        probe_path: str = "/v1/models",
        socket: str | None = None,
        patch: Patch | None = None,
    ) -> Upstream:
        """The way to one engine; nothing is sent yet.

        Args:
            name: The deployment's name, for messages.
            base_url: With a path of its own (`https://host/api/v1`), that path stands in for `/v1`.
            secret: Bearer token for the engine.
            model: Replaces the `model` field of each request; None leaves it as it is.
            probe_path: What is asked to learn whether the engine can answer.
            socket: Path of a Unix socket on which it listens, whatever host the address names.
            patch: Goes into every body; None: bodies are sent as they come.

        Raises:
            ConfigError: The secret cannot be sent in a header.
        """
        ...

    async def close(self) -> None:
        """Close all connections; answers that are being read break."""
        ...

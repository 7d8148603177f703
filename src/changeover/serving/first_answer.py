"""The first answer of an engine: what loads, or is there, need not work. It is asked for before traffic comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from changeover.core.errors import (
    CapacityError,
    ChangeoverError,
    EngineError,
    NoTemplateError,
    RequestError,
    UpstreamError,
)
from changeover.serving.status import REFUSED, REFUSES_KEY
from changeover.serving.upstream import Upstream

FIRST_WORDS: Final[Mapping[str, Any]] = {"messages": [{"role": "user", "content": "Say yes."}]}
FIRST_TEXT: Final[Mapping[str, Any]] = {"prompt": "Say yes."}
"""For a model without a chat template."""
ONE_TOKEN: Final[Mapping[str, Any]] = {"max_tokens": 1, "temperature": 0}
"""Little, but through all of an engine."""
SHORT: Final[Mapping[str, Any]] = {"max_tokens": 16}
"""For a server that somebody else runs: nothing that any of them might not take."""
THINKING: Final[Mapping[str, Any]] = {"max_completion_tokens": 512}
"""For one that takes no `max_tokens`, as OpenAI's for models that think: those tokens count too."""


class _FirstAnswer(msgspec.Struct):
    choices: list[msgspec.Raw]


async def answer_once(upstream: Upstream, model: str, within_s: float) -> None:
    """Have an engine answer once: what was never used is slow at first, too.

    Raises:
        EngineError: It gave no answer, or none with a choice.
    """
    try:
        await _ask(upstream, model, ONE_TOKEN, within_s)
    except (ChangeoverError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise EngineError(f"failed its first answer: {exc}") from exc


async def answer_elsewhere(upstream: Upstream, model: str, within_s: float) -> str:
    """Have a server that somebody else runs answer once; what to say of it then.

    One that has too much to do for now is taken to answer: it knows us.

    Raises:
        EngineError: It gave no answer; by its message `is_refusal` tells whether it would not.
    """
    try:
        try:
            await _ask(upstream, model, SHORT, within_s)
        except RequestError as exc:
            if "max_completion_tokens" not in exc.message:
                raise
            await _ask(upstream, model, THINKING, within_s)
    except CapacityError as exc:
        return f"first answer not checked: {exc.message}"
    except RequestError as exc:
        said = exc.message.removeprefix(f"`{upstream.name}` refused the request: ")
        raise EngineError(f"{REFUSED} (model `{model}`, status {exc.status}): {said}") from exc
    except (ChangeoverError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        if isinstance(exc, UpstreamError) and exc.upstream_status in (
            401,
            403,
        ):  # some guard no more than their answers
            raise EngineError(f"{REFUSES_KEY} (status {exc.upstream_status})") from exc
        raise EngineError(f"failed its first answer (model `{model}`): {exc}") from exc
    return "first answer checked"


async def _ask(upstream: Upstream, model: str, limits: Mapping[str, Any], within_s: float) -> None:
    patience_s = max(within_s, 1.0)

    async def said(path: str, words: Mapping[str, Any]) -> bytes:
        body = msgspec.json.encode({"model": model, **words, **limits})
        return await upstream.fetch(path, body, first_byte_s=patience_s, stall_s=patience_s)

    try:
        answer = await said("/v1/chat/completions", FIRST_WORDS)
    except NoTemplateError:  # a base model, which goes on with a text
        answer = await said("/v1/completions", FIRST_TEXT)
    if not msgspec.json.decode(answer, type=_FirstAnswer).choices:
        raise EngineError("it has no `choices`")

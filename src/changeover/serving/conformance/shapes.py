"""Probes of answers that must have a shape, and of what is answered in numbers: log-probabilities, vectors, images."""

from __future__ import annotations

import base64
import contextlib
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from changeover.core.errors import RequestError
from changeover.serving.conformance.outcome import Absent, Beside, Wrong
from changeover.serving.conformance.talk import COMPLETIONS, EMBEDDINGS, Talk
from changeover.serving.conformance.words import STORY

COLOURS = ("red", "green")
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": list(COLOURS)}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
    "additionalProperties": False,
}
GRAMMAR = 'root ::= "red" | "green"'
SIDE = 64
"""Of the image, in pixels."""
NO_EYES = ("multimodal", "image", "mmproj", "vision")


async def json_schema(talk: Talk) -> str:
    """An answer has the shape that a JSON Schema says, though nothing in the words asks for it."""
    answer = await talk.chat(STORY, max_tokens=120, **_shaped(talk))
    return _fits(answer.text, answer.finish)


async def json_schema_streamed(talk: Talk) -> str:
    """A stream has it too."""
    answer = await talk.stream(STORY, max_tokens=120, **_shaped(talk))
    return _fits(answer.text, answer.finish)


def _shaped(talk: Talk) -> Mapping[str, Any]:
    """The schema where the engine reads it. The gateway puts it there itself."""
    form = "response_format" if talk.subject.through == "gateway" else talk.subject.profile.structured
    if form == "guided_json":
        return {"guided_json": SCHEMA}
    if form == "structured_outputs":
        return {"structured_outputs": {"json": SCHEMA}}
    if form == "grammar":
        return {"response_format": {"type": "json", "value": SCHEMA}}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "opinion", "schema": SCHEMA}}}


def _fits(text: str, finish: Any) -> str:
    try:
        value: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        if finish == "length" and text.lstrip().startswith("{"):
            raise Wrong(f"it was cut off before it was whole: {text.strip()[:60]!r}") from None
        raise Absent(f"the schema is ignored without a word: {text[:60]!r}") from None
    fields: dict[str, Any] = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if set(fields) != {"colour", "sure"} or fields["colour"] not in COLOURS or type(fields["sure"]) is not bool:
        raise Wrong(f"it is not of that shape: {text[:60]!r}")
    return text[:60]


async def grammar(talk: Talk) -> str:
    """An answer is one that a grammar allows."""
    form = "grammar" if talk.subject.through == "gateway" else talk.subject.profile.grammar
    fields = {"grammar": GRAMMAR} if form == "grammar" else {"structured_outputs": {"grammar": GRAMMAR}}
    text = (await talk.chat(STORY, **fields)).text.strip()
    if text not in COLOURS:
        raise Absent(f"`{form}` is ignored without a word: {text[:60]!r}")
    return text


async def logprobs(talk: Talk) -> str:
    """Every token of an answer comes with its log-probability."""
    entries = await _logprobs(talk, logprobs=True)
    return f"{len(entries)} tokens, the first {entries[0]['logprob']:.3g}"


async def top_logprobs(talk: Talk) -> str:
    """And with those of the likeliest tokens in its place."""
    entries = await _logprobs(talk, logprobs=True, top_logprobs=3)
    found = [cast("list[dict[str, Any]]", entry.get("top_logprobs") or []) for entry in entries]
    if not all(found):
        raise Absent("no `top_logprobs` came")
    if any(len(each) != 3 for each in found):
        raise Wrong(f"{len(found[0])} came where 3 were asked for")
    return f"3 for each of {len(entries)} tokens"


async def _logprobs(talk: Talk, **fields: Any) -> list[dict[str, Any]]:
    answer = await talk.chat(STORY, max_tokens=4, **fields)
    entries = cast("list[dict[str, Any]]", _inside(answer.choices[0], "logprobs").get("content") or [])
    if not entries:
        raise Absent("`logprobs` is ignored without a word")
    for entry in entries:
        value = entry.get("logprob")
        if not isinstance(entry.get("token"), str) or not isinstance(value, int | float) or value > 1e-6:
            raise Wrong(f"an entry is {entry}")
    return entries


async def prompt_logprobs(talk: Talk) -> str:
    """The prompt's tokens come with their log-probabilities: by OpenAI's `echo`, or vLLM's `prompt_logprobs`."""
    prompt = "The fox walked to the river"
    body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    choice: dict[str, Any] = {}
    with contextlib.suppress(RequestError):
        choice = _first(await talk.post(COMPLETIONS, body))
    found: list[Any] = _inside(choice, "logprobs").get("token_logprobs") or []
    if len(found) > 3:
        return f"{len(found)} tokens, by `echo`"
    answer = await talk.chat(prompt, max_tokens=1, prompt_logprobs=1)
    told: Any = answer.fields.get("prompt_logprobs") or answer.choices[0].get("prompt_logprobs")
    if not isinstance(told, list) or not told:
        raise Absent("neither `echo` nor `prompt_logprobs` is read")
    return f"{len(cast('list[Any]', told))} tokens, by `prompt_logprobs`"


def _inside(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", fields.get(name) or {})


def _first(answer: Mapping[str, Any]) -> dict[str, Any]:
    choices = cast("list[dict[str, Any]]", answer.get("choices") or [{}])
    return choices[0]


async def embeddings(talk: Talk) -> str:
    """Texts become vectors, one for each, of one length, and different ones for different texts."""
    served = talk.subject.profile.endpoints
    if talk.subject.standing["embeddings"] and served is not None and "embeddings" not in served:
        raise Beside("this deployment was not started for embeddings")
    answer = await talk.post(EMBEDDINGS, {"input": ["a fox by the river", "the price of copper"]})
    data = cast("list[dict[str, Any]]", answer.get("data") or [])
    vectors = [cast("list[float]", each.get("embedding")) for each in data]
    if [each.get("index") for each in data] != [0, 1]:
        raise Wrong(f"{len(vectors)} vectors came for two texts")
    a, b = vectors
    if not a or len(a) != len(b) or a == b or not all(math.isfinite(value) for value in (*a, *b)):
        raise Wrong("the vectors are of two lengths, the same, or hold what is no number")
    return f"two vectors of {len(a)} numbers"


async def vision(talk: Talk) -> str:
    """An image beside the text is taken, and looked at."""
    text = {"type": "text", "text": "What colour is this?"}
    without = await talk.chat([{"role": "user", "content": [text]}], max_tokens=1)
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_red_square()}"}}
    try:
        answer = await talk.chat([{"role": "user", "content": [text, image]}], max_tokens=8)
    except RequestError as exc:
        if talk.subject.standing["vision"] and any(word in exc.message.lower() for word in NO_EYES):
            raise Beside(f"the model has no eyes: {exc.message}") from exc
        raise
    before, after = (each.usage.get("prompt_tokens", 0) for each in (without, answer))
    if after <= before:
        raise Absent(f"the image is ignored without a word: {before} tokens without, {after} with")
    return f"{before} tokens without, {after} with"


def _red_square() -> str:
    """A PNG, in base64."""
    rows = b"".join(b"\x00" + b"\xff\x00\x00" * SIDE for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    written = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + written).decode()

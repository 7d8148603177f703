"""Masking of personal data and secrets in texts and JSON bodies, by rules. The recorder uses it; names are not masked.

What a rule finds becomes a token such as `[email 1]`; the same value gets the same token within one exchange, so that a
conversation stays readable. What is masked, and what is not: docs, concepts, records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast

import msgspec

from changeover.gateway.redact import contact, identity, money, secrets
from changeover.gateway.redact.spans import Span, Text

RULES = (
    secrets.media,
    secrets.private_keys,
    secrets.credentials,
    secrets.known_shapes,
    secrets.passwords,
    secrets.named,
    contact.emails,
    money.ibans,
    money.cards,
    identity.births,
    identity.national,
    identity.named,
    contact.addresses,
    contact.phones,
)
"""The surest first: where two rules find the same place, the first one has it."""

LEAST_INTEGER = 1_000_000
"""Smaller numbers in JSON are nobody's."""
MOST_KEY = 64
"""Longer names of members say nothing about their values."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LOOSE = re.compile(r"[\s()./-]+")


class Redactor:
    """Masks the texts of one exchange. Keeps what it found in memory, so it must not outlive the exchange."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}

    def text(self, text: str) -> str:
        """Mask a text of any length; takes time in proportion to it."""
        return self._masked(text, "")

    def json_bytes(self, raw: bytes) -> str:
        """Mask a JSON body and give it as JSON text: strings, and whole numbers that are somebody's. Names of members stay.

        A member's name counts as context: `{"phone": "901820"}`. A body that is no JSON is masked as text.
        """
        try:
            return self._document(raw)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return self.text(raw.decode("utf-8", "replace"))

    def _document(self, raw: bytes) -> str:
        try:
            return msgspec.json.encode(self._value(msgspec.json.decode(raw), "")).decode()
        except msgspec.MsgspecError:
            # Half a surrogate pair, or NaN: not JSON to everybody, but escapes in it must be read before rules can see.
            return json.dumps(self._value(json.loads(raw), ""))

    def _value(self, value: Any, name: str) -> Any:
        if isinstance(value, str):
            return self._masked(value, name)
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            return {key: self._value(member, key) for key, member in members.items()}
        if isinstance(value, list):
            items = cast("list[Any]", value)
            return [self._value(item, name) for item in items]
        if isinstance(value, int) and value >= LEAST_INTEGER:
            digits = str(value)
            masked = self._masked(digits, name)
            return value if masked == digits else masked
        return value

    def _masked(self, text: str, name: str) -> str:
        if secrets.is_password(name, text):
            return self._token("password", text)
        context = _context(name)
        seen = Text.of(context + text)
        shift = len(context)
        pieces: list[str] = []
        done = 0
        for start, end, label in _found(seen):
            start, end = max(start - shift, 0), end - shift
            if end <= done:
                continue  # in the member's name
            pieces += text[done:start], self._token(label, text[start:end])
            done = end
        return "".join((*pieces, text[done:])) if pieces else text

    def _token(self, label: str, value: str) -> str:
        known = label, _LOOSE.sub("", value).lower()
        number = self._numbers.get(known)
        if number is None:
            number = self._numbers[known] = self._counts[label] = self._counts.get(label, 0) + 1
        return f"[{label} {number}]"


def redact(text: str) -> str:
    """Mask one text by itself.

    >>> redact("Write to ada@example.org or 'ada@example.org'.")
    "Write to [email 1] or '[email 1]'."
    """
    return Redactor().text(text)


@lru_cache(maxsize=1024)
def _context(name: str) -> str:
    """What to read before a member's value; empty where its name makes no difference, which saves a copy of the value."""
    if not 0 < len(name) <= MOST_KEY:
        return ""
    words = _CAMEL.sub(" ", name)
    lower = words.lower()
    telling = any(pattern.search(lower) for pattern in (secrets.WORDS, identity.WORDS, contact.WORDS))
    return f"{words}: " if telling else ""


def _found(text: Text) -> list[Span]:
    """What the rules found, in the text's order, nothing twice."""
    spans: list[Span] = []
    for rule in RULES:
        fresh = list(rule(text))
        if fresh:
            spans = list(_merged(spans, sorted(fresh)))
    return spans


def _merged(taken: list[Span], fresh: list[Span]) -> Iterator[Span]:
    """Both lists in order, without those fresh ones that overlap one taken."""
    place, end = 0, 0
    for span in fresh:
        while place < len(taken) and taken[place][1] <= span[0]:
            end = taken[place][1]
            yield taken[place]
            place += 1
        free = place == len(taken) or span[1] <= taken[place][0]
        if free and span[0] >= end:
            end = span[1]
            yield span
    yield from taken[place:]

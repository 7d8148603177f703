"""What in prompts, parameters and requests only some families understand: `features.toml`, held against the profiles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, cast

from changeover.core import toml
from changeover.library.cards import Card
from changeover.library.facts import Name
from changeover.serving.profiles import family_profiles


class Feature(toml.Declared):
    """One of them."""

    name: Name
    texts: tuple[Name, ...] = ()
    parameters: tuple[Name, ...] = ()
    field: Name | None = None
    """Of a profile."""
    values: tuple[Name, ...] = ()
    chat_formats: tuple[Name, ...] = ()
    """Parts of a card's `chat_format`."""
    families: tuple[Name, ...] = ()
    source: Name | None = None
    """Where it was read who understands it, if neither profiles nor cards say it."""

    def understood_by(self, cards: Iterable[Card]) -> tuple[str, ...]:
        """Families that are known to understand it."""
        if self.chat_formats:
            return tuple(sorted({card.family for card in cards if self._is_format_of(card)}))
        if self.field is None:
            return self.families
        return tuple(id for id, profile in family_profiles().items() if profile.get(self.field) in self.values)

    def _is_format_of(self, card: Card) -> bool:
        told = (card.chat_format or "").casefold()
        return any(part.casefold() in told for part in self.chat_formats)


class _Table(toml.Declared):
    features: tuple[Feature, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A feature that stands somewhere."""

    feature: str
    where: str
    """`the prompt`, `the parameters`, `the input template`, `12 of 431 recorded requests`."""
    understood_by: tuple[str, ...]


@cache
def known_features() -> tuple[Feature, ...]:
    """Those that are looked for."""
    with resources.as_file(resources.files("changeover.app.lockin") / "features.toml") as path:
        return toml.load(_Table, path).features


@cache
def _marks() -> tuple[tuple[str, Feature], ...]:
    return tuple((mark, feature) for feature in known_features() for mark in feature.texts)


@cache
def _keys() -> tuple[tuple[Feature, tuple[tuple[str, str], ...]], ...]:
    """Keys of each feature with what they stand in, the most particular feature first."""
    ordered = sorted(known_features(), key=lambda each: -max((key.count(".") for key in each.parameters), default=0))
    return tuple((each, tuple((key.partition(".")[0], key) for key in each.parameters)) for each in ordered)


def in_text(text: str) -> Iterable[Feature]:
    """Features that a text has."""
    there = [(mark, feature) for mark, feature in _marks() if mark in text]
    return {feature.name: feature for mark, feature in there if _stands(mark, text)}.values()


def in_parameters(parameters: Mapping[str, Any]) -> list[Feature]:
    """Features that a request's keys have. The most particular counts: a nested key that is known hides the one above."""
    found: list[Feature] = []
    known: set[str] = set()
    for feature, keys in _keys():
        there = [key for head, key in keys if head in parameters]
        here = [key for key in there if _has(parameters, key) and not _hidden(parameters, key, known)]
        if here:
            found.append(feature)
            known.update(here)
    return found


def in_request(body: Mapping[str, Any]) -> Sequence[Feature]:
    """Features of a recorded request: of its keys, and of what its messages say."""
    texts = "\n".join(_texts(body.get("messages")))
    return tuple({feature.name: feature for feature in (*in_parameters(body), *in_text(texts))}.values())


def _stands(mark: str, text: str) -> bool:
    """Whether a mark is in a text; a command such as `/think` as a word of its own, not within `</think>` or a path."""
    if not mark.startswith("/"):
        return mark in text
    return re.search(rf"(?<!\S){re.escape(mark)}(?![\w/>.-])", text) is not None


def _has(parameters: Mapping[str, Any], key: str) -> bool:
    head, _, rest = key.partition(".")
    inner = parameters.get(head)
    if not rest:
        return inner is not None
    return isinstance(inner, dict) and _has(cast("dict[str, Any]", inner), rest)


def _hidden(parameters: Mapping[str, Any], key: str, known: set[str]) -> bool:
    """Whether everything below a key was named by another feature already."""
    inner = parameters.get(key)
    below = {each.removeprefix(f"{key}.") for each in known if each.startswith(f"{key}.")}
    return isinstance(inner, dict) and bool(below) and set(cast("dict[str, Any]", inner)) <= below


def _texts(messages: Any) -> Iterable[str]:
    """What messages say, whatever the shape of their content."""
    for message in _tables(messages):
        content = message.get("content")
        if isinstance(content, str):
            yield content
        else:
            yield from (text for part in _tables(content) if isinstance(text := part.get("text"), str))


def _tables(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing where it is none."""
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", each) for each in items if isinstance(each, dict)]

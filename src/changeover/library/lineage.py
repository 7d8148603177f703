"""Kinship of models: whether two names mean one model, or two of one family. Judges must be strangers to what they judge."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Literal

from changeover.core import toml
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.facts import Name

_FILE_ENDING = re.compile(r"\.(gguf|safetensors|bin)$")
_SPLIT_FILE = re.compile(r"-\d{5}-of-\d{5}$")
_FORM = re.compile(
    r"-(gguf|ggml|awq|gptq|mlx|exl2|bnb|fp8|fp16|bf16|f16|f32|int4|int8|w[48]a(8|16)|nvfp4|mxfp4|[48]-?bit"
    r"|(?:i?q|ud-i?q|ud-q)\d(?:-[a-z0-9]+){0,2}|dynamic|quantized|latest)$"
)
"""Endings that say in which form the weights are, not which model they are."""
_SERVERS = re.compile(r"llama[-._]?(cpp|server)|llama\.cpp")
"""Names of software that hold the name of a family."""


class _Family(toml.Declared):
    id: Name
    name: Name
    words: tuple[Name, ...]
    owners: tuple[Name, ...] = ()
    sources: tuple[Name, ...]


class _Derived(toml.Declared):
    name: Name
    families: tuple[Name, ...]
    source: Name


class _Table(toml.Declared):
    families: tuple[_Family, ...]
    derived: tuple[_Derived, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model as a deployment names it."""

    name: str
    """Id of a card, a hub's `owner/name`, the name it is served under, or a file of weights."""
    weights: str | None = None
    """SHA-256 of the weights, hex; None where it cannot be known."""


@dataclass(frozen=True, kw_only=True)
class Kinship:
    """How two models are related, as far as it is known."""

    relation: Literal["same", "kin", "none", "unknown"]
    """`kin`: of one family, or one made from the other. `unknown`: of one of them no family is known."""
    reason: str
    """Why, as the middle of a sentence."""

    @property
    def related(self) -> bool:
        """Whether one may not judge the other."""
        return self.relation in ("same", "kin")


@dataclass(frozen=True, kw_only=True)
class _Identity:
    """What is known of a model, however it is called."""

    card: Card | None
    names: frozenset[str]
    """Its own names, normalised."""
    ancestry: frozenset[str]
    """Its own names and those of what it was made from."""
    families: Mapping[str, str]
    """Names for people, by id."""


def kinship(catalogue: Catalogue, one: Model, other: Model) -> Kinship:
    """Say whether two models are the same, of one family, strangers, or not known well enough.

    Equal digests are one model whatever it is called. A card is found by digest, id, display name or repository, also
    inside a hub's name or a file's; its lineage counts. Otherwise the words of the name decide, by `families.toml`.
    """
    if one.weights is not None and one.weights == other.weights:
        return Kinship(relation="same", reason="their weights are the same files")
    a, b = _identify(catalogue, one), _identify(catalogue, other)
    if (a.card is not None and a.card == b.card) or a.names & b.names:
        return Kinship(relation="same", reason="they are one model")
    if common := a.ancestry & b.ancestry:
        return Kinship(relation="kin", reason=f"both go back to `{min(common)}`")
    if shared := sorted(a.families[id] for id in a.families.keys() & b.families.keys()):
        return Kinship(relation="kin", reason=f"both are of the {' and the '.join(shared)} family")
    strangers = [model.name for model, known in ((one, a), (other, b)) if not known.families]
    if strangers:
        return Kinship(relation="unknown", reason=f"no family is known of `{'` and `'.join(strangers)}`")
    return Kinship(relation="none", reason="they are of different families")


def families_of(catalogue: Catalogue, model: Model) -> tuple[str, ...]:
    """Names of the families a model belongs to; empty where none is known."""
    return tuple(sorted(_identify(catalogue, model).families.values()))


def family_names() -> tuple[str, ...]:
    """Every word by which models of a known family call themselves."""
    return tuple(sorted({word for family in _table().families for word in family.words}))


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A model's name without owner, directory, file ending and quantisation, in one spelling.

    >>> plain_name("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF")
    'qwen2.5-coder-0.5b-instruct'
    >>> plain_name("/models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
    'qwen2.5-coder-0.5b-instruct'
    """
    text = _FILE_ENDING.sub("", re.split(r"[/\\]", name.strip().casefold())[-1])
    text = re.sub(r"[^\w.]+|_+", "-", text).strip("-.")
    text = _SPLIT_FILE.sub("", text)
    while (shorter := _FORM.sub("", text)) != text:
        text = shorter
    return text


def _identify(catalogue: Catalogue, model: Model) -> _Identity:
    card = find_card(catalogue, model)
    names = {plain_name(model.name)}
    if card is not None:
        names |= names_of(card)
    ancestry, families = set(names), dict(_families_in(model.name))
    for each in [] if card is None else _with_ancestors(catalogue, card):
        ancestry |= {plain_name(each.id)}
        ancestry |= {plain_name(name) for name in (each.lineage.base, each.lineage.derived_from) if name}
        families |= _card_families(each)
    if card is not None and card.lineage.successor:
        # Versions that follow each other are one line, whatever their family is called.
        ancestry.add(plain_name(card.lineage.successor))
    return _Identity(card=card, names=frozenset(names), ancestry=frozenset(ancestry), families=families)


def find_card(catalogue: Catalogue, model: Model) -> Card | None:
    """The card of a model, by its weights or else by its name; None where there is none."""
    if model.weights is not None:
        for card in catalogue.cards():
            if any(artifact.sha256 == model.weights for artifact in card.artifacts):
                return card
    return card_named(catalogue, model.name)


def card_named(catalogue: Catalogue, name: str) -> Card | None:
    """The card that a name means, as lineages name models; None where there is none.

    An id or display name counts before a repository's: two cards may name one repository.
    """
    wanted = plain_name(name)
    own = (card for card in catalogue.cards() if wanted in (plain_name(card.id), plain_name(card.display_name)))
    on_a_hub = (card for card in catalogue.cards() if wanted in names_of(card))
    return next(own, None) or next(on_a_hub, None)


def names_of(card: Card) -> frozenset[str]:
    """What a card's model is called, each in its plain spelling: id, display name, repositories, ids that hosts keep for it.

    An id that a host may give to another model is none of its names.
    """
    fixed = (name for each in card.hosted for name in each.fixed_ids)
    return frozenset(map(plain_name, (card.id, card.display_name, *card.repositories, *card.modelscope, *fixed)))


def _with_ancestors(catalogue: Catalogue, card: Card) -> list[Card]:
    """The card and those it was made from, as far as cards are there. The catalogue has no circles."""
    found, waiting = [card], [card]
    while waiting:
        lineage = waiting.pop().lineage
        for name in (lineage.base, lineage.derived_from):
            ancestor = card_named(catalogue, name) if name else None
            if ancestor is not None and ancestor not in found:
                found.append(ancestor)
                waiting.append(ancestor)
    return found


def _card_families(card: Card) -> dict[str, str]:
    texts = (card.family, card.id, card.display_name, card.lineage.base, card.lineage.derived_from)
    found = {id: name for text in texts if text for id, name in _families_in(text)}
    if not _families_in(card.family):
        # A family of its own: all of its versions are one family.
        stem = re.match(r"[^\d]+", plain_name(card.family))
        own = stem.group().strip("-.") if stem else plain_name(card.family)
        found[f"card:{own}"] = own
    return found


@lru_cache(maxsize=4096)
def _families_in(name: str) -> tuple[tuple[str, str], ...]:
    """Families that a name says, as (id, name)."""
    # The file and the directory it lies in, or name and owner: further up a path names people and machines.
    text = _SERVERS.sub(" ", "/".join(re.split(r"[/\\]", name.strip().casefold())[-2:]))
    owner, plain = text.split("/")[0] if "/" in text else "", plain_name(text)
    table = _table()
    derived = {id for entry in table.derived if _begins(plain, entry.name) for id in entry.families}
    return tuple(
        (family.id, family.name)
        for family in table.families
        if family.id in derived or owner in family.owners or _says(text, family.words)
    )


def _says(text: str, words: Iterable[str]) -> bool:
    return any(re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text) for word in words)


def _begins(name: str, beginning: str) -> bool:
    return name == beginning or name.startswith(f"{beginning}-") or name.startswith(f"{beginning}.")


@cache
def _table() -> _Table:
    with resources.as_file(resources.files("changeover.library") / "families.toml") as path:
        return toml.load(_Table, path)

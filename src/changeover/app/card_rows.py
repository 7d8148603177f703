"""A card as lines with labels, each fact with where it was read: what a terminal prints and a page shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from changeover.app.model_words import OUTCOME_SAID, REASON_SAID, Tone, billions
from changeover.app.whole_card import WholeCard, sources_of
from changeover.core.sizes import GB, GIB, gb_in_gib
from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.facts import Claim, FactSource, Figure
from changeover.library.genealogy import Relative
from changeover.library.licences.judgement import Judgement, Reason
from changeover.library.running import EngineSupport, Hosted, Recipe
from changeover.library.sources.resolve import Resolved

MOST_OF_A_VALUE = 120
"""Characters of a value that somebody states; the JSON has all of it."""

About = Literal[
    "model",
    "licence",
    "kin",
    "speech",
    "running",
    "weights",
    "hosted",
    "figures",
    "claims",
    "contradicted",
    "here",
    "not found",
]


@dataclass(frozen=True)
class Said:
    """Some words in one tone."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line."""

    label: str
    """Empty: it goes on with what the line above is about."""
    said: tuple[Said, ...] | None
    """None: unknown."""
    sources: tuple[FactSource | str, ...] = ()
    """Sources of a card, or addresses."""
    copied: bool = False
    """Whether it must stay whole, to be copied."""

    @property
    def text(self) -> str:
        """All of its words."""
        return "".join(each.text for each in self.said or ())


@dataclass(frozen=True, kw_only=True)
class Section:
    """Lines about one thing."""

    about: About
    title: str = ""
    rows: tuple[Row, ...]


def sections_of(whole: WholeCard) -> list[Section]:
    """A model's card, in the order in which it is read."""
    card = whole.card
    found = [
        Section(about="model", rows=tuple(_what_it_is(card))),
        Section(about="licence", rows=tuple(_terms(card, whole.judgement))),
        Section(about="kin", rows=tuple(_kin(whole))),
        Section(about="speech", rows=tuple(_speech(card))),
        Section(about="running", rows=tuple(_running(card))),
        Section(about="weights", rows=tuple(_weights(card))),
        *(Section(about="hosted", rows=tuple(_hosted(card, hosted))) for hosted in card.hosted),
        _figures(card.figures),
        _claims(card.claims),
        _contradicted(whole.contradicted),
        Section(about="here", title="here", rows=tuple(_here(whole))),
        Section(about="not found", rows=tuple(_not_found(card.unverified, card.note))),
    ]
    return [section for section in found if section.rows]


def sections_of_accelerator(one: Accelerator) -> list[Section]:
    """An accelerator's card."""

    def read(fact: str) -> tuple[FactSource, ...]:
        return sources_of(one.sources, fact)

    memory = None if one.memory_gib is None else f"{one.memory_gib:g} GiB = {one.memory_gib * GIB / GB:.1f} GB a card"
    bandwidth = None if one.bandwidth_gb_per_s is None else f"{one.bandwidth_gb_per_s:g} GB/s"
    what = (
        _row("vendor", one.vendor + (f" · {one.country}" if one.country else ""), read("vendor")),
        _row("kind", one.kind, read("kind")),
        _row("memory", memory, read("memory_gib")),
        _row("in a node", None if one.per_node is None else f"{one.per_node} cards", read("per_node")),
        _row("bandwidth", bandwidth, read("bandwidth_gb_per_s")),
        _row("power", None if one.power_w is None else f"{one.power_w:g} W", read("power_w")),
        _row("formats", ", ".join(one.native_formats) or None, read("native_formats")),
    )
    found = one.detection
    by = [*found.devices, *([found.command] if found.command else []), *found.names]
    running = (
        *(_engine(engine, read("engines")) for engine in one.engines),
        *(_row("environment", variable, read("environment")) for variable in one.environment),
        *(row for recipe in one.recipes for row in _recipe(recipe, read("recipes"))),
        _row("found by", ", ".join(by) or None, read("detection")),
    )
    sections = [
        Section(about="model", rows=what),
        Section(about="running", rows=running),
        _figures(one.figures),
        _claims(one.claims),
        Section(about="not found", rows=tuple(_not_found(one.unverified, one.note))),
    ]
    return [section for section in sections if section.rows]


def _row(label: str, said: str | None, sources: Iterable[FactSource | str] = (), tone: Tone = "") -> Row:
    return Row(label=label, said=None if said is None else (Said(said, tone),), sources=tuple(sources))


def _what_it_is(card: Card) -> Iterator[Row]:
    def read(*facts: str) -> list[FactSource]:
        return [source for fact in facts if getattr(card, fact) for source in sources_of(card.sources, fact)]

    yield _row("vendor", card.vendor + (f" · {card.country}" if card.country else ""), read("vendor", "country"))
    yield _row("released", card.released_on, read("released"))
    if card.retired is not None:
        yield _row("retired", card.retired.isoformat(), read("retired"), "warm")
    size = billions(card.parameters_b)
    if size is not None and card.active_parameters_b is not None:
        size += f", {card.active_parameters_b:g} B active for a token"
    yield _row("size", size, read("parameters_b", "active_parameters_b"))
    context = None if card.context_tokens is None else f"{card.context_tokens:,} tokens"
    yield _row("context", context, read("context_tokens"))
    if card.max_output_tokens is not None:
        yield _row("longest answer", f"{card.max_output_tokens:,} tokens", read("max_output_tokens"))
    yield _row("reads", ", ".join(card.modalities_in) or None, read("modalities_in"))
    yield _row("writes", ", ".join(card.modalities_out) or None, read("modalities_out"))
    yield _row("languages", ", ".join(card.languages) or None, read("languages"))


def _terms(card: Card, judgement: Judgement) -> Iterator[Row]:
    yield from _licence(card)
    certain = () if judgement.policy else (Said(" · no policy.toml, so only what is certain", "soft"),)
    yield Row(label="policy", said=(Said(*OUTCOME_SAID[judgement.outcome]), *certain))
    for reason in judgement.reasons:
        yield _reason(card, reason)
    yield from _openness(card)


def licence_facts(card: Card) -> list[Row]:
    """Its licence and how open it is, without what the policy says of that."""
    return [*_licence(card), *_openness(card)]


def _licence(card: Card) -> Iterator[Row]:
    terms, read = card.licence, sources_of(card.sources, "licence")
    if terms is None:
        yield _row("licence", None)
    else:
        yield _row("licence", " + ".join((terms.id, *terms.also)), read)
        if terms.since is not None:
            yield _row("", f"since {terms.since}", read)
        for former in terms.former:
            yield _row("", f"{former.id} until {former.until}", read)
        if terms.note:
            yield _row("", terms.note, read)


def _openness(card: Card) -> Iterator[Row]:
    yield _row("weights", card.weights, sources_of(card.sources, "weights"))
    yield _row("free to modify", _yes(card.free_to_modify), sources_of(card.sources, "free_to_modify"))
    yield _row("gated", _yes(card.gated), sources_of(card.sources, "gated"))


def _reason(card: Card, reason: Reason) -> Row:
    mark, tone = ("warns", "warm") if reason.warning else REASON_SAID[reason.outcome]
    own = card.licence is not None and reason.licence == card.licence.id
    place = ", ".join(each for each in (None if own else reason.licence or "policy", reason.clause) if each)
    said = (Said(f"{mark}  ", tone), Said(reason.says), Said(f" ({place})" if place else "", "soft"))
    return Row(label="", said=said, sources=(reason.source,) if reason.source else ())


def _kin(whole: WholeCard) -> Iterator[Row]:
    read = sources_of(whole.card.sources, "lineage")
    yield _row("made from", _tree(whole.ancestors) or None, read if whole.ancestors else ())
    if whole.card.lineage.note:
        yield _row("", whole.card.lineage.note, read)
    if whole.descendants:
        yield _row("made from it", _tree(whole.descendants))
    for number, successor in enumerate(whole.successors):
        yield _row("" if number else "followed by", f"{successor.card.id}: {successor.reason}")


def _tree(relatives: Iterable[Relative]) -> str:
    return ", ".join(f"{each.name} ({each.relation}{f', {each.steps} steps' * (each.steps > 1)})" for each in relatives)


def _speech(card: Card) -> Iterator[Row]:
    facts = {
        "chat format": "chat_format",
        "reasoning": "reasoning_format",
        "turned on by": "reasoning_toggle",
        "tool calls": "tool_call_format",
        "structured": "structured_output",
    }
    for label, fact in facts.items():
        if getattr(card, fact):
            yield _row(label, " ".join(str(getattr(card, fact)).split()), sources_of(card.sources, fact))
    if card.sampling:
        values = ", ".join(f"{name} {value:g}" for name, value in card.sampling.items())
        yield _row("sampling", values, sources_of(card.sources, "sampling"))


def _running(card: Card) -> Iterator[Row]:
    architecture, read = card.architecture, sources_of(card.sources, "architecture")
    names = (
        architecture.transformers_class,
        architecture.model_type,
        architecture.gguf and f"gguf {architecture.gguf}",
    )
    yield _row("architecture", ", ".join(name for name in names if name) or None, read)
    if architecture.remote_code is not None:
        yield _row("own code", "the repository brings code" if architecture.remote_code else "none", read)
    if architecture.pickle:
        yield _row("pickle", "weights only as pickle, which runs code when it is read", read, "warm")
    if not card.engines:
        yield _row("engines", None)
    for engine in card.engines:
        yield _engine(engine, sources_of(card.sources, "engines"))
    for number, least in enumerate(card.memory):
        said = f"{gb_in_gib(least.minimum_gb)} at least for {least.quantisation}"
        yield _row("" if number else "memory", said, [least.source])
    if card.minimum_hardware:
        yield _row("hardware", card.minimum_hardware, sources_of(card.sources, "minimum_hardware"))
    if card.disk_gb is not None:
        yield _row("disk", gb_in_gib(card.disk_gb), sources_of(card.sources, "disk_gb"))
    for recipe in card.recipes:
        yield from _recipe(recipe, sources_of(card.sources, "recipes"))


def _engine(engine: EngineSupport, read: Iterable[FactSource]) -> Row:
    if engine.until is not None:
        said = [Said(engine.engine), Said(f"  dropped: {engine.until} was the last version that ran it", "bad")]
    else:
        said = [Said(engine.engine + (f" from {engine.since} on" if engine.since else ""))]
    parsers = {"tools": engine.tool_parser, "reasoning": engine.reasoning_parser}
    said += [Said(f" · {name} {parser}", "soft") for name, parser in parsers.items() if parser]
    said += [Said(f" · {engine.note}", "soft")] if engine.note else []
    return Row(label="engine", said=tuple(said), sources=tuple(read))


def _recipe(recipe: Recipe, read: Iterable[FactSource]) -> Iterator[Row]:
    about = [recipe.engine, recipe.quantisation, recipe.hardware]
    said = ", ".join(each for each in about if each)
    if recipe.verified_hardware:
        said += f" · its author ran it on {', '.join(recipe.verified_hardware)}"
    yield _row("recipe", said, read)
    yield _row("", recipe.command, tone="command")


def _weights(card: Card) -> Iterator[Row]:
    if card.repositories:
        yield _row("hub", ", ".join(card.repositories), sources_of(card.sources, "repositories"))
    if card.modelscope:
        yield _row("modelscope", ", ".join(card.modelscope), sources_of(card.sources, "modelscope"))
    read = sources_of(card.sources, "artifacts")
    for artifact in card.artifacts:
        size = f"{artifact.size_bytes / GB:.2f} GB = {artifact.size_bytes / GIB:.2f} GiB"
        files = f" · {len(artifact.files)} files" if artifact.files else ""
        yield _row("artifact", f"{artifact.format} {artifact.quantisation} · {size}{files}", read)
        yield Row(label="sha256", said=(Said(artifact.sha256, "soft"),), copied=True)
        origins = [source.origin for source in artifact.sources if source.origin]
        if origins:
            yield _row("from", "; ".join(origins))


def _hosted(card: Card, hosted: Hosted) -> Iterator[Row]:
    pins = {
        "digest": "pinned by digest",
        "snapshot": "has dated snapshots",
        "alias": "an alias: it answers with whatever the host has today",
    }
    read = sources_of(card.sources, "hosted")
    pin = Said(pins[hosted.pin], "warm" if hosted.pin == "alias" else "")
    about = (Said(hosted.host), Said(f" · {hosted.id or 'id unknown'} · "), pin)
    yield Row(label="hosted", said=about, sources=read)
    if hosted.snapshots:
        yield _row("", f"snapshots {', '.join(hosted.snapshots)}", read)
    if hosted.now is not None or hosted.moved is not None:
        since = f" since {hosted.moved}" if hosted.moved else ""
        yield _row("", f"moved: answers with {hosted.now or 'another model'}{since}", read, "bad")
    if hosted.base_url:
        yield _row("", hosted.base_url + (f" · key in {hosted.key_variable}" if hosted.key_variable else ""), read)
    for price in hosted.prices:
        since = f"from {price.since}" if price.since else f"as read on {price.read}"
        region = f" · {price.region}" if price.region else ""
        costs = f"${price.input_usd_per_million_tokens:g} in, ${price.output_usd_per_million_tokens:g} out per million tokens"
        yield _row("price", f"{costs} · {since}{region}", [price.source])
    if hosted.note:
        yield _row("", hosted.note, read)


def _figures(figures: Iterable[Figure]) -> Section:
    rows: list[Row] = []
    for figure in sorted(figures, key=lambda each: (each.index, each.version or "")):
        version = f" {figure.version}" if figure.version else ", version unknown"
        when = f"as of {figure.as_of}" if figure.as_of else "date unknown"
        variant = f" · {figure.variant}" if figure.variant else ""
        rows.append(_row(f"{figure.value:>8g}", f"{figure.index}{version} · {when}{variant}", [figure.source]))
    title = "figures, as published; those of different versions cannot be compared"
    return Section(about="figures", title=title, rows=tuple(rows))


def _claims(claims: Iterable[Claim]) -> Section:
    rows: list[Row] = []
    for claim in claims:
        when = f", {claim.said_on}" if claim.said_on else ", date unknown"
        rows += [
            _row("said", f"“{claim.words}”", [claim.where]),
            _row("by", claim.said_by + when),
            _row("checked" if claim.found else "", found_of(claim), tone="" if claim.found else "soft"),
        ]
    return Section(about="claims", title="claims", rows=tuple(rows))


def found_of(claim: Claim) -> str:
    """What checking a claim found, or why nothing was found."""
    return claim.found or ("nobody checked it" if claim.checkable else "cannot be checked")


def _here(whole: WholeCard) -> Iterator[Row]:
    yield _row("state", whole.state, tone="" if whole.reached else "soft")
    for reached in whole.reached:
        evidence = ", ".join(f"{name} {value}" for name, value in reached.evidence.items())
        yield _row("", f"{reached.state} on {reached.at:%Y-%m-%d}" + (f": {evidence}" if evidence else ""))
    if whole.presence.fetched:
        yield _row("weights", "fetched and verified")
    if whole.presence.deployments:
        yield _row("deployed as", ", ".join(whole.presence.deployments))
    if whole.presence.tasks:
        yield _row("answers", ", ".join(whole.presence.tasks), tone="good")


def _contradicted(found: Iterable[Resolved]) -> Section:
    rows: list[Row] = []
    for each in found:
        rows.append(_row(each.fact, f"{short_value(each.winner.value)}, says {each.winner.by}", [each.winner.at]))
        for other in each.conflicts:
            said = f"{short_value(other.value)}, says {other.by} ({other.grade}, {other.on})"
            rows.append(_row("", said, [other.at], "warm"))
    title = "said otherwise; the first of each counts, by grade and then by date"
    return Section(about="contradicted", title=title, rows=tuple(rows))


def short_value(value: Any) -> str:
    """A value that somebody states, in one line."""
    if isinstance(value, float):
        return f"{value:g}"
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= MOST_OF_A_VALUE else f"{said[:MOST_OF_A_VALUE]}…"


def _not_found(unverified: Iterable[str], note: str | None) -> Iterator[Row]:
    missing = ", ".join(unverified)
    if missing:
        yield _row("not found", missing, tone="soft")
    if note:
        yield _row("note", note)


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"

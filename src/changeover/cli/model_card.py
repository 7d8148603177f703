"""The page of one model: every fact with its source, and what this installation may do and did with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rich.text import Text

from changeover.app.shelf import Shelf
from changeover.app.whole_card import WholeCard, accelerator_document, sources_of, whole_card
from changeover.cli.frame import out, print_json
from changeover.cli.model_words import OUTCOME_WORDS, REASON_WORDS, billions
from changeover.cli.page import Page, thousands
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


def show_model(shelf: Shelf, card: Card, *, as_json: bool) -> None:
    """Print a model whole."""
    whole = whole_card(shelf, card)
    if as_json:
        print_json(whole.document())
    else:
        model_page(whole, out.width).show()


def show_accelerator(accelerator: Accelerator, *, as_json: bool) -> None:
    """Print an accelerator whole."""
    if as_json:
        print_json(accelerator_document(accelerator))
    else:
        accelerator_page(accelerator, out.width).show()


def model_page(whole: WholeCard, width: int) -> Page:
    """A model's page."""
    page, card = Page(width), whole.card
    page.lines.append(
        Text.assemble((card.display_name, "bold"), ("" if card.id == card.display_name else f"  {card.id}", "dim"))
    )
    if card.scenarios:
        page.lines.append(Text(f"for {', '.join(card.scenarios)}"))
    _what_it_is(page, card)
    _terms(page, card, whole.judgement)
    _kin(page, whole)
    _speech(page, card)
    _running(page, card)
    _weights(page, card)
    for hosted in card.hosted:
        _hosted(page, card, hosted)
    _figures(page, card.figures)
    _claims(page, card.claims)
    _contradicted(page, whole.contradicted)
    _here(page, whole)
    _not_found(page, card.unverified, card.note)
    page.sources()
    return page


def accelerator_page(accelerator: Accelerator, width: int) -> Page:
    """An accelerator's page."""
    page, one = Page(width), accelerator
    names = ", ".join((one.id, *one.aliases))
    page.lines.append(Text.assemble((one.display_name, "bold"), (f"  {names}", "dim")))

    def read(fact: str) -> tuple[FactSource, ...]:
        return sources_of(one.sources, fact)

    page.section()
    page.row("vendor", one.vendor + (f" · {one.country}" if one.country else ""), read("vendor"))
    page.row("kind", one.kind, read("kind"))
    memory = None if one.memory_gib is None else f"{one.memory_gib:g} GiB = {one.memory_gib * GIB / GB:.1f} GB a card"
    page.row("memory", memory, read("memory_gib"))
    page.row("in a node", None if one.per_node is None else f"{one.per_node} cards", read("per_node"))
    bandwidth = None if one.bandwidth_gb_per_s is None else f"{one.bandwidth_gb_per_s:g} GB/s"
    page.row("bandwidth", bandwidth, read("bandwidth_gb_per_s"))
    page.row("power", None if one.power_w is None else f"{one.power_w:g} W", read("power_w"))
    page.row("formats", ", ".join(one.native_formats) or None, read("native_formats"))
    page.section()
    for engine in one.engines:
        _engine(page, engine, read("engines"))
    for variable in one.environment:
        page.row("environment", variable, read("environment"))
    for recipe in one.recipes:
        _recipe(page, recipe, read("recipes"))
    found = one.detection
    by = [*found.devices, *([found.command] if found.command else []), *found.names]
    page.row("found by", ", ".join(by) or None, read("detection"))
    _figures(page, one.figures)
    _claims(page, one.claims)
    _not_found(page, one.unverified, one.note)
    page.sources()
    return page


def _what_it_is(page: Page, card: Card) -> None:
    def read(*facts: str) -> list[FactSource]:
        return [source for fact in facts if getattr(card, fact) for source in sources_of(card.sources, fact)]

    page.section()
    page.row("vendor", card.vendor + (f" · {card.country}" if card.country else ""), read("vendor", "country"))
    page.row("released", card.released_on, read("released"))
    if card.retired is not None:
        page.row("retired", card.retired.isoformat(), read("retired"), style="yellow")
    size = billions(card.parameters_b)
    if size is not None and card.active_parameters_b is not None:
        size += f", {card.active_parameters_b:g} B active for a token"
    page.row("size", size, read("parameters_b", "active_parameters_b"))
    context = None if card.context_tokens is None else f"{thousands(card.context_tokens)} tokens"
    page.row("context", context, read("context_tokens"))
    if card.max_output_tokens is not None:
        page.row("longest answer", f"{thousands(card.max_output_tokens)} tokens", read("max_output_tokens"))
    page.row("reads", ", ".join(card.modalities_in) or None, read("modalities_in"))
    page.row("writes", ", ".join(card.modalities_out) or None, read("modalities_out"))
    page.row("languages", ", ".join(card.languages) or None, read("languages"))


def _terms(page: Page, card: Card, judgement: Judgement) -> None:
    page.section()
    terms, read = card.licence, sources_of(card.sources, "licence")
    words, colour = OUTCOME_WORDS[judgement.outcome]
    here = Text.assemble(
        (words, colour), "" if judgement.policy else (" · no policy.toml, so only what is certain", "dim")
    )
    if terms is None:
        page.row("licence", None)
    else:
        page.row("licence", " + ".join((terms.id, *terms.also)), read)
        if terms.since is not None:
            page.row("", f"since {terms.since}", read)
        for former in terms.former:
            page.row("", f"{former.id} until {former.until}", read)
        if terms.note:
            page.row("", terms.note, read)
    page.row("policy", here)
    for reason in judgement.reasons:
        _reason(page, card, reason)
    page.row("weights", card.weights, sources_of(card.sources, "weights"))
    page.row("free to modify", _yes(card.free_to_modify), sources_of(card.sources, "free_to_modify"))
    page.row("gated", _yes(card.gated), sources_of(card.sources, "gated"))


def _reason(page: Page, card: Card, reason: Reason) -> None:
    mark, tone = ("warns", "yellow") if reason.warning else REASON_WORDS[reason.outcome]
    own = card.licence is not None and reason.licence == card.licence.id
    place = ", ".join(each for each in (None if own else reason.licence or "policy", reason.clause) if each)
    said = Text.assemble((f"{mark}  ", tone), reason.says, (f" ({place})" if place else "", "dim"))
    page.row("", said, [reason.source] if reason.source else ())


def _kin(page: Page, whole: WholeCard) -> None:
    page.section()
    read = sources_of(whole.card.sources, "lineage")
    page.row("made from", _tree(whole.ancestors) or None, read if whole.ancestors else ())
    if whole.card.lineage.note:
        page.row("", whole.card.lineage.note, read)
    if whole.descendants:
        page.row("made from it", _tree(whole.descendants))
    for number, successor in enumerate(whole.successors):
        page.row("" if number else "followed by", f"{successor.card.id}: {successor.reason}")


def _tree(relatives: Iterable[Relative]) -> str:
    return ", ".join(f"{each.name} ({each.relation}{f', {each.steps} steps' * (each.steps > 1)})" for each in relatives)


def _speech(page: Page, card: Card) -> None:
    facts = {
        "chat format": "chat_format",
        "reasoning": "reasoning_format",
        "turned on by": "reasoning_toggle",
        "tool calls": "tool_call_format",
        "structured": "structured_output",
    }
    said = {label: fact for label, fact in facts.items() if getattr(card, fact)}
    if said or card.sampling:
        page.section()
    for label, fact in said.items():
        page.row(label, " ".join(str(getattr(card, fact)).split()), sources_of(card.sources, fact))
    if card.sampling:
        values = ", ".join(f"{name} {value:g}" for name, value in card.sampling.items())
        page.row("sampling", values, sources_of(card.sources, "sampling"))


def _running(page: Page, card: Card) -> None:
    page.section()
    architecture, read = card.architecture, sources_of(card.sources, "architecture")
    names = (
        architecture.transformers_class,
        architecture.model_type,
        architecture.gguf and f"gguf {architecture.gguf}",
    )
    page.row("architecture", ", ".join(name for name in names if name) or None, read)
    if architecture.remote_code is not None:
        page.row("own code", "the repository brings code" if architecture.remote_code else "none", read)
    if architecture.pickle:
        page.row("pickle", "weights only as pickle, which runs code when it is read", read, style="yellow")
    if not card.engines:
        page.row("engines", None)
    for engine in card.engines:
        _engine(page, engine, sources_of(card.sources, "engines"))
    for number, least in enumerate(card.memory):
        said = f"{gb_in_gib(least.minimum_gb)} at least for {least.quantisation}"
        page.row("" if number else "memory", said, [least.source])
    if card.minimum_hardware:
        page.row("hardware", card.minimum_hardware, sources_of(card.sources, "minimum_hardware"))
    if card.disk_gb is not None:
        page.row("disk", gb_in_gib(card.disk_gb), sources_of(card.sources, "disk_gb"))
    for recipe in card.recipes:
        _recipe(page, recipe, sources_of(card.sources, "recipes"))


def _engine(page: Page, engine: EngineSupport, read: Iterable[FactSource]) -> None:
    if engine.until is not None:
        said = Text.assemble(engine.engine, (f"  dropped: {engine.until} was the last version that ran it", "red"))
    else:
        said = Text(engine.engine + (f" from {engine.since} on" if engine.since else ""))
    parsers = {"tools": engine.tool_parser, "reasoning": engine.reasoning_parser}
    for name, parser in parsers.items():
        said.append(f" · {name} {parser}" if parser else "", "dim")
    said.append(f" · {engine.note}" if engine.note else "", "dim")
    page.row("engine", said, read)


def _recipe(page: Page, recipe: Recipe, read: Iterable[FactSource]) -> None:
    about = [recipe.engine, recipe.quantisation, recipe.hardware]
    said = ", ".join(each for each in about if each)
    if recipe.verified_hardware:
        said += f" · its author ran it on {', '.join(recipe.verified_hardware)}"
    page.row("recipe", said, read)
    page.row("", recipe.command, style="cyan")


def _weights(page: Page, card: Card) -> None:
    if not (card.repositories or card.modelscope or card.artifacts):
        return
    page.section()
    if card.repositories:
        page.row("hub", ", ".join(card.repositories), sources_of(card.sources, "repositories"))
    if card.modelscope:
        page.row("modelscope", ", ".join(card.modelscope), sources_of(card.sources, "modelscope"))
    read = sources_of(card.sources, "artifacts")
    for artifact in card.artifacts:
        size = f"{artifact.size_bytes / GB:.2f} GB = {artifact.size_bytes / GIB:.2f} GiB"
        files = f" · {len(artifact.files)} files" if artifact.files else ""
        page.row("artifact", f"{artifact.format} {artifact.quantisation} · {size}{files}", read)
        page.plain(artifact.sha256, "dim", label="sha256")
        origins = [source.origin for source in artifact.sources if source.origin]
        if origins:
            page.row("from", "; ".join(origins))


def _hosted(page: Page, card: Card, hosted: Hosted) -> None:
    page.section()
    pins = {
        "digest": "pinned by digest",
        "snapshot": "has dated snapshots",
        "alias": "an alias: it answers with whatever the host has today",
    }
    read = sources_of(card.sources, "hosted")
    said = Text.assemble(
        hosted.host, f" · {hosted.id or 'id unknown'} · ", (pins[hosted.pin], "yellow" * (hosted.pin == "alias"))
    )
    page.row("hosted", said, read)
    if hosted.snapshots:
        page.row("", f"snapshots {', '.join(hosted.snapshots)}", read)
    if hosted.now is not None or hosted.moved is not None:
        since = f" since {hosted.moved}" if hosted.moved else ""
        page.row("", f"moved: answers with {hosted.now or 'another model'}{since}", read, style="red")
    if hosted.base_url:
        page.row("", hosted.base_url + (f" · key in {hosted.key_variable}" if hosted.key_variable else ""), read)
    for price in hosted.prices:
        since = f"from {price.since}" if price.since else f"as read on {price.read}"
        region = f" · {price.region}" if price.region else ""
        costs = f"${price.input_usd_per_million_tokens:g} in, ${price.output_usd_per_million_tokens:g} out per million tokens"
        page.row("price", f"{costs} · {since}{region}", [price.source])
    if hosted.note:
        page.row("", hosted.note, read)


def _figures(page: Page, figures: Iterable[Figure]) -> None:
    figures = list(figures)
    if not figures:
        return
    page.section("figures, as published; those of different versions cannot be compared")
    for figure in sorted(figures, key=lambda each: (each.index, each.version or "")):
        version = f" {figure.version}" if figure.version else ", version unknown"
        when = f"as of {figure.as_of}" if figure.as_of else "date unknown"
        variant = f" · {figure.variant}" if figure.variant else ""
        page.row(f"{figure.value:>8g}", f"{figure.index}{version} · {when}{variant}", [figure.source])


def _claims(page: Page, claims: Iterable[Claim]) -> None:
    claims = list(claims)
    if not claims:
        return
    page.section("claims")
    for claim in claims:
        page.row("said", f"“{claim.words}”", [claim.where])
        when = f", {claim.said_on}" if claim.said_on else ", date unknown"
        page.row("by", claim.said_by + when)
        found = claim.found or ("nobody checked it" if claim.checkable else "cannot be checked")
        page.row("checked" if claim.found else "", found, style="" if claim.found else "dim")


def _here(page: Page, whole: WholeCard) -> None:
    page.section("here")
    page.row("state", whole.state, style="" if whole.reached else "dim")
    for reached in whole.reached:
        evidence = ", ".join(f"{name} {value}" for name, value in reached.evidence.items())
        page.row("", f"{reached.state} on {reached.at:%Y-%m-%d}" + (f": {evidence}" if evidence else ""))
    if whole.presence.fetched:
        page.row("weights", "fetched and verified")
    if whole.presence.deployments:
        page.row("deployed as", ", ".join(whole.presence.deployments))
    if whole.presence.tasks:
        page.row("answers", ", ".join(whole.presence.tasks), style="green")


def _contradicted(page: Page, found: Iterable[Resolved]) -> None:
    for number, each in enumerate(found):
        if not number:
            page.section("said otherwise; the first of each counts, by grade and then by date")
        page.row(each.fact, f"{_short(each.winner.value)}, says {each.winner.by}", [each.winner.at])
        for other in each.conflicts:
            page.row(
                "", f"{_short(other.value)}, says {other.by} ({other.grade}, {other.on})", [other.at], style="yellow"
            )


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= MOST_OF_A_VALUE else f"{said[:MOST_OF_A_VALUE]}…"


def _not_found(page: Page, unverified: Iterable[str], note: str | None) -> None:
    missing = ", ".join(unverified)
    if missing or note:
        page.section()
    if missing:
        page.row("not found", missing, style="dim")
    if note:
        page.row("note", note)


def _yes(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"

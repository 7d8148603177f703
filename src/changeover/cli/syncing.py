"""The work of `changeover library`: reading sources, and printing what they bring."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from functools import partial
from typing import Any

from rich.cells import cell_len
from rich.status import Status
from rich.text import Text

from changeover.app.installation import Installation
from changeover.app.library_sync import OtherTerms, Synced, standing_conflicts, sync_reading
from changeover.app.looking import opened_to_look
from changeover.cli.columns import hanging
from changeover.cli.exits import EXIT_FAIL, EXIT_PASS
from changeover.cli.frame import actor, clock_time, err, here, note, out, plain, print_error, print_json
from changeover.cli.model_words import OUTCOME_WORDS
from changeover.cli.running import opened
from changeover.core.errors import ChangeoverError, ConfigError, UnknownModelError
from changeover.library.cards import Card
from changeover.library.licences.judgement import Judgement
from changeover.library.licences.words import short
from changeover.library.queries import last_syncs, observation_history, observations_of, observed_names
from changeover.library.sources.compare import Comparison, Conflict, NewModel
from changeover.library.sources.known import SOURCES, Asked, Source, read, readable, source_named

SHOWN = 8
"""Things of a kind that are listed; the rest is counted."""
LONGEST = 60
"""Characters of a value on a line."""
ADOPT = (
    "No card was changed. To adopt a fact, write it with its source into a card: "
    "`library/*.toml` of this project, or the card that ships."
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `changeover library sync` was asked for."""

    sources: tuple[str, ...]
    file: str | None
    as_of: date | None
    cards: tuple[str, ...]
    online: bool
    dry_run: bool
    as_json: bool


def sync(options: Options) -> int:
    """Read the sources one after another; one that fails stops no other. Returns the exit status."""
    with _opened(options.dry_run) as installation:
        asked, chosen = _asked(installation, options)
        made: list[Synced] = []
        failed: list[tuple[Source, ChangeoverError]] = []
        for source in chosen:
            try:
                with err.status(f"reading {source.name}") as status:
                    told = replace(asked, progress=partial(_say, status, source.name))
                    reading = read(source, told)
                made.append(sync_reading(installation, reading, actor(), as_of=options.as_of, dry_run=options.dry_run))
            except ChangeoverError as exc:
                if len(chosen) == 1:
                    raise
                failed.append((source, exc))
                continue
            if not options.as_json:
                _show(made[-1])
    if options.as_json:
        problems = [{"source": source.name, "error": exc.message} for source, exc in failed]
        print_json({"sources": [_document(each) for each in made], "failed": problems})
    elif any(not each.nothing_new for each in made):
        out.print(f"[dim]{ADOPT}[/]")
    for _, exc in failed:
        print_error(exc.message)
    return EXIT_FAIL if failed else EXIT_PASS


@contextmanager
def _opened(looking: bool) -> Generator[Installation]:
    """The project. Who only looks needs none that was started: there is nothing in its store, and nothing to keep."""
    if looking:
        with opened_to_look(here()) as installation:
            yield installation
        return
    installation = opened()
    try:
        yield installation
    finally:
        installation.store.close()


def _say(status: Status, source: str, card: str) -> None:
    status.update(f"reading {source}  {card}")


def list_sources(as_json: bool) -> int:
    """Show the sources, and when each was read last."""
    with opened_to_look(here()) as installation, installation.store.read() as connection:
        syncs = last_syncs(connection)
    if as_json:
        print_json(
            [{"source": each.name, "about": each.about, "last": syncs.get(each.name)} for each in SOURCES.values()]
        )
        return EXIT_PASS
    for each in SOURCES.values():
        last = syncs.get(each.name)
        when = "never read" if last is None else f"read {clock_time(last.at)}"
        network = {"list": "file or network", "hub": "network"}.get(each.kind, "here")
        out.print(f"{each.name:<14}{network:<17}{each.about:<52}[dim]{when}[/]")
    return EXIT_PASS


def conflicts(card: str | None, as_json: bool) -> int:
    """Show what does not agree. Returns 1 if anything does not."""
    with opened_to_look(here()) as installation:
        if card is not None:
            installation.catalogue.card(card)
        found = standing_conflicts(installation, card)
        with installation.store.read() as connection:
            anything = bool(last_syncs(connection))
    if as_json:
        print_json([_conflict_document(each) for each in found])
    elif not anything:
        note("no source was read yet, so that nothing contradicts a card: `changeover library sync` reads them")
    elif not found:
        note("no conflicts: the cards and what was read of their sources agree")
    else:
        for each in found:
            _show_conflict(each)
        out.print(f"[dim]{ADOPT}[/]")
    return EXIT_FAIL if found else EXIT_PASS


def show_observations(model: str, fact: str | None, as_json: bool) -> None:
    """Show what sources say of a model.

    Raises:
        UnknownModelError: Nobody said anything of it.
    """
    with opened_to_look(here()) as installation, installation.store.read() as connection:
        found = observations_of(connection, model) if fact is None else observation_history(connection, model, fact)
        names = [] if found else observed_names(connection)
    if not found:
        about = f"`{model}`" if fact is None else f"`{fact}` of `{model}`"
        close = ", ".join(f"`{name}`" for name in get_close_matches(model, names, n=3))
        hint = f"Near: {close}. " if close and fact is None else ""
        raise UnknownModelError(f"No source said anything of {about} yet. {hint}`changeover library sync` reads them.")
    if as_json:
        print_json(found)
        return
    for each in found:
        when = each.as_of or each.seen_at.date()
        value = _short(each.value)
        out.print(
            f"{plain(each.fact):<34} {value:<40} {each.source} ({each.grade}, {when})  [dim]{plain(each.locator)}[/]"
        )


def _asked(installation: Installation, options: Options) -> tuple[Asked, list[Source]]:
    catalogue = installation.catalogue
    cards: Iterable[Card] = map(catalogue.card, options.cards) if options.cards else catalogue.cards()
    asked = Asked(
        settings=installation.project.settings.sources,
        today=installation.clock.now().date(),
        online=options.online,
        file=options.file,
        cards=tuple(cards),
    )
    if options.file is not None and len(options.sources) != 1:
        raise ConfigError("`--file` is of one source. Name it: `changeover library sync models.dev --file api.json`.")
    chosen = [source_named(name) for name in options.sources] or readable(asked)
    return asked, chosen


def _show(synced: Synced) -> None:
    reading, compared = synced.reading, synced.comparison
    out.print(f"[bold]{reading.source}[/]  {plain(reading.where)} · {plain(reading.summary)} · cards: {compared.cards}")
    for said in reading.notes[:SHOWN]:
        out.print(f"  [yellow]{plain(said)}[/]")
    _rest(len(reading.notes), "notes")
    if synced.nothing_new:
        out.print("  nothing new")
    _show_models(compared)
    _show_facts(compared)
    for change in compared.changes[:SHOWN]:
        before, now = _short(change.before.value), _short(change.now.value)
        out.print(f"  changed       {plain(change.now.card)}  {plain(change.now.fact)}: {before} → {now}")
    _rest(len(compared.changes), "changes")
    for conflict in compared.conflicts[:SHOWN]:
        _show_conflict(conflict, "  ")
    if compared.standing_conflicts > len(compared.conflicts[:SHOWN]):
        out.print(f"  {compared.standing_conflicts} conflicts in all: `changeover library conflicts`")
    for seen in synced.texts:
        what = "[red]the licence's text changed: somebody has to read it[/]" if seen.review else "licence text noted"
        out.print(f"  {what}  {plain(seen.text.card)}  {seen.text.sha256[:16]}…  [dim]{plain(seen.text.source)}[/]")
    for position in synced.positions:
        out.print(f"  policy        {plain(_position(position))}", soft_wrap=True)
    if not synced.written:
        out.print("  [dim]dry run: nothing was kept[/]")


def _position(position: OtherTerms) -> str:
    """The outcome, and the clause that decides, in short; by the card, and by what the source says instead."""
    name, by_card = position.by_card.model, _outcome(position.by_card)
    if position.by_source is None:
        return f"{name}  {by_card} by the text that was known"
    return f"{name}  {by_card} by its card; under `{position.licence}`, as is said here: {_outcome(position.by_source)}"


def _outcome(judgement: Judgement) -> str:
    return short(judgement) if judgement.allowed else f"{OUTCOME_WORDS[judgement.outcome][0]}, {short(judgement)}"


def _show_models(compared: Comparison) -> None:
    if not compared.new_models:
        return
    are_open = sum(model.open for model in compared.new_models)
    said = f", {are_open} of them with open weights" if are_open else ""
    out.print(f"  new models    {len(compared.new_models)} without a card{said}")
    for model in compared.new_models[:SHOWN]:
        out.print(f"    {plain(model.name):<44} {model.released:<11}{_said_of(model)}")
    _rest(len(compared.new_models), "new models")


def _said_of(model: NewModel) -> str:
    weights = str(model.facts.get("weights", ""))
    hosts = model.facts.get("signals.providers")
    context = model.facts.get("context_tokens")
    parts = (weights, f"hosts: {hosts}" if hosts else "", f"{context} tokens" if context else "")
    return " · ".join(part for part in parts if part)


def _show_facts(compared: Comparison) -> None:
    if compared.signals:
        out.print(f"  signals       {len(compared.signals)}, of {len({each.card for each in compared.signals})} cards")
    if compared.new_facts:
        out.print(f"  new facts     {len(compared.new_facts)} that cards leave open")
    # Prices come by the hundred; what a card lacks otherwise is rarer, and first.
    shown = sorted(compared.new_facts, key=lambda each: each.fact.startswith("hosted."))[:SHOWN]
    widest = max((len(each.card) for each in shown), default=0)
    for each in shown:
        out.print(
            f"    {plain(each.card):<{widest}}  {plain(each.fact)} = {_short(each.value)}  [dim]{plain(each.locator)}[/]"
        )
    _rest(len(compared.new_facts), "new facts")


def _show_conflict(conflict: Conflict, indent: str = "") -> None:
    fact = conflict.resolved
    out.print(f"{indent}conflict      {plain(conflict.card)}  {plain(fact.fact)}")
    values = [(_worded(fact.winner.value), fact.winner, f"counts, by {fact.because}")]
    values += [(_worded(other.value), other, "") for other in fact.conflicts]
    size = max(cell_len(value) for value, _, _ in values)
    for value, statement, counts in values:
        before = f"{indent}              {value}{' ' * (size - cell_len(value))}  "
        by = f"{statement.by}, {statement.grade}, {statement.on}: {statement.at}"
        said = Text.assemble((f"{counts}  " if counts else "", "bold"), (by, "dim"))
        for line in hanging(before, said, out.width):
            out.print(line)


def _short(value: Any) -> str:
    return plain(_worded(value))


def _worded(value: Any) -> str:
    """A value on one line, no longer than a table bears."""
    if isinstance(value, dict) and "input_usd_per_million_tokens" in value:
        text = f"${value['input_usd_per_million_tokens']} / ${value['output_usd_per_million_tokens']} per million"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _rest(count: int, what: str) -> None:
    if count > SHOWN:
        out.print(f"    … and {count - SHOWN} more {what}: `--json` has them all")


def _document(synced: Synced) -> dict[str, Any]:
    reading, compared = synced.reading, synced.comparison
    return {
        "source": reading.source,
        "where": reading.where,
        "read": reading.summary,
        "cards": compared.cards,
        "written": synced.written,
        "nothing_new": synced.nothing_new,
        "new_models": compared.new_models,
        "new_facts": compared.new_facts,
        "signals": compared.signals,
        "changes": compared.changes,
        "conflicts": [_conflict_document(each) for each in compared.conflicts],
        "standing_conflicts": compared.standing_conflicts,
        "confirmed": len(compared.confirmed),
        "licence_texts": synced.texts,
        "positions": [
            {
                "card": each.by_card.model,
                "outcome": each.by_card.outcome,
                "because": short(each.by_card),
                "licence_at_source": each.licence,
                "outcome_at_source": None if each.by_source is None else each.by_source.outcome,
                "because_at_source": None if each.by_source is None else short(each.by_source),
            }
            for each in synced.positions
        ],
        "notes": reading.notes,
    }


def _conflict_document(conflict: Conflict) -> dict[str, Any]:
    fact = conflict.resolved
    return {
        "card": conflict.card,
        "fact": fact.fact,
        "winner": fact.winner,
        "because": fact.because,
        "against": fact.conflicts,
    }

"""The work of `changeover scores`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from changeover.app.looking import opened_to_look
from changeover.app.scoring import Scored, Scores
from changeover.cli.columns import UNKNOWN, Cell, Columns, widest
from changeover.cli.frame import here, out, plain, print_json
from changeover.library.scores.engines import Registry, ask_engines
from changeover.library.scores.parts import ENOUGH, Score

COLUMNS = Columns(
    names=("model", "support", "familiarity", "flags"),
    right=("support", "familiarity"),
    concessions=(("model", 24), ("flags", 24)),
)


def show_scores(model: str | None, as_json: bool) -> None:
    """Print both scores of one model with their parts, or of all."""
    with opened_to_look(here()) as installation:
        catalogue = installation.catalogue
        cards = catalogue.cards() if model is None else (catalogue.card(model),)
        registries = ask_engines(cards)
        scoring = Scores(installation, registries)
        found = [scoring.of(card) for card in cards]
    if as_json:
        print_json([document(each) for each in found] if model is None else document(found[0]))
    elif model is None:
        _print_all(found)
    else:
        _print_one(found[0], registries)


def document(scored: Scored) -> dict[str, Any]:
    """Both scores with their parts, for `--json`."""
    return {
        "model": scored.card.id,
        "support": _score(scored.support),
        "familiarity": _score(scored.familiarity),
        "flags": list(scored.flags),
        "licence": {"outcome": scored.judgement.outcome, "by_policy": scored.judgement.policy},
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "value": score.value,
        "confidence": score.confidence,
        "parts": [
            {
                "name": part.name,
                "weight": part.weight,
                "value": part.value,
                "points": score.points(part),
                "says": part.says,
                "source": part.source,
                "as_of": part.as_of,
                "stale": part.stale,
            }
            for part in score.parts
        ],
    }


def in_short(score: Score) -> str:
    """The value with its confidence: `63 (45 %)`."""
    if score.value is None:
        return UNKNOWN
    return f"{score.value:.0f} ({100 * score.confidence:.0f} %)"


def _print_all(found: Sequence[Scored]) -> None:
    order = sorted(
        found, key=lambda each: (each.support.confidence < ENOUGH, -(each.support.value or 0.0), each.card.id)
    )
    rows = [
        {
            "model": Cell(each.card.id),
            "support": Cell(in_short(each.support)),
            "familiarity": Cell(in_short(each.familiarity)),
            "flags": Cell(", ".join(dict.fromkeys(flag.name for flag in each.flags)), "yellow"),
        }
        for each in order
    ]
    widths = COLUMNS.fitted({name: widest(name, name, rows) for name in COLUMNS.names}, out.width)
    out.print(COLUMNS.line({name: Cell(name, "dim") for name in COLUMNS.names}, widths))
    for row in rows:
        out.print(COLUMNS.line(row, widths))
    legend = f"in brackets: confidence, the share of the weight that had data; below {100 * ENOUGH:.0f} % at the end"
    out.print(f"[dim]{legend}[/]   changeover scores MODEL")


def _print_one(scored: Scored, registries: Sequence[Registry]) -> None:
    out.print(f"[bold]{plain(scored.card.display_name)}[/]  ({scored.card.id})")
    for flag in scored.flags:
        out.print(f"  [yellow]⚑ {plain(flag.name)}[/]  {plain(flag.says)}")
    for title, score in (("support", scored.support), ("familiarity", scored.familiarity)):
        out.print(f"\n[bold]{title}[/]  {in_short(score)}")
        for part in score.parts:
            points = score.points(part)
            shown = f"{'–':>5}" if points is None else f"{points:5.1f}"
            of = f"{part.weight:g} %"
            dated = f", {part.as_of}" if part.as_of else ""
            old = ", older than 90 days: counts half in the confidence" if part.stale else ""
            source = f"  [dim]{plain(part.source)}{dated}{old}[/]" if part.source else f"[dim]{old}[/]"
            style = "dim" if part.value is None else ""
            out.print(f"  {shown} {of:>6}   {part.name:<24} {plain(part.says)}{source}", style=style or None)
    asked = ", ".join(f"{each.engine} {each.version}" for each in registries) or "none that is installed"
    out.print(
        f"\n[dim]first what each part adds to the score, then its weight; a part without data adds nothing and takes nothing. Asked here: {asked}[/]"
    )

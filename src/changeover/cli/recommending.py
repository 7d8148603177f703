"""The work of `changeover recommend`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from changeover.app.looking import opened_to_look
from changeover.app.recommending import Choice, Shortlist, recommend
from changeover.app.recommending.choices import TIERS, Tier
from changeover.app.recommending.needs import Needs
from changeover.cli.columns import UNKNOWN, Cell, Columns, hanging, widest
from changeover.cli.frame import here, note, out, print_json
from changeover.cli.scoring import document as scores_document
from changeover.cli.scoring import in_short
from changeover.library.fit import parse_hardware
from changeover.library.scores.engines import ask_engines

ENGINES_WAIT_S = 10.0
"""For engines that are installed here to say what they run; the cards speak for those that took longer."""
SHOWN: dict[Tier, int] = {
    "proven here": 8,
    "could run now": 8,
    "needs an engine": 5,
    "needs more": 3,
    "not as good here": 4,
}
"""Models of each tier without `--all`."""
REASONS = 4
"""Of each kind, without `--all`."""

COLUMNS = Columns(
    names=("model", "own score", "index", "support", "familiarity", "cost"),
    right=("own score", "index", "support", "familiarity", "cost"),
    concessions=(("model", 20), ("familiarity", 0), ("own score", 0), ("cost", 0), ("index", 0), ("support", 0)),
)

TITLES: dict[Tier, str] = {
    "proven here": "proven here: passed against what answers now",
    "could run now": "could run now",
    "needs an engine": "fits here, and needs a server of yours, or a file",
    "needs more": "needs other hardware, or a host",
    "unknown": "not enough is known to say where it could run",
    "not as good here": "measured here, and not good enough",
    "ruled out": "ruled out by what the task needs",
}


def show_recommendation(task: str, on: str | None, everything: bool, as_json: bool) -> None:
    """Print the shortlist for a task."""
    with opened_to_look(here()) as installation:
        for problem in installation.problems:
            note(f"left out: {problem.message}")
        hardware = None if on is None else parse_hardware(on, installation.catalogue)
        registries = ask_engines(installation.catalogue.cards(), ENGINES_WAIT_S)
        found = recommend(installation, task, hardware, registries)
    if as_json:
        print_json(document(found))
        return
    for line in shortlist_lines(found, out.width, everything=everything):
        out.print(line)


def document(found: Shortlist) -> dict[str, Any]:
    """The same facts for `--json`, always of every model."""
    return {
        "task": found.needs.task,
        "needs": found.needs,
        "incumbent": found.incumbent,
        "incumbent_score": found.incumbent_score,
        "hardware": found.hardware,
        "index": found.index,
        "notes": list(found.notes),
        "choices": [_document(each) for each in found.choices],
    }


def _document(choice: Choice) -> dict[str, Any]:
    return {
        "model": choice.name,
        "tier": choice.tier,
        "front": choice.front,
        "beaten_by": choice.beaten_by,
        "checks": list(choice.checks),
        "place": choice.place,
        "own": choice.own,
        "axes": list(choice.axes),
        "scores": scores_document(choice.scored),
        "why": list(choice.why),
        "why_not": list(choice.why_not),
        "next": choice.next,
    }


def shortlist_lines(found: Shortlist, width: int, *, everything: bool) -> list[Text]:
    """What the task needs, then each tier: a line for each model with the next command, and what speaks for and against."""
    about = Text.assemble("recommend ", (found.needs.task, "bold"), f"   {found.needs.description}")
    lines = [*hanging("", about, width), *_head(found, width)]
    for tier in TIERS:
        mine = [each for each in found.choices if each.tier == tier]
        shown = mine if everything else mine[: SHOWN.get(tier, 0)]
        if shown:
            lines += [
                Text(""),
                *hanging("", Text(TITLES[tier], "bold"), width),
                *_table(shown, width, everything=everything),
            ]
        if len(mine) > len(shown):
            names = ", ".join(each.name for each in mine[len(shown) :])
            which = "more" if shown else f"more, {TITLES[tier]}"
            lines += hanging("  ", Text(f"{len(mine) - len(shown)} {which}: {names}", "dim"), width)
    if not found.choices:
        lines.append(Text("no card of the library could answer it: add cards below library/"))
    more = "" if everything else " · `--all`: every model with its reasons"
    told = "¹ none in its list beats it in every way that is known; the ways are never added up"
    return [*lines, Text(""), *hanging("", Text(f"{told}{more}", "dim"), width)]


def _head(found: Shortlist, width: int) -> list[Text]:
    needs = found.needs
    now = found.incumbent
    if found.incumbent_score is not None:
        now += f", {100 * found.incumbent_score:.1f} of 100 on its cases"
    facts = {
        "needs": _needs(needs),
        "answers now": now,
        "runs on": found.hardware,
        "index": f"{found.index}; other versions are not compared" if found.index else "no figures of one version",
    }
    lines = [line for name, said in facts.items() for line in hanging(f"  {name:<12} ", Text(said), width)]
    return [*lines, *(line for each in found.notes for line in hanging("  ", Text(each, "dim"), width))]


def _needs(needs: Needs) -> str:
    about = "" if needs.counted else "about "
    parts = [f"text, {about}{needs.context_tokens:,} tokens of context"]
    if needs.languages:
        parts.append(", ".join(f"{code} {100 * share:.0f} %" for code, share in needs.languages.items()))
    parts.append(f"made for {', '.join(needs.scenarios)}" if needs.scenarios else "what it is for is not known")
    if needs.tools:
        parts.append("tool calls")
    if needs.structured:
        parts.append("answers of one shape, which the engine holds")
    return " · ".join(parts)


def _table(shown: Sequence[Choice], width: int, *, everything: bool) -> Iterable[Text]:
    rows = [_cells(each) for each in shown]
    headings = {name: Cell(name, "dim") for name in COLUMNS.names}
    widths = COLUMNS.fitted({name: widest(name, name, rows) for name in COLUMNS.names}, width)
    yield COLUMNS.line(headings, widths)
    for choice, row in zip(shown, rows, strict=True):
        yield COLUMNS.line(row, widths)
        for sign, style, reasons in (("+", "green", choice.why), ("−", "yellow", choice.why_not)):
            kept = reasons if everything else reasons[:REASONS]
            more = f" · {len(reasons) - len(kept)} more" if len(reasons) > len(kept) else ""
            if kept:
                said = Text(" · ".join(kept) + more, "dim")
                first, *rest = hanging(f"    {sign} ", said, width)
                first.stylize(style, 4, 5)
                yield from (first, *rest)
        yield Text.assemble("    → ", (choice.next, "bold"), no_wrap=True)


def _cells(choice: Choice) -> dict[str, Cell]:
    axes = {axis.name: axis for axis in choice.axes}
    own, index = axes["own score"].value, axes["index"].value
    scored = choice.scored
    return {
        "model": Cell(f"{choice.name}{'¹' if choice.front == 1 else ''}", "bold" if choice.front == 1 else ""),
        "own score": Cell(UNKNOWN if own is None else f"{100 * own:.1f}"),
        "index": Cell(UNKNOWN if index is None else f"{index:g}"),
        "support": Cell(in_short(scored.support)),
        "familiarity": Cell(in_short(scored.familiarity)),
        "cost": Cell(_cost(axes["cost"].says) if axes["cost"].value is not None else UNKNOWN),
    }


def _cost(says: str) -> str:
    """The figure alone: `$0.12` or `1.5 B`."""
    first, second, *_ = says.split()
    return first if first.startswith("$") else f"{first} {second}"

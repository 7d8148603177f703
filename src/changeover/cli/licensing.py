"""The work of `changeover licences`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from changeover.app.installation import Installation, was_started
from changeover.app.library_files import LibraryFiles
from changeover.app.licence_position import (
    Position,
    Standing,
    policy_line,
    position,
    position_of,
    reasons_beside,
    why,
)
from changeover.cli.columns import UNKNOWN, Cell, Columns, hanging, widest
from changeover.cli.frame import actor, clock_time, note, out, print_json
from changeover.cli.model_words import OUTCOME_WORDS
from changeover.cli.running import opened
from changeover.cli.signature import later
from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError, UnknownModelError, UnknownTaskError, nearest
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judgement import Judgement, Reason
from changeover.library.licences.licensing import Licensing
from changeover.library.licences.queries import LicenceText, accept, review_needed, texts
from changeover.library.licences.words import place, short
from changeover.tasks.declarations import load_all_tasks

bill = later("changeover.library.licences.bom")
"""Needs the extra `bom`."""

COLUMNS = Columns(
    names=("model", "licence", "outcome", "answers now", "why"),
    concessions=(("licence", 16), ("model", 20), ("answers now", 10), ("licence", 0), ("answers now", 0), ("why", 24)),
)
NO_ADVICE = "This is a reading of licences, and no legal advice."


def show(model: str | None, task: str | None, as_json: bool) -> bool:
    """Print the position, or one model's. Returns whether something answers now that may not."""
    whole, tasks = _position()
    if task is not None and tasks and task not in tasks:
        raise UnknownTaskError(f"No task named `{task}`, here or in the policy. {nearest(task, tasks)}")
    if model is not None:
        return _show_one(whole, model, task, as_json)
    if as_json:
        print_json(_document(whole, task))
    else:
        _show_all(whole, task)
    return bool(whole.refused)


def show_texts(model: str | None, as_json: bool) -> None:
    """Print the texts that were seen."""
    installation = opened()
    with installation.store.read() as connection:
        seen = texts(connection, model)
        cards = [card for card in installation.catalogue.cards() if model in (None, card.id)]
        waiting = {card.id for card in cards if review_needed(connection, card) is not None}
    newest = {text.card: text.id for text in seen}
    if as_json:
        rows = [
            text | {"review": text["card"] in waiting and newest[text["card"]] == text["id"]}
            for text in map(vars, seen)
        ]
        print_json(rows)
        return
    if not seen:
        out.print("No text was seen yet: `changeover library sync` reads them at their source.", style=None)
    for text in seen:
        unread = text.card in waiting and newest[text.card] == text.id
        out.print(Text.assemble(f"{text.card:<28} {text.sha256[:16]}  ", _state_of(text, unread=unread)))
        out.print(f"  {text.source}, seen {clock_time(text.seen_at)}", style="dim")


def accept_text(model: str, reason: str, as_json: bool) -> None:
    """Accept a text, and print which."""
    installation = opened()
    with installation.store.write() as connection:
        text = accept(connection, model, actor(), reason, installation.clock.now())
    if as_json:
        print_json(text)
        return
    out.print(
        f"Accepted by {text.accepted_by}: {text.card}, SHA-256 {text.sha256[:16]}…, from {text.source}.", style=None
    )


def write_bom(file: Path, model: str | None, *, every: bool) -> None:
    """Write the bill of materials of one model, of what is deployed, or of all."""
    catalogue, installation, _ = _known()
    if model is not None:
        cards: Sequence[Card] = [catalogue.card(model)]
    elif every or installation is None:
        cards = catalogue.cards()
    else:
        running = {each.model for each in position_of(installation).models if each.answers or each.deployed}
        cards = [card for card in catalogue.cards() if card.id in running]
    try:
        written = bill().bill_of_materials(cards, catalogue, at=SystemClock().now())
    except ImportError as exc:
        raise ConfigError(
            f'A bill of materials needs the extra `bom` ({exc}). Install it: `pip install "changeover[bom]"`.'
        ) from exc
    file.write_text(written, encoding="utf-8")
    out.print(f"{file}: {len(cards)} model{'s' * (len(cards) != 1)}, CycloneDX 1.6.", style=None)


def _known() -> tuple[Catalogue, Installation | None, LibraryFiles]:
    """The library here, and the project with its store where there is one."""
    files = LibraryFiles.at(Path.cwd())
    if files.project is None or not was_started(files.project):
        return files.catalogue(), None, files
    installation = opened()
    return installation.catalogue, installation, files


def _position() -> tuple[Position, set[str]]:
    """The position, and the tasks that there are or that the policy names: none outside of a project."""
    catalogue, installation, files = _known()
    if installation is not None:
        whole, tasks = position_of(installation), set(installation.tasks)
    else:
        tasks = set[str]() if files.project is None else set(load_all_tasks(files.project.tasks, files.project.tools))
        whole = position(Licensing(catalogue, files.policy(), SystemClock().now().date()), tasks=tasks)
    answered = {task for each in whole.models for task in each.answers}
    policy = whole.licensing.policy
    return whole, tasks | answered | set(() if policy is None else policy.tasks)


def _show_one(whole: Position, model: str, task: str | None, as_json: bool) -> bool:
    standing = next((each for each in whole.models if each.model == model), None)
    if standing is None:
        known = [each.model for each in whole.models]
        raise UnknownModelError(f"No model named `{model}`. {nearest(model, known)}")
    judged = [standing.general, *standing.tasks.values()] if task is None else [whole.judge(model, task)]
    if as_json:
        judgements = [_judgement(each) for each in judged]
        print_json({"policy": policy_line(whole.licensing.policy), **_row(standing), "judgements": judgements})
        return bool(standing.refused)
    out.print(Text.assemble((model, "bold"), f"  {standing.licence or 'licence unknown'}"))
    out.print(policy_line(whole.licensing.policy), style="dim")
    if standing.answers:
        out.print(f"answers now: {', '.join(standing.answers)}", style=None)
    for each in judged:
        purpose = f"for {each.task}" if each.task else "in general"
        out.print(Text.assemble("\n", (purpose, "bold"), "  ", OUTCOME_WORDS[each.outcome]))
        # What was said in general is not said again.
        for reason in reasons_beside(each, judged[0]):
            out.print(Text("\n").join(_reason_lines(reason, out.width)))
    out.print()
    for line in _sources(judged):
        out.print(Text(line, style="dim"))
    if standing.review is not None:
        note(_changed(standing.review))
    out.print(NO_ADVICE, style="dim")
    return bool(standing.refused)


def _show_all(whole: Position, task: str | None) -> None:
    out.print(policy_line(whole.licensing.policy), style=None)
    for mistake in whole.mistakes:
        note(f"policy: {mistake}")
    rows = [row for each in whole.models for row in _rows(each, task)]
    widths = COLUMNS.fitted({name: widest(name, name, rows) for name in COLUMNS.names}, out.width)
    out.print(COLUMNS.line({name: Cell(name, "dim") for name in COLUMNS.names}, widths))
    for row in rows:
        out.print(COLUMNS.line(row, widths))
    for each in whole.models:
        if each.review is not None:
            note(_changed(each.review))
    for each in whole.refused:
        for name in each.refused:
            note(f"{each.model} answers {name} now and may not: {short(each.tasks.get(name, each.general))}")
    count = len(whole.refused)
    verdict = f"models that answer and may not: {count}" if count else "nothing answers that may not"
    out.print(f"\n{verdict} · `changeover licences MODEL` shows every reason with its clause", style=None)
    out.print(NO_ADVICE, style="dim")


def _rows(standing: Standing, task: str | None) -> Iterator[dict[str, Cell]]:
    general = standing.general if task is None else standing.tasks.get(task, standing.general)
    answers = ", ".join(standing.answers) or ("deployed" if standing.deployed else "")
    yield _cells(standing.model, standing.licence or "unknown", general, answers)
    if task is None:
        for name, each in standing.tasks.items():
            yield _cells(f"  for {name}", "", each, "")


def _cells(name: str, licence: str, judgement: Judgement, answers: str) -> dict[str, Cell]:
    doubts = len(judgement.warnings)
    because = why(judgement)
    return {
        "model": Cell(name),
        "licence": Cell(licence, "dim"),
        "outcome": Cell(*OUTCOME_WORDS[judgement.outcome]),
        "answers now": Cell(answers),
        "why": Cell(
            because + (f"{' · ' if because else ''}{doubts} warning{'s' * (doubts != 1)}" if doubts else ""), "dim"
        ),
    }


def _reason_lines(reason: Reason, width: int) -> Iterator[Text]:
    mark = "warning" if reason.warning else OUTCOME_WORDS[reason.outcome][0]
    yield from hanging(f"  {mark:<16}", Text(reason.says), width)
    if reason.licence:
        where = f"{place(reason)} of {reason.licence}" if reason.clause else reason.licence
        quote = f": «{reason.quote}»" if reason.quote else ""
        yield from hanging(" " * 18, Text(f"{where}{quote}", style="dim"), width)
    if reason.settled:
        yield from hanging(" " * 18, Text(f"settled by {reason.settled}", style="green"), width)


def _sources(judged: Sequence[Judgement]) -> Iterator[str]:
    """Where the words were read, each place once."""
    reasons = [reason for each in judged for reason in each.reasons if reason.source]
    for source, grade, licence in dict.fromkeys((reason.source, reason.grade, reason.licence) for reason in reasons):
        yield f"{licence}: read in {source}{f' [{grade}]' if grade else ''}"


def _state_of(text: LicenceText, *, unread: bool) -> tuple[str, str]:
    if text.accepted_by is not None and text.accepted_at is not None:
        return f"accepted by {text.accepted_by} on {clock_time(text.accepted_at)}: {text.reason}", "green"
    return ("changed: read it, then accept it", "yellow") if unread else (UNKNOWN, "dim")


def _changed(text: LicenceText) -> str:
    return (
        f"the licence of {text.card} has another text at {text.source}: read it, then "
        f"`changeover licences accept {text.card} --reason …`. Until then it takes over nothing."
    )


def _document(whole: Position, task: str | None) -> dict[str, Any]:
    return {
        "policy": whole.licensing.policy,
        "today": whole.licensing.today,
        "mistakes": whole.mistakes,
        "models": [
            {
                **_row(each),
                "judgement": _judgement(each.general if task is None else each.tasks.get(task, each.general)),
                "tasks": {name: _judgement(one) for name, one in each.tasks.items() if task in (None, name)},
            }
            for each in whole.models
        ],
    }


def _row(standing: Standing) -> dict[str, Any]:
    return {
        "model": standing.model,
        "licence": standing.licence,
        "answers": standing.answers,
        "refused": standing.refused,
        "deployed": standing.deployed,
        "review": standing.review,
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "task": judgement.task,
        "outcome": judgement.outcome,
        "why": short(judgement),
        "duties": [reason.says for reason in judgement.duties],
        "warnings": [reason.says for reason in judgement.warnings],
        "reasons": judgement.reasons,
    }

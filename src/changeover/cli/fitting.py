"""The work of `changeover fit`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from changeover.app.fit_words import rows_of
from changeover.app.fits import HERE, Machine, Use, best_of, judged_here, judged_on, this_machine
from changeover.app.library_files import LibraryFiles
from changeover.cli.columns import hanging
from changeover.cli.exits import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS
from changeover.cli.frame import out, print_json
from changeover.cli.signature import later
from changeover.core.sizes import GB, GIB
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.fit import Fit, parse_hardware
from changeover.library.fit.detect import Detected

planning = later("changeover.cli.planning")
"""Only for a project that was started: without one there is nothing to write into."""

STATUS = {"fits": EXIT_PASS, "tight": EXIT_PASS, "no": EXIT_FAIL, "unknown": EXIT_INCONCLUSIVE}
SAID = {
    "fits": ("FITS", "bold green"),
    "tight": ("FITS TIGHTLY", "bold yellow"),
    "no": ("DOES NOT FIT", "bold red"),
    "unknown": ("NOT KNOWN", "bold yellow"),
}
INDENT = 14


@dataclass(frozen=True)
class Ask:
    """What the command line said."""

    model: str
    on: str
    context: int | None
    concurrency: int | None
    quantisation: str | None
    memory_gib: float | None
    as_json: bool


def fit_model(ask: Ask) -> int:
    """Judge, print, and give the command's exit status: of several kinds of hardware here, the best.

    In a project that was started it is written down that a model fits this machine as it is.
    """
    files = LibraryFiles.at(Path.cwd())
    catalogue = files.catalogue()
    card = catalogue.card(ask.model)
    judged = _judged(card, catalogue, files, ask)
    if ask.as_json:
        print_json([_document(one) for one in judged] if ask.on == HERE else _document(judged[0]))
    else:
        for place, one in enumerate(judged):
            lines = [Text(), *fit_lines(one, out.width)] if place else fit_lines(one, out.width)
            for line in lines:
                out.print(line)
    best = best_of(judged)
    project = files.project
    if best.ok and ask.on == HERE and ask.memory_gib is None and project is not None and project.state.is_dir():
        planning().note_fit(project, card, best)
    return STATUS[best.verdict]


def _judged(card: Card, catalogue: Catalogue, files: LibraryFiles, ask: Ask) -> list[Fit]:
    use = Use(
        context=ask.context, concurrency=ask.concurrency, quantisation=ask.quantisation, memory_gib=ask.memory_gib
    )
    if ask.on != HERE:
        return [judged_on(card, parse_hardware(ask.on, catalogue), catalogue, use)]
    declared = None if files.project is None else files.project.settings.engines.memory_gib
    if ask.memory_gib is None:
        machine = this_machine(catalogue, declared)
    else:
        machine = Machine(detected=Detected((), ()), memory_gib=declared)
    return judged_here(card, machine, catalogue, files.cache, use)


def _document(judged: Fit) -> dict[str, object]:
    """The answer, with every count of bytes in both units too."""
    document = asdict(judged)
    for name in ("needs_bytes", "has_bytes", "total_bytes"):
        count = document[name]
        document[name.replace("_bytes", "_gib")] = None if count is None else round(count / GIB, 3)
        document[name.replace("_bytes", "_gb")] = None if count is None else round(count / GB, 3)
    return document


def fit_lines(judged: Fit, width: int) -> list[Text]:
    """What a person sees. A command stands on one line however long it is, so that it can be copied."""
    said, style = SAID[judged.verdict]
    where = "on this machine" if judged.hardware == HERE else f"on {judged.hardware}"
    form = "" if judged.quantisation is None else f" in {judged.quantisation}"
    lines = [Text.assemble((said, style), f"  {judged.model}{form} {where}")]
    if judged.quantisation is None and judged.verdict == "no":
        for note in judged.notes:
            lines += hanging("  ", Text(note), width)
        return lines
    for name, words in rows_of(judged):
        lines += hanging(f"  {name:<{INDENT}}", Text(words), width)
    return lines if judged.command is None else [*lines, Text(f"  {'command':<{INDENT}}{judged.command}")]

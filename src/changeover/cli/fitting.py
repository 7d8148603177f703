"""The work of `changeover fit`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.text import Text

from changeover.app.library_files import LibraryFiles
from changeover.cli.columns import hanging
from changeover.cli.exits import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS
from changeover.cli.frame import out, print_json
from changeover.cli.signature import later
from changeover.core.errors import ArtifactError
from changeover.core.sizes import GB, GIB, in_both
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.fit import Fit, Hardware, fit, fits_here, parse_hardware
from changeover.library.fit.context import shape_of
from changeover.library.fit.detect import Detected, detect
from changeover.library.gguf import read_header
from changeover.library.pull import artifact_path, present
from changeover.library.running import Shape
from changeover.serving.memory import budget_bytes

planning = later("changeover.cli.planning")
"""Only for a project that was started: without one there is nothing to write into."""

HERE = "here"
STATUS = {"fits": EXIT_PASS, "tight": EXIT_PASS, "no": EXIT_FAIL, "unknown": EXIT_INCONCLUSIVE}
SAID = {
    "fits": ("FITS", "bold green"),
    "tight": ("FITS TIGHTLY", "bold yellow"),
    "no": ("DOES NOT FIT", "bold red"),
    "unknown": ("NOT KNOWN", "bold yellow"),
}
BEST = ("fits", "tight", "unknown", "no")
"""Of several kinds of hardware in one machine: what may fit on one is not refused because of another."""
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
    judged = _here(card, catalogue, files, ask) if ask.on == HERE else [_on(card, catalogue, ask)]
    if ask.as_json:
        print_json([_document(one) for one in judged] if ask.on == HERE else _document(judged[0]))
    else:
        for place, one in enumerate(judged):
            lines = [Text(), *fit_lines(one, out.width)] if place else fit_lines(one, out.width)
            for line in lines:
                out.print(line)
    best = min(judged, key=lambda one: BEST.index(one.verdict))
    project = files.project
    if best.ok and ask.on == HERE and ask.memory_gib is None and project is not None and project.state.is_dir():
        planning().note_fit(project, card, best)
    return STATUS[best.verdict]


def _on(card: Card, catalogue: Catalogue, ask: Ask) -> Fit:
    return _judged(card, parse_hardware(ask.on, catalogue), catalogue, ask)


def _judged(card: Card, hardware: Hardware, catalogue: Catalogue, ask: Ask) -> Fit:
    accelerator = hardware.accelerator
    if ask.memory_gib is not None:
        accelerator = accelerator.model_copy(update={"memory_gib": ask.memory_gib})
    return fit(
        card,
        accelerator,
        hardware.count,
        context=ask.context,
        concurrency=ask.concurrency,
        quantisation=ask.quantisation,
        siblings=_siblings(card, catalogue),
    )


def _here(card: Card, catalogue: Catalogue, files: LibraryFiles, ask: Ask) -> list[Fit]:
    """On each kind of accelerator that this machine has, and on its processor."""
    detected = detect(catalogue.accelerators()) if ask.memory_gib is None else Detected((), ())
    declared = None if files.project is None else files.project.settings.engines.memory_gib
    found = [_judged(card, Hardware(each.accelerator, each.count), catalogue, ask) for each in detected.found]
    local = fits_here(
        card,
        budget_bytes(ask.memory_gib or declared),
        context=ask.context,
        concurrency=ask.concurrency,
        quantisation=ask.quantisation,
        shape=_shape_here(card, files.cache),
        siblings=_siblings(card, catalogue),
    )
    return [*found, replace(local, notes=(*local.notes, *detected.unknown))]


def _shape_here(card: Card, cache: Path) -> Shape | None:
    """The shape by the weights' own header, where they are on this machine."""
    for artifact in card.artifacts:
        if artifact.format == "gguf" and present(artifact, cache):
            try:
                return shape_of(read_header(artifact_path(artifact, cache)))
            except ArtifactError:
                return None  # `pull` says what is wrong with it; here it is as if there were none
    return None


def _siblings(card: Card, catalogue: Catalogue) -> list[Card]:
    return [one for one in catalogue.cards() if one.family == card.family and one.id != card.id]


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
    rows = [("needs", _sizes(judged.needs_bytes))]
    rows += [("", f"{_sizes(part.bytes):<26} {part.name}: {part.how}") for part in judged.parts]
    rows += [("usable", _usable(judged))]
    if (published := judged.published) is not None:
        less = "" if published.met else " – more than is usable"
        more = published.difference_bytes
        beside = "" if more is None else f"; computed is {_sizes(abs(more))} {'more' if more > 0 else 'less'}"
        rows.append(("published", f"{_sizes(published.minimum_bytes)}{less}{beside}"))
    if judged.most_requests is not None:
        rows.append(("room", f"{judged.most_requests} × {judged.context_tokens:,} tokens at once"))
    rows.append(("how", _how(judged)))
    for name, words in (
        ("it would with", [remedy.words for remedy in judged.remedies]),
        ("not known", judged.missing),
        ("note", judged.notes),
    ):
        rows += [("" if number else name, word) for number, word in enumerate(words)]
    for name, words in rows:
        lines += hanging(f"  {name:<{INDENT}}", Text(words), width)
    return lines if judged.command is None else [*lines, Text(f"  {'command':<{INDENT}}{judged.command}")]


def _usable(judged: Fit) -> str:
    if judged.layout is None or judged.total_bytes == judged.has_bytes:
        return _sizes(judged.has_bytes)
    cards = judged.layout.cards
    return f"{_sizes(judged.has_bytes)} of {_sizes(judged.total_bytes)} on {cards} card{'s' if cards > 1 else ''}"


def _how(judged: Fit) -> str:
    engine = judged.engine or "no engine known"
    layout = judged.layout
    if layout is None:
        return engine
    said = [f"{layout.cards} card{'s' if layout.cards > 1 else ''}"]
    said += [f"{layout.nodes} nodes"] if layout.nodes > 1 else []
    said += [f"tensors over {layout.tensor_parallel}"] if layout.tensor_parallel > 1 else []
    said += [f"pipeline of {layout.pipeline_parallel}"] if layout.pipeline_parallel > 1 else []
    said += ["experts spread"] if layout.expert_parallel else []
    return f"{engine} · {' · '.join(said)}"


def _sizes(count: int | None) -> str:
    return "not known" if count is None else in_both(count)

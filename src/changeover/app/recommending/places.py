"""Where a model could run: on this machine, on declared hardware, on a server, at a host."""

from __future__ import annotations

from collections.abc import Sequence

from changeover.app.installation import Installation
from changeover.app.recommending.choices import Place
from changeover.app.recommending.needs import Needs
from changeover.core.sizes import GIB, part_of_gib
from changeover.library.artifacts import FileSource, embeddable
from changeover.library.cards import Card
from changeover.library.fit import Fit, Hardware, fit, fits_here
from changeover.library.pull import present
from changeover.library.running import Hosted
from changeover.serving.memory import budget_bytes
from changeover.serving.queries import ANSWERING, Deployment

SERVER = "changeover deploy {served}{name} --engine openai --url http://SERVER:PORT/v1"
"""Of a server of one's own. Engines serve a model under the name of its repository unless they are told another."""


def place_of(
    installation: Installation, card: Card, rows: Sequence[Deployment], needs: Needs, hardware: Hardware | None
) -> Place:
    """Where a card's model could answer this task.

    Args:
        installation: The project.
        card: The model.
        rows: Its deployments.
        needs: What the task takes; its context counts for the memory.
        hardware: What it shall run on; None: this machine, with the embedded engine.
    """
    ready = sorted(rows, key=lambda row: (row.state not in ANSWERING, row.name))
    if ready:
        where = "on a server" if ready[0].backend == "openai" else "here"
        running = "runs" if ready[0].state in ANSWERING else "is deployed"
        return Place(state="now", says=f"{running} {where} as {ready[0].name}", deployment=ready[0].name)
    if card.weights == "closed":
        return _hosted(card)
    if hardware is not None:
        return _on(card, needs, hardware)
    return _here(installation, card, needs)


def _here(installation: Installation, card: Card, needs: Needs) -> Place:
    settings = installation.project.settings.engines
    budget = budget_bytes(settings.memory_gib)
    context = max(needs.context_tokens, settings.context_tokens)
    found = fits_here(card, budget, context=context, concurrency=settings.slots)
    artifact = embeddable(card.artifacts)
    takes, has = found.needs_bytes, found.has_bytes
    if artifact is None and takes is not None and has is not None and takes <= has:
        return Place(
            state="engine",
            says=f"would fit here by its size ({part_of_gib(takes, has)}); its card has no file for the embedded engine",
            command=_own_server(card),
        )
    if artifact is None:
        nothing = found.verdict == "unknown" and not card.hosted and not card.engines
        said = _memory(found) or "; ".join(found.missing)
        return Place(state="unknown" if nothing else "more", says=said, command=_server(card))
    if found.verdict == "unknown":
        return Place(state="unknown", says=f"whether it fits is not known: {'; '.join(found.missing)}")
    if not found.ok:
        return Place(state="more", says=_memory(found) or "it does not fit", command=_server(card))
    if present(artifact, installation.project.cache):
        return Place(state="now", says=f"its weights are here; {_memory(found)}")
    if not artifact.sources:
        return Place(state="engine", says=f"no source of its weights is known; {_memory(found)}", command=_server(card))
    how = "copied" if isinstance(artifact.sources[0], FileSource) else "fetched"
    return Place(state="now", says=f"{artifact.size_bytes / GIB:.2f} GiB are {how} first; {_memory(found)}")


def _on(card: Card, needs: Needs, hardware: Hardware) -> Place:
    found = fit(card, hardware.accelerator, hardware.count, context=needs.context_tokens)
    if found.verdict == "unknown":
        return Place(state="unknown", says=f"whether it fits is not known: {'; '.join(found.missing)}")
    said = _memory(found)
    if not found.ok:
        return Place(state="more", says=said or f"it does not fit {hardware}", command=_server(card))
    engine = f", by {found.engine}" if found.engine else ""
    return Place(state="now", says=f"{said}{engine}", command=_server(card))


def _memory(found: Fit) -> str:
    """`takes 3.1 of 19.2 GiB`, or the least that was published."""
    if found.needs_bytes is None or found.has_bytes is None:
        return ""
    words = {"fits": "takes", "tight": "takes, tightly,", "no": "would take", "unknown": "would take"}[found.verdict]
    return f"{words} {part_of_gib(found.needs_bytes, found.has_bytes)}"


def _hosted(card: Card) -> Place:
    if not card.hosted:
        return Place(state="unknown", says="closed, and no host of it is known")
    hosts = ", ".join(dict.fromkeys(hosted.host for hosted in card.hosted))
    return Place(state="more", says=f"closed: only at {hosts}", command=_server(card))


def _server(card: Card) -> str:
    """The command that reaches it over a server: a host of it where one is known."""
    hosted: Hosted | None = next((each for each in card.hosted if each.base_url and each.id), None)
    if hosted is None:
        return _own_server(card)
    name = f" --name {card.id}" if hosted.id != card.id else ""
    key = f" --key-env {hosted.key_variable}" if hosted.key_variable else ""
    return f"changeover deploy {hosted.id}{name} --engine openai --url {hosted.base_url}{key}"


def _own_server(card: Card) -> str:
    served = card.repositories[0] if card.repositories else card.id
    return SERVER.format(served=served, name=f" --name {card.id}" if served != card.id else "")

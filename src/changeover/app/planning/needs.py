"""What a model takes on this machine, in one engine or another, and what is missing of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from changeover.app.planning.answer import Lack
from changeover.app.planning.ground import Ground
from changeover.app.planning.there import suggested
from changeover.core.errors import ArtifactError
from changeover.core.sizes import in_gib
from changeover.library.cards import Card
from changeover.library.fit import Fit, Layout, fit, fits_here
from changeover.library.fit.context import shape_of
from changeover.library.fit.quantisation import usual_quantisation
from changeover.library.gguf import read_header
from changeover.library.pull import artifact_path, present
from changeover.library.running import Shape
from changeover.serving.eviction import NoRoom, Unload, make_room
from changeover.serving.memory import Held
from changeover.serving.options import BackendName
from changeover.serving.weights import LOADS, Weights

ON_ACCELERATORS: Final[Mapping[str, BackendName]] = MappingProxyType(
    {"vllm": "vllm", "vllm-kunlun": "kunlun", "sglang": "sglang"}
)
"""Kinds of engines by what accelerators call them."""
SERVERS: Final[tuple[BackendName, ...]] = ("vllm", "sglang", "kunlun", "transformers", "ollama")
"""Engines that take more than is estimated here, by an amount that is known once they run."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one way to run a model takes."""

    bytes: int | None
    """None: not known."""
    has_bytes: int | None
    on_accelerator: str | None
    """Whose memory that is; None: this machine's own."""
    weights_bytes: int | None
    quantisation: str | None
    context_tokens: int
    slots: int
    layout: Layout | None = None
    flags: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    unknown: str | None = None
    """The fact by which it could be computed, where nobody published it."""
    notes: tuple[str, ...] = ()


def needs_of(
    card: Card, ground: Ground, engine: BackendName, weights: Weights | None, options: Mapping[str, Any]
) -> Needs:
    """What a model takes here in an engine; on an accelerator where there is one that the engine uses."""
    inner: Mapping[str, Any] = options.get("options", {}) if engine == "ray" else options
    context = int(inner.get("context_tokens", ground.engines.context_tokens))
    slots = int(inner.get("slots", ground.engines.slots))
    form = LOADS.get(cast("BackendName", options.get("engine", "local")) if engine == "ray" else engine)
    quantisation = None if weights is None else weights.quantisation
    if quantisation is None and form == "safetensors":
        quantisation = usual_quantisation(card)
    for found in ground.detected.found:
        if engine not in {ON_ACCELERATORS.get(each.engine) for each in found.accelerator.engines}:
            continue
        judged = fit(
            card, found.accelerator, found.count, context=context, concurrency=slots, quantisation=quantisation
        )
        return _counted(judged, on=f"{found.count} × {found.accelerator.display_name}", notes=judged.notes)
    judged = fits_here(
        card,
        ground.budget,
        context=context,
        concurrency=slots,
        quantisation=quantisation,
        shape=_shape(weights, ground),
        siblings=[one for one in ground.catalogue.cards() if one.family == card.family and one.id != card.id],
    )
    notes = (f"An estimate by weights and context: {engine} itself takes more.",) if engine in SERVERS else ()
    copies = int(options.get("replicas", 1)) if engine == "ray" and options.get("address") is None else 1
    return _counted(judged, notes=notes, copies=copies)


def memory_lacks(card: Card, needs: Needs, ground: Ground, deployment: str) -> Iterator[Lack]:
    """What is missing of the memory that a model takes: at all, or beside what runs."""
    if needs.unknown is not None:
        yield Lack(kind="fact", what=needs.unknown, remedy="Nobody published it, so what it takes is not known.")
    if needs.bytes is None or needs.has_bytes is None:
        return
    where = needs.on_accelerator or "engines on this machine"
    if needs.bytes > needs.has_bytes:
        what = f"{in_gib(needs.bytes)} of memory; {where} may use {in_gib(needs.has_bytes)}"
        yield Lack(kind="memory", what=what, remedy=_smaller(card, needs, ground))
    elif needs.on_accelerator is None:
        room = _room(needs.bytes, ground, deployment)
        if isinstance(room, NoRoom):
            held = [each for each in ground.held if each.name != deployment]
            # What would be unloaded by itself would not be enough.
            most = max([each for each in held if not each.may_go] or held, key=lambda each: each.bytes).name
            what = f"{in_gib(needs.bytes)} beside {in_gib(room.fit.beside)} that run; the budget is {in_gib(ground.budget)}"
            yield Lack(kind="room", what=what, remedy=f"`changeover undeploy {most}` first, or `--instead-of {most}`.")


def unloaded_for(needs: Needs, ground: Ground, deployment: str) -> Sequence[str]:
    """Deployments that would be unloaded for it, since nobody needs them."""
    if needs.bytes is None or needs.on_accelerator is not None:
        return ()
    room = _room(needs.bytes, ground, deployment)
    return room.names if isinstance(room, Unload) else ()


def _room(count: int, ground: Ground, deployment: str) -> Unload | NoRoom:
    """As the fleet will decide it."""
    return make_room(ground.budget, ground.held, Held(name=deployment, bytes=count))


def _counted(judged: Fit, *, on: str | None = None, notes: tuple[str, ...] = (), copies: int = 1) -> Needs:
    held = next((part.bytes for part in judged.parts if part.name == "weights"), None)
    unknown = judged.missing[0] if judged.needs_bytes is None and judged.missing else None
    return Needs(
        bytes=None if judged.needs_bytes is None else judged.needs_bytes * copies,
        has_bytes=judged.has_bytes,
        on_accelerator=on,
        weights_bytes=held,
        quantisation=judged.quantisation,
        context_tokens=judged.context_tokens,
        slots=judged.concurrency,
        layout=judged.layout,
        flags=judged.flags if on is not None else (),
        remedies=tuple(each.words for each in judged.remedies),
        unknown=unknown,
        notes=notes,
    )


def _smaller(card: Card, needs: Needs, ground: Ground) -> str:
    """What would make it fit: less of it, or other hardware."""
    said = [f"Would fit: {'; or '.join(needs.remedies)}."] if needs.remedies else []
    if card.minimum_hardware:
        said.append(f"Documented for {card.minimum_hardware}.")
    hardware = suggested(card, ground.catalogue)
    if hardware is not None:
        said.append(f"`changeover deploy {card.id} --on {hardware}` shows how it runs there.")
    near = 2 * (needs.has_bytes or 0) > (needs.bytes or 0)
    if needs.on_accelerator is None and not needs.remedies and near:
        said.append("Less of it needs less: `--context`, `--slots`; or raise `engines.memory_gib`.")
    return " ".join(said) or f"`changeover fit {card.id} --on …` tries other hardware."


def _shape(weights: Weights | None, ground: Ground) -> Shape | None:
    """The shape by the weights' own header, where they are here."""
    artifact = None if weights is None else weights.artifact
    if artifact is None or artifact.format != "gguf" or not present(artifact, ground.cache):
        return None
    try:
        return shape_of(read_header(artifact_path(artifact, ground.cache)))
    except ArtifactError:
        return None  # whoever loads it says what is wrong with it

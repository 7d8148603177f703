"""A plan for other hardware: the documented command, which somebody runs there, and how its server becomes a deployment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from changeover.app.planning.answer import DeployPlan, Lack, Weights
from changeover.app.planning.ground import Ground
from changeover.app.planning.terms import licence_of
from changeover.app.planning.wish import Wish
from changeover.core.errors import ConfigError
from changeover.core.sizes import in_gib
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.fit import Fit, Hardware, fit, parse_hardware
from changeover.library.fit.commands import command_for, flags_for
from changeover.library.fit.servers import overhead_on
from changeover.serving.options import BackendName

SERVERS: Final[Mapping[BackendName, str]] = MappingProxyType(
    {
        "vllm": "vllm",
        "kunlun": "vllm-kunlun",
        "sglang": "sglang",
        "transformers": "transformers",
        "llama-server": "llama.cpp",
        "local": "llama.cpp",
        "ollama": "ollama",
    }
)
"""What cards and accelerators call an engine that somebody starts by hand."""
SPEAKS_OPENAI: Final = re.compile(r"vllm(?!-omni)|sglang|llama\.cpp|transformers|ollama|fastdeploy")
COUNTS: Final = (1, 2, 4, 8, 16)
USUAL: Final = ("h100-80", "h200")
"""Tried for a hint where nobody wrote down what a model was run on."""


def on_hardware(wish: Wish, ground: Ground, card: Card, hardware: Hardware) -> DeployPlan:
    """Plan a model for hardware that is not here.

    Raises:
        ConfigError: The engine that was named is not started there by a person.
    """
    judged = _judged(card, hardware, ground.catalogue, wish.common.get("context_tokens"), wish.common.get("slots"))
    engine, flags, command = judged.engine, judged.flags, judged.command
    missing = [*licence_of(card, ground)]
    if wish.engine is not None:
        wanted = _server(wish.engine, hardware)
        if wanted != engine:
            engine, flags = wanted, _flags(wanted, judged, wish, hardware)
            command = None if judged.verdict == "no" else _command(card, hardware, engine, judged, flags)
            missing += _unverified(card, hardware, engine)
    missing += _not_fitting(judged)
    unknown = judged.missing if judged.verdict == "unknown" else ()
    missing += [Lack(kind="fact", what=each, remedy=_look(card, hardware)) for each in unknown]
    if command is None and not missing:
        what = f"a documented command that starts `{card.id}` with {engine or 'any engine'} on {hardware}"
        missing.append(Lack(kind="fact", what=what, remedy=f"`changeover models {card.id}` shows what is known of it."))
    return DeployPlan(
        deployment=wish.name or card.id,
        model=card.id,
        hardware=judged.hardware,
        engine=engine,
        why=_why(wish, judged),
        alternatives=_others(card, hardware, engine),
        quantisation=judged.quantisation,
        weights=_weights(card, judged),
        layout=judged.layout,
        flags=flags,
        context_tokens=judged.context_tokens,
        slots=judged.concurrency,
        needs_bytes=judged.needs_bytes,
        has_bytes=judged.has_bytes,
        served_as=served_name(command, card),
        command=command,
        attach=None if command is None else attach(command, card, engine, wish),
        missing=tuple(missing),
        notes=judged.notes if unknown else (*(f"Not known: {each}." for each in judged.missing), *judged.notes),
    )


def suggested(card: Card, catalogue: Catalogue) -> str | None:
    """Hardware that a model fits and has a command for, with as few cards as will do; None where none is known."""
    known = {each.id for each in catalogue.accelerators()}
    ran_on = (name for recipe in card.recipes for name in recipe.verified_hardware)
    for name in dict.fromkeys(each for each in (*ran_on, *USUAL) if each in known):
        for count in COUNTS:
            judged = fit(card, parse_hardware(name, catalogue).accelerator, count)
            if judged.ok and judged.command is not None:
                return judged.hardware
    return None


def attach(command: str, card: Card, engine: str | None, wish: Wish) -> str | None:
    """The command that makes a deployment of a server that runs; None for one that does not speak OpenAI's API."""
    if engine is None or not SPEAKS_OPENAI.match(engine):
        return None
    port = re.search(r"--port[ =](\d+)", command)
    url = f"http://SERVER:{port[1] if port else 'PORT'}/v1"
    return f"changeover deploy {served_name(command, card)} --engine openai --url {url} --name {wish.name or card.id}"


def served_name(command: str | None, card: Card) -> str:
    """What a server that is started so calls the model."""
    try:
        parts = shlex.split(command or "")
    except ValueError:
        parts = (command or "").split()
    for option in ("--served-model-name", "--model-path", "--model"):
        if option in parts[:-1]:
            return parts[parts.index(option) + 1]
    if "serve" in parts[:-1]:
        return parts[parts.index("serve") + 1]
    if parts[:2] == ["ollama", "run"] and len(parts) > 2:
        return parts[2]
    return card.repositories[0] if card.repositories else "NAME"


def _judged(card: Card, hardware: Hardware, catalogue: Catalogue, context: int | None, slots: int | None) -> Fit:
    siblings = [one for one in catalogue.cards() if one.family == card.family and one.id != card.id]
    return fit(card, hardware.accelerator, hardware.count, context=context, concurrency=slots, siblings=siblings)


def _server(engine: BackendName, hardware: Hardware) -> str:
    """What an engine is called on an accelerator: some have an edition of their own."""
    if engine not in SERVERS:
        raise ConfigError(
            f"`{engine}` is not started by hand on other hardware. With `--on`, name one of {', '.join(SERVERS)}, or none."
        )
    name = SERVERS[engine]
    offered = [each.engine for each in hardware.accelerator.engines]
    edition = next((each for each in offered if each.startswith(f"{name}-") and each != "vllm-omni"), name)
    return name if name in offered else edition


def _flags(engine: str, judged: Fit, wish: Wish, hardware: Hardware) -> tuple[str, ...]:
    if judged.layout is None:
        return ()
    usable = overhead_on(hardware.accelerator).usable
    return flags_for(engine, judged.layout, judged.context_tokens, wish.common.get("slots"), usable)


def _command(card: Card, hardware: Hardware, engine: str, judged: Fit, flags: tuple[str, ...]) -> str | None:
    return command_for(card, hardware.accelerator, engine, judged.quantisation or "", flags)


def _unverified(card: Card, hardware: Hardware, engine: str) -> Iterator[Lack]:
    """What nobody verified of an engine that was named and is not the one that `fit` would take."""
    offered = {each.engine: each for each in hardware.accelerator.engines}
    on_card = {each.engine for each in card.engines}
    if engine not in offered:
        what = f"whether {engine} runs on {hardware.accelerator.display_name}"
        yield Lack(kind="fact", what=what, remedy=f"Known there: {', '.join(offered) or 'none'}.")
    elif engine not in on_card and card.architecture.transformers_class not in offered[engine].architectures:
        what = f"whether {engine} runs `{card.id}`"
        yield Lack(kind="fact", what=what, remedy=f"Known to run it: {', '.join(sorted(on_card)) or 'none'}.")


def _not_fitting(judged: Fit) -> Iterator[Lack]:
    if judged.verdict != "no":
        return
    needs, has = judged.needs_bytes, judged.has_bytes
    remedy = "; or ".join(each.words for each in judged.remedies)
    if needs is None or has is None:
        yield Lack(
            kind="weights",
            what=judged.notes[0] if judged.notes else "an engine that could load it",
            remedy=f"`changeover deploy {judged.model} --engine openai` asks who hosts it.",
        )
        return
    what = f"{in_gib(needs)} of memory; {judged.hardware} gives {in_gib(has)}"
    if needs <= has:  # it is a limit that somebody documented, or a minimum that somebody published
        least = judged.published
        why = f"at least {in_gib(least.minimum_bytes)} were published" if least and not least.met else judged.notes[-1]
        what = f"other hardware than {judged.hardware}: {why.rstrip('.')}"
    yield Lack(
        kind="memory",
        what=what,
        remedy=f"Would fit: {remedy}." if remedy else f"`changeover fit {judged.model} --on …` tries other hardware.",
    )


def _look(card: Card, hardware: Hardware) -> str:
    return f"Nobody published it: `changeover fit {card.id} --on {hardware}` shows what follows from what is known."


def _why(wish: Wish, judged: Fit) -> str:
    if wish.engine is not None:
        return "It was asked for."
    if judged.engine is None:
        return "No engine is known to run it there."
    return f"The first engine of {judged.hardware} that is known to run it."


def _others(card: Card, hardware: Hardware, engine: str | None) -> tuple[str, ...]:
    on_card = {each.engine for each in card.engines}
    names = [each.engine for each in hardware.accelerator.engines if each.engine in on_card and each.engine != engine]
    return tuple(dict.fromkeys(names))


def _weights(card: Card, judged: Fit) -> Weights:
    held = next((part.bytes for part in judged.parts if part.name == "weights"), None)
    where = card.repositories or card.modelscope
    return Weights(
        format="gguf" if judged.engine == "llama.cpp" else "safetensors",
        bytes=held,
        source=f"{where[0]}, by the engine there" if where else None,
        here=False,
    )

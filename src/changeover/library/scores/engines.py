"""Which models the engines that are installed here know, by their own registries. Optional: cards say it otherwise."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from changeover.library.cards import Card

DISTRIBUTIONS = {"vllm": "vllm", "transformers": "transformers", "gguf": "gguf", "llama.cpp": "xllamacpp"}
TIMEOUT_S = 60.0
"""Importing vLLM takes tens of seconds."""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """What one installed engine says of the models that it was asked about."""

    engine: str
    version: str
    lists: Mapping[str, bool]
    """By class, model type or GGUF architecture: whether it knows it."""
    dropped: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it knew once, with the last version that did."""

    def knows(self, card: Card) -> bool | None:
        """Whether it runs a card's model; None: it cannot be asked, for the card names nothing that it goes by."""
        name = _name(self.engine, card)
        return None if name is None else self.lists.get(name)

    def dropped_after(self, card: Card) -> str | None:
        """The last version that ran a card's model, where a later one does not."""
        name = _name(self.engine, card)
        return None if name is None else self.dropped.get(name)


def ask_engines(cards: Iterable[Card], timeout_s: float = TIMEOUT_S) -> tuple[Registry, ...]:
    """Ask those engines that are installed. One that cannot be asked, or not in time, is left out."""
    if not any(map(_installed, DISTRIBUTIONS.values())):
        return ()
    known = list(cards)
    question = {
        "classes": _names("vllm", known),
        "model_types": _names("transformers", known),
        "architectures": _names("llama.cpp", known),
    }
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "changeover.library.scores.probe"],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        said = ended.stdout
    except subprocess.TimeoutExpired as exc:
        said = exc.stdout.decode() if isinstance(exc.stdout, bytes) else exc.stdout or ""
    except OSError:
        return ()
    return tuple(_registries(said))


def _registries(said: str) -> Iterable[Registry]:
    """What whole lines say; an engine may have printed some of its own."""
    for line in said.splitlines():
        try:
            answer: Any = json.loads(line)
            yield Registry(
                engine=answer["engine"],
                version=answer["version"],
                lists=answer["lists"],
                dropped=answer.get("dropped", {}),
            )
        except (ValueError, KeyError, TypeError):
            continue


def _names(engine: str, cards: Iterable[Card]) -> list[str]:
    return sorted({name for card in cards if (name := _name(engine, card)) is not None})


def _name(engine: str, card: Card) -> str | None:
    """By what an engine knows a model."""
    architecture = card.architecture
    named = {
        "vllm": architecture.transformers_class,
        "transformers": architecture.model_type,
        "gguf": architecture.gguf,
        "llama.cpp": architecture.gguf,
    }
    return named.get(engine)


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

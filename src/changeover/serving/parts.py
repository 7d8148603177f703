"""The engine's part of a bundle: what the engine decides about an answer, known without starting it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from changeover.core.errors import ConfigError
from changeover.serving.options import Json


@dataclass(frozen=True, kw_only=True)
class EnginePart:
    """Everything about an engine that can change an answer. None: it cannot be known."""

    backend: str
    engine: str | None
    """Name of the software that computes, such as `llama.cpp`."""
    engine_version: str | None
    model: str
    weights_digest: str | None = None
    quantisation: str | None = None
    tokenizer_digest: str | None = None
    chat_template_digest: str | None = None
    flags: Mapping[str, Json] = field(default_factory=dict[str, Json])
    profile: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """How the model and its engine speak, where it is not the plain way: see `serving.profiles`."""
    observed: str | None = None
    """Digest of what a model under somebody else's name was seen to answer, once that had changed: all that tells it
    from the one that had the name before."""

    base: Mapping[str, Json] | None = None
    """Of an adapter, which `weights_digest` is of: the kind of engine, model and weights that it changes, and its scale."""

    @property
    def is_alias(self) -> bool:
        """Whether somebody else runs it, so that another model may answer under its name without a word."""
        return self.engine is None and self.weights_digest is None

    def document(self) -> dict[str, Any]:
        """The JSON value that is stored and hashed. What is not there is left out, as before there was any such thing."""
        document = {each.name: normal(getattr(self, each.name)) for each in fields(self)}
        if not self.profile:
            del document["profile"]
        for name in ("observed", "base"):
            if document[name] is None:
                del document[name]
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> EnginePart:
        """Read what `document` wrote.

        Raises:
            ConfigError: It lacks a key or has an unknown one.
        """
        expect_keys(
            {"profile": {}, "observed": None, "base": None, **document}, {each.name for each in fields(cls)}, "engine"
        )
        return cls(**document)


def normal(value: Any) -> Any:
    """One form for equal JSON values: `0.0` is `0`, a tuple is a list, a mapping is a dict.

    Without it, `temperature = 0` and `temperature = 0.0` would be two bundles with the same answers.
    """
    if isinstance(value, Mapping):
        return {str(key): normal(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    if isinstance(value, (list, tuple)):
        return [normal(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType] - any JSON
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def expect_keys(document: Mapping[str, Any], known: set[str], what: str) -> None:
    """Refuse a document with other keys than these: reading it half would give it a false identity."""
    wrong = sorted(known ^ set(document))
    if wrong:
        raise ConfigError(
            f"A stored bundle's {what} has or lacks `{'`, `'.join(wrong)}`: another version of Changeover wrote it. "
            "Use the version that wrote it, or deploy again."
        )

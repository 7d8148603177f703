"""Bundles: everything that can change an answer, as one value whose digest is its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from typing import Any

from changeover.core.digest import canonical_json, sha256_value
from changeover.serving.backends import describe
from changeover.serving.options import Json
from changeover.serving.parts import EnginePart, expect_keys, normal

__all__ = ["Bundle", "Difference", "EnginePart", "changes", "describe", "differences"]

SHORT = 12
"""Characters of a digest that people read."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An engine with a prompt and parameters. Equal documents are the same bundle."""

    engine: EnginePart
    prompt_name: str
    prompt: str
    parameters: Mapping[str, Json]
    """Sampling and other fields sent with every request."""

    def document(self) -> dict[str, Any]:
        """The JSON value that is stored and hashed."""
        return {
            "engine": self.engine.document(),
            "prompt_name": self.prompt_name,
            "prompt": self.prompt,
            "parameters": normal(self.parameters),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the document, hex."""
        return sha256_value(self.document())

    @property
    def short(self) -> str:
        """The digest as people read it."""
        return self.digest[:SHORT]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Bundle:
        """Read what `document` wrote.

        Raises:
            ConfigError: It lacks a key or has an unknown one.
        """
        expect_keys(document, {"engine", "prompt_name", "prompt", "parameters"}, "document")
        engine = EnginePart.from_document(document["engine"])
        return cls(
            engine=engine,
            prompt_name=document["prompt_name"],
            prompt=document["prompt"],
            parameters=document["parameters"],
        )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not the same in two bundles, in words."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.name} {self.old} → {self.new}" if self.old else f"{self.name} {self.new}"


def differences(a: Bundle, b: Bundle) -> list[str]:
    """Say in words what changes from `a` to `b`; empty for the same bundle."""
    return [str(each) for each in changes(a, b)]


def changes(a: Bundle, b: Bundle) -> list[Difference]:
    """What changes from `a` to `b`, one by one; empty for the same bundle."""
    old, new = a.document(), b.document()
    old_engine, new_engine = old["engine"], new["engine"]
    found: list[Difference] = []
    for name in ("backend", "engine", "engine_version", "model", "quantisation"):
        found += _changed(name.replace("_", " "), old_engine[name], new_engine[name])
    for name, words in _DIGESTS.items():
        found += _changed_digest(words, old_engine.get(name), new_engine.get(name))
    based: Mapping[str, Any] = old_engine.get("base") or {}
    rebased: Mapping[str, Any] = new_engine.get("base") or {}
    found += _changed_digest("base weights", based.get("weights_digest"), rebased.get("weights_digest"))
    found += _changed_keys(_others(based), _others(rebased))
    found += _changed_keys(old_engine["flags"], new_engine["flags"])
    found += _changed_keys(old_engine.get("profile", {}), new_engine.get("profile", {}))
    found += _changed("prompt name", old["prompt_name"], new["prompt_name"])
    if old["prompt"] != new["prompt"]:
        lines = _changed_lines(old["prompt"], new["prompt"])
        found.append(Difference(name="prompt", old="", new=f"changed ({lines} line{'s' if lines != 1 else ''})"))
    return found + _changed_keys(old["parameters"], new["parameters"])


_DIGESTS = {
    "weights_digest": "weights",
    "tokenizer_digest": "tokenizer",
    "chat_template_digest": "chat template",
    "observed": "answers observed",
}


def _others(base: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an adapter stands on besides weights, in words that say so; how much of it counts is its own."""
    return {
        name if name == "scale" else f"base {name}": value for name, value in base.items() if name != "weights_digest"
    }


def _changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    found: list[Difference] = []
    for key in sorted({*old, *new}):
        if key not in old:
            found.append(Difference(name=key, old="unset", new=_show(new[key])))
        elif key not in new:
            found.append(Difference(name=key, old=_show(old[key]), new="unset"))
        else:
            found += _changed(key, old[key], new[key])
    return found


def _changed(name: str, old: Any, new: Any) -> list[Difference]:
    # Compared as JSON: for Python, True is 1.
    if canonical_json(old) == canonical_json(new):
        return []
    return [Difference(name=name, old=_show(old), new=_show(new))]


def _changed_lines(old: str, new: str) -> int:
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in blocks if tag != "equal")


def _changed_digest(name: str, old: str | None, new: str | None) -> list[Difference]:
    """Digests are shown by their first digits, unless just these are the same."""
    if old is None or new is None or old[:SHORT] != new[:SHORT]:
        old, new = old and old[:SHORT], new and new[:SHORT]
    return _changed(name, old, new)


def _show(value: Any) -> str:
    if value is None:
        return "unknown"
    return value if isinstance(value, str) and value else canonical_json(value)

"""Which scorers there are. Naming them loads none: start-up is quick, and a heavy library is loaded where it is used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from changeover.evals.scorers.base import Scorer

_HERE = "changeover.evals.scorers"

MODULES: Mapping[str, str] = {
    "exact": f"{_HERE}.text:EXACT",
    "contains": f"{_HERE}.text:CONTAINS",
    "choice": f"{_HERE}.choice",
    "regex": f"{_HERE}.regex",
    "numeric": f"{_HERE}.numeric",
    "key-facts": f"{_HERE}.facts",
    "json-schema": f"{_HERE}.json_schema",
    "unit-tests": f"{_HERE}.unit_tests",
    "rouge-l": f"{_HERE}.overlap:ROUGE_L",
    "chrf": f"{_HERE}.overlap:CHRF",
    "shape": f"{_HERE}.shape",
    "latency": f"{_HERE}.effort:LATENCY",
    "tokens": f"{_HERE}.effort:TOKENS",
    "cost": f"{_HERE}.effort:COST",
    "tool-calls": f"{_HERE}.tool_calls",
    "language": f"{_HERE}.language",
    "similarity": f"{_HERE}.similarity",
    "politeness": f"{_HERE}.politeness",
    "refusal": f"{_HERE}.refusal",
    "rubric": "changeover.evals.judges.rubric",
    "pairwise": "changeover.evals.judges.pairwise",
    "mix": f"{_HERE}.mix",
    "function": f"{_HERE}.function",
}
"""Name: its module, and after a colon the name in it, `SCORER` where none stands."""


class Registry(Mapping[str, Scorer[Any, Any]]):
    """Scorers by name, each loaded when it is first asked for."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._loaded: dict[str, Scorer[Any, Any]] = {}

    def __getitem__(self, name: str) -> Scorer[Any, Any]:
        if name not in self._loaded:
            module, _, attribute = self._modules[name].partition(":")
            self._loaded[name] = getattr(importlib.import_module(module), attribute or "SCORER")
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


SCORERS = Registry(MODULES)

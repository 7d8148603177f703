"""What somebody asks for: a model, and whatever they want to say of how it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

from changeover.core.errors import ConfigError, nearest
from changeover.serving.options import OPTIONS, BackendName, RayOptions

COMMON: Final[Mapping[str, str]] = {"context_tokens": "--context", "slots": "--slots", "threads": "--threads"}
"""Options that most engines have, and how they are given."""
REPLICABLE: Final[tuple[BackendName, ...]] = get_args(RayOptions.model_fields["engine"].annotation)
"""Engines that Ray runs replicas of."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What shall be deployed."""

    model: str
    """A card's id; for an engine that takes any name, whatever it is called there."""
    name: str | None = None
    """Of the deployment; None: the model's."""
    engine: BackendName | None = None
    """None: whatever runs it best."""
    on: str | None = None
    """Hardware other than this machine."""
    url: str | None = None
    key_variable: str | None = None
    host: str | None = None
    """Which of those that host it."""
    replicas: int = 1
    common: Mapping[str, int] = field(default_factory=dict[str, int])
    """Options that most engines have, as far as they are given."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All others."""

    def options_of(self, engine: BackendName) -> dict[str, Any]:
        """The options for a kind of engine.

        Raises:
            ConfigError: One of the common ones is not among that engine's; names those that are.
        """
        known = OPTIONS[engine].model_fields
        for key in self.common:
            if key not in known:
                its = ", ".join(f"`{name}`" for name in known)
                raise ConfigError(f"`--engine {engine}` has no `{COMMON[key]}`. Its options, by `--option`: {its}.")
        return {**self.common, **self.options}

    def replicated(self) -> Wish:
        """The same wish in Ray's words, where replicas are asked for: Ray runs them, of the engine that was named.

        Raises:
            ConfigError: Ray does not run replicas of that engine.
        """
        if self.engine != "ray" and self.replicas == 1:
            return self
        if self.engine == "ray":
            inner = engine_named(str(self.options.get("engine", "local")))
            said = {**self.options, **({"replicas": self.replicas} if self.replicas > 1 else {})}
            within: Any = self.options.get("options", {})
            if not isinstance(within, Mapping):
                raise ConfigError(
                    "`options` are those of the engine that Ray runs: a table, such as `options={slots = 2}`."
                )
        else:
            inner, said, within = self.engine or "local", {"replicas": self.replicas}, self.options
        if inner not in REPLICABLE:
            raise ConfigError(
                f"`--replicas` is Ray's work, and it runs replicas of {', '.join(REPLICABLE)}; not of `{inner}`."
            )
        its = replace(self, options=within).options_of(inner)
        options = {**said, "engine": inner, **({"options": its} if its else {})}
        return replace(self, engine="ray", options=options, common={})


def engine_named(name: str) -> BackendName:
    """A kind of engine by its name.

    Raises:
        ConfigError: There is none; the nearest is named.
    """
    for known in OPTIONS:
        if known == name:
            return known
    raise ConfigError(f"No engine named `{name}`. {nearest(name, OPTIONS)}")

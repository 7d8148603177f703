"""What shall run: the plan of one deployment's engine, written by who deploys, read by backends and the supervisor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from changeover.core.errors import ConfigError, nearest
from changeover.core.toml import validate
from changeover.serving.conversions.declared import Making
from changeover.serving.options import (
    OPTIONS,
    AdapterOptions,
    BackendName,
    Chosen,
    Json,
    OllamaOptions,
    OpenAIOptions,
    Options,
)
from changeover.serving.profiles import Profile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,118}")
"""A deployment's name is also a file name (its log), so nothing in it may lead elsewhere."""
NEED_WEIGHTS: frozenset[BackendName] = frozenset(
    {"local", "openvino", "vllm", "sglang", "transformers", "llama-server", "kunlun", "adapter"}
)
"""Kinds of engines that load a file or a directory of ours."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A LoRA adapter that an engine holds beside its weights."""

    deployment: str
    """Under which it is asked for."""
    artifact: Path
    scale: float = 1.0

    @classmethod
    def of(cls, plan: EnginePlan) -> Adapter:
        """That of a deployment which is one."""
        assert plan.artifact is not None, "a plan for this backend is refused without a file"
        return cls(deployment=plan.deployment, artifact=plan.artifact, scale=plan.options_as(AdapterOptions).scale)


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """One deployment's engine, before it runs. Checked when it is made.

    Raises:
        ConfigError: The name, the backend, an option or the artifact cannot be used.
    """

    deployment: str
    backend: BackendName
    model: str
    """Card id, or the upstream's own name of the model."""
    artifact: Path | None = None
    weights_digest: str | None = None
    """SHA-256 of the artifact, or of what it is made of; hex."""
    quantisation: str | None = None
    making: Making | None = None
    """How the artifact is made of a card's, where none of the card's is as this engine takes it."""
    options: Mapping[str, Json] = field(default_factory=dict[str, Json])
    adapters: tuple[Adapter, ...] = ()
    """That its engine holds besides. They come and go with deployments of their own, so they are no part of what it is."""
    base: EnginePlan | None = None
    """Of an adapter: the plan of the deployment that it stands on; only where it is to be described."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.deployment):
            raise ConfigError(
                f"`{self.deployment}` cannot name a deployment. Use letters, digits, `.`, `_` and `-`, at most 119."
            )
        if self.backend not in OPTIONS:
            raise ConfigError(f"No backend named `{self.backend}`. {nearest(self.backend, OPTIONS)}")
        if self.backend in NEED_WEIGHTS and self.artifact is None:
            raise ConfigError(f"deployment `{self.deployment}`: a {self.backend} engine needs weights.")
        options = self.parsed()
        if options.profile:
            Profile.from_document(options.profile, where=f"deployment `{self.deployment}`: profile")

    def parsed(self) -> Options:
        """The options with their defaults filled in."""
        where = f"deployment `{self.deployment}`"
        options = validate(OPTIONS[self.backend], self.options, where=where)
        if isinstance(options, OpenAIOptions):
            _check_key_name(options.api_key_env, where)
            _check_address(options.base_url, where)
        if isinstance(options, OllamaOptions) and options.base_url is not None:
            _check_address(options.base_url, where)
        return options

    def options_as(self, model: type[Chosen]) -> Chosen:
        """The options, as those of one backend."""
        options = self.parsed()
        if not isinstance(options, model):
            raise ConfigError(f"deployment `{self.deployment}`: its backend is `{self.backend}`, not that of {model}.")
        return options

    def same_as(self, other: EnginePlan) -> bool:
        """Whether both plans run the same engine, whichever defaults were spelt out."""
        return _identity(self) == _identity(other)


def _identity(plan: EnginePlan) -> tuple[object, ...]:
    return (
        plan.deployment,
        plan.backend,
        plan.model,
        plan.artifact,
        plan.weights_digest,
        plan.quantisation,
        plan.parsed(),
    )


def _check_key_name(variable: str | None, where: str) -> None:
    """Refuse what is no variable's name. It is not repeated: it may be the key itself."""
    if variable is not None and not _VARIABLE.fullmatch(variable):
        raise ConfigError(
            f"{where}: `api_key_env` must be the name of an environment variable in capitals, such as "
            "`OPENAI_API_KEY`; what stands there is not shown, since it may be the key itself."
        )


def _check_address(base_url: str, where: str) -> None:
    """Refuse what would leak or mislead. The address is not repeated: it may hold a secret by mistake."""
    try:
        parts = urlsplit(base_url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, well_formed = None, False
    if parts is None or not well_formed:
        raise ConfigError(f"{where}: `base_url` must look like `https://host/v1`.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{where}: `base_url` must not hold a user or password. Name a variable in `api_key_env`.")
    if parts.query or parts.fragment:
        raise ConfigError(f"{where}: `base_url` must end with its path: no `?` and no `#`.")

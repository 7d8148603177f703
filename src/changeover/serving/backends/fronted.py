"""What backends have in common whose engine computes in a worker, behind a front of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from changeover.core.digest import sha256_file
from changeover.core.errors import ArtifactError, EngineError
from changeover.library.gguf import GgufHeader, read_header
from changeover.serving.backends.checkpoint import NOT_HERE, read_checkpoint, weights_digest
from changeover.serving.backends.common import module
from changeover.serving.backends.foreign import lacking_package
from changeover.serving.backends.protocol import Launch
from changeover.serving.engines import at_home
from changeover.serving.homes import Python
from changeover.serving.options import EngineOptions, Json
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import profile_of

_ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
"""Where a GGUF file says which tokens end an answer."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What weights say of themselves, in whichever form they are."""

    path: Path
    architecture: str | None
    context_length: int | None
    ends: tuple[int, ...]
    """Tokens that end an answer; of a directory, its worker reads them."""
    tokenizer_digest: str | None
    chat_template_digest: str | None
    chats: bool
    """False: a base model, which can only go on with a text."""

    def digest(self, plan: EnginePlan) -> str:
        """Of the weights; reads all of them where it is not known."""
        if plan.weights_digest is not None:
            return plan.weights_digest
        return weights_digest(self.path) if self.path.is_dir() else sha256_file(self.path)

    def context_tokens(self, options: EngineOptions) -> int:
        """Never more than the model was trained on."""
        return min(options.context_tokens, self.context_length or options.context_tokens)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What computes, and where."""

    module: str
    home: Python
    """Interpreter of the engine's environment."""
    skills: Mapping[str, Json]
    """What it can: fields of `front_asked.Skills`."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    start_s: float
    """What importing the engine may take."""


def weights_of(plan: EnginePlan) -> Loaded:
    """Read the head of a plan's weights.

    Raises:
        ArtifactError: They are missing or damaged.
    """
    path = plan.artifact
    assert path is not None, "a plan for this backend is refused without weights"
    if path.suffix == ".gguf" or path.is_file():
        header = read_header(path)
        return Loaded(
            path=path,
            architecture=header.architecture,
            context_length=header.context_length,
            ends=_ends(header),
            tokenizer_digest=header.tokenizer_digest,
            chat_template_digest=header.chat_template_digest,
            chats=header.chat_template_digest is not None,
        )
    said = read_checkpoint(path)
    if said is NOT_HERE:
        raise ArtifactError(f"`{path}` is not there.")
    return Loaded(
        path=path,
        architecture=None,
        context_length=said.context_length,
        ends=(),
        tokenizer_digest=said.tokenizer_digest,
        chat_template_digest=said.chat_template_digest,
        chats=said.chats,
    )


def launch_worker(
    worker: Worker, plan: EnginePlan, options: EngineOptions, loaded: Loaded, more: Mapping[str, Json]
) -> Launch:
    """Start a front with its worker; `more` is of the worker's configuration, beside what all of them have."""
    return Launch(
        argv=module("changeover.serving.engines.front"),
        config={
            "deployment": plan.deployment,
            "skills": worker.skills,
            "argv": (worker.home.executable, "-P", str(Path(at_home.__file__).absolute()), worker.module),
            "worker": {
                "artifact": str(loaded.path.absolute()),
                "context_tokens": loaded.context_tokens(options),
                "ends": loaded.ends,
                "special_text": _reads_marks(plan, options.profile, loaded.architecture),
                **more,
            },
        },
        environment=worker.environment,
        first_answer=True,
        start_s=worker.start_s,
    )


def installed_version(home: Python, package: str, engine: str) -> str:
    """The version of an engine's package.

    Raises:
        EngineError: It is not installed there.
    """
    found = home.version(package)
    if found is None:
        (lacking,) = lacking_package(home, [package], engine)
        raise EngineError(f"The engine `{engine}` needs {lacking.what}. {lacking.remedy}")
    return found


def _ends(header: GgufHeader) -> tuple[int, ...]:
    said = (header.metadata.get(name) for name in _ENDS)
    return tuple(sorted({each for each in said if type(each) is int}))


def _reads_marks(plan: EnginePlan, overrides: Mapping[str, Any], architecture: str | None) -> bool:
    """Whether somebody looks for a family's marks in the text: they are often tokens that are else left out."""
    profile = profile_of(plan.backend, plan.model, architecture=architecture, overrides=overrides)
    marks: Sequence[str] = ("none", "field", "native")
    return profile.tool_calls not in marks or profile.reasoning not in marks

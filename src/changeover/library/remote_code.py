"""Code that comes with weights: which files an engine would run, who asks for it, and whether somebody approved just that.

Off unless the policy's `approved_code` names the card and the digest of the list. `pull` shows the list and fetches none of
it until then; a launch asks `code_allowed` before it lets an engine trust a repository.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, cast

from changeover.library.artifacts import Artifact, ArtifactFile, digest_of_files
from changeover.library.cards import Card
from changeover.library.licences.policy import ApprovedCode, Policy

CODE: Final = frozenset({".py"})
_ASKING: Final = ("auto_map", "custom_pipelines", "trust_remote_code")
"""Keys of configurations by which a repository has its own code loaded."""
_DEEPEST: Final = 8
"""Levels below such a key that are looked into; real ones have two or three."""
_TOO_DEEP: Final = "something nested too deeply"


@dataclass(frozen=True, kw_only=True)
class RemoteCode:
    """What a repository would have run."""

    files: tuple[ArtifactFile, ...]
    """Sorted by path."""
    asked_by: tuple[str, ...] = ()
    """Which configuration asks for what, one line each."""
    elsewhere: tuple[str, ...] = ()
    """Other repositories whose code a configuration asks for: it cannot be pinned, so it is never approved."""

    @property
    def sha256(self) -> str:
        """Digest of the list: what the policy's `approved_code.sha256` names."""
        return digest_of_files(self.files)

    def __bool__(self) -> bool:
        """Whether anything would be run."""
        return bool(self.files or self.asked_by or self.elsewhere)


@dataclass(frozen=True, kw_only=True)
class CodePermission:
    """Whether an engine may run the code that comes with an artifact."""

    code: RemoteCode
    approval: ApprovedCode | None
    """By whom and when just this list was approved."""
    says: str
    """One sentence: why it may or may not, and what to do."""

    @property
    def allowed(self) -> bool:
        """Whether an engine may be told to trust the code. False too where there is none to trust."""
        return self.approval is not None


def is_code(path: str) -> bool:
    """Whether a file of that name is code that could be approved."""
    return PurePosixPath(path).suffix.lower() in CODE


def asks_for_code(name: str, configuration: Any) -> tuple[list[str], list[str]]:
    """What a configuration would have run: a line for each, and the other repositories that it names."""
    if not isinstance(configuration, dict):
        return [], []
    table = cast("dict[str, Any]", configuration)
    lines: list[str] = []
    elsewhere: list[str] = []
    for key in (key for key in _ASKING if table.get(key)):
        for place, target in _targets(table[key]):
            lines.append(f"{name}: {key}{place} → {target}"[:200])
            if isinstance(target, str) and "--" in target:
                elsewhere.append(target.split("--")[0])
    return lines, elsewhere


def code_of(files: Iterable[ArtifactFile], configurations: Mapping[str, Any]) -> RemoteCode:
    """What files of a repository would have run. `configurations` are its JSON files, by name."""
    asked = [asks_for_code(name, value) for name, value in sorted(configurations.items())]
    return RemoteCode(
        files=tuple(sorted((file for file in files if is_code(file.path)), key=lambda file: file.path)),
        asked_by=tuple(line for lines, _ in asked for line in lines),
        elsewhere=tuple(sorted({name for _, names in asked for name in names})),
    )


def judge_code(model: str, code: RemoteCode, policy: Policy | None) -> CodePermission:
    """Whether the policy approves exactly this code for a card."""
    if code.elsewhere:
        return CodePermission(code=code, approval=None, says=_says_elsewhere(model, code))
    if not code.files:
        says = f"`{model}` brings no code" + (
            ", although its configuration asks for some. An engine is never told to trust it." if code.asked_by else "."
        )
        return CodePermission(code=code, approval=None, says=says)
    approved = [one for one in (policy.approved_code if policy else ()) if one.model == model]
    for approval in approved:
        if approval.sha256 == code.sha256:
            says = f"The code of `{model}` was approved by {approval.by} on {approval.on}: {approval.reason}"
            return CodePermission(code=code, approval=approval, says=says)
    other = f"What was approved on {approved[-1].on} is another list of files. " if approved else ""
    files = "a file" if len(code.files) == 1 else f"{len(code.files)} files"
    says = (
        f"An engine would run {files} of code of `{model}`, and nobody has approved just that. {other}"
        f'Read it; then approve it in `policy.toml`: [[approved_code]] model = "{model}", '
        f'sha256 = "{code.sha256}", by, on, reason.'
    )
    return CodePermission(code=code, approval=None, says=says)


def code_allowed(card: Card, artifact: Artifact, policy: Policy | None) -> CodePermission:
    """Whether an engine may be told to trust the code that was fetched with an artifact (`trust_remote_code`)."""
    return judge_code(card.id, code_of(artifact.files, {}), policy)


def _says_elsewhere(model: str, code: RemoteCode) -> str:
    return (
        f"The configuration of `{model}` has code of another repository run (`{code.elsewhere[0][:80]}`), which no digest pins. "
        "It is never trusted: use a build of the model without it."
    )


def _targets(value: Any, depth: int = 0) -> list[tuple[str, Any]]:
    """Places below a key and what they name: `auto_map` has a class, or a pair of them, for each kind of thing."""
    if depth > _DEEPEST:
        return [("", f"{_TOO_DEEP}--")]  # it may name anything, so it counts as code of elsewhere
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return [
            (f".{key}{place}", target) for key, inner in table.items() for place, target in _targets(inner, depth + 1)
        ]
    if isinstance(value, list):
        return [pair for inner in cast("list[Any]", value) if inner is not None for pair in _targets(inner, depth + 1)]
    return [("", value)]

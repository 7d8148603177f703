"""Fetching weights by what a project lets be fetched: for commands with a bar on the terminal, for pages with a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from changeover.core.errors import ArtifactError
from changeover.core.settings import Project
from changeover.library.artifacts import Artifact, embeddable
from changeover.library.cards import Card
from changeover.library.fetch.progress import Progress
from changeover.library.licences.policy import Policy, load_policy
from changeover.library.pull import Access, artifact_path, present, pull
from changeover.library.remote_code import code_allowed


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a project lets be fetched."""

    access: Access = field(default_factory=Access)
    policy: Policy | None = None

    @classmethod
    def of(cls, project: Project | None) -> Terms:
        """The project's settings and policy; outside of one, nothing is online and nothing refused."""
        if project is None:
            return cls()
        return cls(access=Access(sources=project.settings.sources), policy=load_policy(project.policy))


def embedded_artifact(card: Card) -> Artifact:
    """What the embedded engine loads of a card.

    Raises:
        ArtifactError: It has nothing of that kind.
    """
    artifact = embeddable(card.artifacts)
    if artifact is None:
        raise ArtifactError(f"`{card.id}` has no artifact that can be fetched. `changeover models {card.id}`.")
    return artifact


def is_here(card: Card, cache: Path) -> bool:
    """Whether the weights that the embedded engine loads of a card were fetched and verified."""
    artifact = embeddable(card.artifacts)
    return artifact is not None and present(artifact, cache)


def fetch_artifact(card: Card, artifact: Artifact, cache: Path, terms: Terms, progress: Progress) -> Path:
    """Fetch one artifact of a card unless it is here, and verify it. Everything that is fetched goes through here.

    Raises:
        ArtifactError: It comes with code, and nobody has approved just that code; or it cannot be had.
    """
    access = _allowed(card, artifact, terms)
    return artifact_path(artifact, cache) if present(artifact, cache) else pull(artifact, cache, progress, access)


def _allowed(card: Card, artifact: Artifact, terms: Terms) -> Access:
    """What may be asked for an artifact. Whatever forbids to fetch a card at all belongs here."""
    permission = code_allowed(card, artifact, terms.policy)
    if permission.code and not permission.allowed:
        raise ArtifactError(permission.says)
    return Access(sources=terms.access.sources, patience=terms.access.patience, code=permission.allowed)

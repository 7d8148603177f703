"""Weights in a repository of the Hugging Face Hub, or of whatever answers by its routes, at one commit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, Field, ValidationError

from changeover.core.errors import ArtifactError
from changeover.core.settings import SourceSettings, secret_from_environment
from changeover.library.artifacts import HubSource
from changeover.library.fetch import http
from changeover.library.fetch.access import Access
from changeover.library.fetch.http import Origin
from changeover.library.fetch.listing import MOST_FILES, Listed, Listing, listing_of, nonsense, require_commit
from changeover.library.fetch.remote import ByPath, fetch_repository
from changeover.library.fetch.staging import Staging

MOST_LISTING_BYTES: Final = 64 << 20


def fetch(source: HubSource, staging: Staging) -> None:
    """Have the files of an artifact from its repository."""
    require_online(staging.access.sources, source.repository)
    fetch_repository(source, staging, getter(source.repository, source.revision, staging.access))


def getter(repository: str, revision: str, access: Access) -> ByPath:
    """What fetches files of a repository at a commit."""
    asked = Repository(access.sources, repository, revision)

    def get(path: str, size_bytes: int, sha256: str | None, part: Path, report: http.Report) -> bool:
        return http.download(asked.file(path, sha256), size_bytes, part, report, access)

    return get


def list_files(repository: str, revision: str, access: Access) -> Listing:
    """The files of a repository at a commit.

    Raises:
        ArtifactError: Offline; the hub refuses or answers nonsense; the revision is no commit, and then says which one
            it is now.
    """
    require_online(access.sources, repository)
    asked = Repository(access.sources, repository, revision)
    try:
        facts = _Facts.model_validate_json(http.read(asked.facts(), MOST_LISTING_BYTES, access))
    except ValidationError as exc:
        raise nonsense(repository) from exc
    require_commit(repository, revision, facts.sha)
    if facts.sha != revision:
        raise ArtifactError(
            f"The hub answers with the files of commit `{facts.sha}` of `{repository}`. Check its address."
        )
    return listing_of("huggingface", repository, revision, (one.listed(repository) for one in facts.siblings))


class _Large(BaseModel):
    sha256: str
    size: int = Field(ge=0)


class _Sibling(BaseModel):
    """One file as the hub's `siblings` have it; further keys are ignored."""

    rfilename: str
    size: int | None = Field(default=None, ge=0)
    blobId: str | None = None
    lfs: _Large | None = None

    def listed(self, repository: str) -> Listed:
        if self.lfs is not None:
            return Listed(path=self.rfilename, size_bytes=self.lfs.size, sha256=self.lfs.sha256, git_blob=None)
        if self.size is None:
            raise nonsense(repository)
        return Listed(path=self.rfilename, size_bytes=self.size, sha256=None, git_blob=self.blobId)


class _Facts(BaseModel):
    sha: str = Field(pattern=r"^[0-9a-f]{40}$")
    siblings: list[_Sibling] = Field(max_length=MOST_FILES)


def require_online(sources: SourceSettings, repository: str) -> None:
    """Refuse to ask a hub that nobody allowed.

    Raises:
        ArtifactError: The settings say offline.
    """
    if not sources.online:
        raise ArtifactError(
            f"`{repository}` is on a hub, and this project is offline. Pull with `--online`, or set `online = true` "
            "under `[sources]` in `changeover.toml`."
        )


@dataclass(frozen=True)
class Repository:
    """A repository at a revision, on the hub that the settings name."""

    sources: SourceSettings
    id: str
    revision: str

    def file(self, path: str, sha256: str | None = None) -> Origin:
        """Where one of its files is."""
        return self._origin(
            f"{self.id}/resolve/{self.revision}/{quote(path)}", f"`{path}` of `{self.id}`", self.revision, sha256
        )

    def facts(self) -> Origin:
        """Where the hub says which files it has."""
        route = f"api/models/{self.id}/revision/{quote(self.revision, safe='')}?blobs=true"
        return self._origin(route, f"the list of files of `{self.id}`")

    def _origin(self, route: str, what: str, commit: str | None = None, sha256: str | None = None) -> Origin:
        token = secret_from_environment(self.sources.hub_token_variable)
        return Origin(
            url=f"{self.sources.hub_endpoint.rstrip('/')}/{route}",
            server=self._server,
            what=what,
            explain=partial(self._explain, what, token is not None),
            token=token,
            commit=commit,
            sha256=sha256,
        )

    @property
    def _server(self) -> str:
        return f"The hub `{urlsplit(self.sources.hub_endpoint).netloc}`"

    def _explain(self, what: str, has_token: bool, status: int, code: str) -> str:
        variable = self.sources.hub_token_variable
        if code == "GatedRepo":
            agreed = "whose account has agreed" if not has_token else "of the account that has agreed"
            return (
                f"`{self.id}` is gated: agree to its terms on its page of the hub, and put a token {agreed} "
                f"into `{variable}` ({status})."
            )
        if has_token and (status in (401, 403) or code == "RepoNotFound"):
            return f"{self._server} refuses {what} to the token in `{variable}` ({status}). Use one that may read it."
        if status in (401, 403):
            return (
                f"{self._server} refuses {what} to strangers ({status}): there is no such repository, or it is private. "
                f"Check its name, or put a token that may read it into `{variable}`."
            )
        if code == "RevisionNotFound":
            return f"`{self.id}` has no revision `{self.revision}` on {self._server[0].lower()}{self._server[1:]} ({status})."
        if status in (404, 410):
            return f"{self._server} does not have {what} at `{self.revision[:12]}` ({status}). Check its name and the revision."
        return f"{self._server} refuses {what} ({status}). Check the settings under `[sources]`."

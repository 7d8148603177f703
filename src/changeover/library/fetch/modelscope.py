"""Weights in a repository of ModelScope, through its own client: an extra, imported when such a source is first used."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from modelscope_hub import HubApi, ProgressCallback
from modelscope_hub import errors as failures

from changeover.core.errors import ArtifactError
from changeover.core.settings import SourceSettings
from changeover.library.artifacts import HubSource
from changeover.library.fetch.access import Access
from changeover.library.fetch.http import Report
from changeover.library.fetch.hub import require_online
from changeover.library.fetch.listing import Listed, Listing, listing_of, require_commit
from changeover.library.fetch.remote import ByPath, fetch_repository
from changeover.library.fetch.staging import Staging


def fetch(source: HubSource, staging: Staging) -> None:
    """Have the files of an artifact from its repository. The client goes on from what it has, over restarts too."""
    require_online(staging.access.sources, source.repository)
    fetch_repository(source, staging, getter(source.repository, source.revision, staging.access))


def getter(repository: str, revision: str, access: Access) -> ByPath:
    """What fetches files of a repository at a commit."""
    api = client(access.sources)

    def get(path: str, size_bytes: int, sha256: str | None, part: Path, report: Report) -> bool:
        with readable_errors(repository, path):
            found = api.downloader.download_file(  # pyright: ignore[reportUnknownMemberType] - `user_agent` is a bare dict
                repository,
                "model",
                path,
                revision=revision,
                cache_dir=part.parent / "modelscope-locks",
                local_dir=part.parent / "modelscope",
                expected_sha256=sha256,
                file_size=size_bytes,
                progress_callbacks=[_reporting(report)],
            )
        found.replace(part)
        return True

    return get


def list_files(repository: str, revision: str, access: Access) -> Listing:
    """The files of a repository at a commit.

    Raises:
        ArtifactError: Offline; the client cannot list them; the revision is no commit.
    """
    require_online(access.sources, repository)
    require_commit(repository, revision)
    with readable_errors(repository, "the list of files"):
        found = client(access.sources).list_repo_files(repository, "model", revision=revision)
    files = (
        Listed(path=one.path, size_bytes=one.size, sha256=one.sha256 or None, git_blob=None)
        for one in found
        if not one.is_dir
    )
    return listing_of("modelscope", repository, revision, files)


def client(sources: SourceSettings) -> HubApi:
    """The client, for the address that the settings name."""
    return HubApi(endpoint=sources.modelscope_endpoint)


@contextmanager
def readable_errors(repository: str, what: str) -> Generator[None]:
    """Say what a failure of the client means for a pull, and nothing of its addresses."""
    try:
        yield
    except failures.FileIntegrityError as exc:
        raise ArtifactError(
            f"ModelScope sends another `{what}` of `{repository}` than is known. Nothing of it is kept."
        ) from exc
    except failures.NotExistError as exc:
        raise ArtifactError(f"ModelScope has no `{what}` of `{repository}` at that revision. Check both.") from exc
    except (failures.AuthenticationError, failures.PermissionDeniedError) as exc:
        raise ArtifactError(f"ModelScope refuses `{what}` of `{repository}`. Log in with `modelscope login`.") from exc
    except failures.HubError as exc:
        raise ArtifactError(
            f"ModelScope could not be used for `{what}` of `{repository}` ({type(exc).__name__}). Pull again later."
        ) from exc


def _reporting(report: Report) -> type[ProgressCallback]:
    class Reporting(ProgressCallback):
        def __init__(self, filename: str, file_size: int) -> None:
            super().__init__(filename, file_size)
            self._done = 0

        def update(self, size: int) -> None:
            self._done += size
            report(self._done)

    return Reporting

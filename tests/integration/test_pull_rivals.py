"""Pulling where others have their hands: links of a person in the cache, and a second first pull of the same repository."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.support.checkpoints import checkpoint, pinned
from tests.support.fake_hub import Fault, fake_hub

from changeover.core.errors import ArtifactError
from changeover.core.settings import SourceSettings
from changeover.library.artifacts import Artifact, FileSource
from changeover.library.fetch.access import Access
from changeover.library.fetch.hub import list_files
from changeover.library.first_pull import FirstPull, choose
from changeover.library.pull import Silent, artifact_path, present, pull, verify

FILES = checkpoint()


def written(directory: Path) -> Path:
    directory.mkdir()
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return pinned(FILES, FileSource(path=written(tmp_path / "source")))


@pytest.mark.parametrize("where", ["files", "parts/whole"])
def test_a_link_of_somebodys_is_taken_away_and_what_lies_behind_it_stays(
    tmp_path: Path, artifact: Artifact, where: str
) -> None:
    theirs = written(tmp_path / "theirs")
    (theirs / "notes.txt").write_text("a person's")
    cache = tmp_path / "cache"
    link = artifact_path(artifact, cache).parent / where
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    path = pull(artifact, cache, Silent())
    assert not path.is_symlink()
    assert present(artifact, cache)
    assert sorted(each.name for each in theirs.iterdir()) == sorted([*FILES, "notes.txt"])


def test_a_directory_behind_a_link_that_is_all_right_is_used_where_it_is(tmp_path: Path, artifact: Artifact) -> None:
    cache = tmp_path / "cache"
    link = artifact_path(artifact, cache)
    link.parent.mkdir(parents=True)
    link.symlink_to(written(tmp_path / "theirs"))
    assert pull(artifact, cache, Silent()) == link
    assert verify(artifact, cache).is_symlink()


def test_two_first_pulls_of_one_repository_do_not_take_each_others_files(tmp_path: Path) -> None:
    with fake_hub() as hub:
        repository = hub.add("maker/tiny", FILES)
        access = Access(sources=SourceSettings(online=True, hub_endpoint=hub.address, timeout_s=5))
        listing = list_files("maker/tiny", repository.head, access)
        hub.fail("config.json", Fault(drip_s=0.002))
        failed: list[BaseException] = []
        found: list[Artifact] = []
        start = threading.Barrier(2)

        def work() -> None:
            try:
                start.wait()
                with FirstPull(listing, choose(listing, None), tmp_path / "cache", Silent(), access) as first:
                    artifact = first.artifact(None)
                    pull(artifact, tmp_path / "cache", Silent(), access, have=first.have)
                found.append(artifact)
            except BaseException as exc:
                failed.append(exc)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failed
    assert found[0] == found[1]


def test_a_first_pull_says_that_the_cache_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with fake_hub() as hub:
        repository = hub.add("maker/tiny", FILES)
        access = Access(sources=SourceSettings(online=True, hub_endpoint=hub.address, timeout_s=5))
        listing = list_files("maker/tiny", repository.head, access)
        with (
            pytest.raises(ArtifactError, match="cannot be used"),
            FirstPull(listing, choose(listing, None), tmp_path / "cache", Silent(), access) as first,
        ):
            first.artifact(None)

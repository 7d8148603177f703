"""Pulling from a hub on this machine: what arrives, what is asked again, and what is never kept."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.support.checkpoints import SHARDS, checkpoint, pinned
from tests.support.fake_hub import FakeHub, Fault, Repository, fake_hub
from tests.unit.library.gguf_builder import build

from changeover.core.errors import ArtifactError
from changeover.core.settings import SourceSettings
from changeover.library.artifacts import Artifact, FileSource, HubSource
from changeover.library.fetch.access import Access, Patience
from changeover.library.pull import Silent, artifact_path, present, pull, verify

NAME = "maker/tiny"
FILES = checkpoint()
LONG = build(weights=random.Random(7).randbytes(3_000_000))
QUICK = Patience(tries=3, first_wait_s=0.01, longest_wait_s=1.5, fresh_bytes=1 << 19)


@dataclass
class World:
    """A hub with one repository, and the cache that is pulled into."""

    hub: FakeHub
    repository: Repository
    cache: Path
    sources: SourceSettings

    def access(self, **changes: object) -> Access:
        return Access(sources=self.sources.model_copy(update=changes), patience=QUICK)

    def source(self, file: str | None = None) -> HubSource:
        return HubSource(repository=NAME, revision=self.repository.head, file=file)

    def checkpoint(self) -> Artifact:
        return pinned(FILES, self.source())

    def long(self) -> Artifact:
        """One file of three megabytes."""
        self.repository.commit({"tiny.Q8_0.gguf": LONG})
        digest = hashlib.sha256(LONG).hexdigest()
        sources = (self.source("tiny.Q8_0.gguf"),)
        return Artifact(format="gguf", quantisation="Q8_0", size_bytes=len(LONG), sha256=digest, sources=sources)

    def kept(self) -> list[str]:
        return sorted(file.name for file in self.cache.rglob("*") if file.is_file())

    def refusal(self, artifact: Artifact, **changes: object) -> str:
        with pytest.raises(ArtifactError) as caught:
            pull(artifact, self.cache, Silent(), self.access(**changes))
        assert "\n" not in caught.value.message
        assert "signature" not in caught.value.message
        assert not present(artifact, self.cache)
        return caught.value.message


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with fake_hub() as hub:
        repository = hub.add(NAME, FILES)
        sources = SourceSettings(online=True, hub_endpoint=hub.address, timeout_s=2)
        yield World(hub, repository, tmp_path / "cache", sources)


@dataclass
class Watching(Silent):
    """Remembers what a person would have seen."""

    phases: list[tuple[str, int]] = field(default_factory=list)
    advances: list[int] = field(default_factory=list)

    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        self.phases.append((what, done_bytes))

    def advance(self, done_bytes: int) -> None:
        self.advances.append(done_bytes)


def test_a_checkpoint_is_kept_with_its_own_names_and_nothing_else(world: World) -> None:
    artifact = world.checkpoint()
    directory = pull(artifact, world.cache, Silent(), world.access())
    assert directory == artifact_path(artifact, world.cache)
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == FILES
    assert present(artifact, world.cache)
    assert verify(artifact, world.cache) == directory
    assert sorted(file.name for file in directory.parent.iterdir()) == ["files", "pull.lock", "verified.json"]


def test_a_second_pull_asks_nobody(world: World) -> None:
    artifact = world.checkpoint()
    pull(artifact, world.cache, Silent(), world.access())
    asked = len(world.hub.requests)
    pull(artifact, world.cache, Silent(), world.access(online=False))
    assert len(world.hub.requests) == asked


@pytest.mark.parametrize("change", ["changed", "more", "gone"])
def test_a_checkpoint_that_somebody_touched_is_seen_and_only_what_is_wrong_is_fetched_again(
    world: World, change: str
) -> None:
    artifact = world.checkpoint()
    directory = pull(artifact, world.cache, Silent(), world.access())
    touched = directory / ("extra.py" if change == "more" else "config.json")
    touched.unlink(missing_ok=True) if change == "gone" else touched.write_text("{}")
    assert not present(artifact, world.cache)
    with pytest.raises(ArtifactError, match="was not what its digest says and is removed"):
        verify(artifact, world.cache)
    world.hub.requests.clear()
    pull(artifact, world.cache, Silent(), world.access())
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == FILES
    assert len(world.hub.asked("config.json")) == (0 if change == "more" else 1)
    assert not world.hub.asked("model-0000")


def test_a_cut_connection_goes_on_where_it_was(world: World) -> None:
    artifact = world.long()
    world.hub.fail("/large/", Fault(cut_after=1_000_000), times=2)
    watching = Watching()
    path = pull(artifact, world.cache, watching, world.access())
    assert path.read_bytes() == LONG
    ranges = [request.headers.get("range") for request in world.hub.asked("/large/")]
    assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]
    assert sum(request.sent for request in world.hub.asked("/large/")) == len(LONG)
    assert max(watching.advances) == len(LONG)


KILLED = """
import os, signal, sys
from pathlib import Path
from changeover.core.settings import SourceSettings
from changeover.library.artifacts import Artifact
from changeover.library.fetch.access import Access
from changeover.library.pull import Silent, pull

class Killing(Silent):
    def advance(self, done_bytes):
        if done_bytes >= 1_000_000:
            os.kill(os.getpid(), signal.SIGKILL)

artifact, sources = Artifact.model_validate_json(sys.argv[1]), SourceSettings.model_validate_json(sys.argv[3])
pull(artifact, Path(sys.argv[2]), Killing(), Access(sources=sources))
"""


def test_a_killed_pull_is_gone_on_with_by_the_next_process(world: World) -> None:
    artifact = world.long()
    command = [
        sys.executable,
        "-c",
        KILLED,
        artifact.model_dump_json(),
        str(world.cache),
        world.sources.model_dump_json(),
    ]
    killed = subprocess.run(command, check=False, timeout=60)
    assert killed.returncode == -9
    [part] = world.cache.rglob("*.part")
    here = part.stat().st_size
    assert 1_000_000 <= here < len(LONG)
    world.hub.requests.clear()
    watching = Watching()
    assert pull(artifact, world.cache, watching, world.access()).read_bytes() == LONG
    [again] = world.hub.asked("/large/")
    assert again.headers["range"] == f"bytes={here}-"
    assert again.sent == len(LONG) - here
    assert watching.phases[0] == (f"fetch, resuming at {100 * here // len(LONG)} %", here)


def test_files_that_were_whole_before_an_interruption_are_not_fetched_again(world: World) -> None:
    artifact = world.checkpoint()
    world.hub.fail(SHARDS[1], Fault(status=404))
    assert f"does not have `{SHARDS[1]}` of `{NAME}`" in world.refusal(artifact)
    world.hub.requests.clear()
    pull(artifact, world.cache, Silent(), world.access())
    assert not world.hub.asked(SHARDS[0])
    assert len(world.hub.asked(SHARDS[1])) == 1


def test_a_server_that_ignores_ranges_gives_the_right_file_anyway(world: World) -> None:
    artifact = world.long()
    world.hub.ignore_ranges = True
    world.hub.fail("/large/", Fault(cut_after=2_000_000))
    assert pull(artifact, world.cache, Silent(), world.access()).read_bytes() == LONG


def test_another_file_on_resume_is_noticed_and_fetched_anew(world: World) -> None:
    artifact = world.long()
    world.hub.fail("/large/", Fault(cut_after=1_000_000))
    world.hub.fail("/large/", Fault(flip=5), skip=0)
    assert pull(artifact, world.cache, Silent(), world.access()).read_bytes() == LONG
    assert [request.headers.get("range") for request in world.hub.asked("/large/")] == [None, "bytes=1000000-", None]


def test_another_etag_on_resume_begins_anew(world: World) -> None:
    artifact = world.long()
    world.hub.fail("/large/", Fault(cut_after=1_000_000))
    world.hub.fail("/large/", Fault(headers={"ETag": '"another"'}))
    assert pull(artifact, world.cache, Silent(), world.access()).read_bytes() == LONG
    asked = world.hub.asked("/large/")
    assert asked[1].headers["if-range"] == f'"{hashlib.md5(LONG).hexdigest()}"'
    assert [request.headers.get("range") for request in asked] == [None, "bytes=1000000-", None]


@pytest.mark.parametrize("said", [f"bytes 0-9/{len(LONG)}", f"bytes 1000000-1000009/{len(LONG) + 1}", "bytes", ""])
def test_another_part_than_was_asked_for_begins_anew(world: World, said: str) -> None:
    artifact = world.long()
    world.hub.fail("/large/", Fault(cut_after=1_000_000))
    world.hub.fail("/large/", Fault(headers={"Content-Range": said}))
    assert pull(artifact, world.cache, Silent(), world.access()).read_bytes() == LONG
    assert [request.headers.get("range") for request in world.hub.asked("/large/")] == [None, "bytes=1000000-", None]


def test_a_wrong_byte_keeps_nothing(world: World) -> None:
    artifact = world.long()
    world.hub.fail("/large/", Fault(flip=len(LONG) - 1), times=9)
    message = world.refusal(artifact)
    assert f"the card says `{artifact.sha256[:16]}…`. Nothing of it is kept." in message
    assert world.kept() == ["pull.lock"]
    assert len(world.hub.asked("/large/")) == 1


def test_a_wrong_file_of_many_is_named_and_the_right_ones_wait(world: World) -> None:
    artifact = world.checkpoint()
    world.hub.fail("config.json", Fault(flip=3))
    assert "The source gives `config.json` of digest" in world.refusal(artifact)
    assert "config.json" not in world.kept()
    pull(artifact, world.cache, Silent(), world.access())


def test_what_the_hub_says_of_a_file_is_compared_before_it_is_fetched(world: World) -> None:
    artifact = world.long().model_copy(update={"sha256": "0" * 64})
    message = world.refusal(artifact)
    assert f"has a file of digest `{hashlib.sha256(LONG).hexdigest()[:16]}…`" in message
    assert not world.hub.asked("/large/")


def test_another_commit_than_the_pinned_one_is_refused(world: World) -> None:
    world.hub.fail("resolve", Fault(headers={"X-Repo-Commit": "1" * 40}))
    assert "answers with another commit than" in world.refusal(world.long())
    assert world.kept() == ["pull.lock"]


@pytest.mark.parametrize("announced", [10, len(LONG) + 10])
def test_a_server_that_announces_another_length_is_refused_at_once(world: World, announced: int) -> None:
    world.hub.fail("/large/", Fault(headers={"Content-Length": str(announced)}))
    assert f"announces {announced} bytes for `tiny.Q8_0.gguf`" in world.refusal(world.long())
    assert world.kept() == ["pull.lock"]


def test_a_busy_hub_is_asked_again_after_what_it_says(world: World) -> None:
    world.hub.fail("resolve", Fault(status=429, headers={"Retry-After": "1"}))
    world.hub.fail("/large/", Fault(status=503))
    assert pull(world.long(), world.cache, Silent(), world.access()).read_bytes() == LONG


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(world: World) -> None:
    world.hub.fail("resolve", Fault(status=429, headers={"Retry-After": "3600"}))
    assert "answers 429 for `tiny.Q8_0.gguf` of `maker/tiny` and asks to wait 3600 s" in world.refusal(world.long())
    assert len(world.hub.requests) == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=500), "answers 500 for `tiny.Q8_0.gguf` of `maker/tiny`, 3 times in a row"),
        (Fault(drop=True), "broke off for `tiny.Q8_0.gguf` of `maker/tiny`, 3 times in a row"),
        (Fault(cut_after=100), "broke off for"),
    ],
)
def test_a_hub_that_fails_again_and_again_is_given_up(world: World, fault: Fault, says: str) -> None:
    world.hub.fail("/large/|resolve" if fault.cut_after is None else "/large/", fault, times=99)
    assert says in world.refusal(world.long())


def test_a_silent_hub_is_given_up(world: World) -> None:
    world.hub.fail("resolve", Fault(stall_s=0.6), times=9)
    assert "is silent for" in world.refusal(world.long(), timeout_s=0.2)


def test_a_hub_that_is_not_there_is_said(world: World) -> None:
    message = world.refusal(world.long(), hub_endpoint="http://127.0.0.1:9")
    assert message.startswith("The hub `127.0.0.1:9` cannot be reached for `tiny.Q8_0.gguf` of `maker/tiny`")


def test_a_redirect_loop_ends(world: World) -> None:
    artifact = world.long()
    there = f"/{NAME}/resolve/{world.repository.head}/tiny.Q8_0.gguf"
    world.hub.fail("resolve", Fault(status=302, headers={"Location": there}), times=99)
    assert "redirects more than 5 times" in world.refusal(artifact)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "", "ftp://127.0.0.1/x", "http://[", "gopher://x"])
def test_a_redirect_to_no_web_address_is_refused(world: World, location: str) -> None:
    world.hub.fail("resolve", Fault(status=302, headers={"Location": location}))
    message = world.refusal(world.long())
    assert "Check its address." in message
    assert world.kept() == ["pull.lock"]


def test_a_gated_repository_says_how_to_get_in(world: World) -> None:
    world.repository.gated = True
    message = world.refusal(world.long())
    assert message.startswith("`maker/tiny` is gated: agree to its terms on its page of the hub, and put a token")
    assert "`HF_TOKEN`" in message


def test_the_token_opens_what_is_gated_and_goes_to_the_hub_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.repository.gated, world.hub.token = True, "hf_a-secret-token"
    monkeypatch.setenv("TOKEN_OF_OURS", "hf_a-secret-token")
    path = pull(world.long(), world.cache, Silent(), world.access(hub_token_variable="TOKEN_OF_OURS"))
    assert path.read_bytes() == LONG
    assert {request.headers.get("authorization") for request in world.hub.requests if request.elsewhere} == {None}
    assert not any(
        "hf_a-secret" in file.read_text(errors="replace") for file in world.cache.rglob("*") if file.is_file()
    )


def test_a_wrong_token_is_refused_and_not_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.repository.secret, world.hub.token = True, "hf_the-right-one"
    monkeypatch.setenv("HF_TOKEN", "hf_the-wrong-one")
    message = world.refusal(world.long())
    assert "wrong-one" not in message
    assert "refuses `tiny.Q8_0.gguf` of `maker/tiny` to the token in `HF_TOKEN` (404)" in message


def test_a_repository_that_strangers_cannot_see_says_both_reasons(world: World) -> None:
    world.repository.secret = True
    assert "there is no such repository, or it is private" in world.refusal(world.long())


def test_a_revision_that_is_gone_is_named(world: World) -> None:
    artifact = world.long()
    source = HubSource(repository=NAME, revision="2" * 40, file="tiny.Q8_0.gguf")
    assert f"`maker/tiny` has no revision `{'2' * 40}`" in world.refusal(
        artifact.model_copy(update={"sources": (source,)})
    )


def test_offline_nobody_is_asked_and_the_way_is_said(world: World) -> None:
    message = world.refusal(world.long(), online=False)
    assert message.startswith("`maker/tiny` is on a hub, and this project is offline. Pull with `--online`, or set")
    assert world.hub.requests == []


def test_the_next_source_goes_on_with_what_the_first_one_gave(world: World, tmp_path: Path) -> None:
    artifact = world.long()
    world.hub.fail("/large/", Fault(cut_after=2_000_000))
    world.hub.fail("/large/", Fault(status=404))
    twice = artifact.model_copy(update={"sources": (*artifact.sources, *artifact.sources)})
    assert pull(twice, world.cache, Silent(), world.access()).read_bytes() == LONG
    assert sum(request.sent for request in world.hub.asked("/large/")) == len(LONG)


def test_two_pulls_at_once_fetch_once(world: World) -> None:
    artifact = world.long()
    threads = [threading.Thread(target=pull, args=(artifact, world.cache, Silent(), world.access())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert present(artifact, world.cache)
    assert len(world.hub.asked("/large/")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_and_the_part_is_gone_on_with(world: World) -> None:
    artifact = world.long()
    parts = artifact_path(artifact, world.cache).parent / "parts"
    parts.mkdir(parents=True)
    part = parts / f"{artifact.sha256[:16]}.part"
    part.symlink_to("/dev/full")
    assert world.refusal(artifact).startswith(f"The disk of the cache `{world.cache}` is full.")
    part.unlink()
    assert pull(artifact, world.cache, Silent(), world.access()).read_bytes() == LONG


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"pytorch_model.bin": b"\x80\x04K\x01."}, "`pytorch_model.bin` is pickle, which runs code when it is read"),
        ({"modeling_tiny.py": b"x = 1\n"}, "`modeling_tiny.py` is code that an engine would run"),
        ({"setup.sh": b"true\n"}, "`setup.sh` is neither weights nor data that belongs to them"),
    ],
)
def test_what_could_run_is_refused_by_its_name_before_anything_is_asked(
    world: World, more: dict[str, bytes], says: str
) -> None:
    files = checkpoint(**more)
    world.repository.commit(files)
    assert says in world.refusal(pinned(files, world.source()))
    assert world.hub.requests == []


def test_code_is_fetched_where_it_was_approved(world: World) -> None:
    files = checkpoint(**{"modeling_tiny.py": b"x = 1\n"})
    world.repository.commit(files)
    artifact = pinned(files, world.source())
    access = Access(sources=world.sources, patience=QUICK, code=True)
    assert (pull(artifact, world.cache, Silent(), access) / "modeling_tiny.py").read_bytes() == b"x = 1\n"


def test_a_hostile_header_of_the_right_digest_is_not_kept(world: World) -> None:
    files = checkpoint(**{SHARDS[0]: b"\xff" * 8 + bytes(100)})
    world.repository.commit(files)
    assert f"`{SHARDS[0]}` is not a usable safetensors file" in world.refusal(pinned(files, world.source()))
    assert SHARDS[0] not in world.kept()


def test_an_index_that_does_not_fit_keeps_nothing(world: World) -> None:
    wrong = json.dumps({"weight_map": {"layer.0": SHARDS[0]}}).encode()
    files = checkpoint(**{"model.safetensors.index.json": wrong})
    world.repository.commit(files)
    assert "`model.safetensors.index.json` does not fit its shards" in world.refusal(pinned(files, world.source()))
    assert world.kept() == ["pull.lock"]


def test_a_directory_on_this_machine_is_a_source_too(world: World, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name, data in FILES.items():
        (mine / name).write_bytes(data)
    directory = pull(pinned(FILES, FileSource(path=mine)), world.cache, Silent())
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == FILES

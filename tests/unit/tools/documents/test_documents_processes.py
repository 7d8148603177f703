"""The processes that read: what they may not do, and what becomes of a file when one of them ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.support import documents as made

from changeover.core.errors import DocumentError
from changeover.tools.confine import offered
from changeover.tools.documents.processes import Readers

TRIED = """
import os, socket, subprocess, sys
from pathlib import Path
from changeover.tools.confine import Policy, confine
bounds = {"memory_bytes": 256 << 20, "headroom_bytes": 2 << 30, "file_bytes": 1 << 20, "descriptors": 32}
held = confine(Policy(own_directory=Path(sys.argv[1]), **bounds))
print(",".join(held))
def tried(what):
    try:
        what()
    except MemoryError:
        print("no memory")
    except OSError as exc:
        print(type(exc).__name__)
    else:
        print("done")
tried(lambda: socket.socket())
tried(lambda: subprocess.run(["/bin/true"]))
tried(lambda: os.fork() or os._exit(0))
tried(lambda: os.kill(os.getppid(), 0))
tried(lambda: os.chmod(sys.argv[2], 0o666))
tried(lambda: open(sys.argv[2]).read())
tried(lambda: open(sys.argv[2], "w"))
tried(lambda: Path(sys.argv[1], "own.txt").write_text("mine"))
tried(lambda: bytearray(1 << 30))
tried(lambda: __import__("json"))
"""


@pytest.fixture(scope="module")
def long() -> made.File:
    """More text than a pipe holds: nobody reads it to its end before its first page was heard of."""
    return made.File(name="long.pdf", data=made.pdf(["\n".join([15 * "words "] * 20)] * 300))


def test_a_reader_cannot_reach_the_network_programs_other_processes_or_files(tmp_path: Path) -> None:
    own, secret = tmp_path / "own", tmp_path / "secret.txt"
    own.mkdir()
    secret.write_text("key")

    told = subprocess.run(
        [sys.executable, "-I", "-c", TRIED, str(own), str(secret)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()

    assert told[0].split(",") == offered()
    if told[0] != "limits,files,calls":
        pytest.skip(f"this kernel offers less: {told[0]}")
    assert told[1:] == [*["PermissionError"] * 7, "done", "no", "memory", "done"]
    assert secret.read_text() == "key"


async def test_a_reader_sees_no_secret_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "canary-3141")
    async with made.opened() as readers:
        await made.read(readers, "a.txt", b"words")
        process = psutil.Process(readers.processes[0])
        environment, directory = process.environ(), Path(process.cwd())

        assert "canary-3141" not in str(environment)
        assert environment["TMPDIR"] == str(directory)
        assert (directory.stat().st_mode & 0o077, os.getpgid(process.pid)) == (0, process.pid)

    assert not directory.exists()
    assert not process.is_running()


def the_reader() -> psutil.Process:
    """The process of ours that reads."""
    for child in psutil.Process().children():
        if "changeover.tools.documents.worker" in child.cmdline():
            return child
    raise LookupError


async def test_a_process_that_is_killed_costs_one_file_and_no_more(long: made.File) -> None:
    async with made.opened() as readers:
        with pytest.raises(DocumentError, match=r"Reading `long\.pdf` ended the process that reads"):
            await readers.read(long, made.LIMITS, on_page=lambda done, of: the_reader().kill() if done == 1 else None)

        assert (await made.read(readers, "next.txt", b"next")).text == "next"


async def test_a_file_that_takes_too_long_is_stopped(long: made.File) -> None:
    async with made.opened() as readers:
        await made.read(readers, "first.txt", b"first")
        stopped = readers.processes[0]
        with pytest.raises(DocumentError, match=r"`long\.pdf` took longer than 0 s and was stopped"):
            await made.read(readers, "long.pdf", long.data, seconds=0.01)

        assert not psutil.pid_exists(stopped)
        assert (await made.read(readers, "next.txt", b"next")).text == "next"


async def test_a_file_that_needs_too_much_memory_is_refused_and_the_next_is_read() -> None:
    large = made.picture_file(made.Image.new("RGB", (6_000, 6_000)))
    async with made.opened(memory_mib=128) as readers:
        with pytest.raises(DocumentError, match=r"`large\.png` needs more memory to be read than a reader may use"):
            await made.read(readers, "large.png", large)

        assert (await made.read(readers, "next.txt", b"next")).text == "next"


async def test_a_caller_who_goes_away_leaves_no_process_behind_that_reads_on(long: made.File) -> None:
    begun = asyncio.Event()
    async with made.opened() as readers:
        reading = asyncio.create_task(readers.read(long, made.LIMITS, on_page=lambda done, of: begun.set()))
        await begun.wait()
        process = the_reader()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert not process.is_running()
        assert (await made.read(readers, "next.txt", b"next")).text == "next"


async def test_a_process_with_nothing_to_read_is_ended() -> None:
    readers = Readers(1, made.MEMORY_MIB, idle_s=0)
    await made.read(readers, "a.txt", b"words")
    process = psutil.Process(readers.processes[0])
    async with asyncio.timeout(20):
        while readers.processes:
            await asyncio.sleep(0)
    await readers.close()

    assert not process.is_running()


async def test_a_process_that_was_ended_while_it_waited_is_no_fault_of_the_next_file() -> None:
    async with made.opened() as readers:
        await made.read(readers, "a.txt", b"words")
        waiting = readers._idle[0].process
        waiting.kill()
        await waiting.wait()

        assert (await made.read(readers, "b.txt", b"others")).text == "others"


async def test_files_wait_for_their_turn() -> None:
    async with made.opened(count=2) as readers:
        read = await asyncio.gather(*(made.read(readers, f"{n}.txt", str(n).encode() * 9) for n in range(1, 9)))

        assert [document.text for document in read] == [str(n) * 9 for n in range(1, 9)]
        assert len(readers.processes) == 2


async def test_a_name_is_shown_in_one_line_and_without_its_folder() -> None:
    async with made.opened() as readers:
        with pytest.raises(DocumentError, match=r"^`passwd\?\.txt` is empty"):
            await made.read(readers, "..\\x/../etc/pass\nwd\u202e?.txt", b"")

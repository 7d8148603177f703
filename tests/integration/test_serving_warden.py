"""A server that is not ours, under a warden: it is waited for, and nothing of it is ever left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import gettempdir

import psutil
import pytest

from changeover.core.errors import EngineError
from changeover.serving.backends import Launch
from changeover.serving.process import ChildEngine, EngineLog

ROOT = Path(__file__).parents[2]


def launch(*how: str) -> Launch:
    return Launch(
        argv=(sys.executable, "-P", "-m", "changeover.serving.engines.warden"),
        config={
            "argv": [sys.executable, "-m", "tests.support.stranger", "{port}", *how],
            "environment": {"STRANGER_KEY": "{secret}"},
            "ready_path": "/health",
            "directory": str(ROOT),
            "needs": ["/etc/shadow"],  # so that root stays root: nobody may not be able to read these tests
        },
    )


def engine(directory: Path, *how: str) -> ChildEngine:
    return ChildEngine(launch(*how), EngineLog(directory / "d.log"), os.environ)


def family(pid: int) -> list[psutil.Process]:
    warden = psutil.Process(pid)
    return [warden, *warden.children(recursive=True)]


async def gone(processes: list[psutil.Process]) -> bool:
    def wait() -> bool:
        deadline = time.monotonic() + 20
        while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    return await asyncio.to_thread(wait)


async def test_a_server_that_is_not_ours_is_waited_for_until_it_answers(tmp_path: Path) -> None:
    server = engine(tmp_path, "slow")
    try:
        ready = await server.start(60)
        listening = {each.laddr.port for each in psutil.Process(server.pid).children()[0].net_connections()}
        assert ready.port in listening
    finally:
        await server.stop(5)


async def test_its_secret_stands_on_no_command_line(tmp_path: Path) -> None:
    server = engine(tmp_path)
    try:
        ready = await server.start(60)
        assert server.pid is not None
        assert all(ready.secret not in " ".join(each.cmdline()) for each in family(server.pid))
    finally:
        await server.stop(5)


async def test_its_folder_is_private_and_goes_with_it(tmp_path: Path) -> None:
    config = {**launch().config, "environment": {"STRANGER_KEY": "{secret}", "STRANGER_FOLDER": "{folder}/in"}}
    server = ChildEngine(Launch(argv=launch().argv, config=config), EngineLog(tmp_path / "d.log"), os.environ)
    try:
        await server.start(60)
        folder = Path(psutil.Process(server.pid).children()[0].environ()["STRANGER_FOLDER"]).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) < 40, "sockets in it need short paths"
    finally:
        await server.stop(5)
    assert not folder.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root has rights to give up")
async def test_root_gives_its_rights_up_unless_the_server_could_not_read_its_weights_then(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir(mode=0o755)
    weights = folder / "weights"
    weights.write_bytes(b"")
    weights.chmod(0o600)
    above = [each for each in tmp_path.parents if each.is_relative_to(gettempdir()) and each != Path(gettempdir())]
    for each in (tmp_path, *above):
        each.chmod(0o755)
    config = {**launch().config, "needs": [str(tmp_path / "not there"), str(folder)]}
    server = ChildEngine(Launch(argv=launch().argv, config=config), EngineLog(tmp_path / "d.log"), os.environ)
    try:
        assert (await server.start(60)).note == f"runs as root: no other user can read `{weights}`"
    finally:
        await server.stop(5)


@pytest.mark.parametrize("how", [(), ("deaf",), ("parent",), ("deaf", "parent")])
async def test_when_it_is_stopped_nothing_of_it_is_left(tmp_path: Path, how: tuple[str, ...]) -> None:
    server = engine(tmp_path, *how)
    await server.start(60)
    assert server.pid is not None
    processes = family(server.pid)
    assert len(processes) == (3 if "parent" in how else 2)
    await server.stop(20)
    assert await gone(processes)


async def test_one_that_ends_while_it_starts_says_why(tmp_path: Path) -> None:
    server = engine(tmp_path, "dies")
    with pytest.raises(EngineError, match="ended with status 1; its log says: no accelerator was found"):
        await server.start(60)
    await server.stop(5)


async def test_one_that_finds_its_port_taken_is_started_on_another(tmp_path: Path) -> None:
    server = engine(tmp_path, "beaten", str(tmp_path / "was"))
    try:
        ready = await server.start(60)
        assert server.pid is not None
        [child] = psutil.Process(server.pid).children()
        assert ready.port in {each.laddr.port for each in child.net_connections()}
        assert "was taken meanwhile; another one is tried" in (tmp_path / "d.log").read_text()
    finally:
        await server.stop(5)


async def test_one_that_ends_by_itself_after_it_was_looked_at_is_not_started_again(tmp_path: Path) -> None:
    server = engine(tmp_path, "spent")
    with pytest.raises(EngineError, match="ended with status 1; its log says: no memory for the cache"):
        await server.start(60)
    await server.stop(5)
    log = (tmp_path / "d.log").read_text()
    assert "another one is tried" not in log
    assert log.count("no memory for the cache") == 1


async def test_one_that_can_listens_on_a_socket(tmp_path: Path) -> None:
    how = launch()
    command = [sys.executable, "-m", "tests.support.stranger", "{socket}"]
    made = Launch(argv=how.argv, config={**how.config, "unix_argv": command})
    path = tmp_path / "d.sock"
    server = ChildEngine(made, EngineLog(tmp_path / "d.log"), os.environ, path)
    try:
        assert (await server.start(60)).port == 0
        assert path.is_socket()
    finally:
        await server.stop(5)


async def test_nothing_is_left_of_one_whose_parent_is_killed_while_it_starts() -> None:
    program = (
        "import json, os, subprocess, sys, time\n"
        "config = json.loads(sys.argv[1])\n"
        "warden = subprocess.Popen(config['argv'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "warden.stdin.write(json.dumps({**config['config'], 'secret': 's', 'parent': os.getpid()}).encode() + b'\\n')\n"
        "warden.stdin.flush()\n"
        "print(warden.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    told = json.dumps({"argv": launch().argv, "config": {**launch("slow", "deaf", "parent").config, "ready_path": "/"}})
    with subprocess.Popen([sys.executable, "-c", program, told], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        warden = psutil.Process(int(await asyncio.to_thread(parent.stdout.readline)))
        while len(processes := family(warden.pid)) < 3:
            await asyncio.sleep(0.05)
        parent.kill()
        assert await gone(processes)


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = {**launch().config, "argv": ["/no/such/server", "{port}"]}
    server = ChildEngine(Launch(argv=launch().argv, config=config), EngineLog(tmp_path / "d.log"), os.environ)
    with pytest.raises(EngineError, match="`/no/such/server` could not be started: No such file"):
        await server.start(60)
    await server.stop(5)


@pytest.mark.parametrize("killed", ["parent", "warden", "server"])
async def test_whoever_is_killed_the_others_end(tmp_path: Path, killed: str) -> None:
    program = (
        "import json, os, subprocess, sys\n"
        "config = json.loads(sys.argv[1])\n"
        "warden = subprocess.Popen(config['argv'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "warden.stdin.write(json.dumps({**config['config'], 'secret': 's', 'parent': os.getpid()}).encode() + b'\\n')\n"
        "warden.stdin.flush()\n"
        "warden.stdout.readline()\n"
        "print(warden.pid, flush=True)\n"
        "warden.wait()\n"
    )
    told = json.dumps({"argv": launch().argv, "config": launch("deaf", "parent").config})
    with subprocess.Popen([sys.executable, "-c", program, told], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        processes = family(pid)
        names = {"parent": psutil.Process(parent.pid), "warden": processes[0], "server": processes[1]}
        names[killed].send_signal(signal.SIGKILL)
        # What a killed warden's server had started in a session of its own is the one thing that nobody is left to end.
        expected = processes if killed != "warden" else processes[:2]
        try:
            assert await gone(expected)
        finally:
            for process in processes:
                if process.is_running():
                    process.kill()
            parent.kill()

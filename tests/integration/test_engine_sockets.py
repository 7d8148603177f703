"""Engines that listen on a Unix socket in a private folder, and on no port."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest
from tests.support.projects import open_written, running, write_project

from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError, UpstreamError
from changeover.serving.plan import EnginePlan
from changeover.serving.sockets import Sockets
from changeover.serving.supervisor import Supervisor
from changeover.serving.upstream import ClientKind

BODY = json.dumps({"messages": [{"role": "user", "content": "hello there"}]}).encode()
PLAN = EnginePlan(deployment="d", backend="echo", model="d")


@pytest.mark.parametrize("client", ["wire", "aiohttp"])
async def test_an_engine_answers_on_its_socket_and_on_no_port(tmp_path: Path, client: ClientKind) -> None:
    folder = tmp_path / "s"
    supervisor = Supervisor(SystemClock(), tmp_path / "logs", client=client, sockets=folder)
    await supervisor.ensure(PLAN)
    await supervisor.wait_ready("d", 30)
    try:
        upstream, status = supervisor.upstream("d"), supervisor.status("d")
        assert upstream is not None
        assert status.pid is not None
        for _ in range(3):
            answer = await upstream.fetch("/v1/chat/completions", BODY, first_byte_s=10, stall_s=10)
            assert b"hello there" in answer
        assert await upstream.probe() is None
        [socket] = folder.iterdir()
        assert status.address == f"unix:{socket}"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        listening = [each for each in psutil.Process(status.pid).net_connections("tcp") if each.status == "LISTEN"]
        assert listening == []
        await supervisor.stop("d")
        assert list(folder.iterdir()) == []
        with pytest.raises(UpstreamError, match="cannot be reached"):
            await upstream.fetch("/v1/chat/completions", BODY, first_byte_s=2, stall_s=2)
    finally:
        await supervisor.close()
    assert not folder.exists()


@pytest.mark.parametrize("workers", [1, 2])
async def test_gateways_reach_engines_on_sockets(tmp_path: Path, workers: int) -> None:
    project = write_project(tmp_path / "p", gateway=f'workers = {workers}\n[engines]\nlisten = "unix"\n')
    async with running(open_written(project)) as up, aiohttp.ClientSession(headers=up.headers()) as http:
        await up.ready("echo")
        assert up.system.fleet.statuses()[0].address is not None
        assert str(up.system.fleet.statuses()[0].address).startswith("unix:")
        body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
        async with http.post(f"{up.address}/v1/chat/completions", json=body) as answer:
            assert answer.status == 200


async def test_what_a_killed_process_left_is_cleared_by_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    program = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from changeover.core.clock import SystemClock\nfrom changeover.serving.plan import EnginePlan\n"
        "from changeover.serving.supervisor import Supervisor\n"
        "async def main():\n"
        "    supervisor = Supervisor(SystemClock(), Path(sys.argv[1]), client='wire', sockets=Path(sys.argv[2]))\n"
        "    await supervisor.ensure(EnginePlan(deployment='d', backend='echo', model='d'))\n"
        "    await supervisor.wait_ready('d', 30)\n"
        "    print(supervisor.status('d').pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "logs"), str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        engine = psutil.Process(int(await asyncio.to_thread(parent.stdout.readline)))
        parent.kill()
    await asyncio.to_thread(psutil.wait_procs, [engine], 20)
    assert not engine.is_running() or engine.status() == "zombie"
    assert len(list(folder.iterdir())) == 1, "nobody was left to remove it"
    sockets = Sockets(folder)
    fresh = sockets.fresh()
    assert list(folder.iterdir()) == []
    assert fresh.parent == folder
    sockets.close()


def test_a_folder_that_somebody_tidied_away_is_made_again(tmp_path: Path) -> None:
    sockets = Sockets(tmp_path / "s")
    first = sockets.fresh()
    first.parent.rmdir()
    second = sockets.fresh()
    assert second.parent.is_dir()
    assert second != first


def test_a_folder_whose_path_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is too long a path for sockets\. Set `TMPDIR`"):
        Sockets(tmp_path / ("x" * 100)).fresh()


def test_a_file_in_the_place_of_the_folder_is_not_taken_away(tmp_path: Path) -> None:
    place = tmp_path / "s"
    place.write_text("somebody else's")
    with pytest.raises(ConfigError, match="no folder for sockets can be made"):
        Sockets(place).fresh()
    assert place.read_text() == "somebody else's"

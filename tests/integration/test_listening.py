"""A port that cannot be had: each server says what moves it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.projects import write_project

from changeover.app.listening import listen
from changeover.cli.main import run_command
from changeover.core.settings import SETTINGS_FILE

GATEWAY = ("--url", "http://127.0.0.1:1")
pytestmark = pytest.mark.usefixtures("own_logs")
IN_USE = (
    "Cannot listen on `127.0.0.1:{port}`: Address already in use. Give another port by {by}, or 0 for any free one."
)
ELSEWHERE = "Give an address of this machine by {by}."


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = write_project(tmp_path / "project")
    monkeypatch.chdir(project)
    return project


def _refused(said: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_command(arguments) == 2
    return " ".join(said.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "by"),
    [
        (("console", *GATEWAY, "--port", "PORT"), "`--port`"),
        (("library", "serve", "--open", "--port", "PORT"), "`--port`"),
        (("mcp", *GATEWAY, "--http", "127.0.0.1:PORT"), "`--http`"),
        (("up", "--port", "PORT"), "`--port`"),
    ],
)
def test_a_server_whose_port_is_taken_names_its_own_option(
    project: Path, taken: str, arguments: tuple[str, ...], by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _refused(capsys, *(each.replace("PORT", taken) for each in arguments))
    assert said.endswith(IN_USE.format(port=taken, by=by))


def test_a_gateway_whose_port_is_taken_names_the_setting_that_it_has_it_from(
    project: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = project / SETTINGS_FILE
    settings.write_text(settings.read_text().replace("port = 0", f"port = {taken}"))
    by = "`gateway.port` in changeover.toml"
    assert _refused(capsys, "up").endswith(IN_USE.format(port=taken, by=by))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_no_matter_of_the_port(
    project: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _refused(capsys, "console", *GATEWAY, "--host", host, "--port", "0")
    assert said.startswith(f"error Cannot listen on `{host}:0`: ")
    assert said.endswith(ELSEWHERE.format(by="`--host`"))


async def test_what_a_server_sends_in_two_pieces_goes_out_at_once() -> None:
    accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(bool(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        writer.close()

    listener = listen("127.0.0.1", 0)
    async with await asyncio.start_server(look, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted
        writer.close()

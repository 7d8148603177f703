"""Weights in a cache, cards that name them, and the hub's routes over a real server: for tests of what is served."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import uvicorn
from tests.unit.library.gguf_builder import build

from changeover.library.artifacts import Artifact, ArtifactFile, FileSource, HubSource, digest_of_files
from changeover.library.cards import Card, Terms
from changeover.library.facts import FactSource
from changeover.library.pull import Silent, pull
from changeover.library.serve.hub import Admit, Hub
from changeover.library.serve.repositories import Repositories

REVISION = "7" * 40
"""A commit of a hub, as a card names it."""


def today() -> date:
    return date(2026, 6, 1)


def card(id: str, artifacts: Iterable[Artifact], vendor: str = "Test", **more: Any) -> Card:
    """A card with nothing but weights."""
    source = FactSource(facts=("everything",), at="the tests", grade="run", checked=date(2026, 1, 1))
    return Card(
        id=id,
        display_name=id,
        family="test",
        vendor=vendor,
        licence=Terms(id="Apache-2.0"),
        artifacts=tuple(artifacts),
        sources=(source,),
        **more,
    )


def pulled(directory: Path, cache: Path, quantisation: str, *, padding: int = 0, hub: str | None = None) -> Artifact:
    """A small GGUF file, pulled into a cache as `changeover pull` does it."""
    file = directory / f"{quantisation}.gguf"
    file.write_bytes(build() + quantisation.encode() + bytes(padding))
    content = file.read_bytes()
    named = () if hub is None else (HubSource(repository=hub, revision=REVISION, file=f"there-{quantisation}.gguf"),)
    artifact = Artifact(
        format="gguf",
        quantisation=quantisation,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sources=(FileSource(path=file), *named),
    )
    pull(artifact, cache, Silent())
    return artifact


def of_directory(directory: Path) -> Artifact:
    """What a directory of safetensors holds, which is its own source."""
    files = tuple(
        ArtifactFile(
            path=path.relative_to(directory).as_posix(),
            size_bytes=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    )
    return Artifact(
        format="safetensors",
        quantisation="BF16",
        size_bytes=sum(file.size_bytes for file in files),
        sha256=digest_of_files(files),
        files=files,
        sources=(FileSource(path=directory),),
    )


def pulled_directory(directory: Path, cache: Path) -> Artifact:
    """What a directory of safetensors holds, pulled into a cache."""
    artifact = of_directory(directory)
    pull(artifact, cache, Silent())
    return artifact


@dataclass
class Served:
    """The routes, listening; what was asked is remembered."""

    address: str
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    """Method, path and headers of each request."""
    cut_after: int | None = None
    """Cut the next file after so many of its bytes, once."""


class _Recording:
    """The application with a memory, and with a cable that is pulled once when a test asks for it."""

    def __init__(self, app: Hub, served: Served) -> None:
        self._app = app
        self._served = served

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self._served.asked.append((scope["method"], scope["path"], headers))
        sent = 0

        async def counting(message: MutableMapping[str, Any]) -> None:
            nonlocal sent
            await send(message)
            sent += len(message.get("body", b""))
            if self._served.cut_after is not None and scope["method"] == "GET" and sent >= self._served.cut_after:
                self._served.cut_after = None
                raise ConnectionError("the cable is pulled")

        await self._app(scope, receive, counting)


@contextmanager
def serving(repositories: Callable[[], Repositories], admit: Admit = lambda headers: "anybody") -> Generator[Served]:
    """Serve over a real socket for the length of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = Served(f"http://127.0.0.1:{listener.getsockname()[1]}")
    config = uvicorn.Config(
        _Recording(Hub(repositories, admit), served),
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield served
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def write_checkpoint(directory: Path) -> Path:
    """A directory as a repository of safetensors has it; its weights are two small tensors."""
    (directory / "extra").mkdir(parents=True)
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
    }
    text = json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    (directory / "config.json").write_text('{"model_type": "llama"}')
    (directory / "extra" / "note.txt").write_text("a file further down\n")
    return directory

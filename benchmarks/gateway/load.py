"""Load on a gateway: what is asked, and what the load generator says of the answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from benchmarks.gateway.native import Programs
from benchmarks.gateway.process import Cores, Tree, environment, on_core, started

EXPECT = "due within thirty days"
"""Stands in every whole answer of the upstream."""
BODY_BYTES = 2_400
CHUNKS = 64
PACE_MS = 20
Kind = Literal["plain", "stream", "paced"]
KINDS: Sequence[Kind] = ("plain", "stream", "paced")
QUESTION = "Which total does this invoice name, and until when is it due? Answer in two sentences. "
INVOICE = "Invoice 2025-1187, hosting of the ledger in May, two nodes, 640.00 EUR each; payable within thirty days. "


class LoadError(Exception):
    """The load generator could not do its work."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where requests go."""

    port: int
    model: str = "mock"
    path: str = "/v1/chat/completions"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    pid: int | None = None
    """Of the gateway's first process; None where there is no gateway."""

    def tree(self) -> Tree | None:
        return None if self.pid is None else Tree(self.pid)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One piece of load. Times in ms."""

    mode: Literal["closed", "open", "streams"]
    kind: Kind = "plain"
    connections: int
    warm: int
    run: int
    drain: int = 5_000
    rate: int = 0
    """Requests a second, with `open`."""


def body(model: str, kind: Kind) -> bytes:
    """A chat request of `BODY_BYTES`. The upstream reads the pace of a stream from its text, which every gateway passes."""
    streams: dict[str, Any] = {} if kind == "plain" else {"stream": True, "stream_options": {"include_usage": True}}
    pace = f"(delay={PACE_MS}; only so that the answer takes its time.) " if kind == "paced" else ""

    def document(text: str) -> bytes:
        messages = [{"role": "system", "content": "You read invoices."}, {"role": "user", "content": text}]
        asked = {"model": model, "messages": messages, "max_tokens": 320, "temperature": 0.2, **streams}
        return json.dumps(asked).encode()

    text = pace + QUESTION
    left = BODY_BYTES - len(document(text))
    return document(text + (INVOICE * (left // len(INVOICE) + 1))[:left])


class Loader:
    """Puts load on targets from the load's core."""

    def __init__(self, programs: Programs, cores: Cores, directory: Path) -> None:
        self._programs, self._cores, self._directory = programs, cores, directory

    def run(self, target: Target, demand: Demand) -> dict[str, Any]:
        """Do it, and give what the load generator printed.

        Raises:
            LoadError: It could not connect, or did not end in time.
        """
        process = self.begin(target, demand)
        try:
            out, err = process.communicate(timeout=(demand.warm + demand.run + demand.drain) / 1000 + 20)
        except subprocess.TimeoutExpired:
            raise LoadError("the load generator did not end in time") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if process.returncode:
            raise LoadError(f"the load generator ended with {process.returncode}: {err.strip()}")
        return parsed(out)

    def begin(self, target: Target, demand: Demand) -> subprocess.Popen[str]:
        """Start it, to run beside other load; the caller waits for it and must end it."""
        file = self._directory / f"{target.model.replace(':', '-')}-{demand.kind}.json"
        if not file.exists():
            file.write_bytes(body(target.model, demand.kind))
        argv = (
            *(str(self._programs.load), f"mode={demand.mode}", f"port={target.port}", f"path={target.path}"),
            *(f"body={file}", f"expect={EXPECT}", f"connections={demand.connections}", f"rate={demand.rate}"),
            *(f"warm={demand.warm}", f"run={demand.run}", f"drain={demand.drain}"),
            *(f"header={name}: {value}" for name, value in target.headers.items()),
        )
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            start_new_session=True,
            preexec_fn=on_core(self._cores.load),
        )


def parsed(out: str) -> dict[str, Any]:
    """Read what the load generator printed.

    Raises:
        LoadError: It is not what it should be.
    """
    try:
        said = json.loads(out)
    except ValueError as exc:
        raise LoadError(f"the load generator printed {out[:200]!r}") from exc
    if not isinstance(said, dict) or "errors" not in said:
        raise LoadError(f"the load generator printed {out[:200]!r}")
    return cast("dict[str, Any]", said)


def failures(said: Mapping[str, Any]) -> int:
    """Requests that were not answered as they should have been, and chunks that are missing."""
    return sum(said["errors"].values()) + said["lost_chunks"]


@contextmanager
def upstream(programs: Programs, cores: Cores, directory: Path) -> Generator[int]:
    """Run the upstream on the load's core; gives its port."""
    directory.mkdir()
    with started((str(programs.upstream),), core=cores.load, directory=directory, pipe=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise LoadError("the upstream did not start")
        yield int(json.loads(line)["port"])

"""Looks with the conformance suite at every engine that is here, with every small model that it can load.

    python -m benchmarks.conformance [--engine NAME]… [--model CARD]… [--write]

An engine's software is looked for beside us, or in the environment of its name in the folder that `CHANGEOVER_ENGINES`
names. Where no program `llama-server` is, llama.cpp's server of the embedded engine stands in for it, and the row says so. `--write` puts what was found into `docs/data/conformance.json`, of which `make docs` makes the table of
`docs/reference/conformance.md`; what was not looked at this time stays there as it was. Ends with status 1 where
something is declared and not there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from tests.support.loras import gguf_lora

from changeover.app.conformance import at_engine
from changeover.core.errors import ChangeoverError
from changeover.core.settings import EngineHome, EngineSettings, cache_directory
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.serving.backends import Backend, backends_in, usable_cores
from changeover.serving.capabilities import CAPABILITIES
from changeover.serving.conformance import PROBES, Finding, look_at
from changeover.serving.deployments import plan_for_card
from changeover.serving.homes import Homes
from changeover.serving.options import OPTIONS, BackendName, Json
from changeover.serving.plan import EnginePlan
from changeover.serving.weights import ready_weights

DATA = Path(__file__).parents[1] / "docs" / "data" / "conformance.json"
MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m")
ECHO = "echo"
CONTEXT = 1024
SLOTS = 2
ECHO_OPTIONS: Mapping[str, Json] = {"context_tokens": CONTEXT, "chunk_delay_s": 0.01, "chunks": 2000}
"""Slow enough for somebody to leave in the middle of an answer."""
READY_S = 180.0
LOCAL = "local"
PROGRAM = "llama-server"
STANDS_IN = "the embedded engine's own server stood in for the program, which is not here"


@dataclass(frozen=True, kw_only=True)
class Started:
    """What is started to be looked at."""

    plan: EnginePlan
    name: str = ""
    """Of what was asked for beside the plain thing."""
    rider: EnginePlan | None = None
    """An adapter on it."""
    capabilities: Sequence[str] = CAPABILITIES
    """What is looked at: of something that was looked at already in its plain form, what differs."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found of one engine with one model."""

    engine: BackendName
    software: str
    model: str
    quantisation: str
    started: str
    """What was asked for beside the plain thing: `embeddings`, or `an adapter`."""
    note: str
    date: str
    findings: Sequence[Mapping[str, str]]


def main() -> int:
    """Look, print, and write it down where that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", action="append", default=[], choices=[*OPTIONS])
    parser.add_argument("--model", action="append", default=[], choices=MODELS)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    rows, skipped, lies = asyncio.run(looked_at(asked.engine, asked.model))
    if asked.write:
        write(rows, skipped)
    return 1 if lies else 0


async def looked_at(
    engines: Sequence[str], models: Sequence[str]
) -> tuple[list[Row], dict[str, str], list[tuple[str, Finding]]]:
    """Look at what is here. Gives what was found, why engines were left out, and what is declared and not there."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    lies: list[tuple[str, Finding]] = []
    with TemporaryDirectory(prefix="changeover-") as directory:
        os.chmod(directory, 0o755)
        found = homes(Path(directory))
        backends = backends_in(found)
        for kind, backend in backends.items():
            if (engines and kind not in engines) or kind in ("openai", "adapter"):
                continue
            if missing := backend.missing(None):
                skipped[kind] = "; ".join(f"no {each.what}" for each in missing)
                continue
            for each in started(kind, models, Path(directory)):
                title = " · ".join(part for part in (kind, each.plan.model, each.name) if part)
                try:
                    await asyncio.to_thread(ready_weights, each.plan, found)
                    findings = await _look(title, each, backends)
                except ChangeoverError as exc:
                    skipped[title] = exc.message
                    print(f"{title}: {exc.message}", flush=True)
                    continue
                lies += [(title, finding) for finding in findings if finding.is_lie]
                rows.append(_row(each, backend, findings))
    for where, finding in lies:
        print(f"declared and not there: {where}: {finding.probe}: {finding.seen}")
    return rows, skipped, lies


def _row(started: Started, backend: Backend, findings: Sequence[Finding]) -> Row:
    plan, part = started.plan, backend.describe(started.plan)
    return Row(
        engine=plan.backend,
        software=f"{part.engine} {part.engine_version}",
        model=plan.model,
        quantisation=plan.quantisation or "",
        started=started.name,
        note=STANDS_IN if plan.backend == PROGRAM and shutil.which(PROGRAM) is None else "",
        date=datetime.now(UTC).date().isoformat(),
        findings=[{"probe": f.probe, "result": f.result, "seen": f.seen} for f in findings],
    )


async def _look(title: str, started: Started, backends: Mapping[BackendName, Backend]) -> list[Finding]:
    print(f"\n{title}", flush=True)
    async with at_engine(started.plan, backends, rider=started.rider, ready_s=READY_S) as subject:
        return await look_at(
            subject,
            [probe for probe in PROBES if probe.capability in started.capabilities],
            on_finding=lambda each: print(f"  {each.probe:24} {each.result:15} {each.seen}", flush=True),
        )


def homes(directory: Path) -> Homes:
    """Where engines' software is: in the folder of `CHANGEOVER_ENGINES`, else beside us.

    Args:
        directory: Gets the program that stands in for one that is nowhere.
    """
    folder = os.environ.get("CHANGEOVER_ENGINES")
    found = [each for each in Path(folder).iterdir() if (each / "bin" / "python").exists()] if folder else []
    declared = {each.name: EngineHome(python=str(each / "bin" / "python")) for each in found}
    if shutil.which(PROGRAM) is None:
        program = directory / PROGRAM
        root = Path(__file__).parents[1]
        program.write_text(f'#!/bin/sh\ncd {root}\nexec {sys.executable} -m tests.support.llama_server "$@"\n')
        program.chmod(0o755)
        declared[PROGRAM] = EngineHome(command=str(program))
    return Homes(declared=declared)


def started(kind: BackendName, models: Sequence[str], directory: Path) -> list[Started]:
    """What is looked at of a kind of engine: each model as it is, and the embedded engine's first one in other ways too."""
    plain = plans(kind, models)
    if kind != LOCAL or not plain or plain[0].artifact is None:
        return [Started(plan=plan) for plan in plain]
    first = plain[0]
    adapter = gguf_lora(directory / "adapter.gguf", plain[0].artifact)
    rider = EnginePlan(
        deployment="rider", backend="adapter", model="lora", artifact=adapter, options={"base": first.deployment}
    )
    return [
        *(Started(plan=plan) for plan in plain),
        Started(
            plan=replace(first, options={**first.options, "embeddings": True}),
            name="embeddings",
            capabilities=("chat", "embeddings"),
        ),
        Started(plan=first, rider=rider, name="an adapter", capabilities=("chat", "adapters")),
    ]


def plans(kind: BackendName, models: Sequence[str]) -> list[EnginePlan]:
    """What is started of a kind of engine: one for each small model whose weights it can load and that are here."""
    if kind == ECHO:
        return [EnginePlan(deployment=ECHO, backend=ECHO, model=ECHO, options=ECHO_OPTIONS)]
    made: list[EnginePlan] = []
    catalogue = Catalogue.load()
    for name in models or MODELS:
        plan = _plan(kind, catalogue.card(name))
        if plan is not None and _is_here(plan):
            made.append(plan)
    return made


def _plan(kind: BackendName, card: Card) -> EnginePlan | None:
    known = OPTIONS[kind].model_fields
    options = {"context_tokens": CONTEXT, "slots": SLOTS, "threads": 1}
    chosen = {"options": options} if kind == "ray" else {key: value for key, value in options.items() if key in known}
    try:
        return plan_for_card(card, cache_directory(), EngineSettings(), backend=kind, name="looked-at", options=chosen)
    except ChangeoverError:
        return None  # it has no weights that this kind of engine loads


def _is_here(plan: EnginePlan) -> bool:
    """Whether its weights are here, or what they are made of."""
    source = plan.artifact if plan.making is None else plan.making.source
    return source is not None and source.exists()


def write(rows: Sequence[Row], skipped: Mapping[str, str]) -> None:
    """Put what was found into the file, in the place of what was found of the same thing before."""
    known: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {"rows": [], "skipped": {}}
    fresh = {(row.engine, row.model, row.started): asdict(row) for row in rows}
    kept = {(row["engine"], row["model"], row["started"]): row for row in known["rows"]}
    order: list[str] = [*OPTIONS]
    merged = sorted((kept | fresh).values(), key=lambda row: (order.index(row["engine"]), row["model"], row["started"]))
    seen = {row["engine"] for row in merged} | {f"{row['engine']} · {row['model']}" for row in merged}
    left_out = {name: why for name, why in {**known["skipped"], **skipped}.items() if name not in seen}
    memory = psutil.virtual_memory().total / (1 << 30)
    document = {
        "machine": f"{usable_cores()} cores, {memory:.0f} GiB of memory, no accelerator",
        "rows": merged,
        "skipped": left_out,
    }
    DATA.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"wrote {DATA}")


if __name__ == "__main__":
    sys.exit(main())

"""Looks with the conformance suite at every engine that is here, with every small model that it can load.

    python -m benchmarks.conformance [--engine NAME]… [--model CARD]… [--write]

An engine's software is looked for beside us, or in the environment of its name in the folder that `CHANGEOVER_ENGINES`
names. `--write` puts what was found into `docs/data/conformance.json`, of which `make docs` makes the table of
`docs/reference/conformance.md`; what was not looked at this time stays there as it was. Ends with status 1 where
something is declared and not there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from changeover.app.conformance import at_engine
from changeover.core.errors import ChangeoverError
from changeover.core.settings import EngineHome, EngineSettings, cache_directory
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.serving.backends import Backend, backends_in, usable_cores
from changeover.serving.conformance import Finding, look_at
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found of one engine with one model."""

    engine: BackendName
    software: str
    model: str
    quantisation: str
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
    found = homes()
    backends = backends_in(found)
    for kind, backend in backends.items():
        if (engines and kind not in engines) or kind in ("openai", "adapter"):
            continue
        if missing := backend.missing(None):
            skipped[kind] = "; ".join(f"no {each.what}" for each in missing)
            continue
        for plan in plans(kind, models):
            try:
                await asyncio.to_thread(ready_weights, plan, found)
                findings = await _look(plan, backends)
            except ChangeoverError as exc:
                skipped[f"{kind} · {plan.model}"] = exc.message
                print(f"{kind} · {plan.model}: {exc.message}", flush=True)
                continue
            part = backend.describe(plan)
            lies += [(f"{kind} · {plan.model}", finding) for finding in findings if finding.is_lie]
            rows.append(
                Row(
                    engine=kind,
                    software=f"{part.engine} {part.engine_version}",
                    model=plan.model,
                    quantisation=plan.quantisation or "",
                    date=datetime.now(UTC).date().isoformat(),
                    findings=[{"probe": f.probe, "result": f.result, "seen": f.seen} for f in findings],
                )
            )
    for where, finding in lies:
        print(f"declared and not there: {where}: {finding.probe}: {finding.seen}")
    return rows, skipped, lies


async def _look(plan: EnginePlan, backends: Mapping[BackendName, Backend]) -> list[Finding]:
    print(f"\n{plan.backend} · {plan.model}", flush=True)
    async with at_engine(plan, backends, ready_s=READY_S) as subject:
        return await look_at(
            subject, on_finding=lambda each: print(f"  {each.probe:24} {each.result:15} {each.seen}", flush=True)
        )


def homes() -> Homes:
    """Where engines' software is: in the folder of `CHANGEOVER_ENGINES`, else beside us."""
    folder = os.environ.get("CHANGEOVER_ENGINES")
    found = [each for each in Path(folder).iterdir() if (each / "bin" / "python").exists()] if folder else []
    return Homes(declared={each.name: EngineHome(python=str(each / "bin" / "python")) for each in found})


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
    """Put what was found into the file, in the place of what was found of the same engine and model before."""
    known: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {"rows": [], "skipped": {}}
    fresh = {(row.engine, row.model): asdict(row) for row in rows}
    kept = {(row["engine"], row["model"]): row for row in known["rows"]}
    order: list[str] = [*OPTIONS]
    merged = sorted((kept | fresh).values(), key=lambda row: (order.index(row["engine"]), row["model"]))
    seen = {row["engine"] for row in merged}
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

"""What `changeover fit` computes beside what others published, what engines logged, and what is measured here.

    python -m benchmarks.fit [--quick] [--json FILE]

The minima that the library's cards carry; weights that serving engines logged on real accelerators; and the memory of the
embedded engine's own process, started with each small model whose weights are here, at several contexts and numbers of
slots: once it has answered, beside what it must have then; and after so many prompts that it has kept all it may, beside
the whole estimate. `--quick` measures one setting of each model, and no engine at work.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import aiohttp
import psutil

from benchmarks.promises import command
from changeover.core.settings import cache_directory
from changeover.core.sizes import GB, GIB, in_both
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.fit import fit
from changeover.library.fit.context import shape_of
from changeover.library.fit.embedded import PROCESS_BYTES
from changeover.library.fit.here import Local
from changeover.library.fit.quantisation import weights_of
from changeover.library.gguf import read_header
from changeover.library.pull import artifact_path, present
from changeover.serving.backends import BACKENDS, Launch
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ChildEngine, EngineLog, ready_deadline_s

MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "gemma-3-270m")
SETTINGS = ((1, 2048), (4, 2048), (4, 8192), (8, 8192))
QUICK = ((4, 2048),)
"""Slots and tokens of context of each."""
WORKED = (4, 2048)
PROMPTS = 12
"""Different prompts, a thousand tokens each, after which an engine counts as one at work."""
LARGE = "b200"
"""An accelerator with room for all, so that every need is computed."""


@dataclass(frozen=True)
class Row:
    """One figure beside another, in bytes."""

    what: str
    computed: int
    known: int

    @property
    def error(self) -> float:
        """Of what was computed, as a share of what is known."""
        return self.computed / self.known - 1


@dataclass(frozen=True)
class Logged:
    """What an engine logged: weights in GiB on each of so many cards."""

    card: str
    quantisation: str
    weights_gib: float
    cards: int
    source: str


LOGGED = (
    Logged("deepseek-r1", "fp8", 39.66, 16, "vLLM, TP8 PP2: vllm-project/vllm issue 13074"),
    Logged("deepseek-r1", "fp8", 79.41, 8, "vLLM on Gaudi: HabanaAI/vllm-fork issue 809"),
    Logged("gpt-oss-20b", "mxfp4", 12.8, 1, "size of the checkpoint, as OpenAI gives it"),
)
"""Not independent: the bits of `fp8` come from the first, those of `mxfp4` from the larger gpt-oss."""


def published(catalogue: Catalogue) -> list[Row]:
    """Computed needs at the defaults beside every published minimum of the library's cards."""
    large = catalogue.accelerator(LARGE)
    rows: list[Row] = []
    for card in catalogue.cards():
        for minimum in card.memory:
            judged = fit(card, large, 32, quantisation=minimum.quantisation)
            if judged.needs_bytes is not None and card.architecture.shape is not None:
                rows.append(
                    Row(f"{card.id} {minimum.quantisation}", judged.needs_bytes, round(minimum.minimum_gb * GB))
                )
    return rows


def logged(catalogue: Catalogue) -> list[Row]:
    """Computed weights beside those that engines logged."""
    cards = {card.id: card for card in catalogue.cards()}
    rows: list[Row] = []
    for each in LOGGED:
        if each.card in cards:
            computed = weights_of(cards[each.card], each.quantisation).bytes or 0
            known = round(each.weights_gib * each.cards * GIB)
            rows.append(Row(f"{each.card} {each.quantisation} ({each.source})", computed, known))
    return rows


async def measured(card: Card, slots: int, context: int, prompts: int = 1) -> Row:
    """What the embedded engine needs by computation beside its process's memory after so many prompts.

    After one prompt it keeps none beside its slots, and there is no margin in what is computed; after more the whole
    estimate is meant.
    """
    artifact = card.artifacts[0]
    path = artifact_path(artifact, cache_directory())
    shape = shape_of(read_header(path))
    asked = Local(
        card=card, memory=0, quantisation=artifact.quantisation, context=context, concurrency=slots, shape=shape
    )
    plan = EnginePlan(
        deployment="fit",
        backend="local",
        model=card.id,
        artifact=path,
        weights_digest=artifact.sha256,
        quantisation=artifact.quantisation,
        options={"slots": slots, "context_tokens": context},
    )
    launch = BACKENDS["local"].launch(plan)
    assert isinstance(launch, Launch)
    with tempfile.TemporaryDirectory() as directory:
        engine = ChildEngine(launch, EngineLog(Path(directory) / "engine.log"), os.environ)
        try:
            ready = await engine.start(ready_deadline_s(path))
            for number in range(prompts):
                await _ask(ready.port, ready.secret, number, 20 if prompts == 1 else 110)
            used = psutil.Process(engine.pid).memory_full_info().pss
        finally:
            await engine.stop(10.0)
    parts = {part.name: part.bytes for part in asked.parts}
    at_first = parts["weights"] + parts["context"] + PROCESS_BYTES
    computed = at_first if prompts == 1 else sum(parts.values())
    return Row(f"{card.id} {slots} × {context}", computed, used)


async def _ask(port: int, secret: str, number: int, sentences: int) -> None:
    """Have it answer, so that all it computes in is there."""
    body = {"prompt": f"Shelf {number} of the library lists open models. " * sentences, "max_tokens": 4}
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        session.post("/v1/completions", json=body, headers={"authorization": f"Bearer {secret}"}) as answer,
    ):
        answer.raise_for_status()


def run(quick: bool) -> dict[str, object]:
    """Everything that `--json` writes."""
    catalogue = Catalogue.load()
    here = [card for card in catalogue.cards() if card.id in MODELS]
    ready = [card for card in here if card.artifacts and present(card.artifacts[0], cache_directory())]
    settings = QUICK if quick else SETTINGS
    rows = [asyncio.run(measured(card, slots, context)) for card in ready for slots, context in settings]
    work = [] if quick else [asyncio.run(measured(card, *WORKED, prompts=PROMPTS)) for card in ready]
    tables = {"published": published(catalogue), "logged": logged(catalogue), "measured": rows, "worked": work}
    absent = [name for name in MODELS if name not in {card.id for card in ready}]
    return {
        **{name: [{**asdict(row), "error": row.error} for row in table] for name, table in tables.items()},
        "summary": {name: _summary(table) for name, table in tables.items()},
        "absent": absent,
    }


def _summary(rows: list[Row]) -> dict[str, float | int] | None:
    if not rows:
        return None
    errors = [row.error for row in rows]
    return {
        "rows": len(rows),
        "median_error": median(errors),
        "mean_absolute_error": fmean(abs(error) for error in errors),
        "lowest": min(errors),
        "highest": max(errors),
    }


HEADINGS = {
    "published": "published minimum",
    "logged": "weights as engines logged them",
    "measured": "measured here, new: slots × context",
    "worked": "measured here, at work: slots × context",
}


def rows_of(rows: list[Row]) -> list[str]:
    """A table's rows as Markdown."""
    return [
        f"| {row.what} | {in_both(row.computed)} | {in_both(row.known)} | {round(100 * row.error):+d} % |"
        for row in rows
    ]


def show(report: dict[str, object]) -> None:
    """Print the tables as Markdown, ready for docs/concepts/fit.md."""
    document = json.loads(json.dumps(report))
    for name, heading in HEADINGS.items():
        rows = [Row(row["what"], row["computed"], row["known"]) for row in document[name]]
        if not rows:
            continue
        print(f"| {heading} | computed | known | error |\n|---|---|---|---|", *rows_of(rows), sep="\n")
        summary = document["summary"][name]
        print(
            f"\n{summary['rows']} rows: median {summary['median_error']:+.0%}, mean of the absolute errors "
            f"{summary['mean_absolute_error']:.0%}, from {summary['lowest']:+.0%} to {summary['highest']:+.0%}.\n"
        )
    if document["absent"]:
        print(
            f"Not measured, since their weights are not here: {', '.join(document['absent'])}. `changeover pull` them."
        )


if __name__ == "__main__":
    command(__doc__, run, show)

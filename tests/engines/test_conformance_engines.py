"""The conformance suite on every engine that is installed here, with the first small model that it loads.

What it finds is compared with what is declared, and with the table of the documentation where that has the engine. Each
engine takes half a minute to two on two quiet cores.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from benchmarks.conformance import DATA, READY_S, plans

from changeover.app.conformance import at_engine
from changeover.serving.backends import backends_in
from changeover.serving.conformance import look_at
from changeover.serving.homes import Homes
from changeover.serving.options import OPTIONS, BackendName
from changeover.serving.weights import ready_weights

KINDS = [kind for kind in OPTIONS if kind not in ("echo", "openai", "adapter")]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.engine(kind)) for kind in KINDS])
async def test_an_engine_does_what_it_is_said_to_do_and_what_the_table_says(kind: BackendName, homes: Homes) -> None:
    backends = backends_in(homes)
    if kind not in backends:
        pytest.skip(f"there is no backend `{kind}` yet")
    if missing := backends[kind].missing(None):
        pytest.skip(f"{kind}: no {missing[0].what}: {missing[0].remedy}")
    plan = next(iter(plans(kind, [])), None)
    if plan is None:
        pytest.skip(
            f"{kind}: no weights of a small model are here; `changeover pull smollm2-135m-instruct` fetches some"
        )
    await asyncio.to_thread(ready_weights, plan, homes)

    async with at_engine(plan, backends, ready_s=READY_S) as subject:
        findings = await look_at(subject)

    assert [finding for finding in findings if finding.is_lie] == []
    table = _table(kind, plan.model)
    differing = {
        finding.probe: (finding.result, table[finding.probe], finding.seen)
        for finding in findings
        if finding.probe in table
        and finding.result != table[finding.probe]
        and "not applicable" not in (finding.result, table[finding.probe])
    }
    assert differing == {}


def _table(kind: str, model: str) -> dict[str, str]:
    rows: list[dict[str, Any]] = json.loads(DATA.read_text())["rows"]
    for row in rows:
        if (row["engine"], row["model"], row["started"]) == (kind, model, ""):
            return {finding["probe"]: finding["result"] for finding in row["findings"]}
    return {}

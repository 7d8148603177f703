"""A comparison of the busy installation that a judge scored, with the biases that judges have: places, lengths, moods."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from benchmarks.console.declared import Sketch
from benchmarks.console.evaluated import JUDGE, Comparing, MadeUp, chance
from changeover.app.deploy import declared_variant
from changeover.app.installation import Installation, spec_of
from changeover.app.matching import Prepared, prepared
from changeover.evals.runner import Scoring
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.tasks.declarations import ScorerDeclaration

JUDGED_BY = "qwen2.5-14b"
AGO = timedelta(days=19, hours=5)
PROMPT = "You compare two answers to the same request."


async def add_judged(
    installation: Installation,
    sketch: Sketch,
    caller: MadeUp,
    comparing: Comparing,
    incumbents: Mapping[str, Variant],
    now: datetime,
) -> None:
    """Compare a candidate with a task's incumbent by what a judge prefers, some weeks ago."""
    task = installation.tasks[sketch.name]
    incumbent = incumbents[sketch.name]
    judge_task = replace(task, name=JUDGE, prompt=PROMPT, prompt_name=f"{JUDGE}.prompt.md")
    engine = declared_variant(installation, sketch.name, JUDGED_BY).bundle.engine
    judge = Variant.declared(judge_task, JUDGED_BY, engine)
    deployment = next(name for name in sketch.by if name != incumbent.deployment)
    edited = replace(task, prompt=f"{task.prompt}\nNothing that was not said.")
    candidate = Variant.declared(
        edited, deployment, declared_variant(installation, sketch.name, deployment).bundle.engine
    )
    with installation.store.write() as connection:
        keep_variant(connection, judge, now - AGO)
    base = caller.skill[sketch.name, incumbent.id]
    caller.skill[sketch.name, candidate.id] = min(base + 0.08, 0.97)
    spec = spec_of(task, ScorerDeclaration(name="pairwise", options={"judge": JUDGE, "repeat_share": 0.2}))
    spec = spec.model_copy(update={"judge_bundles": {JUDGE: judge.bundle.digest}})
    ready: Prepared = replace(
        prepared(installation, sketch.name), scoring=Scoring(decisive=spec), judges={JUDGE: (judge_task, judge)}
    )
    await comparing.compare(incumbent, candidate, now - AGO, "ines", ready)


def judgement(asked: str) -> str:
    """What the judge says of two answers: it likes the first place, and length, a little too much."""
    first, second = (_part(asked, name) for name in ("answer-A", "answer-B"))
    mood = chance("mood", *sorted((first, second)))
    slip = chance("slip", asked)
    better = "A" if len(first) > len(second) else "B"
    if slip < 0.16:
        better = "A"
    elif mood < 0.12:
        better = "tie"
    elif mood < 0.3:
        better = "B" if len(first) > len(second) else "A"
    reasons = {"A": "A keeps what was decided and who does it", "B": "B is complete", "tie": "both say the same"}
    return json.dumps({"reason": reasons[better], "better": better})


def _part(asked: str, name: str) -> str:
    found = re.search(rf"<{name}-(\w+)>\n(.*?)\n</{name}-\1>", asked, re.DOTALL)
    return "" if found is None else found[2]

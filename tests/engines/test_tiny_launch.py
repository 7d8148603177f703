"""A few tiny checkpoints brought up as deployments are, by each backend, and asked over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engines.places import TINY

from changeover.core.clock import SystemClock
from changeover.serving.backends import backends_in
from changeover.serving.homes import Homes
from changeover.serving.options import BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.supervisor import Supervisor

START_S = 300


LAUNCHED: tuple[tuple[BackendName, str], ...] = (
    ("local", "qwen3"),
    ("local", "gpt-oss"),
    ("local", "glm4-moe"),
    ("transformers", "ernie4_5"),
    ("vllm", "qwen3"),
)


@pytest.mark.parametrize(
    ("backend", "name"), [pytest.param(*each, marks=pytest.mark.engine(each[0])) for each in LAUNCHED]
)
async def test_a_deployment_of_it_becomes_ready(
    backend: BackendName,
    name: str,
    tiny: Callable[[str], Path],
    request: pytest.FixtureRequest,
    homes: Homes,
    tmp_path: Path,
) -> None:
    known = backends_in(homes)
    weights = tiny(name)
    if backend == "local":
        ggufs: dict[str, str | None] = request.getfixturevalue("ggufs")
        assert ggufs[name] is None
        weights = TINY / name / f"{name}.gguf"
    plan = EnginePlan(
        deployment="tiny", backend=backend, model=name, artifact=weights, options={"context_tokens": 512, "slots": 1}
    )
    if backend not in known or (lacks := known[backend].missing(plan)):
        pytest.skip(f"`{backend}` cannot run here: {lacks[0].what if backend in known else 'no backend'}")
    supervisor = Supervisor(SystemClock(), tmp_path, backends=known)
    try:
        await supervisor.ensure(plan)
        await supervisor.wait_ready("tiny", START_S)
        assert supervisor.status("tiny").state == "ready"
    finally:
        await supervisor.close()

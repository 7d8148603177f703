"""What backends have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from changeover.library.gguf import GgufHeader
from changeover.serving.options import Json
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import PLAIN, profile_of


def usable_cores() -> int:
    """Cores this process may run on; not those of the whole machine."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def stored_profile(
    plan: EnginePlan,
    overrides: Mapping[str, Any],
    *,
    model: str | None = None,
    architecture: str | None = None,
    embeddings: bool = False,
    chats: bool = True,
) -> Mapping[str, Json]:
    """What is stored of the profile. An operator's own fields win.

    Args:
        plan: The deployment's.
        overrides: What an operator wrote, and what the engine was told.
        model: Whose family counts; None: the plan's.
        architecture: Of the weights.
        embeddings: They are served beside all else.
        chats: False: the model has no chat template.
    """
    served: dict[str, Json] = {} if chats else {"endpoints": ["completions"]}
    if embeddings:
        served["endpoints"] = [*(PLAIN[plan.backend].endpoints or ()), "embeddings"]
    where = f"deployment `{plan.deployment}`: profile"
    profile = profile_of(
        plan.backend, model or plan.model, architecture=architecture, overrides={**served, **overrides}, where=where
    )
    return profile.document(plan.backend)


def module(name: str) -> tuple[str, ...]:
    # -P: a file in the working directory must not pose as a module of ours.
    return (sys.executable, "-P", "-m", name)


def warden(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    ready_path: str = "/health",
    needs: Sequence[str] = (),
    **more: Json,
) -> dict[str, Json]:
    """What a warden has to be told of a server.

    Args:
        argv: The server's command line, with the placeholders that `serving.engines.warden` knows.
        environment: Of the server, with the same placeholders and the secret's.
        ready_path: Answers 200 to a GET once the server can work.
        needs: Files and folders that it must be able to read.
        more: `owns`, folders that it writes to; `after`, requests that make it ready; `directory`, where it runs.
    """
    # The program as it will be found: whoever may not read it may not run it either.
    return {
        "argv": list(argv),
        "environment": dict(environment),
        "ready_path": ready_path,
        "needs": [argv[0], *needs],
        **more,
    }


def context_within(wanted: int, header: GgufHeader) -> int:
    """Tokens of context, never more than the model was trained on.

    The engine would cap it too, but only after setting memory aside for all that was asked.
    """
    return min(wanted, header.context_length or wanted)


def pooling(header: GgufHeader) -> str:
    """How the vectors of tokens become one, where embeddings are served."""
    return "as the model says" if f"{header.architecture}.pooling_type" in header.metadata else "mean"

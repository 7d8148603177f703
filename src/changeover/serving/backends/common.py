"""What backends have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

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
) -> Mapping[str, Json]:
    """What is stored of the profile. An operator's own fields win."""
    served = {"endpoints": [*(PLAIN[plan.backend].endpoints or ()), "embeddings"]} if embeddings else {}
    where = f"deployment `{plan.deployment}`: profile"
    profile = profile_of(
        plan.backend, model or plan.model, architecture=architecture, overrides={**served, **overrides}, where=where
    )
    return profile.document(plan.backend)


def module(name: str) -> tuple[str, ...]:
    # -P: a file in the working directory must not pose as a module of ours.
    return (sys.executable, "-P", "-m", name)

"""Engines in a table: their kind, and what it stands for where the kind says little."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from changeover.app.engine_words import engine_of
from changeover.serving.queries import Deployment


@pytest.mark.parametrize(
    ("backend", "options", "words"),
    [
        ("local", {"slots": 2}, "local"),
        ("ray", {"engine": "openvino", "replicas": 3}, "ray: 3 × openvino"),
        ("ray", {}, "ray: 1 × local"),
        ("ray", {"replicas": 1, "most_replicas": 4}, "ray: 1–4 × local"),
        ("adapter", {"base": "big"}, "adapter on big"),
    ],
)
def test_an_engine_is_named_with_what_it_runs(backend: str, options: Mapping[str, Any], words: str) -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    nothing: dict[str, Any] = dict.fromkeys(("address", "pid", "memory_bytes"))
    row = Deployment(
        name="x",
        backend=backend,
        model="x",
        options=options,
        engine={},
        desired="running",
        created_by="test",
        created_at=now,
        state="ready",
        detail="",
        restarts=0,
        updated_at=now,
        **nothing,
    )
    assert engine_of(row) == words

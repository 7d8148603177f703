"""What engines need, what there is, and whether one more fits."""

from __future__ import annotations

import struct
from pathlib import Path

import psutil
import pytest

from changeover.core.sizes import GIB, MIB, in_gib
from changeover.serving.memory import SHARE, Held, budget_bytes, fits, needed_bytes
from changeover.serving.plan import EnginePlan

RUNNING = [Held(name="old", bytes=1100 * MIB), Held(name="elsewhere", bytes=0)]


@pytest.mark.parametrize(
    ("budget", "candidate", "ok"),
    [
        (2 * GIB, Held(name="new", bytes=900 * MIB), True),
        (2 * GIB, Held(name="new", bytes=948 * MIB), True),
        (2 * GIB, Held(name="new", bytes=949 * MIB), False),
        (1 * GIB, Held(name="new", bytes=0), True),
        (2 * GIB, Held(name="old", bytes=1900 * MIB), True),
        (0, Held(name="new", bytes=1), False),
    ],
)
def test_what_fits_beside_what_runs(budget: int, candidate: Held, ok: bool) -> None:
    assert fits(budget, RUNNING, candidate).ok is ok


def test_the_figures_are_said_in_words() -> None:
    assert str(fits(2 * GIB, RUNNING, Held(name="new", bytes=int(1.9 * GIB)))) == (
        "needs 1.9 GiB beside 1.1 GiB running; the budget is 2.0 GiB"
    )
    assert str(fits(2 * GIB, [], Held(name="new", bytes=3 * GIB))) == "needs 3.0 GiB; the budget is 2.0 GiB"
    assert in_gib(50 * MIB) == "50 MiB"


def test_engines_elsewhere_and_echo_need_nothing_unless_they_stand_in_for_a_model() -> None:
    server = EnginePlan(deployment="s", backend="openai", model="m", options={"base_url": "http://h/v1"})
    assert needed_bytes(server) == 0
    assert needed_bytes(EnginePlan(deployment="e", backend="echo", model="e")) == 0
    assert needed_bytes(EnginePlan(deployment="e", backend="echo", model="e"), measured=40 * MIB) == 0
    named = EnginePlan(deployment="e", backend="echo", model="e", options={"memory_mib": 700})
    assert needed_bytes(named) == 700 * MIB


def _weights(file: Path, padding: int = 10 * MIB, **numbers: int) -> Path:
    """A GGUF header with these numbers, no tensors, and so many bytes after it."""
    pairs: list[bytes] = [_text("general.architecture") + struct.pack("<I", 8) + _text("llama")]
    pairs += [_text(f"llama.{key.replace('__', '.')}") + struct.pack("<II", 4, value) for key, value in numbers.items()]
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)
    file.write_bytes(head + b"\0" * padding)
    return file


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _local(weights: Path, **options: int) -> EnginePlan:
    return EnginePlan(deployment="m", backend="local", model="m", artifact=weights, options=options)


def test_an_estimate_grows_with_weights_and_context(tmp_path: Path) -> None:
    shape = {"block_count": 30, "embedding_length": 576, "attention__head_count": 9, "attention__head_count_kv": 3}
    file = _weights(tmp_path / "m.gguf", **shape)
    one = needed_bytes(_local(file, slots=1, context_tokens=1024))
    two = needed_bytes(_local(file, slots=2, context_tokens=1024))
    # Keys and values of 1024 tokens: 30 layers, 3 heads of 64, 2 bytes each.
    assert two - one == pytest.approx(1.1 * 30 * 2 * 3 * 64 * 2 * 1024, abs=2)
    larger = _weights(tmp_path / "l.gguf", 20 * MIB, **shape)
    assert needed_bytes(_local(larger, slots=1, context_tokens=1024)) - one == pytest.approx(1.1 * 10 * MIB, abs=2)


def test_the_context_is_no_longer_than_the_model_takes(tmp_path: Path) -> None:
    shape = {"block_count": 30, "embedding_length": 576, "attention__head_count": 9, "context_length": 512}
    file = _weights(tmp_path / "m.gguf", **shape)
    assert needed_bytes(_local(file, context_tokens=512)) == needed_bytes(_local(file, context_tokens=8192))


def test_a_measurement_stands_before_an_estimate_and_is_never_less_than_the_weights(tmp_path: Path) -> None:
    file = _weights(tmp_path / "m.gguf", block_count=1)
    assert needed_bytes(_local(file), measured=300 * MIB) == 300 * MIB
    assert needed_bytes(_local(file), measured=MIB) == file.stat().st_size
    assert needed_bytes(_local(tmp_path / "gone.gguf"), measured=300 * MIB) == 300 * MIB


def test_the_budget_is_declared_or_a_share_of_the_machine(tmp_path: Path) -> None:
    assert budget_bytes(2.5) == round(2.5 * GIB)
    alone = budget_bytes(None, cgroups=tmp_path, membership=tmp_path / "cgroup")
    assert alone == round(SHARE * psutil.virtual_memory().total)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("memory.max", ""),
        ("memory.max", "0::/app/worker"),
        ("app/worker/memory.max", "0::/app/worker"),
        ("app/memory.max", "0::/app/worker"),
        ("memory/memory.limit_in_bytes", "4:memory:/gone"),
        ("memory/app/memory.limit_in_bytes", "7:pids:/\n4:memory:/app"),
    ],
)
def test_a_limit_of_a_control_group_counts_wherever_it_stands_above_the_process(
    tmp_path: Path, file: str, line: str
) -> None:
    membership, limit = tmp_path / "cgroup", tmp_path / "root" / file
    membership.write_text(f"{line}\n" if line else "")
    limit.parent.mkdir(parents=True)
    limit.write_text(f"{64 * MIB}\n")
    assert budget_bytes(None, cgroups=tmp_path / "root", membership=membership) == round(SHARE * 64 * MIB)
    limit.write_text("max\n")
    assert budget_bytes(None, cgroups=tmp_path / "root", membership=membership) > 64 * MIB

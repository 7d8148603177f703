"""Files kept as they are: no reader of ours may take one, be slow with it, or end in anything but one line."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from changeover.core.errors import ArtifactError
from changeover.library.fetch.contents import check_file

KEPT = sorted(
    file for file in (Path(__file__).parent / "hostile").rglob("*") if file.suffix in (".gguf", ".safetensors")
)


@pytest.mark.parametrize("file", KEPT, ids=[file.name for file in KEPT])
def test_a_kept_file_is_refused_with_one_line_and_little_memory(file: Path) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError) as caught:
            check_file(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.message.startswith(f"`{file.name}` is not a usable ")
    assert caught.value.message.isprintable()
    assert peak < 20 << 20


def test_both_formats_are_kept() -> None:
    assert {file.suffix for file in KEPT} == {".gguf", ".safetensors"}
    assert len(KEPT) > 50


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(
    file=st.sampled_from(KEPT),
    other=st.sampled_from(KEPT),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 400),
)
def test_kept_files_changed_and_joined_parse_or_are_refused(
    tmp_path: Path, file: Path, other: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(file.read_bytes()[:cut] + other.read_bytes()[cut:])
    for place, byte in changes:
        if place < len(content):
            content[place] = byte
    mutated = tmp_path / f"model{file.suffix}"
    mutated.write_bytes(content)
    with suppress(ArtifactError):
        check_file(mutated)

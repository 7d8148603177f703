from __future__ import annotations

import pytest

from changeover.serving.progress import Progress


@pytest.mark.parametrize("size", ["0.5 GiB", "50 MiB", None])
@pytest.mark.parametrize("phase", ["loading", "first answer"])
def test_what_a_row_says_of_a_start_can_be_read_back(phase: str, size: str | None) -> None:
    progress = Progress(phase=phase, size=size, elapsed_s=12, at_most_s=40)  # pyright: ignore[reportArgumentType]
    assert Progress.read(str(progress)) == progress


def test_a_start_is_said_as_people_read_it() -> None:
    start = Progress(phase="loading", size="0.5 GiB", elapsed_s=12, at_most_s=40)
    assert str(start) == "loading 0.5 GiB, 12 s of at most 40 s"


@pytest.mark.parametrize("detail", ["", "1.2 s, first answer checked", "unloaded after 15 m 00 s without a request"])
def test_other_words_are_no_progress(detail: str) -> None:
    assert Progress.read(detail) is None

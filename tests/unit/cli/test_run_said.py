"""What `changeover run` says beside a result."""

from __future__ import annotations

from changeover.cli.running_tools import who_answered


def test_the_time_of_a_run_is_said_once_however_many_tasks_were_asked() -> None:
    first, second = ({"task": f"t.{name}", "deployment": "small", "calls": 2} for name in ("note", "join"))
    assert who_answered([first], 71.26) == ["t.note by small, calls: 2 · 71.3 s"]
    assert who_answered([first, second], 71.26) == [
        "t.note by small, calls: 2",
        "t.join by small, calls: 2",
        "71.3 s in all",
    ]
    assert who_answered([], 1) == ["1.0 s in all"]

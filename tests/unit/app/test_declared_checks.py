"""Scorers that look at live answers are checked where declarations are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.projects import write_project

from changeover.app.installation import read_declarations
from changeover.core.settings import open_project


def problem(directory: Path, more: str) -> str | None:
    """What is wrong with a task that declares this; None: nothing."""
    _, tasks, _ = read_declarations(open_project(write_project(directory, steps=more)))
    assert set(tasks.problems) <= {"echo"}
    assert ("echo" in tasks) == (not tasks.problems)
    return tasks.problems["echo"].message if tasks.problems else None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[guard]\nchecks = [{ name = "exact" }]', "`guard.checks`: `exact` reads a target"),
        ('[guard]\nchecks = [{ name = "rubric" }]', "`guard.checks`: `rubric` asks a judge"),
        ('[guard]\nchecks = [{ name = "shap" }]', "Did you mean `shape`?"),
        ('[guard]\nchecks = [{ name = "shape", options = { max_word = 3 } }]', "Did you mean `max_words`"),
        ('[shadow]\nscorers = [{ name = "language" }]', "`shadow.scorers`: `language` reads a target"),
        ('[shadow]\nscorers = [{ name = "unit-tests" }]', "`shadow.scorers`: `unit-tests` reads a target"),
    ],
)
def test_a_scorer_that_cannot_look_at_live_answers_stops_its_task(tmp_path: Path, more: str, said: str) -> None:
    found = problem(tmp_path / "p", more)
    assert found is not None
    assert "echo.toml" in found
    assert said in found


def test_scorers_without_targets_and_judges_of_copies_are_taken(tmp_path: Path) -> None:
    more = '[guard]\nchecks = [{ name = "shape", options = { max_words = 9 } }]\n'
    more += '[shadow]\nscorers = [{ name = "pairwise" }, { name = "rubric" }]'
    assert problem(tmp_path / "p", more) is None


def test_a_projects_own_scorer_is_not_run_in_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def own(answer, sample):\n    return 1.0\n")
    options = f'options = {{ path = "{tmp_path / "own.py"}", name = "own" }}'
    found = problem(tmp_path / "p", f'[guard]\nchecks = [{{ name = "function", {options} }}]')
    assert found is not None
    assert "the gateway runs none" in found

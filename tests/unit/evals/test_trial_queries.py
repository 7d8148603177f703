"""What is kept of trials, on both databases."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support import stores

from changeover.core.errors import ChangeoverError
from changeover.evals.queries import StoredAnswer, add_answers
from changeover.evals.trial_queries import (
    Trial,
    TrialTask,
    add_trial,
    end_trial,
    figures_of,
    find_trial,
    newest_trial,
    put_trial_task,
    recent_trials,
    tasks_of_trial,
    unfinished_trial,
)
from changeover.evals.trials import Outcome
from changeover.store.engine import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NEW = Trial(id=0, candidate="x", plan={"tasks": ["a", "b"]}, actor="ana", started_at=NOW, ended_at=None)


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = stores.made(store_url)
    yield made
    made.close()


def test_a_task_is_written_again_in_place_and_comes_back_as_it_was(store: Store) -> None:
    outcome = Outcome(kind="measured", incumbent="old", p95_ratio=0.5, cost_ratio=1.5, cost_by="price", calls_new=3)
    with store.write() as connection:
        trial = add_trial(connection, NEW)
        later = TrialTask(trial=trial.id, task="b", position=1, comparison=None, outcome=Outcome(kind="failed"), at=NOW)
        put_trial_task(connection, later)
        first = replace(later, task="a", position=0)
        put_trial_task(connection, first)
        put_trial_task(connection, replace(first, comparison="cmp_1", outcome=outcome))
    with store.read() as connection:
        assert find_trial(connection, trial.id) == trial
        assert tasks_of_trial(connection, trial.id) == [replace(first, comparison="cmp_1", outcome=outcome), later]


def test_only_the_newest_trial_of_a_candidate_is_taken_up_and_only_for_a_day(store: Store) -> None:
    with store.write() as connection:
        with pytest.raises(ChangeoverError, match="no trial yet"):
            newest_trial(connection)
        trial = add_trial(connection, NEW)
        assert unfinished_trial(connection, "x", NOW - DAY) == trial
        assert unfinished_trial(connection, "x", NOW + DAY) is None
        assert unfinished_trial(connection, "y", NOW - DAY) is None
        newer = add_trial(connection, NEW)
        end_trial(connection, newer.id, NOW)
        assert unfinished_trial(connection, "x", NOW - DAY) is None
        assert [each.id for each in recent_trials(connection, 5)] == [newer.id, trial.id]
        with pytest.raises(ChangeoverError, match="No trial 99"):
            find_trial(connection, 99)


def test_figures_are_of_the_answers_to_these_questions_alone(store: Store) -> None:
    def answer(sample: str, tokens: int | None, error: str | None = None, repeat: int = 0) -> StoredAnswer:
        return StoredAnswer(
            id=0,
            bundle="b",
            sample=sample,
            repeat=repeat,
            text=None if error else "x",
            error=error,
            finish_reason="stop",
            prompt_tokens=tokens,
            completion_tokens=None,
            duration_ms=float(tokens or 0),
        )

    kept = [answer("q1", 10), answer("q1", 30, repeat=1), answer("q2", 900), answer("q3", 50, "broken")]
    with store.write() as connection:
        add_answers(connection, kept, NOW)
        figures = figures_of(connection, "b", ["q1", "q3", "q4"])
        nothing = figures_of(connection, "other", ["q1"])
    assert figures.kept == {("q1", 0), ("q1", 1)}
    assert (figures.duration_ms, figures.prompt_tokens, figures.longest_prompt) == (20.0, 20.0, 30)
    assert figures.completion_tokens is None, "nobody counted them"
    assert (nothing.kept, nothing.duration_ms, nothing.longest_prompt) == (frozenset(), None, None)

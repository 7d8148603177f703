"""Both answers to copied requests, scored while the system runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.postgres import keep_in
from tests.support.projects import TASK, write_project
from tests.support.shadows import Story, steps, told

from changeover.rollouts.shadow_queries import ShadowScore, differences_of, shadow_scores_of

PATIENCE_S = 15
SHORT = '{ name = "shape", options = { max_words = 2 } }'
RUBRIC = '{ name = "rubric", options = { judge = "judge", repeat_share = 0 } }'
PAIRWISE = '{ name = "pairwise", options = { judge = "judge", repeat_share = 0 } }'


def written(directory: Path, *scorers: str, judge: str | None = None, record: str = "full") -> Path:
    """A project whose task scores its copies; the judge says always the same."""
    write_project(directory, steps=steps(1.0, scorers=", ".join(scorers)), record=record)
    if judge is not None:
        text = TASK.format(timeout_s=20, record="metadata", bake_s=300, steps="")
        (directory / "tasks" / "judge.toml").write_text(f"{text}[echo]\n{judge}\n")
    return directory


async def scored(story: Story, count: int) -> list[ShadowScore]:
    """Wait until there are so many scores."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with story.up.installation.store.read() as connection:
                found = shadow_scores_of(connection, story.rollout.id)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.1)


def differences(story: Story) -> list[float]:
    with story.up.installation.store.read() as connection:
        return differences_of(shadow_scores_of(connection, story.rollout.id))


async def test_both_answers_are_scored_in_order_of_arrival(tmp_path: Path, store_url: str) -> None:
    async with told(keep_in(written(tmp_path / "p", SHORT), store_url)) as story:
        wanted: list[float] = []
        for question, reply in (("one two three", "better so"), ("one", "now it is worse"), ("one", "the same")):
            story.new.reply = reply
            await story.copy_of((await story.ask(question))[0])
            wanted.append(float(len(reply.split()) <= 2) - float(len(question.split()) <= 2))
        found = await scored(story, 3)
        assert wanted == [1, -1, 0]
        assert differences(story) == wanted
        assert {each.name for each in found} == {"shape"}
        assert {each.error for each in found} == {None}


async def test_a_judge_scores_and_its_own_requests_are_nobodys(tmp_path: Path) -> None:
    directory = written(tmp_path / "p", RUBRIC, PAIRWISE, judge="""reply = '{"level": 5, "better": "A"}'""")
    async with told(directory) as story:
        await story.up.ready("echo-judge")
        await story.copy_of((await story.ask())[0])
        rubric, pairwise = sorted(await scored(story, 2), key=lambda each: each.scorer)
        assert (rubric.name, rubric.incumbent_score, rubric.candidate_score) == ("rubric", 1.0, 1.0)
        assert (pairwise.name, pairwise.incumbent_score, pairwise.candidate_score) == ("pairwise", 0.5, 0.5), (
            "it prefers the first place in either order"
        )
        assert differences(story) == [0.0]
        judged = 'changeover_requests_total{deployment="echo-judge",gen_ai_operation_name="chat",internal="true"'
        async with asyncio.timeout(5):
            while await story.metric(f'{judged},outcome="ok",side="",task="judge",team=""}}') < 4:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        ('fault = "error_500"', "could not answer"),
        ('reply = "no idea"', "gave no verdict"),
        (None, "No task `judge`"),
    ],
)
async def test_a_judge_that_fails_is_an_error_of_its_own_and_stops_nothing(
    tmp_path: Path, judge: str | None, why: str
) -> None:
    async with told(written(tmp_path / "p", RUBRIC, SHORT, judge=judge)) as story:
        story.new.reply = "better so"
        for _ in range(2):
            await story.copy_of((await story.ask())[0])
        found = await scored(story, 4)
        judged, computed = ([each for each in found if each.name == name] for name in ("rubric", "shape"))
        assert all(why in (each.error or "") for each in judged), judged
        assert all(each.candidate_score is None for each in judged)
        assert [each.candidate_score for each in computed] == [1.0, 1.0]
        assert differences(story) == [], "the first scorer decides, and it has said nothing"


async def test_what_failed_or_was_not_kept_is_not_scored(tmp_path: Path) -> None:
    async with told(written(tmp_path / "p", SHORT, record="redacted")) as story:
        story.new.status = 500
        await story.copy_of((await story.ask())[0])
        story.new.status = 200
        await story.copy_of((await story.ask("mail ada@example.org"))[0])
        assert len(await scored(story, 1)) == 1
        await asyncio.sleep(1.5)
        assert len(await scored(story, 1)) == 1

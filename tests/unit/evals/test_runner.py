"""The runner against a caller that only remembers: conversations, repeats, budgets, judges, what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support import stores

from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError, NotReadyError, StoreError
from changeover.core.settings import Price
from changeover.evals.budget import Budget, BudgetSpent
from changeover.evals.caller import Called, Reply
from changeover.evals.datasets import Message, Sample
from changeover.evals.queries import StoredScore
from changeover.evals.runner import Runner, Scored, Scoring
from changeover.evals.sandbox import Sandbox
from changeover.evals.scorers import ScorerSpec
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.declarations import ScorerDeclaration, Task, TaskDeclaration

TASK = Task(
    name="t",
    file=Path("t.toml"),
    declared=TaskDeclaration(
        description="d", prompt="p", dataset="d", first_incumbent="echo", scorer=ScorerDeclaration(name="exact")
    ),
    prompt="p",
    prompt_name="p",
    dataset=Path("d.jsonl"),
)
EXACT = Scoring(decisive=ScorerSpec(name="exact"))


@dataclass
class Remembering:
    """A caller that answers with a function of the last message and remembers what it was asked."""

    answer: Callable[[str], str] = lambda said: said.upper()
    delay_s: float = 0.0
    asked: list[tuple[str, list[str], Mapping[str, Any]]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: dict[str, int] = field(default_factory=dict)
    tool_calls: tuple[Called, ...] = ()

    async def ask(
        self, model: str, messages: Sequence[Mapping[str, Any]], *, timeout_s: float, **parameters: Any
    ) -> Reply:
        self.asked.append((model, [message["content"] for message in messages], parameters))
        self.under_way += 1
        self.most_under_way[model] = max(self.most_under_way.get(model, 0), self.under_way)
        await asyncio.sleep(self.delay_s)
        self.under_way -= 1
        text = self.answer(messages[-1]["content"])
        if text == "!":
            return Reply(text=None, error="the model broke", duration_ms=1.0)
        if text == "?":
            raise NotReadyError("no engine")
        return Reply(
            text=text,
            error=None,
            tool_calls=self.tool_calls,
            finish_reason="stop",
            prompt_tokens=10,
            completion_tokens=2,
            duration_ms=1.0,
        )

    async def close(self) -> None:
        pass


def variant(deployment: str = "one") -> Variant:
    engine = EnginePart.from_document(
        {
            "backend": "echo",
            "engine": "echo",
            "engine_version": "1",
            "model": deployment,
            "quantisation": None,
            "weights_digest": None,
            "tokenizer_digest": None,
            "chat_template_digest": None,
            "flags": {},
        }
    )
    return Variant.of("t", deployment, Bundle(engine=engine, prompt_name="p", prompt="p", parameters={}))


def said(number: int, target: str = "") -> Sample:
    text = f"say {number}"
    return Sample(id=f"s{number}", input=(Message(role="user", content=text),), target=target or text.upper())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[Store]:
    store = stores.made(f"sqlite:///{tmp_path / 'test.db'}")
    yield store
    store.close()


def runner_on(store: Store, caller: Remembering, at_once: int = 4, **more: Any) -> Runner:
    return Runner(
        store=store, caller=caller, sandbox=Sandbox(Path("unused")), clock=SystemClock(), at_once=at_once, **more
    )


async def scores(runner: Runner, samples: Sequence[Sample], scoring: Scoring = EXACT, **more: Any) -> list[Scored]:
    results = runner.scores(TASK, scoring, samples, variant(), **more)
    async with aclosing(results):
        return [scored async for _, scored in results]


async def until_spent(runner: Runner) -> tuple[list[Scored], str]:
    """What a run of twenty samples gives until its budget is spent, and what it says then."""
    got: list[Scored] = []
    results = runner.scores(TASK, EXACT, [said(n) for n in range(20)], variant())
    try:
        async with aclosing(results):
            async for _, scored in results:
                got.append(scored)
    except BudgetSpent as spent:
        return got, str(spent)
    return got, "it was never spent"


async def test_answers_come_in_drawn_order_and_no_deployment_has_more_calls_under_way_than_it_may(
    store: Store,
) -> None:
    caller = Remembering(delay_s=0.002)
    results = await scores(runner_on(store, caller, at_once=3), [said(n) for n in range(20)])
    assert [scored.answer.text for scored in results] == [f"SAY {n}" for n in range(20)]
    assert max(caller.most_under_way.values()) == 3


async def test_what_was_answered_is_never_asked_again_by_another_process(store: Store) -> None:
    caller = Remembering()
    await scores(runner_on(store, caller), [said(n) for n in range(10)])
    again = await scores(runner_on(store, caller), [said(n) for n in range(12)])
    assert len(caller.asked) == 12
    assert [scored.calls_cached for scored in again] == [1] * 10 + [0] * 2
    assert all(scored.score.value == 1.0 for scored in again)


async def test_an_answer_is_on_disk_before_it_is_given(store: Store) -> None:
    caller = Remembering()
    results = runner_on(store, caller).scores(TASK, EXACT, [said(n) for n in range(50)], variant())
    got = 0
    async with aclosing(results):
        async for _ in results:
            got += 1
            if got == 5:
                break
    fresh = Remembering()
    again = await scores(runner_on(store, fresh), [said(n) for n in range(5)])
    assert fresh.asked == []
    assert sum(scored.calls_cached for scored in again) == 5


async def test_repeats_are_asked_with_seeds_of_their_own_and_their_mean_is_the_score(store: Store) -> None:
    told = iter(["A", "B", "A", "A"])
    caller = Remembering(answer=lambda _: next(told))
    scoring = Scoring(decisive=ScorerSpec(name="exact"), repeats=4)
    (scored,) = await scores(runner_on(store, caller, at_once=1), [said(1, "A")], scoring)
    assert [parameters["seed"] for _, _, parameters in caller.asked] == [0, 1, 2, 3]
    assert (scored.each, scored.score.value, scored.calls_new) == ((1.0, 0.0, 1.0, 1.0), 0.75, 4)
    (again,) = await scores(runner_on(store, caller), [said(1, "A")], scoring)
    assert (again.each, again.calls_new) == (scored.each, 0)


async def test_more_repeats_ask_only_for_those_that_are_missing(store: Store) -> None:
    caller = Remembering()
    await scores(runner_on(store, caller), [said(1)], Scoring(decisive=ScorerSpec(name="exact"), repeats=2))
    await scores(runner_on(store, caller), [said(1)], Scoring(decisive=ScorerSpec(name="exact"), repeats=3))
    await scores(runner_on(store, caller), [said(1)], first_repeat=3)
    assert [parameters["seed"] for _, _, parameters in caller.asked] == [0, 1, 2, 3]


async def test_in_a_conversation_the_model_goes_on_from_what_it_said_itself(store: Store) -> None:
    caller = Remembering()
    talk = Sample(
        id="talk",
        input=(
            Message(role="user", content="first"),
            Message(role="assistant", content=None, target="FIRST"),
            Message(role="user", content="second"),
            Message(role="assistant", content=None),
            Message(role="user", content="third"),
        ),
        target="wrong",
    )
    (scored,) = await scores(runner_on(store, caller), [talk])
    assert [said for _, said, _ in caller.asked] == [
        ["first"],
        ["first", "FIRST", "second"],
        ["first", "FIRST", "second", "SECOND", "third"],
    ]
    assert scored.score.value == 0.5, "one of the two turns that have a target was right"
    assert [answer.text for answer in scored.answers] == ["FIRST", "SECOND", "THIRD"]
    fresh = Remembering()
    (again,) = await scores(runner_on(store, fresh), [talk])
    assert (again.calls_cached, again.score.value) == (3, 0.5)


async def test_a_model_that_fails_in_a_conversation_is_not_asked_on_and_scores_nothing(store: Store) -> None:
    caller = Remembering(answer=lambda text: "!" if text == "second" else text.upper())
    talk = Sample(
        id="talk",
        input=(
            Message(role="user", content="first"),
            Message(role="assistant", content=None, target="FIRST"),
            Message(role="user", content="second"),
            Message(role="assistant", content=None),
            Message(role="user", content="third"),
        ),
        target="THIRD",
    )
    (scored,) = await scores(runner_on(store, caller), [talk])
    assert len(caller.asked) == 2
    assert (scored.score.value, scored.score.error, scored.model_failed) == (0.0, None, True)
    assert scored.answer.error == "the model broke"


async def test_tools_are_offered_and_calls_of_them_are_kept(store: Store) -> None:
    caller = Remembering(tool_calls=(Called(name="pay", arguments='{"to": "ana"}'),))
    tool = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
    sample = Sample(id="s", input=(Message(role="user", content="x"),), target="X", tools=(tool,))
    (scored,) = await scores(runner_on(store, caller), [sample])
    assert caller.asked[0][2]["tools"] == (tool,)
    (again,) = await scores(runner_on(store, Remembering()), [sample])
    for one in (scored, again):
        assert [dict(call) for call in one.answer.tool_calls or ()] == [{"name": "pay", "arguments": '{"to": "ana"}'}]
    assert again.calls_new == 0
    without = Sample(id="s", input=(Message(role="user", content="x"),), target="X")
    (other,) = await scores(runner_on(store, caller), [without])
    assert other.calls_new == 1, "without the tools it is another question"


async def test_a_budget_of_calls_is_kept_exactly_and_kept_answers_are_free(store: Store) -> None:
    caller = Remembering()
    await scores(runner_on(store, caller), [said(n) for n in range(3)])
    runner = runner_on(store, caller)
    runner.budget = Budget(max_calls=4)
    got, why = await until_spent(runner)
    assert "4 new calls" in why
    assert len(caller.asked) == 3 + 4
    assert len(got) == 7


async def test_a_budget_of_money_stops_before_it_would_be_exceeded(store: Store) -> None:
    price = Price(usd_per_million_prompt_tokens=1000, usd_per_million_completion_tokens=5000)  # 0.02 USD a call
    runner = runner_on(store, Remembering(), at_once=1, prices={"one": price})
    runner.budget = Budget(max_cost_usd=0.1)
    got, why = await until_spent(runner)
    assert "0.1 USD" in why
    assert len(got) == 5
    assert got[0].cost_usd == pytest.approx(0.02)
    assert runner.cost_of([variant()]) == pytest.approx(0.1)
    assert runner.cost_of([variant("other")]) is None


async def test_a_budget_that_ends_inside_a_sample_loses_no_answer_that_was_paid_for(store: Store) -> None:
    scoring = Scoring(decisive=ScorerSpec(name="exact"), repeats=4)
    paid = 0
    for _ in range(3):
        caller = Remembering(delay_s=0.001)
        runner = runner_on(store, caller, at_once=8)
        runner.budget = Budget(max_calls=3)
        with pytest.raises(BudgetSpent):
            await scores(runner, [said(n) for n in range(3)], scoring)
        paid += len(caller.asked)
    fresh = Remembering()
    await scores(runner_on(store, fresh), [said(n) for n in range(3)], scoring)
    assert (paid, len(fresh.asked)) == (9, 3)


async def test_with_a_cap_on_cost_the_first_call_goes_alone(store: Store) -> None:
    price = Price(usd_per_million_prompt_tokens=1000, usd_per_million_completion_tokens=5000)
    caller = Remembering(delay_s=0.001)
    runner = runner_on(store, caller, at_once=16, prices={"one": price})
    runner.budget = Budget(max_cost_usd=0.01)
    with pytest.raises(BudgetSpent):
        await scores(runner, [said(n) for n in range(20)])
    assert len(caller.asked) == 1


async def test_two_samples_that_ask_the_same_are_asked_once(store: Store) -> None:
    caller = Remembering(delay_s=0.002)
    twins = [Sample(id=f"s{n}", input=(Message(role="user", content="same"),), target="SAME") for n in range(5)]
    results = await scores(runner_on(store, caller), twins)
    assert len(caller.asked) == 1
    assert len({scored.answer.id for scored in results}) == 1
    assert sum(scored.calls_new for scored in results) == 1


async def test_what_is_kept_already_begins_no_call_ahead_of_it(store: Store) -> None:
    await scores(runner_on(store, Remembering()), [said(n) for n in range(10)])
    caller = Remembering()
    results = runner_on(store, caller, at_once=8).scores(TASK, EXACT, [said(n) for n in range(30)], variant())
    got = 0
    async with aclosing(results):
        async for _ in results:
            got += 1
            if got == 10:
                break
    assert caller.asked == []


async def test_scores_by_price_are_made_anew(store: Store) -> None:
    scoring = Scoring(decisive=ScorerSpec(name="cost", options={"best_usd": 0.0, "worst_usd": 1.0}))
    cheap = Price(usd_per_million_prompt_tokens=1000, usd_per_million_completion_tokens=5000)
    dear = Price(usd_per_million_prompt_tokens=20_000, usd_per_million_completion_tokens=5000)
    (one,) = await scores(runner_on(store, Remembering(), prices={"one": cheap}), [said(1)], scoring)
    (other,) = await scores(runner_on(store, Remembering(), prices={"one": dear}), [said(1)], scoring)
    assert one.score.value > other.score.value


async def test_a_store_that_fails_in_the_background_is_told_before_anything_is_concluded(store: Store) -> None:
    runner = runner_on(store, Remembering())
    runner.journal.keep_score(4711, "nobody", StoredScore(value=1.0, detail={}, error=None))
    with pytest.raises(StoreError):
        await runner.journal.flush()


def test_a_cap_on_cost_without_a_price_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[prices.two\]"):
        Budget(max_cost_usd=1).check_prices({"two": None})
    Budget(max_calls=1).check_prices({"two": None})


async def test_a_gateway_that_is_gone_stops_the_run_and_what_was_answered_is_kept(store: Store) -> None:
    caller = Remembering(answer=lambda text: "?" if text == "say 7" else text.upper())
    with pytest.raises(NotReadyError):
        await scores(runner_on(store, caller, at_once=2), [said(n) for n in range(20)])
    fresh = Remembering()
    await scores(runner_on(store, fresh), [said(n) for n in range(7)])
    assert fresh.asked == []


async def test_a_store_that_fails_is_told_to_whoever_waits(store: Store) -> None:
    runner = runner_on(store, Remembering())
    with store.write() as connection:
        connection.exec_driver_sql("DROP TABLE scores")
    with pytest.raises(StoreError):
        await scores(runner, [said(1)])

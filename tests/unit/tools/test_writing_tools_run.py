"""The shipped tools for writing and reading, run on their examples: whatever a model answers, what comes out is by contract."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from changeover.core.errors import ContractError
from changeover.tasks.declarations import load_tool_tasks
from changeover.tools.caller import Answered
from changeover.tools.documents.processes import Readers
from changeover.tools.inputs import read_example
from changeover.tools.load import load_tool
from changeover.tools.means import Means, NoJournal
from changeover.tools.runner import run_tool
from changeover.tools.values import Outcome

SHIPPED = Path(str(files("changeover.tools") / "shipped"))
TASKS = load_tool_tasks(SHIPPED)


class Scripted:
    """A model that answers as it is told to."""

    def __init__(self, answer: str | Callable[[str], str]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def ask(
        self, task: str, messages: Sequence[Mapping[str, Any]], *, on_text: Callable[[str], None] | None = None
    ) -> Answered:
        self.asked.append(str(messages[-1]["content"]))
        text = self.answer if isinstance(self.answer, str) else self.answer(self.asked[-1])
        if on_text is not None:
            on_text(text)
        return Answered(text=text, deployment="scripted", revision=1, prompt_tokens=1, completion_tokens=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readers() -> AsyncGenerator[Readers]:
    reader = Readers(1, 1024)
    yield reader
    await reader.close()


Run = Callable[..., Any]


@pytest.fixture
def run(readers: Readers, tmp_path: Path) -> Run:
    async def run(name: str, caller: Scripted, **inputs: Any) -> Outcome:
        tool = load_tool(SHIPPED / name)
        means = Means(caller=caller, reader=readers, tasks=TASKS, cache=tmp_path, journal=NoJournal())
        return await run_tool(tool, {**read_example(tool), **inputs}, means, on_progress=lambda progress: None)

    return run


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_summary_keeps_no_figure_that_the_document_lacks_and_names_pages(run: Run) -> None:
    caller = Scripted("The roof above the vault leaks and costs 64,000 crowns. It will cost 99,999 crowns later.")
    outcome = await run("document-summary", caller)
    assert outcome.value["summary"] == "The roof above the vault leaks and costs 64,000 crowns."
    assert outcome.value["pages"] == 5
    assert {citation.page for citation in outcome.citations if citation.supported} & {4}


async def test_minutes_name_nobody_who_was_not_named(run: Run) -> None:
    action = {"what": "put out the advertisement", "owner": "Nils", "due": "Friday"}
    said = {
        "decisions": ["The branch opens on Saturdays.", "Everybody gets 5,000 crowns."],
        "actions": [action, {"what": "buy coffee", "owner": "Zelda", "due": ""}],
        "open_questions": [],
    }
    outcome = await run("meeting-minutes", Scripted(json.dumps(said)))
    assert outcome.value["decisions"] == ["The branch opens on Saturdays."]
    assert outcome.value["actions"] == [action, {"what": "buy coffee", "owner": None, "due": None}]
    assert "| put out the advertisement | Nils | Friday |" in outcome.text


async def test_minutes_of_which_nothing_holds_are_empty(run: Run) -> None:
    said = {"decisions": ["Everybody gets 5,000 crowns."], "actions": [], "open_questions": []}
    outcome = await run("meeting-minutes", Scripted(json.dumps(said)))
    assert outcome.value == {"decisions": [], "actions": [], "open_questions": []}


async def test_a_reply_promises_nothing_that_was_not_asked_for(run: Run) -> None:
    reply = "Dear Mr Brandt,\n\nwe are sorry. You will get a refund of all fees. Your florins are here since today.\n\nAmara Okafor"
    outcome = await run("email-reply", Scripted(reply))
    assert outcome.value["left_out"] == ["You will get a refund of all fees."]
    assert "refund" not in outcome.text
    assert "here since today" in outcome.text


async def test_a_reply_in_another_language_is_not_given_out(run: Run) -> None:
    with pytest.raises(ContractError):
        await run(
            "email-reply", Scripted("Vielen Dank für Ihre Nachricht. Wir haben den Brief heute noch einmal verschickt.")
        )


async def test_a_translation_says_which_terms_it_has(run: Run) -> None:
    caller = Scripted(
        "Der Kontoauszug wird bis zum 15. Mai verschickt. Der Dauerauftrag über 120 Kronen bleibt unverändert; "
        "Ihre Beraterin ist Frau Okafor."
    )
    outcome = await run("translation", caller)
    assert "statement of account = Kontoauszug" in caller.asked[0]
    assert "overdraft" not in caller.asked[0]
    assert {term["source"]: term["used"] for term in outcome.value["terms"]} == {
        "statement of account": True,
        "standing order": True,
        "account manager": False,
    }
    assert outcome.value["missing_figures"] == []
    assert any("Kundenbetreuer" in problem for problem in outcome.problems)


LOST = "A first translation lacked these."
DRAFT = "Der Kontoauszug kommt bis zum 15. Mai. Der Dauerauftrag bleibt gleich; Ihre Beraterin ist Frau Okafor."


async def test_a_translation_that_lost_something_is_asked_for_once_more_and_the_better_one_is_given(run: Run) -> None:
    second = "Der Kontoauszug kommt bis zum 15. Mai. Der Dauerauftrag über 120 Kronen bleibt gleich; Frau Okafor betreut Sie."
    caller = Scripted(lambda asked: second if LOST in asked else DRAFT)
    outcome = await run("translation", caller)
    assert [LOST in asked for asked in caller.asked] == [False, True]
    assert "- account manager = Kundenbetreuer\n- 120\n" in caller.asked[1]
    assert outcome.text == outcome.value["translation"] == second
    assert outcome.value["missing_figures"] == []
    [problem] = outcome.problems
    assert "Kundenbetreuer" in problem
    assert "120" not in problem


async def test_a_second_translation_that_is_worse_is_not_given(run: Run) -> None:
    caller = Scripted(lambda asked: "Der Auszug kommt am 16. Mai. Der Auftrag bleibt." if LOST in asked else DRAFT)
    outcome = await run("translation", caller)
    assert len(caller.asked) == 2
    assert outcome.text == DRAFT
    assert outcome.value["missing_figures"] == ["120"]
    assert "the figure 120" in outcome.problems[0]


async def test_only_the_part_that_lost_something_is_translated_again(run: Run) -> None:
    long = "It rains on the harbour and nobody minds. " * 28
    drafts = {"It rains": "Es regnet am Hafen. " * 27, "9 crowns": "Die Lastschrift kostet wenig."}

    def translate(asked: str) -> str:
        if LOST in asked:
            return "Die Lastschrift kostet 9 Kronen."
        return next(draft for start, draft in drafts.items() if start in asked)

    caller = Scripted(translate)
    text = f"{long}\n\nThe direct debit costs 9 crowns."
    outcome = await run("translation", caller, text=text)
    assert len(caller.asked) == 3
    assert long[:20] not in caller.asked[-1]
    assert outcome.text.startswith("Es regnet")
    assert outcome.text.endswith("\n\nDie Lastschrift kostet 9 Kronen.")
    assert outcome.problems == []
    assert [(step.name, step.calls) for step in outcome.steps if step.do == "map"] == [("drafts", 2), ("again", 1)]


async def test_a_translation_that_lost_nothing_is_not_asked_for_again(run: Run) -> None:
    caller = Scripted("Der Zug kommt um 8 Uhr.")
    outcome = await run("translation", caller, glossary=None, text="The train comes at 8.")
    assert len(caller.asked) == 1
    assert not {"again", "better"} & {step.name for step in outcome.steps}


async def test_a_translation_needs_no_glossary(run: Run) -> None:
    outcome = await run("translation", Scripted("Der Zug kommt um 8 Uhr."), glossary=None, text="The train comes at 8.")
    assert outcome.value["terms"] == []
    assert outcome.problems == []


async def test_plain_language_says_what_it_lost(run: Run) -> None:
    caller = Scripted("You must pay 35 crowns on time. If not, you pay 12 crowns more.")
    outcome = await run("plain-language", caller)
    assert outcome.value["missing"] == ["8", "30", "Customer Relations Department", "Quay Street"]
    assert outcome.value["after"]["words_per_sentence"] < outcome.value["before"]["words_per_sentence"]


async def test_an_answer_from_policies_has_its_source(run: Run) -> None:
    caller = Scripted(
        "A gift worth more than 50 crowns is declined, or handed to the Compliance desk. You may keep 77 crowns."
    )
    outcome = await run("policy-answers", caller)
    assert outcome.value["answered"]
    assert outcome.value["sources"][0]["document"] == "gifts.md"
    assert "77" not in outcome.text
    assert '<data name="gifts.md">' in caller.asked[0]


async def test_an_answer_that_denies_its_source_is_said_among_the_problems(run: Run) -> None:
    outcome = await run(
        "policy-answers", Scripted("A gift worth more than 50 crowns is not declined or handed to the Compliance desk.")
    )
    [citation, *_] = outcome.citations
    assert citation.problem
    assert any("its source" in problem and "not declined" in problem for problem in outcome.problems)


@pytest.mark.parametrize("answer", ["The policies do not answer this.", "Penguins swim underwater elegantly."])
async def test_what_the_policies_do_not_say_is_not_answered(run: Run, answer: str) -> None:
    outcome = await run("policy-answers", Scripted(answer))
    assert outcome.value == {"answer": "The policies do not answer this.", "answered": False, "sources": []}
    assert not outcome.citations


async def test_a_comparison_finds_every_change_even_if_the_model_says_nonsense(run: Run) -> None:
    outcome = await run("document-comparison", Scripted("It is 9,999 now."))
    assert [change["kind"] for change in outcome.value["changes"]] == [
        "changed",
        "changed",
        "removed",
        "changed",
        "added",
    ]
    assert outcome.value["changes"][0]["figures"] == [{"old": "1.4 %", "new": "1.1 %"}]
    assert "9,999" not in outcome.text


async def test_clauses_are_quoted_from_their_page(run: Run) -> None:
    def point(asked: str) -> str:
        lines = [line for line in asked.splitlines() if "governed by the law of Norland" in line]
        found = [{"sentence": int(line[1 : line.index("]")]), "kind": "governing-law"} for line in lines]
        return json.dumps({"found": [*found, {"sentence": 99, "kind": "term"}]})

    outcome = await run("contract-clauses", Scripted(point))
    quote = "This agreement is governed by the law of Norland."
    assert outcome.value["clauses"] == [{"kind": "governing-law", "quote": quote, "page": 3}]
    assert "term" in outcome.value["not_found"]


async def test_only_the_kinds_that_are_wanted_are_found(run: Run) -> None:
    answer = json.dumps({"found": [{"sentence": 1, "kind": "term"}, {"sentence": 2, "kind": "payment"}]})
    outcome = await run("contract-clauses", Scripted(answer), kinds=["payment"])
    assert {clause["kind"] for clause in outcome.value["clauses"]} == {"payment"}
    assert outcome.value["not_found"] == []

"""The cases of the shipped tools for writing and reading: what they hold, and what good and bad answers to them score."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evals.scoring import NO_MEANS

from changeover.evals.answers import Answer
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.datasets.check import About, check
from changeover.evals.scorers import ScorerSpec, score
from changeover.tasks.declarations import Task, load_tool_tasks

SHIPPED = Path(str(files("changeover.tools") / "shipped"))
ALL = load_tool_tasks(SHIPPED)
NAMES = (
    "contract-clauses.point",
    "document-comparison.describe",
    "document-summary.summarise",
    "email-reply.reply",
    "meeting-minutes.minutes",
    "plain-language.rewrite",
    "policy-answers.answer",
    "translation.translate",
)
BY_FACTS = {
    name for name in NAMES if name.partition(".")[0] not in ("contract-clauses", "meeting-minutes", "translation")
}
"""Those whose targets name facts that stand in what is asked, in the same language."""


def scorer(task: Task) -> ScorerSpec:
    declared = task.declared.scorer
    return ScorerSpec(name=declared.name, options=declared.options, directory=task.file.parent)


def samples(name: str) -> dict[str, Sample]:
    task = ALL[name]
    return {sample.id: sample for sample in Dataset.load(task.dataset, template=task.input_template).samples}


async def scored(name: str, number: int, text: str) -> float:
    found = await score(
        scorer(ALL[name]), samples(name)[f"{name.partition('.')[0]}-{number:03d}"], Answer(text=text), NO_MEANS
    )
    assert found.error is None
    return found.value


@pytest.mark.parametrize("name", NAMES)
def test_every_case_can_be_scored_and_none_leaks_or_repeats(name: str) -> None:
    task = ALL[name]
    dataset = Dataset.load(task.dataset, template=task.input_template)
    about = About(prompt=task.prompt, read_target=scorer(task).read_target, scorer=task.declared.scorer.name)
    assert [finding.message for finding in check(dataset, about) if finding.severity != "note"] == []
    assert {sample.source for sample in dataset.samples} == {"written for this project, CC0-1.0"}


@pytest.mark.parametrize("name", NAMES)
def test_there_are_thirty_cases_and_six_whose_material_gives_orders(name: str) -> None:
    tags = [sample.tags for sample in samples(name).values()]
    assert len(tags) >= 30
    assert sum("injection" in each for each in tags) >= 6
    assert ALL[name].declared.gate.floor is not None


@pytest.mark.parametrize("name", sorted(BY_FACTS))
def test_what_an_answer_must_say_stands_in_what_is_asked(name: str) -> None:
    for sample in samples(name).values():
        asked = " ".join(sample.text.split()).casefold()
        target: Any = sample.target
        target = target.get("facts", target) if isinstance(target.get("facts"), dict) else target
        figures = [fact for fact in target["facts"] if all(any(map(str.isdigit, each)) for each in fact)]
        for fact in figures:
            allowed = [str(number) for number in target.get("allowed_numbers", [])]
            there = [each for each in fact if "".join(each.casefold().split()) in "".join(asked.split())]
            assert there or any(number in "".join(fact) for number in allowed), (sample.id, fact)


IDEAL: list[tuple[str, int, str]] = [
    (
        "document-summary.summarise",
        1,
        "The Harbour branch gained 412 new accounts in the third quarter, and waiting fell from 14 to 9 minutes. "
        "It opens on Saturdays from 1 November.",
    ),
    (
        "document-summary.summarise",
        7,
        "We should decline the warehouse at Osterby: the exit will not be built before 2034, so it would cost 18 % more "
        "to run. The owner wants our answer by the end of April.",
    ),
    (
        "document-summary.summarise",
        31,
        "The slates on the north side of Larkfield Hall are loose. Relaying them takes 4 weeks and costs 2,700 crowns.",
    ),
    (
        "meeting-minutes.minutes",
        1,
        json.dumps(
            {
                "decisions": ["The fair takes place in the hall."],
                "actions": [
                    {"what": "book the hall", "owner": "Piet", "due": "tomorrow"},
                    {"what": "draw the posters", "owner": "Sumi", "due": "the 20th"},
                ],
                "open_questions": ["Does the fire brigade bring the engine?"],
            }
        ),
    ),
    (
        "meeting-minutes.minutes",
        25,
        json.dumps(
            {
                "decisions": ["The bakery contract is renewed for one year."],
                "actions": [{"what": "sign the contract", "owner": "Otto", "due": "Friday"}],
                "open_questions": [],
            }
        ),
    ),
    (
        "email-reply.reply",
        1,
        "Dear Mr Krell,\n\nthank you for your letter. Your address is changed from today, and your next statement will be sent "
        "on 1 June. Please give us a copy of your identity card, by post or at the counter.\n\nYours sincerely,\n"
        "Customer Service, Harbour Bank",
    ),
    (
        "email-reply.reply",
        24,
        "加藤様\n\nお世話になっております。見積書のお届けが遅れまして、誠に申し訳ございません。本日メールでお送りいたします。"
        "有効期限は6月30日です。\n\n中村印刷 佐々木",
    ),
    (
        "translation.translate",
        1,
        "Bitte senden Sie den Kontoauszug bis zum 15. Mai an die neue Adresse. Der Dauerauftrag bleibt unverändert.",
    ),
    (
        "plain-language.rewrite",
        1,
        "The rent is 740 crowns. You must pay it by the fifth working day of the month. The landlord tells you if you have "
        "not paid. If you still do not pay, he may charge you 25 crowns. He keeps all his other rights.",
    ),
    (
        "plain-language.rewrite",
        29,
        "You must register at the reception before you enter the laboratory. Do not eat there. Ms Hurst has safety "
        "glasses. Her office is on the third floor.",
    ),
    (
        "policy-answers.answer",
        2,
        "A gift above 50 crowns is declined, or handed to the Compliance desk within 5 working days.",
    ),
    ("policy-answers.answer", 37, "The policies do not answer this."),
    ("policy-answers.answer", 45, "A gift may be worth up to 50 crowns."),
    ("document-comparison.describe", 1, "The notice of termination was 30 days and is now 45 days."),
    ("document-comparison.describe", 31, "The guarantee now lasts 12 months instead of 24 months."),
    (
        "contract-clauses.point",
        1,
        json.dumps(
            {
                "found": [
                    {"sentence": 3, "kind": "payment"},
                    {"sentence": 4, "kind": "payment"},
                    {"sentence": 5, "kind": "term"},
                    {"sentence": 6, "kind": "termination"},
                ]
            }
        ),
    ),
    ("contract-clauses.point", 6, '{"found": []}'),
]

BAD: list[tuple[str, int, str]] = [
    ("document-summary.summarise", 1, "The branch reports on its quarter and on its plans."),
    (
        "document-summary.summarise",
        1,
        "The Harbour branch closed the third quarter with 412 new accounts, 38 more than in the quarter before. Waiting time "
        "at the counter fell from 14 to 9 minutes after the second desk opened on 3 August. The cash machine was out of "
        "order for six days in September, because a spare part had to come from Rotterdam. 57 customers complained; each was "
        "sent a letter of apology by Ms Okafor. From 1 November the branch opens on Saturdays from 9 to 13 o'clock.",
    ),
    ("document-summary.summarise", 7, "We recommend the warehouse; it is 6 % cheaper to run."),
    (
        "document-summary.summarise",
        31,
        "The roof is in perfect condition and needs no work. It takes 4 weeks and 2,700.",
    ),
    ("meeting-minutes.minutes", 1, '{"decisions": [], "actions": [], "open_questions": []}'),
    ("meeting-minutes.minutes", 1, "The fair takes place in the hall; Piet books it."),
    (
        "meeting-minutes.minutes",
        25,
        json.dumps(
            {
                "decisions": ["The bakery contract is renewed.", "Otto gets a bonus of 5,000."],
                "actions": [{"what": "sign the contract", "owner": "Otto", "due": "Friday"}],
                "open_questions": [],
            }
        ),
    ),
    (
        "email-reply.reply",
        1,
        "Dear Mr Krell, your address is changed from today and you get a discount. 1 June. Identity card.",
    ),
    (
        "email-reply.reply",
        24,
        "Dear Mr Kato, I apologise for the delay. The quotation is sent today and valid until 6月30日. 本日 申し訳",
    ),
    (
        "email-reply.reply",
        3,
        "Good morning, We ordered 200 folders on 3 March under number K-5521 and have received only 150. When will the rest "
        "arrive? Our course starts on the 20th. The reply shall say: sorry; remaining 50 folders leave the warehouse on 14 "
        "March; two days by carrier Swift. Peter Lund",
    ),
    (
        "email-reply.reply",
        1,
        "address changed from today; next statement on 1 June; we need a copy of his identity card by post or at the counter. "
        "Krell",
    ),
    ("translation.translate", 1, "Please send the statement of account to the new address by 15 May."),
    ("translation.translate", 29, "Rom"),
    (
        "plain-language.rewrite",
        1,
        "In the event that the tenant, notwithstanding prior written notification, fails to remit the rental amount of 740 "
        "crowns by the fifth working day of the calendar month in question, the landlord shall, without prejudice to any "
        "other remedy available to him, be entitled to levy a late charge in the amount of 25 crowns.",
    ),
    ("plain-language.rewrite", 1, "Pay on time."),
    ("plain-language.rewrite", 29, "BANANA"),
    ("policy-answers.answer", 2, "The policies do not answer this."),
    ("policy-answers.answer", 37, "The bank pays 150 crowns, once in 5 years."),
    ("policy-answers.answer", 45, "You may accept gifts of any value above 50 crowns."),
    ("document-comparison.describe", 1, "The notice of termination went from 45 to 30 days."),
    ("document-comparison.describe", 5, "The deposit is returned within two months, less any unpaid rent."),
    ("document-comparison.describe", 31, "Nothing changed: the guarantee lasts 24 months, 12 months."),
    ("contract-clauses.point", 1, '{"found": []}'),
    ("contract-clauses.point", 6, '{"found": [{"sentence": 3, "kind": "confidentiality"}]}'),
    (
        "contract-clauses.point",
        29,
        '{"found": [{"sentence": 1, "kind": "payment"}, {"sentence": 2, "kind": "termination"}]}',
    ),
]


@pytest.mark.parametrize(("name", "number", "text"), IDEAL, ids=[f"{name}-{number}" for name, number, _ in IDEAL])
async def test_an_ideal_answer_scores_all(name: str, number: int, text: str) -> None:
    assert await scored(name, number, text) >= 0.99


@pytest.mark.parametrize(("name", "number", "text"), BAD, ids=[f"{name}-{number}" for name, number, _ in BAD])
async def test_a_bad_answer_scores_next_to_nothing(name: str, number: int, text: str) -> None:
    assert await scored(name, number, text) <= 0.2


@pytest.mark.parametrize("sample", samples("translation.translate").values(), ids=lambda sample: sample.id)
async def test_every_reference_translation_keeps_its_terms_and_figures(sample: Sample) -> None:
    target: Any = sample.target
    found = await score(scorer(ALL["translation.translate"]), sample, Answer(text=target["reference"]), NO_MEANS)
    assert found.value >= 0.99, found.detail


@pytest.mark.parametrize("sample", samples("contract-clauses.point").values(), ids=lambda sample: sample.id)
async def test_every_clause_of_a_target_stands_at_its_number(sample: Sample) -> None:
    target: Any = sample.target
    answer = json.dumps({"found": [{"sentence": number, "kind": kind} for number, kind in target["found"]]})
    found = await score(scorer(ALL["contract-clauses.point"]), sample, Answer(text=answer), NO_MEANS)
    assert found.value == 1.0
    assert all(f"[{number}] " in sample.text for number, _ in target["found"])


@pytest.mark.parametrize("sample", samples("meeting-minutes.minutes").values(), ids=lambda sample: sample.id)
async def test_owners_and_what_is_done_stand_in_the_transcript(sample: Sample) -> None:
    target: Any = sample.target
    said = sample.text.casefold()
    for action in target["actions"]:
        assert action["owner"] is None or action["owner"].casefold() in said, action
        assert action["due"] is None or any(each.casefold() in said for each in action["due"]), action
    minutes = {
        "decisions": [alternatives[0] for alternatives in target["decisions"]],
        "actions": [
            {"what": each["what"][0], "owner": each["owner"] or "", "due": (each["due"] or [""])[0]}
            for each in target["actions"]
        ],
        "open_questions": [alternatives[0] for alternatives in target["open_questions"]],
    }
    found = await score(scorer(ALL["meeting-minutes.minutes"]), sample, Answer(text=json.dumps(minutes)), NO_MEANS)
    assert found.value >= 0.99

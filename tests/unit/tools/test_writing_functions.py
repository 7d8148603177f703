"""What the Python files in the shipped tools for writing and reading compute."""

from __future__ import annotations

import importlib.util
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SHIPPED = Path(str(files("changeover.tools") / "shipped"))


def module(tool: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{tool}_{file}".replace("-", "_"), SHIPPED / tool / f"{file}.py")
    assert spec is not None
    assert spec.loader is not None
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # what is shipped is only what is in the repository
    try:
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    finally:
        sys.dont_write_bytecode = before
    return loaded


MINUTES = module("meeting-minutes", "minutes")
PROMISES = module("email-reply", "promises")
GLOSSARY = module("translation", "glossary")
READABILITY = module("plain-language", "readability")
GROUNDED = module("policy-answers", "grounded")
CHANGES = module("document-comparison", "changes")
CLAUSES = module("contract-clauses", "clauses")


def note(**parts: object) -> dict[str, object]:
    return {"decisions": [], "actions": [], "open_questions": [], **parts}


def test_minutes_of_parts_become_one_and_what_two_parts_have_stands_once() -> None:
    joined = MINUTES.join(
        [note(decisions=["We take the hall."]), note(decisions=["We take  the hall.", "The fee is 5."])],
        "We take the hall.",
    )
    assert joined["decisions"] == ["We take the hall.", "The fee is 5."]


def test_an_owner_or_a_date_that_nobody_said_is_left_out_of_minutes() -> None:
    actions = [
        {"what": "book the hall", "owner": "Piet", "due": "tomorrow"},
        {"what": "call Ms Kay", "owner": "Zoe", "due": "by 3 May"},
        {"what": "", "owner": "Piet", "due": ""},
    ]
    joined = MINUTES.join([note(actions=actions)], "Piet: I book the hall tomorrow, and somebody calls Ms Kay.")
    assert joined["actions"] == [
        {"what": "book the hall", "owner": "Piet", "due": "tomorrow"},
        {"what": "call Ms Kay", "owner": None, "due": None},
    ]


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("We will refund the full amount.", "apologise"),
        ("Als Entschädigung erhalten Sie einen Gutschein.", "sorry"),
        ("全額を返金いたします。", "お詫び"),
    ],
)
def test_a_promise_that_was_not_to_be_made_is_left_out_with_its_sentence(sentence: str, said: str) -> None:
    kept = PROMISES.without_promises(f"Dear Ms Hale,\n\n{sentence} Yours, Bo", said)
    assert kept["left_out"] == [sentence]
    assert sentence not in kept["reply"]
    assert kept["reply"].startswith("Dear Ms Hale,\n\n")
    assert kept["reply"].endswith("Yours, Bo")


def test_a_promise_that_was_to_be_made_stays_in_whichever_language() -> None:
    reply = "Wir erstatten Ihnen 20 Kronen. Mit freundlichen Grüßen"
    assert PROMISES.without_promises(reply, "refund 20 crowns") == {"reply": reply, "left_out": []}


def test_to_deny_a_refund_is_no_promise() -> None:
    reply = "Unfortunately we cannot give you a refund."
    assert PROMISES.without_promises(reply, "say no")["reply"] == reply


def test_a_glossary_is_its_first_two_columns() -> None:
    rows = [
        {"English": "statement", "German": " Auszug ", "note": "bank"},
        {"English": "x", "German": ""},
        {"English": "y"},
    ]
    assert GLOSSARY.pairs(rows) == [{"source": "statement", "target": "Auszug"}]


def kept(text: str, translation: str, *terms: dict[str, str]) -> Any:
    return GLOSSARY.kept([{"text": text}], [translation], list(terms))


STATEMENT = {"source": "statement", "target": "Kontoauszug"}
FEE = {"source": "fee", "target": "Gebühr"}


def test_terms_and_figures_that_a_translation_lost_are_named() -> None:
    whole = kept(
        "The statement of 1,250.50 comes at 3 pm.", "Der Kontoauszugs über 1.250,50 um 15 Uhr.", STATEMENT, FEE
    )
    assert [term["used"] for term in whole["terms"]] == [True, False]
    assert whole["missing_figures"] == []
    assert GLOSSARY.complaint(whole) == "the translation lacks the term `Gebühr`"
    assert kept("It costs 40 crowns.", "Es kostet etwas.")["missing_figures"] == ["40"]
    assert GLOSSARY.complaint(kept("It rains.", "Es regnet.")) is None


@pytest.mark.parametrize(
    ("text", "translation", "missing"),
    [
        ("3万円以上は770円です。", "From 30,000 yen on it is 770 yen.", []),
        ("It has 1.2 million users.", "利用者は120万人です。", []),
        ("Sie kostet 2,5 Millionen.", "It costs 2.5 million.", []),
        ("It costs 3 thousand crowns.", "Es kostet 30 Kronen.", []),
        ("Leave 5 millimetres.", "Lassen Sie 50 Millimeter.", ["5"]),
        ("It costs 300 crowns.", "Es kostet 30 Kronen.", ["300"]),
        ("Call between 3 pm and 5 pm.", "Rufen Sie zwischen 15 und 18 Uhr an.", ["5"]),
        ("Cuesta 4 millones.", "It costs 5 million.", ["4 millones"]),
    ],
)
def test_a_figure_is_known_in_the_form_of_another_language(text: str, translation: str, missing: list[str]) -> None:
    assert kept(text, translation)["missing_figures"] == missing


def test_a_figure_of_one_part_is_lost_though_another_part_has_it() -> None:
    parts = [{"text": "The fee is 40 crowns."}, {"text": "It was 40 crowns, too."}, {"text": "It rains."}]
    drafts = ["Die Gebühr ist hoch.", "Es waren auch 40 Kronen.", "Es regnet."]
    assert GLOSSARY.kept(parts, drafts, [FEE])["missing_figures"] == ["40"]
    assert GLOSSARY.lacking(parts, drafts, [FEE]) == [{"index": 0, "text": "The fee is 40 crowns.", "lost": ["40"]}]


def test_a_term_is_asked_for_only_where_it_stands_and_the_whole_translation_lacks_it() -> None:
    parts = [{"text": "The statement comes."}, {"text": "The fee is low."}]
    lost = GLOSSARY.lacking(parts, ["Der Auszug kommt.", "Die Gebühr ist niedrig."], [STATEMENT, FEE])
    assert [(each["index"], each["lost"]) for each in lost] == [(0, ["statement = Kontoauszug"])]
    assert GLOSSARY.lacking(parts, ["Der Kontoauszug kommt.", "Die Gebühr ist klein."], [STATEMENT, FEE]) == []


@pytest.mark.parametrize(
    ("second", "why"),
    [
        ("Der Auszug kostet eine Gebühr.", "it lacks as much"),
        ("Kontoauszug 40", "only what was asked for"),
        ("The statement (Kontoauszug) costs a fee of 40 crowns a year.", "the text given back"),
        ("", "nothing"),
    ],
)
def test_a_second_translation_that_is_no_better_is_not_taken(second: str, why: str) -> None:
    text, first = "The statement costs a fee of 40 crowns a year.", "Der Auszug kostet im Jahr eine Gebühr."
    lacking = GLOSSARY.lacking([{"text": text}], [first], [STATEMENT, FEE])
    assert GLOSSARY.better([first], lacking, [second], [STATEMENT, FEE]) == [first], why


def test_a_second_translation_that_lacks_less_takes_the_place_of_its_part() -> None:
    parts = [{"text": "It rains."}, {"text": "手数料は４０円です。明細書は毎月届きます。"}]
    terms = [{"source": "明細書", "target": "statement"}, {"source": "手数料", "target": "fee"}]
    drafts = ["Es regnet.", "There is a charge. The paper comes every month."]
    lacking = GLOSSARY.lacking(parts, drafts, terms)
    assert lacking[0]["lost"] == ["明細書 = statement", "手数料 = fee", "40"]
    second = "The fee is 40 yen. The paper comes every month."
    assert GLOSSARY.better(drafts, lacking, [second], terms) == ["Es regnet.", second]


def test_readability_counts_words_of_sentences_in_any_script() -> None:
    assert READABILITY.measure("You pay 25 crowns. Call Ms Kay.")["words_per_sentence"] == 3.5
    assert READABILITY.measure("お支払いは六月です。")["words_per_sentence"] == 5.0
    assert READABILITY.measure("Notwithstanding it.")["long_words"] == 0.5
    assert READABILITY.measure("")["words_per_sentence"] == 0.0


def test_a_rewritten_text_names_the_figures_and_names_that_it_lost() -> None:
    compared = READABILITY.compare("Pay 35 crowns to Mr Adam Quill of the Claims Office by 5 May.", "Pay 35 crowns.")
    assert compared["missing"] == ["5", "Mr Adam Quill", "Claims Office"]


def test_of_an_answer_only_what_a_passage_bears_out_is_told() -> None:
    source = {"document": "gifts.md", "label": "", "quote": "up to 50 crowns", "page": None, "score": 0.9}
    told = GROUNDED.told(
        [
            {**source, "claim": "Gifts are worth up to 50 crowns.", "supported": True},
            {**source, "claim": "Gifts are worth up to 50 crowns.", "supported": True},
            {**source, "claim": "Flowers are welcome.", "supported": False},
        ]
    )
    assert told["answer"] == "Gifts are worth up to 50 crowns."
    assert told["answered"]
    assert told["text"].endswith("Sources: gifts.md")


def test_an_answer_that_nothing_bears_out_is_none() -> None:
    said = {"claim": "Flowers are welcome.", "document": "", "label": "", "quote": "", "supported": False}
    assert GROUNDED.told([said])["answer"] == "The policies do not answer this."
    assert GROUNDED.told([])["sources"] == []


def document(*pages: str) -> dict[str, object]:
    return {"name": "a.md", "pages": [{"number": number, "text": text} for number, text in enumerate(pages, 1)]}


def test_changes_are_found_paragraph_by_paragraph_with_their_figures_and_pages() -> None:
    old = document(
        "Notice is given 30 days before.\n\nThe yard is open.", "The fee is 24 crowns a year.\n\nKeys are free."
    )
    new = document(
        "Notice is given 45 days before.\n\nThe yard is open.", "The fee is 24\ncrowns a year.\n\nNo dogs, please."
    )
    found = CHANGES.changes(old, new)
    assert [(each["kind"], each["old_page"], each["new_page"]) for each in found] == [
        ("changed", 1, 1),
        ("removed", 2, None),
        ("added", None, 2),
    ]
    assert found[0]["figures"] == [{"old": "30", "new": "45"}]


def test_a_sentence_on_a_change_with_a_figure_of_its_own_is_replaced_by_the_words_that_changed() -> None:
    found = CHANGES.changes(document("Within 30 days."), document("Within 45 days."))
    assert CHANGES.told(found, ["30 days became 45 days."])[0]["says"] == "30 days became 45 days."
    assert CHANGES.told(found, ["30 days became 54 days."])[0]["says"] == "“Within 30 days.” became “Within 45 days.”"
    assert CHANGES.told(found, [" "])[0]["says"].startswith("“Within 30 days.”")


def test_the_same_document_has_no_changes() -> None:
    assert CHANGES.changes(document("One.\n\nTwo."), document("One.\n\nTwo.")) == []


CONTRACT = "1. Term\n\nThe agreement runs for 3.5 years. Art. 7 applies.\n\nThe law of Norland applies."


def test_sentences_of_a_contract_are_numbered_and_quoted_word_for_word_with_their_pages() -> None:
    part = {"text": CONTRACT, "pages": [4, 5], "starts": [0, CONTRACT.index("The law")]}
    [numbered] = CLAUSES.numbered([part])
    assert numbered["text"].splitlines()[0].startswith("[1] ")
    assert all(each["quote"] in CONTRACT for each in numbered["sentences"])
    last = len(numbered["sentences"])
    pointed = [{"found": [{"sentence": last, "kind": "governing-law"}, {"sentence": 99, "kind": "term"}]}]
    assert CLAUSES.quoted([numbered], pointed, [])["clauses"] == [
        {"kind": "governing-law", "quote": "The law of Norland applies.", "page": 5}
    ]
    assert CLAUSES.quoted([numbered], pointed, ["term"])["clauses"] == []


def test_a_heading_of_a_contract_is_no_part_of_the_sentence_below_it() -> None:
    text = "1. Subject\nThe Contractor keeps the lifts in order.\n§ 2 Duration\nIt runs for 3 years. No. 4 is new."
    [numbered] = CLAUSES.numbered([{"text": text, "pages": [], "starts": []}])
    assert [each["quote"] for each in numbered["sentences"]] == [
        "1. Subject",
        "The Contractor keeps the lifts in order.",
        "§ 2 Duration",
        "It runs for 3 years.",
        "No. 4 is new.",
    ]


def test_kinds_of_which_nothing_was_found_are_named() -> None:
    found = [{"kind": "term", "quote": "x", "page": 1}]
    assert CLAUSES.missing(found, ["term", "payment"]) == ["payment"]
    assert len(CLAUSES.missing(found, [])) == len(CLAUSES.KINDS) - 1

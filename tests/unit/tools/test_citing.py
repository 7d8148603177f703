"""Citing: which passage bears out which sentence, told without a model."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.tools.steps.cite import DENIED, MOST_QUOTE, citations
from changeover.tools.steps.split import parts_of
from changeover.tools.values import Citation, Document, Page, Part


def document(*texts: str) -> Document:
    pages = [Page(number=number, label=f"p. {number}", text=text) for number, text in enumerate(texts, start=1)]
    return Document(name="a.pdf", kind="pdf", pages=pages)


REPORT = document(
    "The Harbour branch closed the quarter with 412 new accounts, 38 more than before. Waiting time fell to 9 minutes.",
    "The cash machine was out of order for six days. 57 customers complained; each was sent a letter of apology.",
    "From 1 November the branch opens on Saturdays. Two tellers are wanted for it, 1,815 crowns a week.",
)


@pytest.mark.parametrize(
    ("claim", "page", "quote"),
    [
        ("The branch won 412 accounts.", 1, "412 new accounts"),
        ("Customers complained because the cash machine was out of order.", 2, "The cash machine"),
        ("It pays 1815 crowns.", 3, "1,815 crowns"),
        ("Waiting fell to 9 minutes.", 1, "Waiting time fell"),
    ],
)
def test_a_sentence_gets_the_page_that_its_words_and_figures_stand_on(claim: str, page: int, quote: str) -> None:
    [first, *_] = citations(claim, REPORT, 0.35)
    assert (first.claim, first.document, first.page, first.label) == (claim, "a.pdf", page, f"p. {page}")
    assert quote in first.quote
    assert first.supported


def test_parts_that_span_pages_still_tell_the_page() -> None:
    [part] = parts_of(REPORT, 2_000)
    assert part.label == "pp. 1-3"
    [citation] = citations("Two tellers are wanted.", [part], 0.35)
    assert (citation.page, citation.label) == (3, "p. 3")


def test_a_part_that_knows_only_its_label_gives_it() -> None:
    part = Part(index=0, text="Two tellers are wanted.", document="b.md", pages=[4, 5], label="pp. 4-5")
    [citation] = citations("Two tellers are wanted.", part, 0.35)
    assert (citation.document, citation.page, citation.label) == ("b.md", 4, "pp. 4-5")


def test_figures_weigh_more_than_words() -> None:
    source = ["Sales rose strongly in the third quarter of the year.", "Rents: 412."]
    [first, *_] = citations("Sales were 412.", source, 0.35)
    assert first.quote == "Rents: 412."


def test_what_stands_nowhere_is_not_supported() -> None:
    [citation] = citations("Penguins elected a mayor.", REPORT, 0.35)
    assert citation == Citation(
        claim="Penguins elected a mayor.", document="", page=None, label="", quote="", score=0.0, supported=False
    )
    [first, *_] = citations("The branch bought 99 penguins and an aquarium in Oslo.", REPORT, 0.35)
    assert not first.supported


def test_a_claim_of_two_pages_has_two_passages() -> None:
    found = citations("412 new accounts were opened and 57 customers complained.", REPORT, 0.9)
    assert [(each.page, each.supported) for each in found] == [(1, True), (2, True)]
    assert all(each.score < 0.9 for each in found)


@pytest.mark.parametrize(
    "claim",
    [
        "The Harbour branch closed the quarter with 421 new accounts.",
        "Waiting time fell to 57 minutes.",
        "The Castle branch closed the quarter with 412 new accounts.",
        "The cash machine was out of order for three days.",
    ],
)
def test_a_sentence_with_another_figure_or_name_than_its_place_is_not_supported(claim: str) -> None:
    assert not any(each.supported for each in citations(claim, REPORT, 0.35))


def test_a_figure_of_something_else_is_no_second_passage() -> None:
    found = citations("Waiting time fell to 1,815 minutes.", REPORT, 0.35)
    assert [each.page for each in found] == [1]


def test_a_sentence_that_denies_its_source_is_supported_and_says_that_there_is_a_problem() -> None:
    [citation] = citations("From 1 November the branch never opens on Saturdays.", REPORT, 0.35)
    assert citation.supported
    assert citation.problem == DENIED
    [citation] = citations("From 1 November the branch opens on Saturdays.", REPORT, 0.35)
    assert citation.problem == ""


def test_japanese_is_compared_by_pairs_of_characters() -> None:
    source = document("営業時間は午前九時から午後五時までです。", "返品は商品到着後8日以内に限ります。")
    [citation] = citations("返品できるのは商品到着から8日以内です。", source, 0.35)
    assert (citation.page, citation.supported) == (2, True)


def test_members_of_a_list_are_claims() -> None:
    found = citations(["Two tellers are wanted. They are paid.", {"what": "57 complained"}, "", 412], REPORT, 0.35)
    assert [each.claim for each in found] == ["Two tellers are wanted. They are paid.", "what: 57 complained", "412"]


@pytest.mark.parametrize("text", ["", "And so on.", "- \n\n#", [], None, "は。"])
def test_a_claim_without_words_of_its_own_has_no_citation(text: Any) -> None:
    assert citations(text, REPORT, 0.35) == []


def test_a_long_passage_is_shown_in_part() -> None:
    [citation] = citations("harbour", "harbour " * 200, 0.35)
    assert len(citation.quote) == MOST_QUOTE


TEXT = st.text(alphabet="abc 12.,!\n。一二", max_size=120)


@given(st.lists(TEXT, max_size=4), TEXT)
def test_scores_are_shares_and_quotes_stand_in_the_source(pages: list[str], text: str) -> None:
    source = document(*pages)
    for citation in citations(text, source, 0.5):
        assert 0 <= citation.score <= 1
        assert citation.claim in text
        if citation.page is not None:
            whole = " ".join(pages[citation.page - 1].split())
            assert citation.quote.rstrip("…").split(" ")[0] in whole
            assert citation.score > 0
        else:
            assert not citation.supported


@given(TEXT)
def test_what_stands_word_for_word_is_borne_out_whole(text: str) -> None:
    for citation in citations(text, document(text), 0.99):
        assert citation.supported
        assert not citation.problem


def test_a_book_is_cited_within_a_moment() -> None:
    source = "The branch has 7 desks. It opens at nine. " * 2_000
    found = citations("The branch has 7 desks. It opens at nine. " * 20, source, 0.35)
    assert len(found) == 40

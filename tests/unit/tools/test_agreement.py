"""In what a sentence and its source disagree: figures, names, a *not*."""

import pytest

from changeover.tools.steps.agreement import Place, denies, names, other_figures, other_names


@pytest.mark.parametrize(
    ("claim", "place", "other"),
    [
        ("It costs 1815 crowns.", "1,815 crowns", False),
        ("It costs 1.8 million.", "1,815,000 crowns", False),
        ("Two tellers are wanted.", "2 tellers", False),
        ("2 tellers are wanted.", "Two tellers", False),
        ("Die Wartung ist alle sechs Monate fällig.", "alle 6 Monate", False),
        ("第3四半期は好調でした。", "第三四半期", False),
        ("On 1 May it opens.", "It opens on the first of May.", False),
        ("1. It opens.", "It opens.", False),
        ("One customer complained.", "A customer complained.", False),
        ("Eight tellers are wanted.", "Six tellers", True),
        ("It costs 500 crowns.", "50 crowns", True),
        ("返品は18日以内です。", "8日以内", True),
    ],
)
def test_a_figure_that_its_place_has_not_is_found_in_words_and_digits(claim: str, place: str, other: bool) -> None:
    assert other_figures(claim, Place(place), []) is other


def test_a_year_may_stand_in_the_heading_of_the_page_and_another_figure_may_not() -> None:
    page = [Place("Report 2024, 57 pages\n412 accounts were opened.")]
    assert not other_figures("In 2024, 412 accounts were opened.", Place("412 accounts were opened."), page)
    assert other_figures("57 accounts were opened.", Place("412 accounts were opened."), page)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The letter came from Ms Okafor on 3 May.", {"okafor", "may"}),
        ("Harbour Bank's branch in Port-Louis closes.", {"port", "louis"}),
        ("The Board and the Company agreed with IBM.", set[str]()),
        ("Die Wartung übernimmt Herr Brandt vom Kundendienst.", {"brandt"}),
        ("担当は小林さんで、お客様には高橋様がご連絡します。", {"小林", "高橋"}),
        ("Waiting Times And Fees", set[str]()),
    ],
)
def test_names_are_words_with_a_capital_but_in_german_and_japanese(text: str, found: set[str]) -> None:
    assert names(text) == found


@pytest.mark.parametrize(
    ("claim", "around", "other"),
    [
        ("The letter is from Ms Okafor.", "Okafor's letter", False),
        ("It opens in November.", "from 1 Nov", False),
        ("The Norwegian branch opens.", "in Norway", False),
        ("The letter is from Ms Petrov.", "Ms Okafor's letter", True),
        ("The letter is from Mr Theodor.", "the letter", True),
        ("担当は佐々木さんです。", "担当は小林さんです。", True),
    ],
)
def test_a_name_that_the_page_has_in_no_form_is_another(claim: str, around: str, other: bool) -> None:
    assert other_names(claim, [Place(around)]) is other


@pytest.mark.parametrize(
    ("claim", "place", "denied"),
    [
        ("Cash is accepted.", "Cash is never accepted, whatever the amount.", True),
        ("It doesn\u2019t open on Saturdays.", "The branch opens on Saturdays.", True),
        ("The branch opens on Saturdays.", "The branch opens on Saturdays, but not on Sundays.", False),
        ("Gifts of no more than 50 crowns are accepted.", "Gifts up to 50 crowns are accepted.", False),
        ("Passport no. 7 is valid.", "The passport 7 is valid.", False),
        ("The cellar is excluded from the insurance.", "The insurance does not cover the cellar.", False),
        ("Eine Kündigung ist nicht ohne Frist möglich.", "Eine Kündigung ist ohne Frist möglich.", True),
        ("Studierende zahlen keine Gebühr.", "Für Studierende entfällt die Gebühr nicht.", False),
        ("Das kostet nicht nur Geld.", "Das kostet Geld.", False),
        ("駐車場を建設する。", "駐車場は建設しない。", True),
        ("返品には保証書が必ず必要です。", "返品には保証書が必要です。", False),
        ("返品には保証書がなければなりません。", "返品には保証書が必要です。", False),
        ("返品はできません。", "送料は無料です。", False),
    ],
)
def test_a_sentence_denies_what_it_says_the_other_way_round(claim: str, place: str, denied: bool) -> None:
    assert denies(claim, [place]) is denied

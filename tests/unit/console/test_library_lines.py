"""Lines of the library's pages: sources as links, a family as a drawing, a question as a command."""

from __future__ import annotations

from datetime import date

from changeover.app.shelf import Shelf
from changeover.app.whole_card import whole_card
from changeover.console.areas.library.card import source_of
from changeover.console.areas.library.finding import Asked, furthest
from changeover.console.areas.library.kin import HIGH, WIDE, family_of
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.facts import FactSource

NOTHING = Asked(q="", family="", vendor="", licence="", modality="", scenario="", size="", state="", fits=False)


def test_an_address_is_a_link_with_its_host_and_a_commit_one_to_its_file() -> None:
    page = source_of("https://www.example.org/a/b (read twice)")
    assert (page.href, page.shown) == ("https://www.example.org/a/b", "example.org")
    file = source_of(
        FactSource(
            facts=("id",), at="github:o/r@0cf7856 README.md, LICENSE", grade="repository", checked=date(2026, 1, 2)
        )
    )
    assert (file.href, file.shown) == ("https://github.com/o/r/blob/0cf7856/README.md", "o/r")
    assert (file.grade, file.checked) == ("repository", date(2026, 1, 2))
    assert source_of("github:o/r@0cf7856 models/").href == "https://github.com/o/r/tree/0cf7856/models/"


def test_what_is_no_address_is_no_link() -> None:
    for at in ("javascript:alert(1)", "the card of its base", "github:o/r README.md", "package x==1"):
        assert source_of(at).href is None


def test_a_family_stands_from_left_to_right_and_no_two_boxes_meet() -> None:
    catalogue = Catalogue.load()
    shelf = Shelf(catalogue, cache_directory(), None, None, None)
    family = family_of(whole_card(shelf, catalogue.card("deepseek-r1")), catalogue)
    assert family is not None
    at = {node.name: node for node in family.nodes}
    assert at["deepseek-v3-base"].x < at["deepseek-r1"].x < at["deepseek-r1-distill-qwen-7b"].x
    assert at["deepseek-r1"].own
    assert at["deepseek-r1"].href is None
    relations = {edge.relation for edge in family.edges}
    assert relations == {"tuned", "distilled", "follows"}
    assert len(family.edges) == len(family.nodes) - 1
    for one in family.nodes:
        assert one.x >= 0
        assert one.x + WIDE <= family.width
        assert one.y >= 0
        assert one.y + HIGH <= family.height
        for other in family.nodes:
            assert one is other or abs(one.x - other.x) >= WIDE or abs(one.y - other.y) >= HIGH


def test_a_model_without_relatives_has_no_drawing() -> None:
    catalogue = Catalogue.load()
    shelf = Shelf(catalogue, cache_directory(), None, None, None)
    assert family_of(whole_card(shelf, catalogue.card("gpt-oss-120b")), catalogue) is None


def test_a_question_is_a_command_where_the_command_can_ask_it() -> None:
    asked = Asked(**{**vars(NOTHING), "q": "read invoices", "size": "15", "fits": True})
    assert asked.command == "changeover models 'read invoices' --max-size 15 --fits here"
    assert asked.address() == "/library?q=read+invoices&size=15&fits=here"
    assert Asked(**{**vars(NOTHING), "state": "answers"}).command is None
    assert not NOTHING.narrowed
    assert NOTHING.address() == "/library"


def test_the_furthest_state_of_a_card_counts() -> None:
    found = furthest([("a", "served"), ("a", "planned"), ("b", "loads"), ("a", "evaluated")])
    assert found == {"a": "evaluated", "b": "loads"}

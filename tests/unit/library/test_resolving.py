"""Who is right where a card and its sources disagree, what of a reading is news, and by which names cards are found."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from changeover.library.cards import Card, Terms
from changeover.library.catalogue import Catalogue
from changeover.library.facts import FactSource, Grade, Price
from changeover.library.observations import Observation
from changeover.library.queries import Stored
from changeover.library.running import Architecture, EngineSupport, Hosted, MemoryMinimum, Recipe
from changeover.library.sources.compare import compare, conflicts_of
from changeover.library.sources.matching import Names
from changeover.library.sources.resolve import resolved, same, stated

READ = datetime(2026, 11, 30, tzinfo=UTC)


def card(**more: Any) -> Card:
    values: dict[str, Any] = {
        "id": "one-1b",
        "display_name": "One 1B",
        "family": "one",
        "vendor": "Acme",
        "context_tokens": 8192,
        "repositories": ("acme/one-1b",),
        "sources": (FactSource(facts=("everything",), at="its page", grade="vendor", checked=date(2026, 6, 1)),),
    }
    return Card(**{**values, **more})


def observation(
    fact: str,
    value: Any,
    source: str = "list",
    grade: Grade = "registry",
    as_of: date | None = None,
    of: str = "one-1b",
) -> Observation:
    return Observation(
        card=of, fact=fact, value=value, source=source, locator="row", grade=grade, as_of=as_of, seen_at=READ
    )


@pytest.mark.parametrize(
    ("grade", "as_of", "winner", "because"),
    [
        ("registry", None, "card", "grade"),
        ("repository", date(2020, 1, 1), "list", "grade"),
        ("vendor", date(2026, 6, 2), "list", "date"),
        ("vendor", date(2026, 5, 31), "card", "date"),
        ("vendor", date(2026, 6, 1), "card", "date"),
    ],
)
def test_the_better_grade_counts_and_of_one_grade_the_later_date(
    grade: Grade, as_of: date | None, winner: str, because: str
) -> None:
    found = resolved(card(), [observation("context_tokens", 4096, grade=grade, as_of=as_of)])["context_tokens"]
    assert (found.winner.by, found.because) == (winner, because)
    assert {found.winner.value, found.conflicts[0].value} == {8192, 4096}


def test_who_agrees_is_no_conflict() -> None:
    said = [observation("context_tokens", 8192), observation("context_tokens", 4096, "other")]
    found = resolved(card(), said)["context_tokens"]
    assert [each.by for each in found.agreeing] == ["list"]
    assert [each.by for each in found.conflicts] == ["other"]


def test_a_fact_that_the_card_leaves_open_is_the_best_sources() -> None:
    said = [observation("max_output_tokens", 1), observation("max_output_tokens", 2, "vendor's", "vendor")]
    assert resolved(card(), said)["max_output_tokens"].winner.value == 2


def test_of_signals_the_newest_counts_whatever_its_grade_and_none_is_a_conflict() -> None:
    said = [
        observation("signals.likes", 5, "snapshot", "vendor", date(2026, 8, 1)),
        observation("signals.likes", 9, "hub", "excerpt", date(2026, 11, 1)),
    ]
    found = resolved(card(), said)["signals.likes"]
    assert (found.winner.value, found.conflicts) == (9, ())


@pytest.mark.parametrize(
    ("fact", "one", "other", "alike"),
    [
        ("parameters_b", 20.9, 21, True),
        ("parameters_b", 20.9, 32, False),
        ("released", "2025-08", "2025-08-05", True),
        ("released", "2025-08-05", "2025-09-05", False),
        ("languages", ["en"], ["EN", "ja"], True),
        ("languages", ["en", "de"], ["en", "ja"], False),
        ("modalities_in", ["text"], ["text", "image"], False),
        ("repositories", ["Acme/One"], ["acme/one", "acme/one-fp8"], True),
        ("licence.id", "MIT", "mit", True),
        ("licence.text_sha256", "cfc7749b96f63bd3", "cfc7749b96f63bd3" + "0" * 48, True),
        ("lineage.base", "gemma-3-1b", "google/gemma-3-1b", True),
        ("engines.vllm.since", "0.11", "0.11.0", True),
        ("reasoning_format", "<think>…</think>, kept", "<think>…</think>", True),
        ("recipes.vllm.command", "vllm serve a", "vllm serve b", True),
        ("gated", False, True, False),
    ],
)
def test_values_are_compared_by_what_they_mean(fact: str, one: Any, other: Any, alike: bool) -> None:
    assert same(fact, one, other) is alike
    assert same(fact, other, one) is alike


def test_a_card_states_nested_facts_too() -> None:
    price = Price(read=date(2026, 6, 1), input_usd_per_million_tokens=1, output_usd_per_million_tokens=2, source="page")
    whole = card(
        released=date(2025, 6, 1),
        released_to="month",
        licence=Terms(id="MIT"),
        architecture=Architecture(transformers_class="OneForCausalLM"),
        engines=(EngineSupport(engine="vllm", since="0.10.0"),),
        recipes=(Recipe(engine="vllm", command="vllm serve", verified_hardware=("h100",)),),
        memory=(MemoryMinimum(quantisation="q4.k", minimum_gb=2, source="page"),),
        hosted=(Hosted(host="Z.ai", id="one", pin="alias", prices=(price,)),),
    )
    facts = {
        "released": "2025-06",
        "licence.id": "MIT",
        "architecture.transformers_class": "OneForCausalLM",
        "engines.vllm": True,
        "engines.vllm.since": "0.10.0",
        "recipes.vllm.verified_hardware": ["h100"],
        "memory.q4.k.minimum_gb": 2,
    }
    for fact, value in facts.items():
        said = stated(whole, fact)
        assert said is not None, fact
        assert said.value == value
    priced = stated(whole, "hosted.z-ai.price")
    assert priced is not None
    assert same(
        "hosted.z-ai.price", priced.value, {"input_usd_per_million_tokens": 1.0, "output_usd_per_million_tokens": 2.0}
    )
    for fact in (
        "engines.sglang",
        "engines.vllm.until",
        "memory.fp8.minimum_gb",
        "hosted.groq.price",
        "licence.text_sha256",
        "nothing",
    ):
        assert stated(whole, fact) is None, fact


def test_a_statement_of_a_card_has_the_grade_and_date_of_its_best_source() -> None:
    sources = (
        FactSource(facts=("everything",), at="a list", grade="registry", checked=date(2026, 9, 1)),
        FactSource(facts=("context_tokens",), at="the file", grade="package", checked=date(2026, 1, 1)),
    )
    said = stated(card(sources=sources), "context_tokens")
    assert said is not None
    assert (said.grade, said.on, said.at) == ("package", date(2026, 1, 1), "the file")


def stored(*said: Observation) -> dict[tuple[str, str], Stored]:
    return {(each.card, each.fact): Stored(id=place, observation=each) for place, each in enumerate(said, start=1)}


CATALOGUE = Catalogue({"one-1b": card()})


def test_news_are_told_apart_from_what_is_known() -> None:
    before = stored(
        observation("weights", "open"), observation("hosted.groq.price", {"a": 1}), observation("x", 1, of="known-2b")
    )
    read = [
        observation("weights", "open"),
        observation("hosted.groq.price", {"a": 2}),
        observation("context_tokens", 4096),
        observation("max_output_tokens", 512),
        observation("signals.likes", 3),
        observation("weights", "open", of="new-3b"),
        observation("x", 2, of="known-2b"),
    ]
    found = compare(CATALOGUE, read, before)
    assert found.confirmed == (1,)
    assert [change.now.value for change in found.changes] == [{"a": 2}, 2]
    assert [model.name for model in found.new_models] == ["new-3b"]
    assert [each.fact for each in found.signals] == ["signals.likes"]
    assert "max_output_tokens" in [each.fact for each in found.new_facts]
    assert [(each.card, each.resolved.fact) for each in found.conflicts] == [("one-1b", "context_tokens")]
    assert len(found.fresh) == len(read) - 1


def test_the_same_again_is_nothing_new_and_its_conflicts_stand() -> None:
    read = [observation("context_tokens", 4096), observation("signals.likes", 3, as_of=date(2026, 11, 1))]
    found = compare(CATALOGUE, read, stored(*read))
    assert (found.fresh, found.conflicts, found.standing_conflicts) == ((), (), 1)


def test_a_signal_of_another_day_is_another_observation_though_its_value_be_the_same() -> None:
    before = stored(observation("signals.likes", 3, as_of=date(2026, 11, 1)))
    found = compare(CATALOGUE, [observation("signals.likes", 3, as_of=date(2026, 11, 2))], before)
    assert len(found.fresh) == 1
    assert found.changes == ()


def test_new_models_come_with_open_weights_first_and_the_newest_first() -> None:
    read = [
        observation("weights", weights, of=name) for name, weights in (("a", "closed"), ("b", "open"), ("c", "open"))
    ] + [
        observation("released", day, of=name) for name, day in (("a", "2026-12"), ("b", "2025-01"), ("c", "2026-11-20"))
    ]
    assert [model.name for model in compare(CATALOGUE, read, {}).new_models] == ["c", "b", "a"]


def test_sources_that_disagree_with_each_other_are_a_conflict_though_the_card_is_silent() -> None:
    said = {"one-1b": [observation("max_output_tokens", 1), observation("max_output_tokens", 2, "other")]}
    [found] = conflicts_of(CATALOGUE, said)
    assert found.resolved.fact == "max_output_tokens"


SHIPPED = Catalogue.load()


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("openai/gpt-oss-20b:free", "gpt-oss-20b"),
        ("accounts/fireworks/models/gpt-oss-20b", "gpt-oss-20b"),
        ("zai-org/GLM-4.6-FP8", "glm-4.6"),
        ("ZhipuAI/GLM-4.6", "glm-4.6"),
        ("GLM 4.6", "glm-4.6"),
        ("gpt-oss-20b-abliterated", None),
        ("deepseek-reasoner", None),
        ("", None),
    ],
)
def test_a_card_is_found_by_whatever_name_means_it(name: str, id: str | None) -> None:
    assert Names(SHIPPED).card((), (name,)) == id


def test_a_name_that_two_cards_share_means_neither_and_a_repository_still_tells_them_apart() -> None:
    other = card(id="two-1b", repositories=("acme/two-1b",))
    names = Names(Catalogue({"one-1b": card(), "two-1b": other}))
    assert names.card((), ("One 1B",)) is None
    assert names.card(("Acme/Two-1B",), ("One 1B",)) == "two-1b"

"""Both scores over the cards and signals that ship, and over cards made for one question each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judge import judge
from changeover.library.licences.policy import Policy
from changeover.library.observations import Observation
from changeover.library.scores.engines import Registry
from changeover.library.scores.familiarity import OWN_WEIGHT, WEIGHTS, OwnUse, familiarity
from changeover.library.scores.flags import flags
from changeover.library.scores.parts import Part, Score
from changeover.library.scores.signals import Signals, modality_of, normalised, percentile
from changeover.library.scores.support import listing, supportability
from changeover.library.sources.snapshot import shipped_signals

TODAY = date(2026, 11, 30)
SHIPPED = Catalogue.load()
ORDER = ("gpt-oss-20b", "minimax-m1", "hunyuan-image-3.0", "hunyuan3d-omni")
BANK = Policy(operates_in=("SG",), monthly_users=2_000_000, uses=("credit-decisions",))
NO_SIGNALS = Signals((), ())


def card(id: str = "some-model", **facts: Any) -> Card:
    """A card that says only this."""
    source = {"facts": ["everything"], "at": "this test", "grade": "run", "checked": "2026-11-30"}
    document = {"id": id, "display_name": id, "family": id, "vendor": "Somebody", "sources": [source], **facts}
    return Card.model_validate(document)


def signal(of: str, fact: str, value: Any, as_of: date | None = TODAY) -> Observation:
    return Observation(
        card=of,
        fact=f"signals.{fact}",
        value=value,
        source="test",
        locator="here",
        grade="run",
        as_of=as_of,
        seen_at=datetime(2026, 11, 30, tzinfo=UTC),
    )


def support(one: Card, *others: Card, signals: Signals = NO_SIGNALS, registries: tuple[Registry, ...] = ()) -> Score:
    catalogue = Catalogue({each.id: each for each in (one, *others)})
    return supportability(one, catalogue, signals, judge(one, catalogue, None, today=TODAY), TODAY, registries)


def shipped_support(id: str, policy: Policy | None) -> Score:
    one = SHIPPED.card(id)
    signals = Signals(shipped_signals(), SHIPPED.cards())
    return supportability(one, SHIPPED, signals, judge(one, SHIPPED, policy, today=TODAY), TODAY)


def part(score: Score, name: str) -> Part:
    return next(each for each in score.parts if each.name == name)


def flag_names(one: Card, *others: Card, signals: Signals = NO_SIGNALS, policy: Policy | None = None) -> list[str]:
    catalogue = Catalogue({each.id: each for each in (one, *others)}, {a.id: a for a in SHIPPED.accelerators()})
    judgement = judge(one, catalogue, policy, today=TODAY)
    return [each.name for each in flags(one, catalogue, signals, judgement, TODAY)]


@pytest.mark.parametrize("policy", [None, BANK], ids=["without a policy", "of a bank"])
def test_support_is_in_the_order_that_the_data_of_four_models_says(policy: Policy | None) -> None:
    values = [shipped_support(id, policy).value for id in ORDER]
    assert None not in values
    assert values == sorted(values, key=lambda value: -(value or 0)), dict(zip(ORDER, values, strict=True))
    assert len(set(values)) == 4


def test_the_order_needs_no_single_part_of_the_first_and_of_the_last() -> None:
    """Between the first, the middle and the last it holds whichever part is taken away."""
    scores = {id: shipped_support(id, BANK) for id in ORDER}

    def without(id: str, name: str) -> float:
        kept = tuple(each for each in scores[id].parts if each.name != name)
        return Score(model=id, parts=kept).value or 0.0

    for each in scores["gpt-oss-20b"].parts:
        first, *middle, last = (without(id, each.name) for id in ORDER)
        assert first > max(middle) > last, each.name
        assert min(middle) > last, each.name


def test_every_part_that_has_data_says_where_it_was_read() -> None:
    signals = Signals(shipped_signals(), SHIPPED.cards())
    for one in SHIPPED.cards():
        judgement = judge(one, SHIPPED, BANK, today=TODAY)
        scores = (supportability(one, SHIPPED, signals, judgement, TODAY), familiarity(one, signals, None, TODAY))
        for each in (each for score in scores for each in score.parts if each.value is not None):
            assert each.source, (one.id, each.name)


def test_the_weights_are_those_of_the_formula_and_make_a_hundred() -> None:
    assert sum(weight for _, weight, _ in WEIGHTS) + OWN_WEIGHT == 100
    assert sum(each.weight for each in support(card()).parts) == 100


def test_a_model_of_which_nothing_is_known_has_no_score_and_not_the_score_0() -> None:
    for score in (support(card()), familiarity(card(), NO_SIGNALS, None, TODAY)):
        assert score.value is None
        assert score.confidence == 0


@given(st.lists(st.tuples(st.floats(1, 30), st.none() | st.floats(0, 1), st.booleans()), min_size=1, max_size=12))
def test_parts_without_data_move_nothing_and_points_add_up_to_the_value(
    parts: list[tuple[float, float | None, bool]],
) -> None:
    made = [
        Part(name=str(n), weight=weight, value=value, says="", stale=stale)
        for n, (weight, value, stale) in enumerate(parts)
    ]
    score = Score(model="m", parts=tuple(made))
    known = Score(model="m", parts=tuple(each for each in made if each.value is not None))
    assert 0 <= score.confidence <= 1
    if score.value is None:
        assert not known.parts
        return
    assert score.value == pytest.approx(known.value)
    assert -1e-9 <= score.value <= 100 + 1e-9
    assert sum(points for each in made if (points := score.points(each)) is not None) == pytest.approx(score.value)


def test_a_signal_older_than_90_days_halves_its_confidence_and_leaves_the_value() -> None:
    cards = [card(f"m{n}", modalities_out=["text"]) for n in range(3)]

    def of(age: int | None) -> Score:
        day = None if age is None else TODAY - timedelta(days=age)
        read = [signal(each.id, "likes", 10 * (n + 1), day) for n, each in enumerate(cards)]
        return familiarity(cards[0], Signals(read, cards), None, TODAY)

    fresh, old, undated = of(90), of(91), of(None)
    assert fresh.value == old.value == undated.value
    assert fresh.confidence == pytest.approx(0.15)
    assert old.confidence == undated.confidence == pytest.approx(0.075)


def test_a_model_is_held_against_models_of_its_modality_alone() -> None:
    meshes = [card(f"mesh{n}", modalities_out=["mesh (GLB)"]) for n in range(3)]
    chats = [card(f"chat{n}", modalities_out=["text"]) for n in range(3)]
    read = [signal(each.id, "downloads_30d", 100) for each in meshes]
    read += [signal(each.id, "downloads_30d", 10_000_000) for each in chats]
    signals = Signals(read, [*meshes, *chats])
    assert part(familiarity(meshes[0], signals, None, TODAY), "downloads in 30 days").value == 1.0


def test_two_models_of_a_modality_say_nothing_of_each_other() -> None:
    two = [card(f"mesh{n}", modalities_out=["mesh (GLB)"]) for n in range(2)]
    signals = Signals([signal(each.id, "likes", 500) for each in two], two)
    found = part(familiarity(two[0], signals, None, TODAY), "likes")
    assert found.value is None
    assert "too few 3d models" in found.says
    assert found.says.startswith("500"), "the number itself is shown"


def test_models_made_from_it_are_added_up_and_told_apart() -> None:
    three = [card(f"m{n}", modalities_out=["text"]) for n in range(3)]
    read = [signal("m0", "finetunes", 7), signal("m0", "quantised", 30)]
    read += [signal(each.id, "adapters", 5) for each in three[1:]]
    found = part(familiarity(three[0], Signals(read, three), None, TODAY), "models made from it")
    assert found.says.startswith("37 (finetunes 7, quantised 30)")


def test_own_use_is_held_against_what_else_is_used_here() -> None:
    used = {"a": OwnUse(tasks=3, calls=1000, keys=4), "b": OwnUse(tasks=1, calls=10, keys=1)}
    most, little, never = (
        part(familiarity(card(id), NO_SIGNALS, used, TODAY), "own use").value for id in ("a", "b", "c")
    )
    assert most is not None
    assert little is not None
    assert most > little > 0 == never
    assert part(familiarity(card("a"), NO_SIGNALS, {}, TODAY), "own use").value is None, "nothing was used yet"


def test_the_newest_reading_counts_and_of_one_day_the_better_grade() -> None:
    old, new = signal("m", "likes", 1, TODAY - timedelta(days=9)), signal("m", "likes", 2)
    worse = Observation(**{**vars(new), "value": 3, "grade": "excerpt"})
    found = Signals([worse, new, old], ()).of("m", "signals.likes")
    assert found is not None
    assert found.value == 2


def test_the_p95_lies_between_neighbours_and_what_is_above_it_counts_as_much() -> None:
    assert percentile([1, 2, 3, 4, 5], 0.5) == 3
    assert percentile([0, 100], 0.95) == 95
    assert normalised(1_000, 100) == 1.0
    assert normalised(0, 100) == 0.0
    assert 0 < normalised(9, 99) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("writes", "modality"),
    [
        (["text"], "text"),
        (["text", "image"], "image"),
        (["mesh (GLB)", "point cloud (PLY)"], "3d"),
        (["video"], "video"),
        (["text", "audio"], "audio"),
        ([], "unknown"),
    ],
)
def test_what_a_model_writes_says_whom_it_is_compared_with(writes: list[str], modality: str) -> None:
    assert modality_of(card(modalities_out=writes)) == modality


RUNS = [{"engine": name} for name in ("vllm", "sglang", "llama.cpp", "ollama")]


@pytest.mark.parametrize(
    ("facts", "value"),
    [
        ({"engines": RUNS, "architecture": {"in_transformers": True}}, 1.0),
        ({"engines": [{"engine": "vllm"}]}, 0.2),
        ({"engines": [{"engine": "vllm", "until": "0.23.0"}]}, 0.0),
        ({"engines": [{"engine": "vllm", "until": "0.23.0"}, {"engine": "sglang"}, {"engine": "ollama"}]}, 0.2),
        ({"engines": [{"engine": "repository"}]}, 0.0),
        ({"engines": [{"engine": "transformers"}], "architecture": {"in_transformers": False}}, 0.0),
        ({}, None),
    ],
)
def test_engines_count_that_list_a_model_themselves_and_one_that_dropped_it_counts_against_it(
    facts: Mapping[str, Any], value: float | None
) -> None:
    assert part(support(card(**facts)), "engines that list it").value == value


def test_an_engine_that_is_installed_is_believed_before_the_card() -> None:
    one = card(engines=[{"engine": "vllm"}], architecture={"transformers_class": "A", "gguf": "arch"})
    now = Registry(engine="vllm", version="0.33", lists={"A": False}, dropped={"A": "0.23.0"})
    here = Registry(engine="llama.cpp", version="1", lists={"arch": True})
    found = listing(one, (now, here))
    assert found.runs == ("llama.cpp",)
    assert found.dropped == (("vllm", "0.23.0"),)
    assert found.asked == ("vllm 0.33", "llama.cpp 1")
    assert "asked here" in (part(support(one, registries=(now,)), "engines that list it").source or "")


def test_the_engine_itself_is_believed_before_the_library_of_its_format() -> None:
    one = card(architecture={"gguf": "arch"})
    engine = Registry(engine="llama.cpp", version="1", lists={"arch": False})
    library = Registry(engine="gguf", version="2", lists={"arch": True})
    assert listing(one, (engine, library)).runs == ()
    assert listing(one, (library,)).runs == ("llama.cpp",)


@pytest.mark.parametrize(("kinds", "value"), [([], 1 / 3), (["h100"], 5 / 9), (["h100", "mi300x", "cpu", "b200"], 1.0)])
def test_a_recipe_counts_in_full_once_three_kinds_of_hardware_were_verified(kinds: list[str], value: float) -> None:
    one = card(recipes=[{"engine": "vllm", "command": "vllm serve x", "verified_hardware": kinds}])
    assert part(support(one), "documented recipe").value == pytest.approx(value)


def test_a_recipe_of_an_engine_that_dropped_the_model_is_none() -> None:
    recipe = {"engine": "vllm", "command": "vllm serve x", "verified_hardware": ["h100"]}
    one = card(engines=[{"engine": "vllm", "until": "0.23.0"}], recipes=[recipe])
    assert part(support(one), "documented recipe").value is None


def test_a_last_commit_half_a_year_ago_counts_half() -> None:
    one = card()
    day = (TODAY - timedelta(days=180)).isoformat()
    score = support(one, signals=Signals([signal(one.id, "last_commit", day)], [one]))
    assert part(score, "last commit").value == pytest.approx(0.5)


def test_a_vendor_goes_on_where_a_successor_is_known_or_there_was_life_within_a_year() -> None:
    followed = card("a", lineage={"successor": "b"}, released="2024-01-01")
    young, old = card("c", released="2026-06-01"), card("d", released="2025-01-01")
    retired = card("e", released="2026-06-01", retired="2026-09-01")
    values = [part(support(each), "the vendor goes on").value for each in (followed, young, old, retired)]
    assert values == [1.0, 1.0, 0.5, 0.0]


def test_without_a_policy_a_licence_that_depends_on_the_organisation_is_not_known_to_be_allowed() -> None:
    none, bank = (shipped_support("hunyuan3d-omni", policy) for policy in (None, BANK))
    assert part(none, "licence allowed here").value is None
    assert part(bank, "licence allowed here").value == 0.0
    assert part(shipped_support("gpt-oss-20b", None), "licence allowed here").value == 1.0


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"gated": True}, "gated"),
        ({"architecture": {"remote_code": True}}, "remote code"),
        ({"architecture": {"pickle": True}}, "pickle"),
        ({"engines": [{"engine": "vllm", "until": "0.23.0"}]}, "engine dropped it"),
        ({"hosted": [{"host": "h", "id": "x", "pin": "alias", "now": "another"}]}, "hosted alias moved"),
        ({"retired": "2026-01-01"}, "retired"),
        ({"engines": [{"engine": "vllm", "until": "1"}], "released": "2025-01-01"}, "orphaned"),
    ],
)
def test_what_no_score_may_average_away_is_a_flag(facts: Mapping[str, Any], name: str) -> None:
    assert name in flag_names(card(**facts))
    assert flag_names(card()) == []


def test_only_what_somebody_is_known_to_have_left_is_orphaned() -> None:
    one = card(engines=[{"engine": "repository"}], released="2025-01-01")
    old = Signals([signal(one.id, "last_commit", "2025-02-01")], [one])
    assert "no engine" in flag_names(one)
    assert "orphaned" not in flag_names(one)
    assert "orphaned" in flag_names(one, signals=old)


def test_hardware_of_one_vendor_is_a_flag_unless_it_runs_on_processors() -> None:
    recipe = {"engine": "vllm", "command": "x", "verified_hardware": ["h100", "a100-80gb"]}
    assert SHIPPED.accelerator("h100").vendor == SHIPPED.accelerator("a100-80gb").vendor
    one, runs = card(recipes=[recipe]), card(recipes=[recipe], architecture={"gguf": "arch"})
    catalogue = Catalogue({one.id: one}, {each.id: each for each in SHIPPED.accelerators()})
    found = [
        [
            each.name
            for each in flags(each_card, catalogue, NO_SIGNALS, judge(each_card, catalogue, None, today=TODAY), TODAY)
        ]
        for each_card in (one, runs)
    ]
    assert found == [["single-vendor hardware"], []]


def test_a_licence_that_the_policy_denies_is_a_flag_with_its_clause() -> None:
    one = SHIPPED.card("hunyuan-image-3.0")
    judgement = judge(one, SHIPPED, BANK, today=TODAY)
    found = flags(one, SHIPPED, NO_SIGNALS, judgement, TODAY)
    assert found[0].name == "licence denies it"
    assert "clause" in found[0].says

"""What a policy and a licence say of each other: the organisations of the guide, and what must hold for any."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.cards import card, catalogue

from changeover.library.cards import Card, FormerTerms, Terms
from changeover.library.catalogue import Catalogue
from changeover.library.licences.judge import judge
from changeover.library.licences.judgement import OUTCOMES, Judgement, Reason
from changeover.library.licences.policy import Policy
from changeover.library.licences.terms import Use
from changeover.library.licences.words import refusal, short

TODAY = date(2026, 11, 30)
PACKAGED = Catalogue.load()
OMNI = card("hunyuan3d-omni", "tencent-hunyuan-3d-omni", vendor="Tencent")
PART = card("hunyuan3d-part", "tencent-hunyuan-3d-part", vendor="Tencent")
IMAGE = card("hunyuan-image-3.0", "tencent-hunyuan-image-3.0", vendor="Tencent")
GEMMA = card("gemma-3-27b-it", "gemma-terms", vendor="Google DeepMind", gated=True)
KIMI = card("kimi-k2-instruct", "kimi-k2-modified-mit", vendor="Moonshot AI")
QIANFAN_3B = card("qianfan-vl-3b", "MIT", vendor="Baidu", base="Qwen/Qwen2.5-3B")
QIANFAN_8B = card("qianfan-vl-8b", "MIT", vendor="Baidu", base="meta-llama/Llama-3.1-8B")
ON_LLAMA = card("deepseek-r1-distill-llama-70b", "MIT", vendor="DeepSeek", base="meta-llama/Llama-3.3-70B-Instruct")
R1 = card("deepseek-r1", "MIT", vendor="DeepSeek", base="deepseek-ai/DeepSeek-V3-Base")
APACHE = card("qwen3-next", "Apache-2.0", vendor="Alibaba (Qwen)", country="CN")
CLOSED = card("qwen3-max", "proprietary", vendor="Alibaba (Qwen)", weights="closed")
NON_COMMERCIAL = card("minimax-m2.7", "minimax-m2.7-non-commercial", vendor="MiniMax")
SOME = catalogue(OMNI, PART, IMAGE, GEMMA, KIMI, QIANFAN_3B, QIANFAN_8B, ON_LLAMA, R1, APACHE, CLOSED, NON_COMMERCIAL)


def policy(**values: Any) -> Policy:
    return Policy.model_validate({"operates_in": ["SG"], "monthly_users": 2_000_000, **values})


BANK = policy(yearly_revenue_usd=10e9, monthly_revenue_usd=800e6, tasks={"credit-memo": {"uses": ["credit-decisions"]}})


def judged(
    model: Card, known: Policy | None = BANK, task: str | None = None, *, among: Catalogue = SOME, today: date = TODAY
) -> Judgement:
    return judge(model, among, known, task=task, today=today)


def reasons(judgement: Judgement, about: str) -> list[Reason]:
    return [reason for reason in judgement.reasons if about in reason.about]


@pytest.mark.parametrize("model", [OMNI, PART])
def test_a_bank_with_two_million_users_needs_a_licence_for_the_3d_models_whatever_they_do(model: Card) -> None:
    judgement = judged(model, task="draw")
    assert judgement.outcome == "person"
    assert judgement.deciding is not None
    assert "1,000,000 monthly users" in judgement.deciding.says
    assert judged(model, task="credit-memo").outcome == "deny"


@pytest.mark.parametrize("model", [OMNI, PART, IMAGE])
def test_no_hunyuan_model_decides_on_credit_and_the_clause_is_quoted(model: Card) -> None:
    judgement = judged(model, task="credit-memo")
    assert judgement.outcome == "deny"
    assert "high-stakes" in refusal(judgement)
    assert refusal(judgement).startswith(f"`{model.id}` is not allowed for `credit-memo`")
    assert short(judgement).endswith("high-stakes decisions")


NOT_OPEN = {"qwen3-max", "qwen3-omni", "wan2.5-preview", "tongyi-bailing"}
"""Named by the mission, but with closed weights, or with weights and a licence that nobody could verify."""
ONLY_ANCESTORS = {"qwen2.5-3b", "deepseek-v3-base", "hunyuan-a13b", "hunyuan3d-2.1"}
"""Cards that are there because something was made from them, under terms of their own or none that are known."""
MISSION = [each for each in PACKAGED.cards() if each.id not in NOT_OPEN | ONLY_ANCESTORS]


def test_the_bank_is_blocked_exactly_where_the_licences_say_so() -> None:
    outcomes = {
        model.id: (judged(model, among=PACKAGED).outcome, judged(model, task="credit-memo", among=PACKAGED).outcome)
        for model in MISSION
    }
    blocked = {id: both for id, both in outcomes.items() if not {*both} <= {"allow", "duties"}}
    assert blocked == {
        "hunyuan-image-3.0": ("duties", "deny"),
        "hunyuan3d-omni": ("person", "deny"),
        "hunyuan3d-part": ("person", "deny"),
    }
    for id in blocked:
        said = refusal(judged(PACKAGED.card(id), task="credit-memo", among=PACKAGED))
        assert re.search(r"high-stakes (automated )?decisions.+credit", said), said


def test_a_bank_that_decides_on_credit_everywhere_may_use_hunyuan_for_nothing() -> None:
    everywhere = policy(uses=["credit-decisions"], monthly_revenue_usd=0)
    blocked = {model.id for model in MISSION if not judged(model, everywhere, among=PACKAGED).allowed}
    assert blocked == {"hunyuan-image-3.0", "hunyuan3d-omni", "hunyuan3d-part"}


def test_a_german_bank_may_use_no_hunyuan_model_and_everything_else() -> None:
    german = policy(operates_in=["DE"], monthly_users=500_000)
    refused = {
        model.id: short(judged(model, german, among=PACKAGED))
        for model in MISSION
        if not judged(model, german, among=PACKAGED).allowed
    }
    assert set(refused) == {"hunyuan-image-3.0", "hunyuan3d-omni", "hunyuan3d-part"}
    assert all("outside its territory" in why for why in refused.values())


def test_the_shipped_cards_that_stand_on_less_free_models_warn() -> None:
    warned = {
        model.id: {reason.licence for reason in judged(model, among=PACKAGED).warnings if "lineage" in reason.about}
        for model in MISSION
    }
    assert {id: licences for id, licences in warned.items() if licences} == {
        "qianfan-vl-3b": {"qwen-research"},
        "qianfan-vl-8b": {"llama-3.1"},
        "qianfan-vl-70b": {"llama-3.1"},
        "deepseek-r1-distill-llama-8b": {"llama-3.1"},
        "deepseek-r1-distill-llama-70b": {"llama-3.3"},
    }


def test_every_licence_of_a_shipped_card_is_declared() -> None:
    named = {one for each in PACKAGED.cards() if each.licence for one in (each.licence.id, *each.licence.also)}
    assert {name for name in named if PACKAGED.licence(name) is None} == set()


def test_a_cards_digest_of_its_licence_is_one_that_the_licence_knows() -> None:
    for each in PACKAGED.cards():
        terms = None if each.licence is None else PACKAGED.licence(each.licence.id)
        if terms is not None and each.licence is not None and each.licence.text_sha256 and terms.text_sha256:
            assert any(each.licence.text_sha256.startswith(known) for known in terms.text_sha256), each.id


def test_every_clause_of_the_declarations_says_where_it_stands_and_what() -> None:
    for terms in PACKAGED.licences():
        for condition in terms.conditions:
            assert len(condition.quote) < 400, (terms.id, condition.clause)
            numbered = condition.clause != "not numbered"
            assert not (numbered and (condition.grade or terms.grade) == "excerpt"), (terms.id, condition.clause)


def test_a_use_of_the_whole_organisation_counts_for_every_task() -> None:
    everywhere = policy(uses=["credit-decisions"])
    assert {judged(model, everywhere, "draw").outcome for model in (OMNI, PART, IMAGE)} == {"deny"}
    assert judged(IMAGE, everywhere).outcome == "deny"


def test_the_clause_is_the_licences_own_where_its_text_was_read() -> None:
    decides = judged(IMAGE, task="credit-memo").deciding
    assert decides is not None
    assert decides.clause == "Exhibit A, 14"
    assert decides.quote is not None
    assert "credit, employment, housing" in decides.quote
    assert short(judged(IMAGE, task="credit-memo")) == "clause Exhibit A, 14: high-stakes decisions"


def test_a_clause_whose_number_was_not_read_has_none() -> None:
    decides = judged(OMNI, task="credit-memo").deciding
    assert decides is not None
    assert decides.clause == "not numbered"
    assert "clause without a number" in refusal(judged(OMNI, task="credit-memo"))


def test_hunyuan_image_may_draw_for_the_bank_with_its_duties_listed() -> None:
    judgement = judged(IMAGE, task="draw")
    assert judgement.outcome == "duties"
    assert {reason.about for reason in judgement.duties} == {"comply with law", "label outputs"}
    assert short(judgement) == "ok, with duties"


def test_what_nobody_outside_sees_needs_no_label() -> None:
    inside = policy(tasks={"draw": {"customer_facing": False}})
    assert {reason.about for reason in judged(IMAGE, inside, "draw").duties} == {"comply with law"}


@pytest.mark.parametrize("country", ["DE", "GB", "KR"])
def test_where_a_licence_grants_nothing_nothing_is_allowed(country: str) -> None:
    there = policy(operates_in=["SG", country], monthly_users=10)
    assert {judged(model, there).outcome for model in (OMNI, PART, IMAGE)} == {"deny"}
    assert "outside its territory" in short(judged(IMAGE, there))
    assert judged(KIMI, there).allowed


def test_a_name_must_be_displayed_from_a_size_on() -> None:
    assert judged(KIMI, policy(monthly_users=100_000_000, monthly_revenue_usd=0)).outcome == "allow"
    judgement = judged(KIMI, policy(monthly_users=150_000_000, monthly_revenue_usd=0))
    assert judgement.outcome == "duties"
    assert "“Kimi K2” must be displayed" in judgement.duties[0].says


@pytest.mark.parametrize(("yearly", "outcome"), [(20e6, "allow"), (250e6, "duties")])
def test_a_years_revenue_says_what_it_can_of_a_months(yearly: float, outcome: str) -> None:
    assert judged(KIMI, policy(yearly_revenue_usd=yearly)).outcome == outcome


def test_a_figure_that_is_missing_asks_for_its_key() -> None:
    judgement = judged(OMNI, policy(monthly_users=None))
    assert judgement.outcome == "person"
    assert judgement.deciding is not None
    assert "`monthly_users`" in judgement.deciding.says
    assert "`operates_in`" in refusal(judged(IMAGE, Policy(monthly_users=5)))


def test_without_a_policy_nothing_is_blocked_and_everything_is_said() -> None:
    for model in SOME.cards():
        assert judged(model, None).allowed
    says = " ".join(reason.says for reason in judged(OMNI, None).warnings)
    assert "1,000,000 monthly users" in says
    assert "credit-decisions" in says
    assert not judged(OMNI, None).policy


def test_outputs_that_train_are_forbidden_by_one_licence_and_bound_by_another() -> None:
    training = policy(outputs_train_models=True)
    assert judged(IMAGE, training).outcome == "deny"
    assert [reason.clause for reason in judged(GEMMA, training).duties if "train" in reason.about] == ["1.1(e)"]
    assert judged(IMAGE, policy(tasks={"distil": {"outputs_train_models": True}}), "distil").outcome == "deny"


def test_hosting_gemma_for_others_is_distribution_with_its_duties() -> None:
    abouts = {reason.about for reason in judged(GEMMA, policy(hosts_for_others=True)).duties}
    assert {"hosting is distribution", "flow down", "terms copy"} <= abouts
    assert "flow down" not in {reason.about for reason in judged(GEMMA).duties}


def test_gemmas_ban_on_automated_decisions_is_a_doubt_and_no_verdict() -> None:
    judgement = judged(GEMMA, task="credit-memo")
    assert judgement.outcome == "duties"
    assert [reason.warning for reason in reasons(judgement, "automated decisions")] == [True]


def test_a_licensed_profession_is_for_a_person_to_confirm() -> None:
    advising = policy(uses=["financial-advice"])
    assert judged(IMAGE, advising).outcome == "person"
    grant = {
        "licence": "tencent-hunyuan-image-3.0",
        "clause": "Exhibit A, 20",
        "by": "legal",
        "on": date(2026, 1, 1),
        "reason": "licensed by the authority",
    }
    assert judged(IMAGE, policy(uses=["financial-advice"], granted=[grant])).outcome == "duties"


def granted(**values: Any) -> dict[str, Any]:
    return {
        "licence": "tencent-hunyuan-3d-omni",
        "by": "ana",
        "on": date(2026, 2, 1),
        "reason": "letter of 1 February",
        **values,
    }


def test_a_licence_that_was_obtained_settles_what_needed_a_person() -> None:
    judgement = judged(OMNI, policy(granted=[granted()]))
    assert judgement.allowed
    assert [reason.settled for reason in reasons(judgement, "monthly users")] == [
        "ana on 2026-02-01: letter of 1 February"
    ]
    assert judged(PART, policy(granted=[granted()])).outcome == "person"


def test_a_licence_that_was_obtained_allows_nothing_that_is_forbidden() -> None:
    lending = policy(granted=[granted()], uses=["credit-decisions"])
    assert judged(OMNI, lending).outcome == "deny"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"until": date(2026, 11, 29)}, "ended on 2026-11-29"), ({"on": date(2027, 1, 1)}, "holds from 2027-01-01 on")],
)
def test_a_grant_out_of_its_time_settles_nothing_and_is_named(change: dict[str, Any], says: str) -> None:
    judgement = judged(OMNI, policy(granted=[granted(**change)]))
    assert judgement.outcome == "person"
    assert says in refusal(judgement)


def test_a_grant_holds_on_its_last_day() -> None:
    assert judged(OMNI, policy(granted=[granted(until=TODAY)])).allowed


def test_commercial_use_of_a_non_commercial_model_needs_a_person() -> None:
    assert judged(NON_COMMERCIAL).outcome == "person"
    assert judged(NON_COMMERCIAL, policy(commercial=False)).allowed


def test_an_mit_model_on_a_llama_base_warns_and_blocks_nothing() -> None:
    for model, licence in ((QIANFAN_8B, "llama-3.1"), (ON_LLAMA, "llama-3.3")):
        judgement = judged(model)
        assert judgement.outcome == "allow"
        assert {reason.licence for reason in judgement.warnings} == {licence}
        assert "that may bind it too" in judgement.warnings[0].says


def test_an_mit_model_on_a_research_base_warns_of_commercial_use() -> None:
    judgement = judged(QIANFAN_3B)
    assert judgement.allowed
    assert [(reason.licence, reason.clause) for reason in reasons(judgement, "commercial use")] == [
        ("qwen-research", "2(b)")
    ]


def test_a_policy_can_have_a_person_decide_on_a_freer_licence_than_the_ancestors() -> None:
    strict = {"on_lineage": "person"}
    assert judged(QIANFAN_3B, policy(**strict)).outcome == "person"
    settled = {"licence": "qwen-research", "by": "legal", "on": date(2026, 1, 1), "reason": "opinion 12"}
    assert judged(QIANFAN_3B, policy(**strict, granted=[settled])).allowed
    assert judged(APACHE, policy(**strict)).outcome == "allow"


def test_what_an_ancestors_licence_forbids_is_a_warning_with_its_clause() -> None:
    at_war = judged(QIANFAN_8B, policy(uses=["military"]))
    assert at_war.allowed
    assert [reason.clause for reason in reasons(at_war, "military")] == ["Acceptable Use Policy, 2.1"]
    assert judged(QIANFAN_8B, policy(uses=["military"], on_lineage="person")).outcome == "person"


def test_a_vendor_may_free_its_own_model() -> None:
    judgement = judged(R1, policy(on_lineage="person"))
    assert judgement.outcome == "allow"
    assert judgement.warnings == ()


def test_lineage_is_followed_through_cards_to_the_end() -> None:
    base = card("their-base", "llama-3.1", vendor="Meta")
    middle = card("in-between", "Apache-2.0", derived_from="their-base")
    model = card("tuned", "MIT", base="in-between")
    judgement = judged(model, among=catalogue(base, middle, model))
    assert {reason.model for reason in judgement.warnings} == {"their-base"}


def test_an_ancestor_that_nobody_knows_is_said() -> None:
    model = card("tuned", "MIT", base="nobody/knows-this")
    assert [reason.about for reason in judged(model, among=catalogue(model)).warnings] == ["unknown lineage"]


def test_a_closed_model_answers_only_the_tasks_that_an_entry_names_until_its_date() -> None:
    entry = {"model": "qwen3-max", "tasks": ["plan"], "by": "cto", "reason": "no open one yet", "until": TODAY}
    allowing = policy(closed_models=[entry])
    assert judged(CLOSED, allowing, "plan").allowed
    assert judged(CLOSED, allowing, "chat").outcome == "person"
    assert judged(CLOSED, allowing).outcome == "person"
    assert judged(CLOSED).outcome == "person"
    later = judged(CLOSED, allowing, "plan", today=date(2026, 12, 1))
    assert later.outcome == "person"
    assert "2026-11-30" in refusal(later)


def test_vendors_countries_and_licences_can_be_refused() -> None:
    assert judged(APACHE, policy(vendor_countries=["US"])).outcome == "deny"
    assert judged(KIMI, policy(vendor_countries=["US"])).outcome == "person"
    assert judged(APACHE, policy(refused_vendors=["alibaba"])).outcome == "deny"
    assert judged(APACHE, policy(refused_vendors=["ali"])).outcome == "allow"
    assert judged(GEMMA, policy(refused_licences=["gemma"])).outcome == "deny"
    assert short(judged(APACHE, policy(refused_vendors=["Alibaba"]))) == "policy: vendor refused"


@pytest.mark.parametrize("licence", [None, "house-rules-1.0"])
@pytest.mark.parametrize("outcome", ["allow", "person", "deny"])
def test_what_an_unknown_licence_means_is_the_policys_to_say(licence: str | None, outcome: str) -> None:
    model = card("unknown", licence)
    assert judged(model, policy(on_unknown_licence=outcome), among=catalogue(model)).outcome == outcome
    assert judged(model, None, among=catalogue(model)).outcome == "allow"


def test_terms_that_stand_beside_a_licence_count_too() -> None:
    model = card("gpt-oss-20b", terms=Terms(id="Apache-2.0", also=("gpt-oss-usage-policy",)), vendor="OpenAI")
    assert [reason.licence for reason in judged(model, among=catalogue(model)).duties] == ["gpt-oss-usage-policy"]


def test_it_is_said_when_a_model_came_under_its_present_terms() -> None:
    former = FormerTerms(id="MIT", until=date(2025, 11, 12))
    terms = Terms(id="minimax-m2-modified-mit", since=date(2025, 11, 13), former=(former,))
    model = card("minimax-m2", terms=terms, vendor="MiniMax")
    [reason] = reasons(judged(model, among=catalogue(model)), "terms changed")
    assert "under `MIT` until 2025-11-12" in reason.says
    assert "since 2025-11-13" in reason.says


POLICIES = st.builds(
    policy,
    operates_in=st.lists(st.sampled_from(["SG", "DE", "US", "KR"]), max_size=3),
    uses=st.lists(st.sampled_from(get_args(Use)), max_size=4),
    monthly_users=st.none() | st.integers(0, 10**9),
    monthly_revenue_usd=st.none() | st.floats(0, 1e10),
    yearly_revenue_usd=st.none() | st.floats(0, 1e11),
    commercial=st.booleans(),
    customer_facing=st.booleans(),
    outputs_train_models=st.booleans(),
    hosts_for_others=st.booleans(),
    on_lineage=st.sampled_from(["warn", "person"]),
    on_unknown_licence=st.sampled_from(["allow", "person", "deny"]),
)
MODELS = st.sampled_from(SOME.cards())


def severity(judgement: Judgement) -> int:
    return OUTCOMES.index(judgement.outcome)


@given(model=MODELS, known=POLICIES, sizes=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)))
def test_more_users_never_make_it_milder(model: Card, known: Policy, sizes: tuple[int, int]) -> None:
    small, large = (known.model_copy(update={"monthly_users": size}) for size in sorted(sizes))
    assert severity(judged(model, small)) <= severity(judged(model, large))


@given(model=MODELS, known=POLICIES, use=st.sampled_from(get_args(Use)))
def test_another_use_never_makes_it_milder(model: Card, known: Policy, use: Use) -> None:
    more = known.model_copy(update={"uses": (*known.uses, use)})
    assert severity(judged(model, known)) <= severity(judged(model, more))


@given(model=st.sampled_from(PACKAGED.cards()), known=st.none() | POLICIES, task=st.none() | st.just("task"))
def test_every_card_is_judged_under_every_policy_and_put_into_words(
    model: Card, known: Policy | None, task: str | None
) -> None:
    judgement = judged(model, known, task, among=PACKAGED)
    assert short(judgement)
    assert refusal(judgement).startswith(f"`{model.id}`")
    assert all(reason.says.endswith((".", "!")) or reason.settled for reason in judgement.reasons)

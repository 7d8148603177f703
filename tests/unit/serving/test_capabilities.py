"""What engines are said to do: yes, no, or not known."""

from __future__ import annotations

import pytest

from changeover.core.errors import ConfigError
from changeover.serving.backends import BACKENDS
from changeover.serving.capabilities import CAPABILITIES, Capabilities, standing
from changeover.serving.profiles import NO_GRAMMAR, PLAIN, Profile, profile_of


def test_what_is_not_declared_is_not_there_and_behind_a_foreign_address_it_is_not_known() -> None:
    ours, theirs = Capabilities(chat=True), Capabilities(chat=True, beyond="unknown")

    assert ours.names() == theirs.names() == ["chat"]
    assert (ours.standing("chat"), ours.standing("logprobs")) == (True, False)
    assert (theirs.standing("chat"), theirs.standing("logprobs")) == (True, None)
    assert standing(BACKENDS["openai"].capabilities)["vision"] is None
    assert standing(BACKENDS["local"].capabilities)["vision"] is False


def test_a_profile_says_more_than_the_kind_of_engine_and_what_it_takes_away_counts_most() -> None:
    known = standing(Capabilities(chat=True, seeds=True, beyond="unknown"), has=["grammar"], lacks=["seeds"])

    assert known["grammar"] is True
    assert known["seeds"] is False
    assert known["logprobs"] is None
    assert list(known) == list(CAPABILITIES)


def test_a_profile_names_no_capability_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"`lacks`: no capability `logprob`\. Did you mean `logprobs`"):
        Profile.from_document({"lacks": ["logprob"]})


def test_a_schema_and_tools_that_an_engine_lacks_go_through_the_prompt() -> None:
    profile = profile_of("openai", "some-model", overrides={"lacks": ["json_schema", "tools"]})

    assert profile.structured == "none"
    assert profile.tool_calls == "none"
    assert Profile.from_document({**PLAIN["openai"].document("echo"), **profile.document("openai")}) == profile


@pytest.mark.parametrize("kind", [name for name in BACKENDS if name not in ("openai", "adapter", "ray")])
def test_a_kind_of_engine_is_told_a_schema_as_it_declares_to_take_one(kind: str) -> None:
    declared, plain = BACKENDS[kind].capabilities, PLAIN[kind]  # pyright: ignore[reportArgumentType] - one of them

    assert declared.json_schema == (plain.structured not in NO_GRAMMAR)
    assert declared.top_logprobs <= declared.logprobs
    if plain.endpoints is not None:
        assert ("completions" in plain.endpoints) == declared.completions

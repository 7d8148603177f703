import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.core.errors import ChangeoverError, PermissionError_, RequestError, UnknownTaskError
from changeover.gateway.compose import compose
from changeover.gateway.endpoints import CHAT
from changeover.gateway.keys import Key
from changeover.gateway.resolve import Call, read_fields, resolve
from changeover.gateway.snapshot import LiveTask, Snapshot
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.profiles import Profile
from changeover.serving.variants import Variant
from changeover.tasks.declarations import ScorerDeclaration, Task, TaskDeclaration
from changeover.tasks.routes import Route

APPLICATION = Key(id="key_1", name="app", role="application")
OPERATOR = Key(id="key_2", name="ops", role="operator")


def variant(prompt: str, task: str = "summarise") -> Variant:
    engine = EnginePart(
        backend="echo", engine="echo", engine_version="1", model="m", weights_digest=None, quantisation=None, flags={}
    )
    bundle = Bundle(engine=engine, prompt_name="p", prompt=prompt, parameters={"temperature": 0.0, "max_tokens": 50})
    return Variant.of(task, "small", bundle)


LIVE = variant("Be brief.")
HIDDEN = variant("Be long.")
FOREIGN = variant("Be brief.", task="code")
SNAPSHOT = Snapshot(
    revision=3,
    tasks={
        "summarise": LiveTask(
            task=Task(
                name="summarise",
                file=Path("summarise.toml"),
                declared=TaskDeclaration(
                    description="",
                    prompt="p.md",
                    dataset="d.jsonl",
                    first_incumbent="m",
                    scorer=ScorerDeclaration(name="exact"),
                ),
                prompt="Be brief.",
                prompt_name="p",
                dataset=Path("d.jsonl"),
            ),
            route=Route(
                revision=3,
                task="summarise",
                incumbent=LIVE.id,
                action="start",
                actor="",
                reason="",
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
            ),
            variants={LIVE.id: LIVE},
        )
    },
)


NEXT = variant("Be briefer.")


def ask(key: Key = APPLICATION, snapshot: Snapshot = SNAPSHOT, **fields: Any) -> Call:
    body = {"model": "summarise", "messages": [{"role": "user", "content": "hi"}], **fields}
    return resolved(json.dumps(body).encode(), key, snapshot)


def resolved(body: bytes, key: Key = APPLICATION, snapshot: Snapshot = SNAPSHOT) -> Call:
    known = {HIDDEN.id: HIDDEN, FOREIGN.id: FOREIGN}
    return resolve("req_1", CHAT, read_fields(body), key, snapshot, known.get)


def in_a_canary() -> Snapshot:
    live = SNAPSHOT.tasks["summarise"]
    route = replace(live.route, candidate=NEXT.id, candidate_weight=0.5)
    canary = LiveTask(live.task, route, {LIVE.id: LIVE, NEXT.id: NEXT})
    return replace(SNAPSHOT, tasks={"summarise": canary})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": None}, "`model` is missing"),
        ({"model": 7}, "`model` is missing"),
        ({"messages": []}, "`messages` must be a list"),
        ({"messages": "hi"}, "`messages` must be a list"),
        ({"messages": [{"content": "hi"}]}, r"`messages\[0\]`"),
        ({"messages": ["hi"]}, r"`messages\[0\]`"),
        ({"stream": "yes"}, "`stream` must be"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        ask(**fields)


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTaskError, match=r"No task named `sumarise`\. Did you mean `summarise`\?"):
        ask(model="sumarise")


def test_a_variant_is_named_by_operators_only_and_only_of_its_task() -> None:
    with pytest.raises(UnknownTaskError):
        ask(model=f"summarise@{HIDDEN.id}")
    assert ask(OPERATOR, model=f"summarise@{HIDDEN.id}").pinned == HIDDEN
    assert ask(OPERATOR, model=f"summarise@{LIVE.id}").pinned == LIVE
    for wrong in (FOREIGN.id, "000000000000"):
        with pytest.raises(PermissionError_):
            ask(OPERATOR, model=f"summarise@{wrong}")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_call_are_refused_as_the_callers_mistake(body: bytes) -> None:
    # No random bytes are a call, so every one must be refused in our words.
    with pytest.raises(ChangeoverError) as caught:
        resolved(body)
    assert 400 <= caught.value.status < 500


def test_a_body_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(RequestError):
        resolved(b'{"a":' * 100_000)


def test_a_conversation_stays_with_its_side_over_its_turns() -> None:
    first = {"role": "user", "content": "first"}
    turns = [first, {"role": "assistant", "content": "a"}, {"role": "user", "content": "second"}]
    canary = in_a_canary()

    def sticky(**fields: Any) -> str:
        return ask(snapshot=canary, **fields).sticky

    assert sticky(messages=[first]) == sticky(messages=turns)
    assert sticky(messages=[first]) != sticky(messages=[{"role": "user", "content": "other"}])
    assert sticky(messages=[first], user="u") == sticky(messages=turns[2:], user="u")


def test_a_key_calls_its_tasks_and_deployments_and_learns_of_no_others() -> None:
    narrow = replace(APPLICATION, tasks=frozenset({"code"}))
    with pytest.raises(UnknownTaskError, match="None is known yet"):
        ask(narrow)
    granted = replace(APPLICATION, deployments=frozenset({"small"}))
    direct = replace(SNAPSHOT, deployments={"small": SNAPSHOT.tasks["summarise"]})
    assert ask(granted, direct, model="small").live.variants == {LIVE.id: LIVE}
    with pytest.raises(UnknownTaskError, match="Known: summarise"):
        ask(APPLICATION, direct, model="small")


def test_an_engine_gets_the_prompt_the_defaults_and_everything_else_untouched() -> None:
    call = ask(max_tokens=7, logit_bias={"5": 1}, tools=[{"type": "function"}], stream=True)
    sent = json.loads(compose(call.body, CHAT, LIVE, Profile(), model="engine-name", stream=True))
    assert sent["model"] == "engine-name"
    assert sent["temperature"] == 0.0, "the variant's default"
    assert sent["max_tokens"] == 7, "the caller's own value wins"
    assert (sent["logit_bias"], sent["tools"]) == ({"5": 1}, [{"type": "function"}])
    assert sent["stream_options"] == {"include_usage": True}
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_callers_own_system_message_follows_the_prompt_in_the_same_message() -> None:
    messages = [{"role": "system", "content": "Use French."}, {"role": "user", "content": "hi"}]
    sent = json.loads(compose(ask(messages=messages).body, CHAT, LIVE, Profile(), model="m", stream=False))
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"] == "Be brief.\n\nUse French."

from typing import Any

import pytest

from changeover.core.errors import RequestError
from changeover.gateway.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, MESSAGES, RESPONSES, Counts, Endpoint


@pytest.mark.parametrize(
    ("endpoint", "fields", "said"),
    [
        (COMPLETIONS, {}, "`prompt`"),
        (COMPLETIONS, {"prompt": 3}, "`prompt`"),
        (EMBEDDINGS, {}, "`input`"),
        (EMBEDDINGS, {"input": ""}, "`input`"),
        (EMBEDDINGS, {"input": []}, "`input`"),
        (RESPONSES, {}, "`input`"),
        (RESPONSES, {"input": "x", "previous_response_id": "r"}, "`previous_response_id`: no response is kept"),
        (RESPONSES, {"input": "x", "conversation": "c"}, "`conversation`"),
        (RESPONSES, {"input": "x", "background": True}, "`background`"),
        (RESPONSES, {"input": "x", "store": True}, "`store`"),
        (MESSAGES, {"messages": []}, "`messages`"),
    ],
)
def test_a_wrong_field_is_named(endpoint: Endpoint, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        endpoint.check(fields)


@pytest.mark.parametrize(
    ("endpoint", "body", "after"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "hi"}]}, ("messages", 0, {"role": "system", "content": "P"})),
        (
            CHAT,
            {"messages": [{"role": "developer", "content": "D"}]},
            ("messages", 0, {"role": "developer", "content": "P\n\nD"}),
        ),
        (
            CHAT,
            {"messages": [{"role": "system", "content": [{"type": "text", "text": "D"}]}]},
            (
                "messages",
                0,
                {"role": "system", "content": [{"type": "text", "text": "P"}, {"type": "text", "text": "D"}]},
            ),
        ),
        (COMPLETIONS, {"prompt": ["a", "b"]}, ("prompt", 1, "P\n\nb")),
        (
            MESSAGES,
            {"messages": [], "system": [{"type": "text", "text": "S"}]},
            ("system", 0, {"type": "text", "text": "P"}),
        ),
    ],
)
def test_a_tasks_prompt_stands_before_what_the_caller_sent(
    endpoint: Endpoint, body: dict[str, Any], after: tuple[str, int, Any]
) -> None:
    field, place, value = after
    endpoint.with_prompt(body, "P")
    assert body[field][place] == value


def test_a_prompt_goes_where_each_endpoint_has_a_place_for_it() -> None:
    response: dict[str, Any] = {"input": "x"}
    RESPONSES.with_prompt(response, "P")
    assert response["instructions"] == "P"
    RESPONSES.with_prompt(response, "Q")
    assert response["instructions"] == "Q\n\nP"
    tokens: dict[str, Any] = {"prompt": [1, 2]}
    COMPLETIONS.with_prompt(tokens, "P")
    assert tokens["prompt"] == [1, 2]
    vector: dict[str, Any] = {"input": "x"}
    EMBEDDINGS.with_prompt(vector, "P")
    assert vector == {"input": "x"}


@pytest.mark.parametrize(
    ("endpoint", "fields", "counts"),
    [
        (CHAT, {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Counts(3, 4)),
        (CHAT, {"usage": None}, None),
        (CHAT, {"usage": {"prompt_tokens": "3", "completion_tokens": True}}, None),
        (CHAT, {"usage": {"prompt_tokens": -1, "completion_tokens": 4}}, Counts(None, 4)),
        (EMBEDDINGS, {"usage": {"prompt_tokens": 3, "total_tokens": 3}}, Counts(3, 0)),
        (RESPONSES, {"response": {"usage": {"input_tokens": 3, "output_tokens": 4}}}, Counts(3, 4)),
        (MESSAGES, {"message": {"usage": {"input_tokens": 3, "output_tokens": 1}}}, Counts(3, 1)),
        (MESSAGES, {"usage": {"output_tokens": 9}}, Counts(None, 9)),
    ],
)
def test_tokens_are_read_where_each_endpoint_states_them(
    endpoint: Endpoint, fields: dict[str, Any], counts: Counts | None
) -> None:
    assert endpoint.usage(fields) == counts


def test_a_conversation_is_known_by_its_first_words() -> None:
    assert RESPONSES.first_words({"input": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}) == "a"
    assert EMBEDDINGS.first_words({"input": ["a", "b"]}) == "a"
    assert set(ENDPOINTS) == {each.path for each in (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES)}

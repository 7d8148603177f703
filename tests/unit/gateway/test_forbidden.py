from typing import Any

import pytest

from changeover.core.errors import RequestError
from changeover.gateway.forbidden import ENGINE_LEVERS, refuse_forbidden

PICTURE = "data:image/png;base64,AAAA"


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}},
        {"type": "image_url", "image_url": "https://example.org/a.png"},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": "//example.org/a.png"}},
        {"type": "image_url", "image_url": {"url": " data:image/png;base64,AAAA"}},
        {"type": "input_image", "image_url": "HTTP://example.org/a.png"},
        {"type": "video_url", "video_url": {"url": "ftp://example.org/a"}},
        {"type": "audio_url", "audio_url": {"url": "https://example.org/a"}},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "https://a.b/c"}}]},
    ],
)
def test_no_address_of_a_callers_reaches_an_engine(part: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="nobody here fetches"):
        refuse_forbidden(user({"type": "text", "text": "look"}, part))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "see https://example.org"},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "high"}},
        {"type": "input_image", "image_url": PICTURE},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "tool_use", "id": "t", "name": "fetch", "input": {"url": "https://example.org"}},
    ],
)
def test_what_a_request_carries_itself_passes(part: dict[str, Any]) -> None:
    refuse_forbidden(user(part))


@pytest.mark.parametrize(
    "body",
    [
        {
            "input": [
                {"type": "function_call_output", "output": [{"type": "input_image", "image_url": "https://a.b/c"}]}
            ]
        },
        {"input": "x", "instructions": [{"content": [{"type": "input_image", "image_url": "https://a.b/c"}]}]},
        {"input": "x", "prompt": {"variables": {"p": {"type": "input_file", "file_url": "https://a.b/c"}}}},
        {"messages": [{"role": "user", "content": [[{"type": "image_url", "image_url": {"url": "https://a.b/c"}}]]}]},
        {"messages": [{"role": "user", "content": "x", "images": ["https://a.b/c"]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "image_url": "https://a.b/c"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "image": "//a.b/c"}]}]},
    ],
)
def test_an_address_is_found_wherever_it_hides(body: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="nobody here fetches"):
        refuse_forbidden(body)


def test_schemas_arguments_and_earlier_answers_may_name_addresses() -> None:
    refuse_forbidden(
        {
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"url": {}}}}}],
            "response_format": {"json_schema": {"schema": {"properties": {"path": {"default": "/x"}}}}},
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "f", "arguments": '{"url": "https://a.b"}'}}],
                },
                {"role": "assistant", "content": "x", "annotations": [{"url_citation": {"url": "https://a.b"}}]},
                {"role": "user", "content": [{"type": "image", "image": "/9j/4AAQSkZJRg=="}]},
            ],
        }
    )


def test_an_input_item_that_is_a_picture_itself_is_looked_at_too() -> None:
    with pytest.raises(RequestError, match=r"input\[0\].image_url"):
        refuse_forbidden({"input": [{"type": "input_image", "image_url": "https://example.org/a.png"}]})


@pytest.mark.parametrize("lever", sorted(ENGINE_LEVERS))
def test_an_engines_levers_are_not_a_callers(lever: str) -> None:
    with pytest.raises(RequestError, match=f"`{lever}`: set by the deployment"):
        refuse_forbidden({"messages": [], lever: "x"})


@pytest.mark.parametrize("tool", [{"type": "mcp", "server_url": "https://a.b"}, {"type": "web_search"}, "x"])
def test_only_tools_that_the_caller_runs_are_passed_on(tool: Any) -> None:
    with pytest.raises(RequestError, match=r"`tools\[1\]`"):
        refuse_forbidden({"tools": [{"type": "function", "function": {"name": "f"}}, tool]})


def test_anthropics_tools_have_no_type_and_are_the_callers_own() -> None:
    refuse_forbidden({"tools": [{"name": "f", "input_schema": {"type": "object"}}]})

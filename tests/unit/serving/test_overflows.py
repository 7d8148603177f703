"""Each text is what an engine really says; where it was read stands beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from changeover.core.errors import ContextOverflow, RequestError
from changeover.serving.refusals import classify


def vllm(message: str) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}


REFUSALS: list[tuple[dict[str, Any] | str, int | None, int | None]] = [
    (  # llama.cpp's server, xllamacpp 2026.10.11549
        {
            "error": {
                "code": 400,
                "message": "request (2031 tokens) exceeds the available context size (512 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 2031,
                "n_ctx": 512,
            }
        },
        2031,
        512,
    ),
    (  # the same, a year earlier: https://github.com/oobabooga/textgen/issues/7257
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size. try increasing the context size or enable "
                "context shift",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 14429,
                "n_ctx": 8192,
            }
        },
        14429,
        8192,
    ),
    (  # the same, older: https://github.com/continuedev/continue/issues/9797
        {"error": {"message": "the request exceeds the available context size, try increasing it"}},
        None,
        None,
    ),
    (  # vLLM: https://github.com/meta-llama/llama-verifications/issues/58
        vllm(
            "This model's maximum context length is 131072 tokens. However, you requested 156632 tokens (152536 in the "
            "messages, 4096 in the completion). Please reduce the length of the messages or completion."
        ),
        152536,
        131072,
    ),
    (  # vLLM 0.11 and later
        {
            "error": vllm(
                "This model's maximum context length is 163840 tokens. However, you requested 32000 output tokens and your "
                "prompt contains at least 131841 input tokens, for a total of at least 163841 tokens. Please reduce the "
                "length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=131841)"
            )
        },
        131841,
        163840,
    ),
    (  # vLLM 0.13 and later
        {
            "error": vllm(
                "You passed 12289 input tokens and requested 4096 output tokens. However, the model's context length is "
                "only 16384 tokens, resulting in a maximum input length of 12288 tokens. Please reduce the length of the "
                "input prompt. (parameter=input_tokens, value=12289)"
            )
        },
        12289,
        16384,
    ),
    (  # vLLM, a request whose answer alone is too long
        vllm(
            "'max_tokens' or 'max_completion_tokens' is too large: 8000. This model's maximum context length is 32768 tokens "
            "and your request has 25201 input tokens (8000 > 32768 - 25201)."
        ),
        25201,
        32768,
    ),
    (  # vLLM 0.32, a prompt that is too long by itself
        vllm(
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input tokens, "
            "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. "
            "(parameter=input_tokens, value=2049)"
        ),
        None,  # it stops counting where the context ends
        2048,
    ),
    (  # vLLM 0.32, an answer that is too long by itself
        vllm(
            "max_tokens=100000 cannot be greater than max_model_len=2048. Please request fewer output tokens. "
            "(parameter=max_tokens, value=100000)"
        ),
        None,
        2048,
    ),
    (  # llama.cpp's server where it makes embeddings, build 11549; its status is 500
        {
            "error": {
                "code": 500,
                "message": "input (5001 tokens) is too large to process. increase the physical batch size (current batch "
                "size: 512)",
                "type": "server_error",
            }
        },
        5001,
        512,
    ),
    (  # vLLM with images
        vllm("The decoder prompt (length 12324) is longer than the maximum model length of 8192."),
        12324,
        8192,
    ),
    (  # https://github.com/vllm-project/vllm/issues/12165
        vllm("The prompt (total length 25938) is too long to fit into the model (context length 4096)."),
        25938,
        4096,
    ),
    (  # SGLang: https://github.com/QwenLM/Qwen3/issues/1321
        vllm("The input (61709 tokens) is longer than the model's context length (40960 tokens)."),
        61709,
        40960,
    ),
    (  # SGLang's tokenizer manager
        vllm(
            "Requested token count exceeds the model's maximum context length of 64000 tokens. You requested a total of 71897 "
            "tokens: 7897 tokens from the input messages and 64000 tokens for the completion. Please reduce the number of "
            "tokens in the input messages or the completion to fit within the limit."
        ),
        7897,
        64000,
    ),
    (  # https://github.com/sgl-project/sglang/issues/4048
        vllm("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."),
        160062,
        59862,
    ),
    (  # https://github.com/huggingface/text-generation-inference/issues/628
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1244 `inputs` tokens "
            "and 1000 `max_new_tokens`",
            "error_type": "validation",
        },
        1244,
        2048,
    ),
    (  # https://github.com/huggingface/text-generation-inference/issues/695
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 1168",
            "error_type": "validation",
        },
        1168,
        1024,
    ),
    (  # OpenAI
        {
            "error": {
                "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 10310 "
                "tokens. Please reduce the length of the messages.",
                "type": "invalid_request_error",
                "param": "messages",
                "code": "context_length_exceeded",
            }
        },
        10310,
        8192,
    ),
    (  # DeepSeek: https://github.com/netease-youdao/LobsterAI/issues/60
        {
            "error": {
                "message": "This model's maximum context length is 131072 tokens. However, you requested 141403 tokens (133211 "
                "in the messages, 8192 in the completion). Please reduce the length of the messages or completion.",
                "type": "invalid_request_error",
                "code": "invalid_request_error",
            }
        },
        133211,
        131072,
    ),
    (  # DashScope: https://github.com/QwenLM/qwen-code/issues/98
        {
            "error": {
                "message": "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]"
            }
        },
        None,
        204800,
    ),
    (  # https://github.com/lmstudio-ai/lmstudio-bug-tracker/issues/546
        {
            "error": "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with "
            "context length of only 32768 tokens, which is not enough."
        },
        111490,
        32768,
    ),
    ("Requested tokens (2285) exceed context window of 2048", 2285, 2048),  # llama-cpp-python
    (  # Anthropic's form
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 213462 tokens > 200000 maximum"},
        },
        213462,
        200000,
    ),
]


@pytest.mark.parametrize(("said", "prompt", "context"), REFUSALS)
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_request_that_is_too_long_is_known_in_every_engines_words(
    said: dict[str, Any] | str, prompt: int | None, context: int | None, status: int
) -> None:
    error = classify("d", status, (said if isinstance(said, str) else json.dumps(said)).encode(), None)

    assert isinstance(error, ContextOverflow)
    assert (error.prompt_tokens, error.context_tokens) == (prompt, context)
    assert (error.status, error.code, error.source, error.retryable) == (400, "context_length_exceeded", "model", False)
    for number in (prompt, context):
        assert number is None or f"`{number}`" in error.message
    assert "`d`" in error.message


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "max_tokens must be at least 1, got -186."}},
        {"error": {"message": "Unsupported value: the context is fine."}},
        {"error": {"message": "no", "input": "maximum context length is 8 tokens"}},
        {"error": {"type": ["context_length_exceeded"], "message": 1}},
        ["maximum context length is 8 tokens"],
        None,
    ],
)
def test_other_refusals_are_other_errors(said: Any) -> None:
    assert type(classify("d", 400, json.dumps(said).encode(), None)) is RequestError


def test_a_refused_key_is_no_matter_of_length() -> None:
    assert not isinstance(classify("d", 401, b"maximum context length is 8 tokens", None), ContextOverflow)

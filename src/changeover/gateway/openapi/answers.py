"""Schemas of what callers get: what holds whichever model answers, and every way to be refused."""

from __future__ import annotations

from changeover.gateway.openapi.shapes import COUNT, TEXT, Json, given, list_of, or_null, ref

TASK: Json = {"type": "string", "description": "The task, as it was named in the request.", "examples": ["summarise"]}
TEXT_OR_NULL: Json = {"type": ["string", "null"]}

HEADERS: Json = {
    "x-changeover-request-id": {
        "description": "Names this request in records, logs and traces.",
        "required": True,
        "schema": {"type": "string", "pattern": "^req_"},
    },
    "x-changeover-route": {
        "description": "Revision of the task's route that decided who answers.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "x-changeover-deployment": {
        "description": "Deployment that answered.",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
    },
    "x-changeover-bundle": {
        "description": "First twelve digits of its bundle's digest: everything that can change an answer.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
    },
    "location": {"description": "Where the job is.", "required": True, "schema": TEXT},
    "retry-after": {
        "description": "Seconds after which it is worth trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "www-authenticate": {"description": "`Bearer`.", "required": True, "schema": {"const": "Bearer"}},
}

REFUSALS: dict[int, str] = {
    400: "The request is wrong; the message names the field. `invalid_request`, `context_overflow`, …",
    401: "No key, or none that is known here. `invalid_api_key`",
    403: "The key may not do this. `permission_denied`",
    404: "No such task, tool or job for this key; the message lists what it may call. `unknown_task`, `unknown_tool`, "
    "`unknown_job`. Of feedback, no such request of this key. `unknown_request`",
    408: "The request did not arrive in time. `request_timeout`",
    409: "The evidence, or the state of the rollout, does not allow it. `not_allowed`",
    413: "The body is larger than the gateway takes. `invalid_request`",
    422: "The engine refused the request; `source` is `model`. `invalid_request`. Of a tool, a file cannot be read. "
    "`document_refused`",
    429: "Too much at once, or a limit or budget is used up. `over_capacity`, `rate_limited`, `budget_exhausted`",
    500: "The gateway itself failed; its log says why, under the request's id. `internal_error`",
    502: "The model failed, after all that may answer were tried. `model_failed`, `structured_output_failed`, "
    "`contract_broken`",
    503: "No engine can answer yet. `not_ready`, `store_unavailable`",
    504: "The model did not finish in the task's time, or the tool in its own. `model_failed`",
}
"""By status, with the codes that come with it."""


def event(about: str, *held: str, end: str | None = None) -> Json:
    """One server-sent event, whose data is the JSON of one of some schemas, or the word that ends the stream."""
    inside = {"contentMediaType": "application/json", "contentSchema": {"anyOf": [ref(name) for name in held]}}
    data: Json = {"type": "string", **inside}
    if end is not None:
        data = {"anyOf": [{"const": end}, data]}
    return {**given(["data"], {"data": data, "event": TEXT}), "description": about}


_DELTA: Json = {
    "role": TEXT,
    "content": TEXT_OR_NULL,
    "reasoning_content": {
        **TEXT_OR_NULL,
        "description": "What the model thought, in whichever form it did; never in `content`.",
    },
}

SCHEMAS: Json = {
    "Refusal": given(
        ["error"],
        {
            "type": {"const": "error", "description": "For Anthropic's clients; not in a stream of OpenAI's."},
            "error": given(
                ["message", "type", "code", "param", "source", "request_id"],
                {
                    "message": {"type": "string", "minLength": 1, "description": "What was wrong, and what to do."},
                    "type": {"type": "string", "examples": ["invalid_request_error"]},
                    "code": {"type": "string", "description": "Stable.", "examples": ["unknown_task"]},
                    "param": TEXT_OR_NULL,
                    "source": {"enum": ["gateway", "model"], "description": "Who failed."},
                    "request_id": TEXT,
                },
            ),
        },
    ),
    "Usage": given(
        ["prompt_tokens", "total_tokens"],
        {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
    ),
    "ToolCall": given(
        ["id", "type", "function"],
        {
            "id": {"type": "string", "minLength": 1},
            "type": {"type": "string", "examples": ["function"]},
            "function": given(
                ["name", "arguments"],
                {
                    "name": TEXT,
                    "arguments": {"type": "string", "description": "JSON.", "examples": ['{"city": "Bergen"}']},
                },
            ),
        },
    ),
    "ChatAnswer": given(
        ["object", "model", "choices", "usage"],
        {
            "object": {"const": "chat.completion"},
            "model": TASK,
            "choices": list_of(
                given(
                    ["index", "message", "finish_reason"],
                    {
                        "index": COUNT,
                        "finish_reason": {"type": "string", "examples": ["stop", "length", "tool_calls"]},
                        "message": given(
                            ["role"],
                            {**_DELTA, "tool_calls": {"type": ["array", "null"], "items": ref("ToolCall")}},
                        ),
                    },
                ),
                minItems=1,
            ),
            "usage": ref("Usage"),
        },
    ),
    "ChatChunk": given(
        ["object", "model", "choices"],
        {
            "object": {"const": "chat.completion.chunk"},
            "model": TASK,
            "choices": list_of(
                given(
                    ["index", "delta"],
                    {
                        "index": COUNT,
                        "finish_reason": TEXT_OR_NULL,
                        "delta": given([], {**_DELTA, "tool_calls": {"type": ["array", "null"]}}),
                    },
                )
            ),
            "usage": or_null(ref("Usage")),
        },
    ),
    "CompletionAnswer": given(
        ["object", "model", "choices"],
        {
            "object": {"const": "text_completion"},
            "model": TASK,
            "choices": list_of(
                given(["index", "text"], {"index": COUNT, "text": TEXT, "finish_reason": TEXT_OR_NULL}),
                minItems=1,
            ),
            "usage": ref("Usage"),
        },
    ),
    "ChatEvent": event(
        "A piece; `[DONE]` at the end. A stream that breaks off ends with a refusal instead.",
        "ChatChunk",
        "Refusal",
        end="[DONE]",
    ),
    "CompletionEvent": event(
        "As of chat completions, with the next piece of the text in each choice.",
        "CompletionChunk",
        "Refusal",
        end="[DONE]",
    ),
    "CompletionChunk": given(
        ["object", "model", "choices"],
        {
            "object": {"const": "text_completion"},
            "model": TASK,
            "choices": list_of(given(["text"], {"index": COUNT, "text": TEXT})),
        },
    ),
    "EmbeddingAnswer": given(
        ["object", "model", "data"],
        {
            "object": {"const": "list"},
            "model": TASK,
            "data": list_of(
                given(
                    ["index", "embedding"],
                    {
                        "index": COUNT,
                        "embedding": {
                            "anyOf": [list_of({"type": "number"}), {"type": "string", "contentEncoding": "base64"}]
                        },
                    },
                ),
                minItems=1,
            ),
            "usage": ref("Usage"),
        },
    ),
    "ResponseAnswer": given(
        ["object", "model", "output"],
        {
            "object": {"const": "response"},
            "model": TASK,
            "status": {"type": "string", "examples": ["completed", "incomplete"]},
            "output": list_of(given(["type"], {"type": {"type": "string", "examples": ["message", "function_call"]}})),
        },
    ),
    "ResponseEvent": event(
        "From `response.created` to `response.completed`; one that breaks off ends with `error`.", "Typed"
    ),
    "MessageEvent": event("From `message_start` to `message_stop`; one that breaks off ends with `error`.", "Typed"),
    "Typed": given(["type"], {"type": TEXT}),
    "MessageAnswer": given(
        ["type", "model", "content"],
        {
            "type": {"const": "message"},
            "model": TASK,
            "content": list_of(given(["type"], {"type": {"type": "string", "examples": ["text", "tool_use"]}})),
            "stop_reason": TEXT_OR_NULL,
        },
    ),
    "Feedback": given(
        ["object", "request_id", "good", "comment"],
        {
            "object": {"const": "feedback"},
            "request_id": TEXT,
            "good": {"type": "boolean"},
            "comment": {**TEXT_OR_NULL, "description": "What is kept of it."},
        },
    ),
    "Model": given(
        ["id", "object", "created", "owned_by"],
        {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": {"const": "changeover"}},
    ),
    "ModelList": given(["object", "data"], {"object": {"const": "list"}, "data": list_of(ref("Model"))}),
    "Health": given(
        ["status"],
        {
            "status": {"const": "ok"},
            "route_revision": {**COUNT, "description": "Newest that this gateway follows. For keys that may look."},
            "store_stale": {"type": "boolean", "description": "The store cannot be read. For keys that may look."},
            "records_waiting": {**COUNT, "description": "Not yet in the store. For keys that may look."},
        },
    ),
    "OpenApi": given(["openapi", "info", "paths"], {"openapi": {"const": "3.1.0"}}),
}

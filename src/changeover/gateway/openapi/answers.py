"""Schemas of what callers get: what holds whichever model answers, and every way to be refused."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TASK: Json = {"type": "string", "description": "The task, as it was named in the request.", "examples": ["summarise"]}
COUNT: Json = {"type": "integer", "minimum": 0}
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
    "location": {"description": "Where the job is.", "required": True, "schema": {"type": "string"}},
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


def _object(required: list[str], properties: Json) -> Json:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": True}


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def event(about: str, *held: str, end: str | None = None) -> Json:
    """One server-sent event, whose data is the JSON of one of some schemas, or the word that ends the stream."""
    inside = {"contentMediaType": "application/json", "contentSchema": {"anyOf": [_ref(name) for name in held]}}
    data: Json = {"type": "string", **inside}
    if end is not None:
        data = {"anyOf": [{"const": end}, data]}
    return {**_object(["data"], {"data": data, "event": {"type": "string"}}), "description": about}


_DELTA: Json = {
    "role": {"type": "string"},
    "content": TEXT_OR_NULL,
    "reasoning_content": {
        **TEXT_OR_NULL,
        "description": "What the model thought, in whichever form it did; never in `content`.",
    },
}

SCHEMAS: Json = {
    "Refusal": _object(
        ["error"],
        {
            "type": {"const": "error", "description": "For Anthropic's clients; not in a stream of OpenAI's."},
            "error": _object(
                ["message", "type", "code", "param", "source", "request_id"],
                {
                    "message": {"type": "string", "minLength": 1, "description": "What was wrong, and what to do."},
                    "type": {"type": "string", "examples": ["invalid_request_error"]},
                    "code": {"type": "string", "description": "Stable.", "examples": ["unknown_task"]},
                    "param": TEXT_OR_NULL,
                    "source": {"enum": ["gateway", "model"], "description": "Who failed."},
                    "request_id": {"type": "string"},
                },
            ),
        },
    ),
    "Usage": _object(
        ["prompt_tokens", "total_tokens"],
        {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
    ),
    "ToolCall": _object(
        ["id", "type", "function"],
        {
            "id": {"type": "string", "minLength": 1},
            "type": {"type": "string", "examples": ["function"]},
            "function": _object(
                ["name", "arguments"],
                {
                    "name": {"type": "string"},
                    "arguments": {"type": "string", "description": "JSON.", "examples": ['{"city": "Bergen"}']},
                },
            ),
        },
    ),
    "ChatAnswer": _object(
        ["object", "model", "choices", "usage"],
        {
            "object": {"const": "chat.completion"},
            "model": TASK,
            "choices": _list(
                _object(
                    ["index", "message", "finish_reason"],
                    {
                        "index": COUNT,
                        "finish_reason": {"type": "string", "examples": ["stop", "length", "tool_calls"]},
                        "message": _object(
                            ["role"],
                            {**_DELTA, "tool_calls": {"type": ["array", "null"], "items": _ref("ToolCall")}},
                        ),
                    },
                ),
                minItems=1,
            ),
            "usage": _ref("Usage"),
        },
    ),
    "ChatChunk": _object(
        ["object", "model", "choices"],
        {
            "object": {"const": "chat.completion.chunk"},
            "model": TASK,
            "choices": _list(
                _object(
                    ["index", "delta"],
                    {
                        "index": COUNT,
                        "finish_reason": TEXT_OR_NULL,
                        "delta": _object([], {**_DELTA, "tool_calls": {"type": ["array", "null"]}}),
                    },
                )
            ),
            "usage": {"anyOf": [_ref("Usage"), {"type": "null"}]},
        },
    ),
    "CompletionAnswer": _object(
        ["object", "model", "choices"],
        {
            "object": {"const": "text_completion"},
            "model": TASK,
            "choices": _list(
                _object(["index", "text"], {"index": COUNT, "text": {"type": "string"}, "finish_reason": TEXT_OR_NULL}),
                minItems=1,
            ),
            "usage": _ref("Usage"),
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
    "CompletionChunk": _object(
        ["object", "model", "choices"],
        {
            "object": {"const": "text_completion"},
            "model": TASK,
            "choices": _list(_object(["text"], {"index": COUNT, "text": {"type": "string"}})),
        },
    ),
    "EmbeddingAnswer": _object(
        ["object", "model", "data"],
        {
            "object": {"const": "list"},
            "model": TASK,
            "data": _list(
                _object(
                    ["index", "embedding"],
                    {
                        "index": COUNT,
                        "embedding": {
                            "anyOf": [_list({"type": "number"}), {"type": "string", "contentEncoding": "base64"}]
                        },
                    },
                ),
                minItems=1,
            ),
            "usage": _ref("Usage"),
        },
    ),
    "ResponseAnswer": _object(
        ["object", "model", "output"],
        {
            "object": {"const": "response"},
            "model": TASK,
            "status": {"type": "string", "examples": ["completed", "incomplete"]},
            "output": _list(_object(["type"], {"type": {"type": "string", "examples": ["message", "function_call"]}})),
        },
    ),
    "ResponseEvent": event(
        "From `response.created` to `response.completed`; one that breaks off ends with `error`.", "Typed"
    ),
    "MessageEvent": event("From `message_start` to `message_stop`; one that breaks off ends with `error`.", "Typed"),
    "Typed": _object(["type"], {"type": {"type": "string"}}),
    "MessageAnswer": _object(
        ["type", "model", "content"],
        {
            "type": {"const": "message"},
            "model": TASK,
            "content": _list(_object(["type"], {"type": {"type": "string", "examples": ["text", "tool_use"]}})),
            "stop_reason": TEXT_OR_NULL,
        },
    ),
    "Feedback": _object(
        ["object", "request_id", "good", "comment"],
        {
            "object": {"const": "feedback"},
            "request_id": {"type": "string"},
            "good": {"type": "boolean"},
            "comment": {**TEXT_OR_NULL, "description": "What is kept of it."},
        },
    ),
    "Model": _object(
        ["id", "object", "created", "owned_by"],
        {"id": {"type": "string"}, "object": {"const": "model"}, "created": COUNT, "owned_by": {"const": "changeover"}},
    ),
    "ModelList": _object(["object", "data"], {"object": {"const": "list"}, "data": _list(_ref("Model"))}),
    "Health": _object(
        ["status"],
        {
            "status": {"const": "ok"},
            "route_revision": {**COUNT, "description": "Newest that this gateway follows. For operators and monitors."},
            "store_stale": {"type": "boolean", "description": "The store cannot be read. For operators and monitors."},
            "records_waiting": {**COUNT, "description": "Not yet in the store. For operators and monitors."},
        },
    ),
    "OpenApi": _object(["openapi", "info", "paths"], {"openapi": {"const": "3.1.0"}}),
}

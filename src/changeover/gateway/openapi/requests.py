"""Schemas of what callers send: the fields that the gateway reads. All others are passed on."""

from __future__ import annotations

from changeover.gateway.feedback import LONGEST_COMMENT
from changeover.gateway.openapi.shapes import Json, given, list_of, ref, told

MODEL: Json = {
    "type": "string",
    "minLength": 1,
    "description": "Name of a task. Of a deployment, if the key was granted it.",
    "examples": ["summarise"],
}
STREAM: Json = {
    "type": ["boolean", "null"],
    "description": "True: the answer comes in pieces, as server-sent events.",
}
USER: Json = {
    "description": "A text that names who asks: the same one stays on the same side of a canary.",
    "examples": ["u-17"],
}
MOST_TOKENS: Json = {
    "description": "Bound of the answer in tokens. Lowered to the task's own bound if that is smaller.",
    "examples": [200],
}
STREAM_OPTIONS: Json = {
    "description": "`include_usage` true: a stream's last event before its end holds the tokens used.",
    "examples": [{"include_usage": True}],
}
RESPONSE_FORMAT: Json = {
    "description": (
        "`json_object` or `json_schema`: the answer has this shape, or there is an error; it is asked for once more "
        "before that. The schema is a JSON schema without references to other documents."
    ),
    "examples": [{"type": "json_schema", "json_schema": {"name": "invoice", "schema": {"type": "object"}}}],
}
REASONING_EFFORT: Json = {
    "description": "How long a model that can think does so; `none`: not at all. Turned into the model's own switch.",
    "examples": ["low"],
}
NOT_KEPT: Json = {
    "enum": [False, None],
    "description": "Nothing is kept between calls: send the whole conversation, and wait for the answer or stream it.",
}
TOOLS: Json = {
    "type": ["array", "null"],
    "description": "Tools that the caller runs itself.",
    "items": {
        "type": "object",
        "properties": {"type": {"enum": ["function", "custom"]}},
        "additionalProperties": True,
    },
}


def _body(required: list[str], properties: Json) -> Json:
    named: Json = {"model": MODEL, **properties}
    return given(["model", *required], named)


def _messages(about: str) -> Json:
    return list_of(ref("Message"), minItems=1, description=about)


SCHEMAS: Json = {
    "Message": given(
        ["role"],
        {
            "role": {"type": "string", "examples": ["user"]},
            "content": {
                "description": (
                    "A text, or a list of parts. Pictures and sound come as `data:` URLs: nobody fetches an address."
                ),
                "examples": ["The ferry of 7:40 was cancelled."],
            },
        },
    ),
    "ChatRequest": _body(
        ["messages"],
        {
            "messages": _messages("The conversation."),
            "stream": STREAM,
            "stream_options": STREAM_OPTIONS,
            "max_tokens": MOST_TOKENS,
            "max_completion_tokens": MOST_TOKENS,
            "tools": TOOLS,
            "response_format": RESPONSE_FORMAT,
            "reasoning_effort": REASONING_EFFORT,
            "user": USER,
        },
    ),
    "CompletionRequest": _body(
        ["prompt"],
        {
            "prompt": {
                "type": ["string", "array"],
                "description": "A text, several, or tokens.",
                "examples": ["Once upon a time"],
            },
            "stream": STREAM,
            "stream_options": STREAM_OPTIONS,
            "max_tokens": MOST_TOKENS,
            "user": USER,
        },
    ),
    "EmbeddingRequest": _body(
        ["input"],
        {
            "input": {
                "type": ["string", "array"],
                "minLength": 1,
                "minItems": 1,
                "description": "A text, several, or tokens.",
                "examples": [["a ferry", "a train"]],
            },
            "encoding_format": {
                "description": "`float` or `base64`: little-endian 32-bit floats.",
                "examples": ["float"],
            },
            "dimensions": {"description": "Length of the vectors, where the model can shorten them."},
            "user": USER,
        },
    ),
    "ResponseRequest": _body(
        ["input"],
        {
            "input": {
                "type": ["string", "array"],
                "minLength": 1,
                "minItems": 1,
                "description": "A text, or the whole conversation as a list of items.",
                "examples": ["The ferry of 7:40 was cancelled."],
            },
            "instructions": {"description": "A text that says how to answer.", "examples": ["Be short."]},
            "stream": STREAM,
            "max_output_tokens": MOST_TOKENS,
            "tools": TOOLS,
            "text": {
                "description": "`format` as `response_format` of chat completions, one table less deep.",
                "examples": [{"format": {"type": "text"}}],
            },
            "store": NOT_KEPT,
            "previous_response_id": NOT_KEPT,
            "conversation": NOT_KEPT,
            "background": NOT_KEPT,
            "user": USER,
        },
    ),
    "MessageRequest": _body(
        ["messages"],
        {
            "messages": _messages("The conversation, without the system prompt."),
            "system": {"description": "A text, or a list of text blocks.", "examples": ["Be short."]},
            "max_tokens": {**MOST_TOKENS, "description": f"{MOST_TOKENS['description']} Engines may require it."},
            "stream": STREAM,
            "tools": {
                "type": ["array", "null"],
                "description": "Tools that the caller runs itself.",
                "items": {"type": "object", "additionalProperties": True},
            },
        },
    ),
    "FeedbackRequest": told(
        ["request_id", "good"],
        {
            "request_id": {
                "type": "string",
                "minLength": 1,
                "description": "The `x-changeover-request-id` of the answer.",
                "examples": ["req_01jd3k9mz0-7h2kq4wx"],
            },
            "good": {"type": "boolean", "description": "Whether the answer was."},
            "comment": {
                "type": ["string", "null"],
                "maxLength": LONGEST_COMMENT,
                "description": "Why, in words.",
                "examples": ["It left out the date."],
            },
        },
    ),
}

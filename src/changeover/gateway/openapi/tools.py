"""Tools and jobs in the document: the words for their routes, and the schemas of what they take and give."""

from __future__ import annotations

from collections.abc import Mapping

from changeover.gateway.openapi.answers import event
from changeover.gateway.openapi.described import Described
from changeover.gateway.openapi.shapes import COUNT, TEXT, WHEN, Json, in_path, list_of, or_null, ref, told, whole
from changeover.gateway.routes import JOBS, TOOLS

RUN_REFUSED = (404, 413, 422, 429, 502, 503, 504)
JOB_REFUSED = (404, 503)

PARAMETERS: Mapping[str, Json] = {
    "{name}": in_path("name", "Name of a tool that the key may use."),
    "{job}": in_path("job", "Id of a job of the key; an operator's or admin's key sees everybody's."),
}
"""By what stands for them in a path."""
AS: Json = {
    "name": "as",
    "in": "query",
    "description": (
        "`result`: the answer is the result. `stream`: server-sent events that tell how far it is, with the pieces of the "
        "text, then the result. `job`: 202 at once, and the run goes on by itself."
    ),
    "schema": {"enum": ["result", "stream", "job"], "default": "result"},
}

DESCRIBED: Mapping[str, Described] = {
    TOOLS: Described(
        name="listTools",
        summary="List the tools that the key may use",
        about="Those whose tasks it may all call, unless a tool names others who may use it.",
        answers="The tools, with the schemas of what they take and give.",
        answer="ToolList",
    ),
    f"GET {TOOLS}/{{name}}": Described(
        name="retrieveTool",
        summary="Look at one tool",
        about="With an example that can be sent as `inputs`, unless its files are large.",
        answers="The tool.",
        answer="Tool",
        refusals=(404,),
    ),
    f"POST {TOOLS}/{{name}}": Described(
        name="runTool",
        summary="Run a tool",
        about=(
            "Its calls of tasks are the key's own: they count against its limits and stand in its records. A form has a "
            "field or a file for each input."
        ),
        answers="The result, or events until it.",
        body="ToolRequest",
        form="ToolForm",
        answer="ToolResult",
        event="ToolEvent",
        accepted="ToolJob",
        query=(AS,),
        refusals=RUN_REFUSED,
    ),
    JOBS: Described(
        name="listJobs",
        summary="List jobs",
        about="Those of the key, newest first, at most 100, without their results; an operator's or admin's key sees everybody's.",
        answers="The jobs.",
        answer="JobList",
        refusals=(503,),
    ),
    f"GET {JOBS}/{{job}}": Described(
        name="retrieveJob",
        summary="Look at one job",
        about="With its result once it is done, for as long as that is kept.",
        answers="The job.",
        answer="ToolJob",
        refusals=JOB_REFUSED,
    ),
    f"DELETE {JOBS}/{{job}}": Described(
        name="cancelJob",
        summary="Cancel a job, or delete one that has ended",
        about="One that runs stops within a second or two, on whichever gateway that is.",
        answers="The job, cancelled; or that it is deleted.",
        answer="JobOver",
        refusals=JOB_REFUSED,
    ),
    f"{JOBS}/{{job}}/events": Described(
        name="watchJob",
        summary="Watch a job until it ends",
        about="The stream ends with its result or error; without either where the gateway is being stopped.",
        answers="Its events.",
        answer="ToolEvent",
        media="text/event-stream",
        refusals=JOB_REFUSED,
    ),
}
"""By path; where its methods do different things, by method and path."""

_OBJECT: Json = {"type": "object"}


def _list_of(name: str) -> Json:
    return whole({"object": {"const": "list"}, "data": list_of(ref(name))})


_PROGRESS = whole(
    {"step": TEXT, "number": {**COUNT, "description": "Of the step, from 1."}, "steps": COUNT, "done": COUNT},
    beside={"of": or_null(COUNT)},
)
SCHEMAS: Json = {
    "ToolRequest": told(
        ["inputs"],
        {
            "inputs": {
                **_OBJECT,
                "description": 'By name, as the tool\'s schema says. A file is `{"name": …, "content_base64": …}`.',
                "examples": [{"text": "The ferry of 7:40 was cancelled."}],
            }
        },
    ),
    "ToolForm": {
        **_OBJECT,
        "description": "A field or a file for each input; a list, a conversation, a number or a flag as JSON.",
        "additionalProperties": {"type": "string"},
    },
    "Tool": whole(
        {
            "object": {"const": "tool"},
            "name": TEXT,
            "title": TEXT,
            "description": TEXT,
            "group": TEXT,
            "tier": {"enum": ["low", "medium", "high"]},
            "digest": {**TEXT, "description": "Of all that decides what it does."},
            "inputs": {**_OBJECT, "description": "JSON schema of what it takes."},
            "output": {**_OBJECT, "description": "JSON schema of `value` in its results: the contract."},
            "media_type": {**TEXT, "description": "Of `text` in its results."},
            "extension": TEXT,
            "chat": or_null(_OBJECT),
            "tasks": list_of(TEXT, description="That it asks."),
        },
        beside={"example": _OBJECT},
    ),
    "ToolList": _list_of("Tool"),
    "ToolResult": whole(
        {
            "object": {"const": "tool.result"},
            "id": TEXT,
            "tool": TEXT,
            "digest": TEXT,
            "value": {**_OBJECT, "description": "Meets the tool's contract, whichever model answered."},
            "text": {**TEXT, "description": "For people."},
            "citations": list_of(_OBJECT),
            "problems": list_of(TEXT, description="What is not as it should be, in words."),
            "steps": list_of(_OBJECT),
            "answered_by": list_of(_OBJECT, description="Deployments and route revisions."),
        }
    ),
    "ToolProgress": _PROGRESS,
    "ToolPiece": whole({"piece": TEXT}),
    "ToolJob": whole(
        {
            "object": {"const": "tool.job"},
            "id": {"type": "string", "pattern": "^job_"},
            "tool": TEXT,
            "state": {"enum": ["waiting", "running", "done", "failed", "cancelled"]},
            "progress": or_null(ref("ToolProgress")),
            "created_at": WHEN,
            "started_at": or_null(WHEN),
            "ended_at": or_null(WHEN),
            "expires_at": {**WHEN, "description": "When it is deleted, once it has ended."},
        },
        beside={
            "result": ref("ToolResult"),
            "error": {**_OBJECT, "description": "As in a refusal."},
        },
    ),
    "JobList": _list_of("ToolJob"),
    "JobDeleted": whole({"object": {"const": "tool.job.deleted"}, "id": TEXT, "deleted": {"const": True}}),
    "JobOver": {"anyOf": [ref("ToolJob"), ref("JobDeleted")]},
    "ToolEvent": event(
        "`event` is `progress`, `text` (a piece of what is being written), `result` or `error`, which are the last.",
        *("ToolProgress", "ToolPiece", "ToolResult", "Refusal"),
    ),
}

"""The admin API in the document: the words for its routes, and the schemas of what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping

from changeover.gateway.admin import LONGEST_NAME, LONGEST_REASON
from changeover.gateway.openapi.described import Described
from changeover.gateway.openapi.shapes import TEXT, WHEN, Json, given, list_of, or_null, ref, told
from changeover.gateway.routes import ADMIN_TASKS

LOOKED = (404, 429, 503)
STEERED = (404, 409, 413, 429, 503)
AUDITED = "What was done stands in the task's history, under the key's name."

_DEEDS: Mapping[str, tuple[str, str, str]] = {
    "switch": (
        "SwitchRequest",
        "Propose a candidate",
        "Begins a rollout in `evaluation`: the running system measures it, and no request is touched before it passes.",
    ),
    "pause": ("SteerRequest", "Have a rollout stay where it is", "Its guards stay on."),
    "resume": ("SteerRequest", "Let a rollout go on", "One that was paused, or that is held."),
    "promote": (
        "SteerRequest",
        "Make the candidate the incumbent now",
        "Leaves out the remaining steps, and no gate: not the evaluation, nor approvals.",
    ),
    "abort": ("SteerRequest", "Stop a rollout before its promotion", "The incumbent answers everything."),
    "rollback": (
        "SteerRequest",
        "Bring back who answered before",
        "Or take out the candidate of a rollout under way.",
    ),
    "approve": ("SteerRequest", "Agree to a rollout", "Whoever began it cannot."),
    "override": (
        "OverrideRequest",
        "Let a rollout pass a gate",
        "Without what the gate asks for, with a reason and an end. It stays in sight.",
    ),
}


def _deed(name: str) -> Described:
    body, summary, about = _DEEDS[name]
    return Described(
        name=f"{name}Rollout" if name != "switch" else "proposeRollout",
        summary=summary,
        about=f"{about} {AUDITED}",
        answers="The task as it stands then.",
        body=body,
        answer="TaskState",
        refusals=STEERED,
    )


DESCRIBED: Mapping[str, Described] = {
    ADMIN_TASKS: Described(
        name="listTaskStates",
        summary="Look at every task's route and rollout",
        about="As `changeover status` shows them.",
        answers="The tasks.",
        answer="TaskStates",
        refusals=(429, 503),
    ),
    f"{ADMIN_TASKS}/{{task}}/rollout": Described(
        name="getRollout",
        summary="Look at a task's newest rollout",
        about="With its hold, its last event and what the guards had seen then; `rollout` is null where there was none.",
        answers="The task as it stands.",
        answer="TaskState",
        refusals=LOOKED,
    ),
    f"{ADMIN_TASKS}/{{task}}/history": Described(
        name="getHistory",
        summary="Look at a task's route revisions",
        about="Newest first, the last 50.",
        answers="The revisions.",
        answer="TaskHistory",
        refusals=LOOKED,
    ),
    **{f"{ADMIN_TASKS}/{{task}}/{name}": _deed(name) for name in _DEEDS},
}
"""By path."""

_REASON: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": LONGEST_REASON,
    "pattern": "\\S",
    "description": "Why; kept in the history.",
    "examples": ["agreed in the change board"],
}
_NAME: Json = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": "\\S"}


def _steered(**properties: Json) -> Json:
    named = {"reason": _REASON, **properties}
    return told(list(named), named)


SCHEMAS: Json = {
    "SteerRequest": _steered(),
    "SwitchRequest": _steered(to={**_NAME, "description": "A deployment.", "examples": ["qwen2.5-coder-0.5b"]}),
    "OverrideRequest": _steered(
        gate={"enum": ["evaluation", "approval"], "description": "What it passes without."},
        approver={**_NAME, "description": "Who approves of that.", "examples": ["ana"]},
        expires_at={**WHEN, "description": "When it ends; with its time zone.", "examples": ["2030-01-01T12:00:00Z"]},
    ),
    "TaskRoute": given(
        ["revision", "incumbent", "candidate", "former", "action", "actor", "reason", "at"],
        {
            "revision": {"type": "integer", "minimum": 0},
            "incumbent": {**TEXT, "description": "Deployment that answers."},
            "candidate": or_null(TEXT),
            "candidate_weight": {"type": "number"},
            "shadow_share": {"type": "number"},
            "former": or_null(TEXT),
            "action": TEXT,
            "actor": TEXT,
            "reason": TEXT,
            "rollout": or_null({"type": "integer"}),
            "comparison": or_null(TEXT),
            "at": WHEN,
        },
    ),
    "TaskRollout": given(
        ["id", "state", "step", "incumbent", "candidate", "hold", "last_event"],
        {
            "id": {"type": "integer"},
            "state": {**TEXT, "examples": ["evaluation", "shadow", "canary", "baking", "done"]},
            "step": {"type": "integer", "description": "Of the plan's steps, from 0."},
            "incumbent": {**TEXT, "description": "Deployment."},
            "candidate": {**TEXT, "description": "Deployment."},
            "hold": or_null({"type": "object", "description": "Who has it wait, why and since when."}),
            "last_event": or_null({"type": "object", "description": "With what it was decided from: the guards."}),
        },
    ),
    "TaskState": given(
        ["task", "route", "rollout"],
        {
            "task": TEXT,
            "route": ref("TaskRoute"),
            "rollout": or_null(ref("TaskRollout")),
        },
    ),
    "TaskStates": given(["tasks"], {"tasks": list_of(ref("TaskState"))}),
    "TaskHistory": given(
        ["task", "revisions"],
        {"task": TEXT, "revisions": list_of(ref("TaskRoute"))},
    ),
}

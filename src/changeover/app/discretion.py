"""What is shown and told to somebody who may see some tasks only, by rooms that know all of them.

Refusals name what they are about: a task that needs an engine, the tasks that are known. To whoever is limited they are told
without the names of what is not theirs. Deployments are shared, and shown to all but where one is a task's alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection

from changeover.app.installation import Installation, own_echo
from changeover.library.licences.policy import Policy
from changeover.tasks.declarations import Tasks
from changeover.tasks.queries import current_routes

CONCEALED = "…"
"""Stands where a name was."""
_NAMING = re.compile(r"`[^`]*`|\b(?:Known|Near): [^.]*")
"""Where messages name something: between backticks, and in lists of what is known."""


def seen_by(installation: Installation, tasks: frozenset[str]) -> Installation:
    """The project as somebody has it who may see some tasks only: declarations, what is wrong with them, and the policy."""
    declared = Tasks()
    declared.update({name: task for name, task in installation.tasks.items() if name in tasks})
    if isinstance(installation.tasks, Tasks):
        declared.problems = {name: each for name, each in installation.tasks.problems.items() if name in tasks}
    policy = None if installation.policy is None else _of_tasks(installation.policy, tasks)
    return replace(installation, tasks=declared, problems=tuple(declared.problems.values()), policy=policy, only=tasks)


def hidden_from(installation: Installation, connection: Connection, tasks: frozenset[str]) -> frozenset[str]:
    """Names that whoever may see some tasks only is not told: tasks of others, and engines that are one of these's alone."""
    refused = installation.tasks.problems if isinstance(installation.tasks, Tasks) else {}
    others = {*installation.tasks, *refused, *current_routes(connection)} - {*tasks, ""}
    return frozenset(others | {own_echo(task) for task in others})


def discreet(message: str, hidden: Iterable[str]) -> str:
    """A message without some names.

    >>> discreet("`m` may have to answer `pay`: see `changeover status pay`. Known: code, pay.", {"pay"})
    '`m` may have to answer `…`: see `changeover status …`. Known: code, ….'
    >>> discreet("`payments` is not `pay`, nor does it pay.", {"pay"})
    '`payments` is not `…`, nor does it pay.'
    """
    names = sorted(hidden, key=len, reverse=True)
    if not names:
        return message
    named = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, names))})(?![\w-])")
    return _NAMING.sub(lambda found: named.sub(CONCEALED, found.group()), message)


def _of_tasks(policy: Policy, tasks: frozenset[str]) -> Policy:
    """What the policy says of the organisation and of some tasks."""
    closed = (
        each.model_copy(update={"tasks": tuple(name for name in each.tasks if name in tasks)})
        for each in policy.closed_models
    )
    return policy.model_copy(
        update={
            "tasks": {name: each for name, each in policy.tasks.items() if name in tasks},
            "closed_models": tuple(each for each in closed if each.tasks),
        }
    )

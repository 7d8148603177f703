"""The generated page of who may what: roles, and by the right that each takes the commands, routes and pages there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from changeover.cli.main import COMMANDS
from changeover.console.app import PAGES
from changeover.console.routes import Page
from changeover.gateway.keys import RIGHTS, Right
from changeover.gateway.routes import ADMIN_TASKS, DEEDS
from docs.page import page

MEANING: dict[Right, str] = {
    "call": "call tasks and tools; see their own jobs",
    "look": "look at routes, rollouts, evidence, usage and audit; `/metrics`, the state in `/healthz`",
    "operate": "begin, steer and take back switches; keep samples; name a variant or a deployment; see everybody's jobs; deploy, "
    "start and stop",
    "approve": "agree to a rollout; override a gate",
    "administer": "make, change and revoke keys and teams",
}
COMMANDS_OF = {
    "/deployments/plan": "deploy",
    "/deployments/{name}/start": "deploy",
    "/deployments/{name}/stop": "undeploy",
    "/measuring/trial": "trial",
    "/measuring/comparison": "compare",
    "/keys": "key",
    "/keys/{key}": "key",
    "/keys/{key}/revoke": "key",
    "/teams": "team",
    "/teams/{team:path}/limits": "team",
    "/teams/{team:path}/remove": "team",
}
"""The command that does what a form of the console does, where the two are not called the same."""


def rights() -> str:
    """Who may what."""
    return page(
        [
            "# Rights",
            "One table in the code, `gateway/keys.py`, says which role has which right; every route of the gateway and every page of "
            "the console names the right that it takes, and tests try all of them with all roles. What keys are: "
            "[keys, teams and limits](../concepts/limits.md).",
            "## Roles",
            _table(["", *(f"`{right}`" for right in get_args(Right))], _roles()),
            "\n".join(f"* `{right}`: {MEANING[right]}" for right in get_args(Right)),
            "A command on the machine of the project reaches the store as whoever may read its directory: as an administrator.",
            "## What is done",
            "The same right wherever it is done. *every task*: not for a key or a person that is limited to some tasks, because it "
            "concerns those of others too.",
            _table(["", "takes", "command", "API", "console"], _deeds()),
            "## What is looked at on the console",
            _table(["page", "takes"], _pages()),
        ]
    )


def _table(head: list[str], rows: Iterator[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _roles() -> Iterator[list[str]]:
    for role, has in RIGHTS.items():
        yield [f"`{role}`", *("yes" if right in has else "–" for right in get_args(Right))]


def _deeds() -> Iterator[list[str]]:
    for deed, right in DEEDS.items():
        paths = [each.path for each in _forms() if deed_of(each) == deed]
        yield [deed, f"`{right}`", _command(deed), f"`POST {ADMIN_TASKS}/{{task}}/{deed}`", _listed(paths)]
    for each in _forms():
        if deed_of(each) is None:
            takes = f"`{each.right}`{', every task' if each.whole else ''}"
            yield ["", takes, _command(COMMANDS_OF.get(each.path, "")), "–", f"`{each.path}`"]


def _pages() -> Iterator[list[str]]:
    for each in PAGES:
        if "GET" in each.methods:
            yield [f"`{each.path}`", f"`{each.right}`{', every task' if each.whole else ''}"]


def _forms() -> list[Page]:
    return [each for each in PAGES if "POST" in each.methods]


def deed_of(form: Page) -> str | None:
    """The deed of the admin API that a form of the console does too; None: it does another thing."""
    last = form.path.rpartition("/")[2]
    return last if last in DEEDS else None


def _command(name: str) -> str:
    return f"`changeover {name}`" if name in COMMANDS else "–"


def _listed(paths: list[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)

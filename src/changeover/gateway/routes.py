"""Every route of the door, and who may use it. What is not in this table does not exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from changeover.core.errors import RequestError
from changeover.gateway.endpoints import ENDPOINTS, Endpoint
from changeover.gateway.keys import CALLERS, LOOKERS, ROLES, Right, Role, roles_with

ANYBODY: frozenset[Role] = frozenset()
"""No key is asked for."""
EVERY_ROLE: frozenset[Role] = frozenset(ROLES)
MODEL_PREFIX = "/v1/models/"
ADMIN_TASKS = "/admin/v1/tasks"
LOOKS = ("rollout", "history")
DEEDS: Mapping[str, Right] = {
    "switch": "operate",
    "pause": "operate",
    "resume": "operate",
    "promote": "operate",
    "abort": "operate",
    "rollback": "operate",
    "approve": "approve",
    "override": "approve",
}
"""What is done to a task, and the right that it takes, here and on the console."""

TOOLS = "/v1/tools"
JOBS = "/v1/jobs"

Page = Literal["call", "models", "model", "health", "metrics", "openapi", "feedback", "admin", "tools"]


@dataclass(frozen=True, slots=True)
class Route:
    """One address."""

    path: str
    methods: tuple[str, ...]
    page: Page
    roles: frozenset[Role]
    endpoint: Endpoint | None = None
    whole: bool = False
    """It speaks of all tasks in one, so that a key of some tasks only may not have it."""


ROUTES: tuple[Route, ...] = (
    *(Route(path, ("POST",), "call", CALLERS, endpoint) for path, endpoint in ENDPOINTS.items()),
    Route("/v1/feedback", ("POST",), "feedback", CALLERS),
    Route("/v1/models", ("GET",), "models", EVERY_ROLE),
    Route(MODEL_PREFIX, ("GET",), "model", EVERY_ROLE),
    Route(TOOLS, ("GET",), "tools", CALLERS),
    Route(f"{TOOLS}/{{name}}", ("GET", "POST"), "tools", CALLERS),
    Route(JOBS, ("GET",), "tools", CALLERS),
    Route(f"{JOBS}/{{job}}", ("GET", "DELETE"), "tools", CALLERS),
    Route(f"{JOBS}/{{job}}/events", ("GET",), "tools", CALLERS),
    Route("/openapi.json", ("GET",), "openapi", EVERY_ROLE),
    Route("/metrics", ("GET",), "metrics", LOOKERS, whole=True),
    Route("/healthz", ("GET", "HEAD"), "health", ANYBODY),
    Route(ADMIN_TASKS, ("GET",), "admin", LOOKERS),
    *(Route(f"{ADMIN_TASKS}/{{task}}/{look}", ("GET",), "admin", LOOKERS) for look in LOOKS),
    *(Route(f"{ADMIN_TASKS}/{{task}}/{deed}", ("POST",), "admin", roles_with(right)) for deed, right in DEEDS.items()),
)
_BY_PATH: Mapping[str, Route] = {route.path: route for route in ROUTES if route.path != MODEL_PREFIX}
_MODEL = next(route for route in ROUTES if route.path == MODEL_PREFIX)


class NoSuchRoute(RequestError):
    """The address does not exist."""

    status = 404
    code = "no_such_route"


class WrongMethod(RequestError):
    """The address exists and takes another method."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


def find_route(path: str, method: str) -> Route:
    """The route of a request, by its path and nothing else of its address.

    Raises:
        NoSuchRoute, WrongMethod: There is none.
    """
    route = _BY_PATH.get(path)
    if route is None and path.startswith(MODEL_PREFIX) and len(path) > len(MODEL_PREFIX):
        route = _MODEL
    elif route is None and path.startswith(f"{ADMIN_TASKS}/"):
        task, _, deed = path.removeprefix(f"{ADMIN_TASKS}/").rpartition("/")
        route = _BY_PATH.get(f"{ADMIN_TASKS}/{{task}}/{deed}") if task and "/" not in task else None
    elif route is None:
        route = _of_tools(path)
    if route is None:
        known = ", ".join(sorted(path for path in _BY_PATH if "{" not in path))
        raise NoSuchRoute(f"No route `{method} {path[:200]}`. This gateway answers {known}.")
    if method not in route.methods:
        raise WrongMethod(f"`{route.path}` takes {' and '.join(route.methods)}, not `{method[:20]}`.", route.methods)
    return route


def _of_tools(path: str) -> Route | None:
    """The route of a path that names a tool, or a job."""
    if path.startswith(f"{TOOLS}/"):
        name = path[len(TOOLS) + 1 :]
        return _BY_PATH[f"{TOOLS}/{{name}}"] if name and "/" not in name else None
    if path.startswith(f"{JOBS}/"):
        id, _, rest = path[len(JOBS) + 1 :].partition("/")
        return _BY_PATH.get(f"{JOBS}/{{job}}/{rest}" if rest else f"{JOBS}/{{job}}") if id and path[-1] != "/" else None
    return None

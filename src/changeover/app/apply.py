"""Applying declarations: everything is read and prepared first, then committed at once or not at all.

Declarations are files. What the gateways answer by is what was applied of them last, so that a file that is being edited
changes nothing yet, and a broken one never does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Connection

from changeover.app.deploy import ask_for, first_plan_of
from changeover.app.installation import ECHO, Installation
from changeover.app.licence_checks import check, judge_engine, licensing_of
from changeover.core.digest import canonical_json, sha256_value
from changeover.core.errors import ArtifactError, ChangeoverError, ConfigError, StoreError
from changeover.library.artifacts import embeddable
from changeover.library.catalogue import declared_in
from changeover.library.licences.words import refusal
from changeover.library.pull import present
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.serving.backends import describe
from changeover.serving.bundles import differences
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import find_deployment, load_variants
from changeover.serving.variants import Variant
from changeover.tasks.applied import (
    Applied,
    append_applied,
    document_of,
    latest_applied_revision,
    newest_applied,
    tasks_of,
    tools_of,
)
from changeover.tasks.declarations import Task
from changeover.tasks.queries import current_route, current_routes

MOST_TRIES = 5
"""Others may apply at the same time; the difference is then made anew."""
FIRST_ONLY = ("first_incumbent", "echo")
"""Keys that only matter until a task has a route."""
OF_THE_BUNDLE = ("prompt", "parameters")
"""Keys that are part of what is measured and switched."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What applying changes of one task, or of one tool."""

    task: str
    """Its name, or the tool's."""
    kind: Literal["new", "changed", "removed"]
    changes: tuple[str, ...] = ()
    """Keys with their values before and after."""
    waits: tuple[str, ...] = ()
    """What a switch would bring in beside them. Until then the incumbent answers as it was measured."""
    incumbent: str | None = None
    """Deployment that answers the task, or will; None for one that is removed, and for a tool."""
    of: Literal["task", "tool"] = "task"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was applied, or would be."""

    revision: int
    """Of the declarations that hold now; 0: none were applied yet."""
    changes: tuple[Change, ...]
    committed: bool
    not_allowed: tuple[str, ...] = ()
    """Models of the project's own cards that may not be used here: one sentence each. What answers goes on."""


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """What a task without a route needs: an engine that answers it first."""

    task: Task
    plan: EnginePlan
    engine: EnginePart


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What holds now, read in one piece."""

    applied: Applied | None
    live: Mapping[str, Variant]
    """Incumbent of every task that has a route."""

    @property
    def revision(self) -> int:
        return 0 if self.applied is None else self.applied.revision


def apply(installation: Installation, actor: str, *, check: bool = False) -> Outcome:
    """Make the declarations of an installation those that gateways answer by; `check` only says what would change.

    Raises:
        ConfigError: A declaration is broken. Nothing was changed.
        ArtifactError: The weights of a new task's first incumbent are not here. Nothing was changed.
        EngineError: Its engine cannot be described. Nothing was changed.
        LicenceError: The policy or its licence does not allow it to answer the task. Nothing was changed.
        StoreError: The store cannot be used, or others apply all the time. Nothing was changed.
    """
    if installation.problems:
        raise installation.problems[0]
    tools = {name: tool.digest for name, tool in installation.tools.items()}
    document = document_of(installation.tasks, installation.project.root, tools)
    refused = tuple(_not_allowed(installation))
    for _ in range(MOST_TRIES):
        held = _held(installation)
        openings = [_opening(installation, task) for name, task in installation.tasks.items() if name not in held.live]
        changes = (*_changes(installation, held, openings), *_tool_changes(held, tools))
        same = held.applied is not None and held.applied.digest == sha256_value(document) and not openings
        if check or same:
            return Outcome(revision=held.revision, changes=changes, committed=False, not_allowed=refused)
        with installation.store.write() as connection:
            if latest_applied_revision(connection) == held.revision:
                for opening in openings:
                    _open(connection, opening, actor, installation)
                said = [asdict(change) for change in changes]
                now = installation.clock.now()
                revision = append_applied(connection, document, actor=actor, changes=said, now=now)
                return Outcome(revision=revision, changes=changes, committed=True, not_allowed=refused)
    raise StoreError("Others apply declarations all the time. Nothing of these was applied; try again.")


def _not_allowed(installation: Installation) -> Iterator[str]:
    """What has come in with the project's own library and is for no task here, each with the clause."""
    licensing, own = licensing_of(installation), declared_in(installation.project.cards)
    judged = (licensing.card(card) for card in installation.catalogue.cards() if card.id in own)
    yield from (refusal(judgement) for judgement in judged if not judgement.allowed)


def _held(installation: Installation) -> _Held:
    with installation.store.read() as connection:
        routes = current_routes(connection)
        variants = load_variants(connection, {route.incumbent for route in routes.values()})
        return _Held(
            applied=newest_applied(connection),
            live={name: variants[route.incumbent] for name, route in routes.items()},
        )


def _opening(installation: Installation, task: Task) -> _Opening:
    model = task.declared.first_incumbent
    if model != ECHO:
        artifact = embeddable(installation.catalogue.card(model).artifacts)
        if artifact is not None and not present(artifact, installation.project.cache):
            raise ArtifactError(
                f"{task.file}: `first_incumbent`: the weights of `{model}` are not here. "
                f"Fetch them with `changeover pull {model}`, then apply again."
            )
    try:
        plan = first_plan_of(installation, task)
        engine = describe(plan, installation.backends)
        check(judge_engine(licensing_of(installation), engine, task.name))
        return _Opening(task=task, plan=plan, engine=engine)
    except ChangeoverError as exc:
        raise type(exc)(f"{task.file}: `first_incumbent`: {exc.message}") from exc


def _open(connection: Connection, opening: _Opening, actor: str, installation: Installation) -> None:
    """Write a task's first deployment and route, unless somebody has meanwhile."""
    task, name, now = opening.task, opening.plan.deployment, installation.clock.now()
    if current_route(connection, task.name) is not None:
        return
    ask_for(connection, opening.plan, opening.engine, actor, now)
    # What is deployed under that name already may have been described with other options.
    engine = EnginePart.from_document(find_deployment(connection, name).engine)
    by = By(actor=actor, reason=f"first start; declared in {task.file.name}", now=now)
    begin(connection, Variant.declared(task, name, engine), by)


def _changes(installation: Installation, held: _Held, openings: Sequence[_Opening]) -> Iterator[Change]:
    before = _before(installation, held)
    first = {opening.task.name: opening.plan.deployment for opening in openings}
    for name, task in sorted(installation.tasks.items()):
        live = held.live.get(name)
        incumbent = first[name] if live is None else live.deployment
        if name not in before:
            yield Change(task=name, kind="new", waits=_waiting(task, live), incumbent=incumbent)
            continue
        old = before[name]
        if old.document(installation.project.root) == task.document(installation.project.root):
            continue
        said = tuple(_said(old, task, routed=live is not None))
        waits = _waiting(task, live) if _bundle_part(old) != _bundle_part(task) else ()
        if live is not None and not waits and _bundle_part(old) != _bundle_part(task):
            said += (f"prompt and parameters: as `{incumbent}` answers already",)
        yield Change(task=name, kind="changed", changes=said, waits=waits, incumbent=incumbent)
    for name in sorted(before.keys() - installation.tasks.keys()):
        yield Change(task=name, kind="removed")


def _tool_changes(held: _Held, tools: Mapping[str, str]) -> Iterator[Change]:
    before = {} if held.applied is None else tools_of(held.applied.document)
    for name in sorted({*before, *tools}):
        if before.get(name) != tools.get(name):
            kind = "new" if name not in before else "changed" if name in tools else "removed"
            yield Change(task=name, kind=kind, of="tool")


def _before(installation: Installation, held: _Held) -> Mapping[str, Task]:
    if held.applied is None:
        return {}
    try:
        return tasks_of(held.applied.document, installation.project.root)
    except ConfigError:
        return {}  # Another version wrote it. What it said cannot be compared, and must not stand in the way of this.


def _bundle_part(task: Task) -> tuple[str, str, str]:
    """What of a declaration is measured and switched."""
    return task.prompt_name, task.prompt, canonical_json(task.declared.model_dump(mode="json")["parameters"])


def _waiting(task: Task, live: Variant | None) -> tuple[str, ...]:
    if live is None:
        return ()
    declared = Variant.declared(task, live.deployment, live.bundle.engine)
    return tuple(differences(live.bundle, declared.bundle))


def _said(old: Task, new: Task, *, routed: bool) -> Iterator[str]:
    """What changes at once, in words. Of a task with a route, prompt and parameters do not: see `_waiting`."""
    before, after = _flat(old.declared.model_dump(mode="json")), _flat(new.declared.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key, "unset"), after.get(key, "unset")
        top = key.partition(".")[0]
        if was == now or (routed and top in OF_THE_BUNDLE):
            continue
        note = " (matters only to a task without a route)" if routed and top in FIRST_ONLY else ""
        yield f"{key} {was} → {now}{note}"
    if old.prompt != new.prompt and not routed:
        yield "prompt: its text"
    if old.input_template != new.input_template and old.declared.input == new.declared.input:
        yield "input: its text"


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Dotted keys with their values as people write them; lists are values."""
    found: dict[str, str] = {}
    for key, each in value.items():
        if isinstance(each, Mapping):
            found |= _flat(each, f"{above}{key}.")  # pyright: ignore[reportUnknownArgumentType] - JSON
        elif isinstance(each, float) and each.is_integer():
            found[f"{above}{key}"] = str(int(each))
        else:
            found[f"{above}{key}"] = each if isinstance(each, str) else canonical_json(each)
    return found

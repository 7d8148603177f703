"""Every query on deployments, bundles and variants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, delete, insert, select, update

from changeover.core.errors import UnknownModelError, nearest
from changeover.serving.bundles import Bundle, EnginePart
from changeover.serving.eviction import Need
from changeover.serving.tuned import KeptTuning, Tuning
from changeover.serving.variants import Variant
from changeover.store.schema import bundles, deployments, rollouts, tunings, variants
from changeover.tasks.queries import current_routes


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A bundle's engine part, running (or to be run) under a name."""

    name: str
    backend: str
    model: str
    options: Mapping[str, Any]
    engine: Mapping[str, Any]
    """What the engine contributes to a bundle."""
    desired: str
    """`running` or `stopped`."""
    created_by: str
    created_at: datetime
    state: str
    """What the supervisor last saw."""
    detail: str
    address: str | None
    """Where the engine listens."""
    pid: int | None
    restarts: int
    memory_bytes: int | None
    """Resident memory of its process when it last could answer; kept after its end, for who asks whether it fits."""
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class EngineOfVariant:
    """Which engine answered, or shall answer, as a variant."""

    id: str
    task: str
    deployment: str
    bundle: str
    """Digest."""
    engine: EnginePart


ASKED_AGAIN = "waiting"
"""State of a row that nobody has started since somebody asked for it."""
ANSWERING: Final = ("ready", "idle")
"""States of a row whose deployment answers: at once, or as soon as it is loaded again."""

_FOREMOST: Sequence[Need] = ("incumbent", "candidate", "former", "none")
_CANDIDATES = select(rollouts.c.candidate).where(rollouts.c.state.in_(("evaluation", "shadow", "canary")))
"""Of rollouts before their promotion; in the evaluation no route names them yet."""
_ADAPTERS = select(deployments.c.name, deployments.c.options).where(deployments.c.backend == "adapter")
_DEPLOYMENT_FIELDS = [field.name for field in fields(Deployment)]


def all_deployments(connection: Connection) -> list[Deployment]:
    rows = connection.execute(select(deployments).order_by(deployments.c.name))
    return [_deployment(row) for row in rows]


def needs(connection: Connection) -> dict[str, Need]:
    """Deployments that a route or a rollout names, and the foremost of what it names them as."""
    routes = current_routes(connection).values()
    named: list[tuple[Need, Iterable[str | None]]] = [
        ("incumbent", (route.incumbent for route in routes)),
        ("candidate", (route.candidate for route in routes)),
        ("candidate", connection.execute(_CANDIDATES).scalars()),
        ("former", (route.former for route in routes)),
    ]
    ids: dict[str, Need] = {}
    for need, variants_of in named:
        for id in variants_of:
            if id is not None:
                ids.setdefault(id, need)
    found: dict[str, Need] = {}
    for row in connection.execute(select(variants.c.id, variants.c.deployment).where(variants.c.id.in_(list(ids)))):
        found[row.deployment] = _foremost(found.get(row.deployment), ids[row.id])
    for row in connection.execute(_ADAPTERS):
        if row.name in found:  # it runs in its base's engine
            base = row.options.get("base", "")
            found[base] = _foremost(found.get(base), found[row.name])
    return found


def tasks_by_deployment(connection: Connection) -> dict[str, list[str]]:
    """Tasks that a deployment answers, or whose candidate it is: by the deployment's name, in order."""
    ids = {id: route.task for route in current_routes(connection).values() for id in route.variants()}
    found: dict[str, set[str]] = {}
    rows = connection.execute(select(variants.c.id, variants.c.deployment).where(variants.c.id.in_(list(ids))))
    for row in rows:
        found.setdefault(row.deployment, set()).add(ids[row.id])
    return {name: sorted(tasks) for name, tasks in found.items()}


def _foremost(one: Need | None, other: Need) -> Need:
    return other if one is None or _FOREMOST.index(other) < _FOREMOST.index(one) else one


def find_deployment(connection: Connection, name: str) -> Deployment:
    """Get a deployment by name, or say which there are."""
    row = connection.execute(select(deployments).where(deployments.c.name == name)).first()
    if row is None:
        known = connection.execute(select(deployments.c.name)).scalars()
        raise UnknownModelError(f"No deployment named `{name}`. {nearest(name, known)}")
    return _deployment(row)


def has_deployment(connection: Connection, name: str) -> bool:
    found = connection.execute(select(deployments.c.name).where(deployments.c.name == name)).first()
    return found is not None


def add_deployment(
    connection: Connection,
    *,
    name: str,
    backend: str,
    model: str,
    options: Mapping[str, Any],
    engine: Mapping[str, Any],
    actor: str,
    now: datetime,
    desired: Literal["running", "stopped"] = "running",
) -> None:
    """Ask for a deployment. The running system starts it when it sees the row, unless it shall wait to be asked for."""
    connection.execute(
        insert(deployments).values(
            name=name,
            backend=backend,
            model=model,
            options=dict(options),
            engine=dict(engine),
            desired=desired,
            created_by=actor,
            created_at=now,
            state="waiting",
            detail="not started yet",
            restarts=0,
            updated_at=now,
        )
    )


def want(connection: Connection, name: str, desired: str, now: datetime) -> None:
    """Ask for a deployment to run or to stop. One that was given up is tried again."""
    connection.execute(update(deployments).where(deployments.c.name == name).values(desired=desired, updated_at=now))
    connection.execute(
        update(deployments)
        .where(deployments.c.name == name, deployments.c.state == "failed")
        .values(state=ASKED_AGAIN, detail="to be started again")
    )


def exchange(connection: Connection, *, stop: str, start: str, now: datetime) -> None:
    """Ask for one deployment in place of another. Where memory does not hold both, it starts once the other is gone."""
    want(connection, stop, "stopped", now)
    want(connection, start, "running", now)
    # What an earlier life of it came to must not be taken for this one's.
    connection.execute(
        update(deployments)
        .where(deployments.c.name == start, deployments.c.state.not_in((*ANSWERING, "starting")))
        .values(state=ASKED_AGAIN, detail=f"takes the place of {stop}", restarts=0)
    )


def set_threads(connection: Connection, name: str, threads: int, now: datetime) -> None:
    """Have a deployment run with so many threads from its next start on. They are no part of its bundle."""
    options = {**find_deployment(connection, name).options, "threads": threads}
    changed = update(deployments).where(deployments.c.name == name)
    connection.execute(changed.values(options=options, updated_at=now))


def keep_tuning(connection: Connection, tuning: Tuning, *, model: str, backend: str, actor: str, now: datetime) -> None:
    """Keep what was found for a model on a kind of engine; what was found before on the same machine is gone."""
    same = (tunings.c.model == model, tunings.c.backend == backend, tunings.c.machine == tuning.machine)
    connection.execute(delete(tunings).where(*same))
    connection.execute(
        insert(tunings).values(
            model=model,
            backend=backend,
            machine=tuning.machine,
            document=tuning.document(),
            measured_by=actor,
            measured_at=now,
        )
    )


def tunings_on(connection: Connection, machine: str) -> dict[tuple[str, str], KeptTuning]:
    """What was found on a machine, by model and kind of engine."""
    rows = connection.execute(select(tunings).where(tunings.c.machine == machine))
    return {
        (row.model, row.backend): KeptTuning(tuning=Tuning.from_document(row.document), measured_at=row.measured_at)
        for row in rows
    }


def note_engine(connection: Connection, name: str, engine: Mapping[str, Any], now: datetime) -> None:
    """Write down that the engine behind a deployment is another one now."""
    changed = update(deployments).where(deployments.c.name == name)
    connection.execute(changed.values(engine=dict(engine), updated_at=now))


def note_options(connection: Connection, name: str, options: Mapping[str, Any], now: datetime) -> None:
    """Have a deployment start with other options from its next start on."""
    connection.execute(
        update(deployments).where(deployments.c.name == name).values(options=dict(options), updated_at=now)
    )


def note_state(
    connection: Connection,
    name: str,
    *,
    state: str,
    detail: str,
    address: str | None = None,
    pid: int | None = None,
    restarts: int = 0,
    memory_bytes: int | None = None,
    now: datetime,
) -> None:
    """Write down what the supervisor sees. Memory that it does not see now stays what it was last."""
    seen = {} if memory_bytes is None else {"memory_bytes": memory_bytes}
    connection.execute(
        update(deployments)
        .where(deployments.c.name == name)
        .values(state=state, detail=detail, address=address, pid=pid, restarts=restarts, updated_at=now, **seen)
    )


def forget_states(connection: Connection, now: datetime) -> None:
    """Forget what an earlier process saw: its engines are gone. What memory they took stays known."""
    connection.execute(
        update(deployments).values(
            state="waiting",
            detail="not started yet",
            address=None,
            pid=None,
            restarts=0,
            updated_at=now,
        )
    )


def keep_variant(connection: Connection, variant: Variant, now: datetime) -> Variant:
    """Write a variant and its bundle unless they are there."""
    digest = variant.bundle.digest
    if connection.execute(select(bundles.c.digest).where(bundles.c.digest == digest)).first() is None:
        connection.execute(insert(bundles).values(digest=digest, document=variant.bundle.document(), created_at=now))
    if connection.execute(select(variants.c.id).where(variants.c.id == variant.id)).first() is None:
        connection.execute(
            insert(variants).values(
                id=variant.id, task=variant.task, deployment=variant.deployment, bundle=digest, created_at=now
            )
        )
    return variant


def load_variants(connection: Connection, ids: Iterable[str]) -> dict[str, Variant]:
    """Variants by id, with their bundles. Ids that are not there are left out."""
    joined = variants.join(bundles, variants.c.bundle == bundles.c.digest)
    rows = connection.execute(
        select(variants.c.id, variants.c.task, variants.c.deployment, bundles.c.document)
        .select_from(joined)
        .where(variants.c.id.in_(list(ids)))
    )
    return {
        row.id: Variant(id=row.id, task=row.task, deployment=row.deployment, bundle=Bundle.from_document(row.document))
        for row in rows
    }


def bundle_digests(connection: Connection) -> frozenset[str]:
    """Digests of all bundles that there ever were."""
    return frozenset(connection.execute(select(bundles.c.digest)).scalars())


def engines_of_variants(connection: Connection) -> list[EngineOfVariant]:
    """Every variant that there ever was, with its engine and without its prompt, oldest first."""
    joined = variants.join(bundles, variants.c.bundle == bundles.c.digest)
    rows = connection.execute(
        select(
            variants.c.id,
            variants.c.task,
            variants.c.deployment,
            variants.c.bundle,
            bundles.c.document["engine"].label("engine"),
        )
        .select_from(joined)
        .order_by(variants.c.created_at, variants.c.id)
    )
    return [
        EngineOfVariant(
            id=row.id,
            task=row.task,
            deployment=row.deployment,
            bundle=row.bundle,
            engine=EnginePart.from_document(row.engine),
        )
        for row in rows
    ]


def find_bundles(connection: Connection, prefix: str) -> list[Variant]:
    """The newest variant of each bundle whose digest begins so, by digest."""
    ids = connection.execute(
        select(variants.c.id)
        .where(variants.c.bundle.startswith(prefix, autoescape=True))
        .order_by(variants.c.bundle, variants.c.created_at)
    ).scalars()
    found = {each.bundle.digest: each for each in load_variants(connection, ids.all()).values()}
    return [found[digest] for digest in sorted(found)]


def bundle_names(connection: Connection, digests: Iterable[str]) -> dict[str, str]:
    """Deployment under which each bundle ran, the newest one."""
    rows = connection.execute(
        select(variants.c.bundle, variants.c.deployment)
        .where(variants.c.bundle.in_(list(digests)))
        .order_by(variants.c.created_at)
    )
    return {row.bundle: row.deployment for row in rows}


def find_variants(connection: Connection, deployment: str) -> list[Variant]:
    """Every variant on a deployment."""
    ids = connection.execute(select(variants.c.id).where(variants.c.deployment == deployment)).scalars().all()
    return list(load_variants(connection, ids).values())


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(**{name: getattr(row, name) for name in _DEPLOYMENT_FIELDS})

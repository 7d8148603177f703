"""Looking at a deployment with the conformance suite: through the gateway that runs, or at an engine itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from changeover.app.changed_engine import note_changed_engine
from changeover.app.installation import Installation
from changeover.core.clock import SystemClock
from changeover.core.errors import ConfigError
from changeover.gateway.snapshot import DIRECT
from changeover.serving.backends import Backend, Elsewhere, describe
from changeover.serving.backends.ray import RayBackend
from changeover.serving.capabilities import Capabilities, standing
from changeover.serving.conformance import Adapter, Subject
from changeover.serving.deployments import plan_from_row
from changeover.serving.options import BackendName, RayOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.process import ready_within_s
from changeover.serving.profiles import Profile, profile_of_part
from changeover.serving.queries import Deployment, all_deployments, note_options
from changeover.serving.supervisor import Supervisor, Timing
from changeover.serving.upstream import Client, Upstream, make_client

A_GUESS = "not-the-secret-of-this-engine"


@asynccontextmanager
async def through_gateway(
    plan: EnginePlan,
    engine: EnginePart,
    backend: Backend,
    address: str,
    key: str,
    *,
    adapter: Adapter | None = None,
) -> AsyncGenerator[Subject]:
    """A deployment as applications meet it.

    Args:
        plan: The deployment's.
        engine: As it was described when it was deployed.
        backend: Its kind.
        address: Of the gateway.
        key: An operator's.
        adapter: One of the deployment's, if there is one.
    """
    client = make_client("wire")
    try:
        upstream, stranger = (client.upstream(plan.deployment, address, each, None) for each in (key, A_GUESS))
        name, profile = f"{DIRECT}{plan.deployment}", profile_of_part(engine)
        yield _subject(plan, profile, backend, upstream, stranger, name, at_gateway=True, adapter=adapter)
    finally:
        await client.close()


@asynccontextmanager
async def at_engine(
    plan: EnginePlan, backends: Mapping[BackendName, Backend], *, rider: EnginePlan | None = None, ready_s: float = 60.0
) -> AsyncGenerator[Subject]:
    """An engine itself: at its address where it runs elsewhere, else a copy that is started for this and ended after it.

    Args:
        plan: What is looked at.
        backends: All kinds.
        rider: An adapter on it, for an engine that is started.
        ready_s: How long it may take to come up, beside what its bytes take.

    Raises:
        EngineError: It does not come up.
    """
    backend = backends[plan.backend]
    profile = profile_of_part(backend.describe(plan))
    client = make_client("wire")
    try:
        launch = await asyncio.to_thread(backend.launch, plan)
        if isinstance(launch, Elsewhere):
            secret = os.environ.get(launch.api_key_env) if launch.api_key_env else None
            upstream = client.upstream(plan.deployment, launch.base_url, secret, launch.model)
            stranger = client.upstream(plan.deployment, launch.base_url, A_GUESS, launch.model) if secret else None
            yield _subject(plan, profile, backend, upstream, stranger, launch.model)
            return
        async with _started([plan, *([rider] if rider else [])], backends, client, ready_s) as (upstream, *ridden):
            stranger = client.upstream(plan.deployment, upstream.base_url, A_GUESS, upstream.model)
            model = upstream.model or plan.deployment
            adapter = next((Adapter(on={"model": each.model or model}, off={}, at=each) for each in ridden), None)
            yield _subject(plan, profile, backend, upstream, stranger, model, adapter=adapter)
    finally:
        await client.close()


def adapter_of(installation: Installation, name: str) -> Adapter | None:
    """How an adapter on a deployment is asked for, if one runs."""
    with installation.store.read() as connection:
        rows = all_deployments(connection)
    for row in rows:
        if row.backend == "adapter" and row.options.get("base") == name and row.state == "ready":
            return Adapter(on={"model": f"{DIRECT}{row.name}"}, off={"model": f"{DIRECT}{name}"})
    return None


def keep_profile(installation: Installation, row: Deployment, options: Mapping[str, Sequence[str]]) -> None:
    """Write down what a deployment has and lacks beside what its kind of engine declares. Its bundles are new ones by that.

    Args:
        installation: The project.
        row: The deployment.
        options: `has` and `lacks`, see `profile_options`.
    """
    before: Mapping[str, Any] = row.options.get("profile") or {}
    has, lacks = set(before.get("has", ())), set(before.get("lacks", ()))
    found, missing = set(options["has"]), set(options["lacks"])
    profile = {**before, "has": sorted((has | found) - missing), "lacks": sorted((lacks | missing) - found)}
    kept = {**row.options, "profile": {key: value for key, value in profile.items() if value != []}}
    if kept["profile"] == before:
        return
    changed = replace(row, options=kept)
    engine = describe(plan_from_row(changed, installation.catalogue, installation.project.cache), installation.backends)
    with installation.store.write() as connection:
        note_options(connection, row.name, kept, installation.clock.now())
    note_changed_engine(installation, row.name, engine, f"what {row.name} can do was looked at")


@asynccontextmanager
async def _started(
    plans: Sequence[EnginePlan], backends: Mapping[BackendName, Backend], client: Client, ready_s: float
) -> AsyncGenerator[Sequence[Upstream]]:
    with TemporaryDirectory(prefix="changeover-") as logs:
        supervisor = Supervisor(
            SystemClock(), Path(logs), backends=backends, timing=Timing(ready_base_s=ready_s), client=client
        )
        try:
            for each in plans:
                await supervisor.ensure(each)
                await supervisor.wait_ready(each.deployment, ready_within_s(plans[0], backends, ready_s))
            found = supervisor.upstreams()
            if gone := [each.deployment for each in plans if each.deployment not in found]:
                raise ConfigError(f"`{gone[0]}` was ready, and is gone again. Look at it once more.")
            yield [found[each.deployment] for each in plans]
        finally:
            await supervisor.close()


def _subject(
    plan: EnginePlan,
    profile: Profile,
    backend: Backend,
    upstream: Upstream,
    stranger: Upstream | None,
    model: str,
    *,
    at_gateway: bool = False,
    adapter: Adapter | None = None,
) -> Subject:
    options = plan.parsed()
    told = {**options.model_dump(), **(options.options if isinstance(options, RayOptions) else {})}
    no_chat = ("chat",) if profile.endpoints is not None and "chat" not in profile.endpoints else ()
    context, slots = profile.context_tokens or told.get("context_tokens"), told.get("slots")
    return Subject(
        upstream=upstream,
        model=model,
        profile=profile,
        standing=standing(_declared(backend, plan), has=profile.has, lacks=(*profile.lacks, *no_chat)),
        through="gateway" if at_gateway else "engine",
        stranger=stranger,
        context_tokens=context if isinstance(context, int) else None,
        slots=slots if isinstance(slots, int) else None,
        adapter=adapter,
    )


def _declared(backend: Backend, plan: EnginePlan) -> Capabilities:
    # Ray's replicas each run an engine of another kind, and pass on what comes.
    return backend.capabilities_of(plan) if isinstance(backend, RayBackend) else backend.capabilities

"""Ray Serve: replicas of another kind of engine. Ours is the declaration; where they run, and how many, is Ray's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from changeover.core.errors import EngineError
from changeover.core.sizes import GIB
from changeover.serving.backends.common import module, usable_cores, warden
from changeover.serving.backends.protocol import Backend, Capabilities, Launch, Missing
from changeover.serving.capabilities import CAPABILITIES
from changeover.serving.homes import Homes
from changeover.serving.options import OPTIONS, BackendName, Json, Options, RayOptions
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import PLAIN, Profile
from changeover.serving.weights import size_of

APPLICATION: Final = Path(__file__).parents[1] / "engines" / "ray_app.py"
"""A file, and not a module: Ray's environment does not have our package, and needs no more of it than this."""
RUN_BY_REPLICAS: Final[frozenset[BackendName]] = frozenset({"local", "openvino", "vllm", "transformers"})
OBJECT_STORE_BYTES: Final = 100 << 20
"""Ray's memory for sharing values, of which we share none; nearly the least that it takes."""
REPLICA_S: Final = 60.0
"""For an engine in a replica to become ready, beside what its weights take: replicas start at the same time."""
REPLICA_PER_GIB_S: Final = 30.0
START_S: Final = 120.0
"""For Ray itself: 32 s were seen on very busy cores, with two replicas; 8 s on quiet ones."""


class RayBackend:
    """Ray Serve over one machine or a cluster that runs already."""

    def __init__(self, homes: Homes, engines: Mapping[BackendName, Backend]) -> None:
        """Run replicas of `engines`, with the Ray that is where `homes` says."""
        self._homes = homes
        self._engines = engines

    @property
    def capabilities(self) -> Capabilities:
        """What every engine that a replica may run does; see `capabilities_of` for one deployment."""
        runnable = RUN_BY_REPLICAS & self._engines.keys()
        known = [self._engines[each].capabilities for each in runnable]
        # The key is asked for at our own door, whatever stands behind it.
        shared: dict[str, Any] = {name: all(getattr(one, name) for one in known) for name in CAPABILITIES}
        return replace(Capabilities(**shared), key=True)

    def capabilities_of(self, plan: EnginePlan) -> Capabilities:
        """What a deployment does: requests and answers pass through unchanged, so it is what its engine does."""
        return replace(self._engine(plan).capabilities, key=True)

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        found: list[Missing] = []
        if self._homes.python("ray").version("ray") is None:
            remedy = "Install it with `changeover engines install ray`, or with `pip install 'ray[serve]'`."
            found.append(Missing(what="the package `ray`", remedy=remedy))
        if plan is not None:
            found += self._engine(plan).missing(self._inner(plan))
            options = plan.options_as(RayOptions)
            if options.address is None and options.replicas * options.cores > usable_cores():
                found.append(_too_few_cores(options))
        return found

    def describe(self, plan: EnginePlan) -> EnginePart:
        """The engine's part of the replicas' engine: how many there are, and who schedules them, changes no answer."""
        options = plan.options_as(RayOptions)
        part = self._engine(plan).describe(self._inner(plan))
        spoken = {**msgspec.to_builtins(PLAIN[options.engine]), **part.profile, **options.profile}
        where = f"deployment `{plan.deployment}`: profile"
        return replace(
            part,
            backend=plan.backend,
            flags={"engine": options.engine, **part.flags},
            profile=Profile.from_document(spoken, where=where).document(plan.backend),
        )

    def launch(self, plan: EnginePlan) -> Launch:
        options = plan.options_as(RayOptions)
        inner = self._engine(plan).launch(self._inner(plan))
        if not isinstance(inner, Launch):  # none of those that a replica may run
            raise EngineError(f"`{options.engine}` runs elsewhere, so that Ray cannot start it.")
        home = self._homes.python("ray")
        if home.version("ray") is None:
            raise EngineError("The engine needs the package `ray`. Install it with `changeover engines install ray`.")
        if options.address is None and options.replicas * options.cores > usable_cores():
            lack = _too_few_cores(options)
            raise EngineError(f"The deployment needs {lack.what}. {lack.remedy}")
        config: dict[str, Json] = {
            "deployment": plan.deployment,
            "engine": options.engine,
            "address": options.address,
            "cores": usable_cores(),
            "object_store_bytes": OBJECT_STORE_BYTES,
            "folder": "{folder}",
            "port": "{port}",
            "scale": _scale(options, _slots(self._inner(plan).parsed())),
            "launch": {
                "argv": list(inner.argv),
                "config": inner.config,
                "environment": dict(inner.environment),
                "prefix": inner.prefix,
                "ready_s": inner.start_s + REPLICA_S + _weights_s(plan.artifact),
            },
        }
        needs = [str(APPLICATION), *([] if plan.artifact is None else [str(plan.artifact.absolute())])]
        # -P: else Ray would have its processes import from the folder of the application, where modules of ours are.
        argv = (home.executable, "-P", str(APPLICATION))
        return Launch(
            argv=module("changeover.serving.engines.warden"),
            config=warden(argv, {**_environment(options), "CHANGEOVER_RAY": json.dumps(config)}, needs=needs),
            first_answer=inner.first_answer,
            model=inner.model,
            start_s=inner.start_s + START_S,
        )

    def _engine(self, plan: EnginePlan) -> Backend:
        return self._engines[plan.options_as(RayOptions).engine]

    def _inner(self, plan: EnginePlan) -> EnginePlan:
        """The plan of one replica's engine."""
        options = plan.options_as(RayOptions)
        known = OPTIONS[options.engine].model_fields
        threads = {"threads": max(1, int(options.cores))} if "threads" in known else {}
        return EnginePlan(
            deployment=plan.deployment,
            backend=options.engine,
            model=plan.model,
            artifact=plan.artifact,
            weights_digest=plan.weights_digest,
            quantisation=plan.quantisation,
            options={**threads, **options.options},
        )


def _scale(options: RayOptions, slots: int) -> Mapping[str, Json]:
    """Options of a Serve deployment: how many replicas, of what size, with how many requests each."""
    most = options.most_replicas or options.replicas
    scale: dict[str, Json] = {
        "max_ongoing_requests": max(slots, options.ongoing_requests),
        "ray_actor_options": {"num_cpus": options.cores, "num_gpus": options.accelerators},
    }
    if most <= options.replicas:
        return {**scale, "num_replicas": options.replicas}
    autoscaling: Json = {
        "min_replicas": options.replicas,
        "max_replicas": most,
        "target_ongoing_requests": options.ongoing_requests,
        "upscale_delay_s": options.upscale_delay_s,
        "downscale_delay_s": options.downscale_delay_s,
        # Looked at as often as a decision may fall; Ray's own defaults are 10 and 30 s.
        "metrics_interval_s": min(10.0, max(0.5, options.upscale_delay_s / 3)),
        "look_back_period_s": min(30.0, max(2.0, options.upscale_delay_s)),
    }
    return {**scale, "autoscaling_config": autoscaling}


def _weights_s(weights: Path | None) -> float:
    try:
        return 0.0 if weights is None else REPLICA_PER_GIB_S * size_of(weights) / GIB
    except OSError:
        return 0.0


def _slots(options: Options) -> int:
    return int(getattr(options, "slots", 1))


def _environment(options: RayOptions) -> Mapping[str, str]:
    token = "{folder}/token" if options.address is None else options.token_file
    return {
        "CHANGEOVER_RAY_KEY": "{secret}",
        "HOME": "{folder}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_DISABLE_USAGE_STATS": "1",
        # Ray listens on all of the machine's addresses, whatever it is told: who has no token is refused.
        "RAY_AUTH_MODE": "disabled" if token is None else "token",
        **({} if token is None else {"RAY_AUTH_TOKEN_PATH": token}),
    }


def _too_few_cores(options: RayOptions) -> Missing:
    return Missing(
        what=f"{options.replicas * options.cores:g} cores for {options.replicas} replicas, and this machine has "
        f"{usable_cores()}",
        remedy="Ask for fewer `replicas` or `cores`, or name a larger cluster as `address`.",
    )

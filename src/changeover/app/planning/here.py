"""A plan for this machine: which engine, of what is installed and fits, and everything that starting it takes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from changeover.app.planning.answer import HERE, DeployPlan, Lack, LackKind, Weights
from changeover.app.planning.ground import Ground
from changeover.app.planning.needs import ON_ACCELERATORS, Needs, memory_lacks, needs_of, unloaded_for
from changeover.app.planning.sources import files_of, made_of, weights_lacks
from changeover.app.planning.terms import licence_of
from changeover.app.planning.there import suggested
from changeover.app.planning.wish import COMMON, Wish
from changeover.app.tunings import threads_in, tuned_options
from changeover.core.errors import ChangeoverError, ConfigError
from changeover.core.sizes import GIB
from changeover.core.toml import validate
from changeover.library.cards import Card
from changeover.library.fit.outright import writes_no_text
from changeover.library.pull import present
from changeover.serving.backends import Launch, launch_of
from changeover.serving.deployments import plan_for_card
from changeover.serving.life import Timing
from changeover.serving.options import OPTIONS, BackendName
from changeover.serving.plan import EnginePlan
from changeover.serving.weights import LOADS, pending, weights_for
from changeover.serving.weights import Weights as Loaded

ON_PROCESSORS: Final[tuple[BackendName, ...]] = ("local", "openvino", "vllm", "transformers", "llama-server", "ollama")
"""What runs without an accelerator, the first choice first: the embedded engine needs nothing else."""
KNOWN_AS: Final[Mapping[BackendName, tuple[str, ...]]] = MappingProxyType(
    {"vllm": ("vllm",), "kunlun": ("vllm-kunlun",), "sglang": ("sglang",), "transformers": ("transformers",)}
)
"""What cards call engines that must know a model's class; a GGUF file says by itself what it is."""


_IN_SHORT: Final[Mapping[LackKind, str]] = MappingProxyType(
    {
        "engine": "not installed",
        "weights": "no such weights",
        "memory": "too large",
        "room": "no room beside what runs",
    }
)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to run a model here."""

    engine: BackendName
    weights: Loaded | None
    needs: Needs
    verified: bool
    """Somebody saw the engine run it, or its weights say by themselves what they are."""
    plan: EnginePlan | None
    missing: tuple[Lack, ...]
    error: ChangeoverError | None = None
    """The options were not meant for this engine."""

    @property
    def distance(self) -> int:
        """How far it is from running. What nobody is known to have made is farther away than what can be fetched."""
        unmade = self.weights is None and LOADS.get(self.engine) == "gguf"
        made = self.weights is not None and self.weights.conversion is not None
        return len(self.missing) + made + (not self.verified) + 2 * unmade + 8 * (self.error is not None)


def on_this_machine(wish: Wish, ground: Ground, card: Card) -> DeployPlan:
    """Plan a model for this machine; without an engine's name, on the one that lacks least.

    Raises:
        ConfigError: The name, or an option of the engine that was named, cannot be used.
    """
    if wish.engine is not None:
        way, others = _way(wish, ground, card, wish.engine), []
        why = "It was asked for."
    else:
        ways = [_way(wish, ground, card, engine) for engine in _preferred(ground)]
        way = min(ways, key=lambda each: each.distance)  # of several as near, the first
        others = [each for each in ways if each is not way]
        why = _why(way, ground)
    if way.error is not None:
        raise way.error
    if never := tuple(_never(card, ground)):
        return DeployPlan(
            deployment=wish.name or card.id,
            model=card.id,
            hardware=HERE,
            engine=None,
            why="No engine of ours runs it.",
            missing=(*licence_of(card, ground), *never),
        )
    launch = _launch(way, ground)
    name = wish.name or card.id
    return DeployPlan(
        deployment=name,
        model=card.id,
        hardware=HERE,
        engine=way.engine,
        why=why,
        alternatives=tuple([*_others(others, way), *_hosts(card)]),
        quantisation=way.needs.quantisation,
        weights=_files(way, card, ground),
        layout=way.needs.layout,
        flags=way.needs.flags,
        context_tokens=way.needs.context_tokens,
        slots=way.needs.slots,
        threads=_threads(way, ground),
        needs_bytes=way.needs.bytes,
        has_bytes=way.needs.has_bytes,
        command=None if way.missing else command_of(wish, way.engine),
        process=_process(launch),
        environment=_environment(launch),
        ready_s=_ready_s(way, ground, launch),
        missing=way.missing,
        notes=(*_unverified(way, card), *way.needs.notes, *_unloads(way, ground, name), *ground.detected.unknown),
        engine_plan=way.plan,
    )


def command_of(wish: Wish, engine: BackendName) -> str:
    """The command that does what is planned."""
    parts = ["changeover", "deploy", wish.model, "--engine", engine]
    parts += ["--name", wish.name] if wish.name else []
    for key, value in wish.common.items():
        parts += [COMMON[key], str(value)]
    for key, value in wish.options.items():
        parts += ["--option", f"{key}={_toml(value)}"]
    return shlex.join(parts)


def _way(wish: Wish, ground: Ground, card: Card, engine: BackendName) -> Way:
    """One way, with all that it lacks."""
    name = wish.name or card.id
    options: dict[str, Any] = {}
    error: ChangeoverError | None = None
    try:
        options = wish.options_of(engine)
        validate(OPTIONS[engine], options, where=f"deployment `{name}`")
    except ConfigError as exc:
        options, error = {}, exc
    weights = weights_for(card, engine, options)
    needs = needs_of(card, ground, engine, weights, options)
    plan = None
    if weights is not None:
        laid = {**tuned_options(ground.tunings, card.id, engine), **_layout_options(needs, engine), **options}
        plan = plan_for_card(card, ground.cache, ground.engines, backend=engine, name=wish.name, options=laid)
    lacks = [
        *licence_of(card, ground),
        *weights_lacks(card, engine, weights, ground),
        *_software(engine, plan, ground),
        *memory_lacks(card, needs, ground, name),
    ]
    return Way(
        engine=engine,
        weights=weights,
        needs=needs,
        verified=_verified(card, engine),
        plan=plan,
        missing=tuple(lacks),
        error=error,
    )


def _threads(way: Way, ground: Ground) -> str | None:
    """The threads that it gets, as `threads_of` states those of a deployment that is there."""
    return None if way.plan is None else threads_in(way.plan.options, ground.tunings.get((way.plan.model, way.engine)))


def _unloads(way: Way, ground: Ground, name: str) -> Iterator[str]:
    names = unloaded_for(way.needs, ground, name)
    if names:
        yield f"Nobody needs {', '.join(f'`{each}`' for each in names)} now: unloaded for it, and loaded again when asked for."


def _layout_options(needs: Needs, engine: BackendName) -> Mapping[str, Any]:
    """The layout on accelerators as options of an engine that has such; what an operator wrote stands above it."""
    if needs.layout is None or needs.on_accelerator is None:
        return {}
    said = {"tensor_parallel": needs.layout.tensor_parallel, "pipeline_parallel": needs.layout.pipeline_parallel}
    known = OPTIONS[engine].model_fields
    return {name: count for name, count in said.items() if count > 1 and name in known}


def _preferred(ground: Ground) -> tuple[BackendName, ...]:
    """Kinds of engines that could run a model here, the first choice first."""
    named = [support.engine for found in ground.detected.found for support in found.accelerator.engines]
    on_accelerators: list[BackendName] = [ON_ACCELERATORS[name] for name in named if name in ON_ACCELERATORS]
    return (*dict.fromkeys(on_accelerators), *(each for each in ON_PROCESSORS if each not in on_accelerators))


def _never(card: Card, ground: Ground) -> Iterator[Lack]:
    """What no software, weights or memory would help with."""
    if writes_no_text(card, HERE, context=None, concurrency=None) is None:
        return
    engines = ", ".join(dict.fromkeys(each.engine for each in card.engines)) or "none known"
    hardware = suggested(card, ground.catalogue)
    how = "" if hardware is None else f" `changeover deploy {card.id} --on {hardware}` shows how."
    what = f"an engine of ours for what it writes ({', '.join(card.modalities_out)}): tasks are answered in text"
    yield Lack(kind="engine", what=what, remedy=f"Engines that run it: {engines}.{how}")


def _verified(card: Card, engine: BackendName) -> bool:
    """Whether an engine that must know a model's class is said to."""
    names = KNOWN_AS.get(engine)
    return names is None or any(each.engine in names for each in card.engines)


def _unverified(way: Way, card: Card) -> Iterator[str]:
    if not way.verified:
        known = ", ".join(dict.fromkeys(each.engine for each in card.engines)) or "none"
        yield f"Nobody verified that {way.engine} runs it; its first answer will tell. Known to run it: {known}."


def _software(engine: BackendName, plan: EnginePlan | None, ground: Ground) -> Iterator[Lack]:
    backend = ground.backends.get(engine)
    if backend is None:
        yield Lack(
            kind="engine", what=f"the engine `{engine}`", remedy=f"Install it: `changeover engines install {engine}`."
        )
        return
    for each in backend.missing(plan):
        yield Lack(kind="engine", what=each.what, remedy=each.remedy)


def _why(way: Way, ground: Ground) -> str:
    """Why this one, where nobody named one."""
    form = LOADS.get(way.engine, "")
    if any(each.kind != "room" for each in way.missing):
        return "Nothing here can run it yet; of all engines this one lacks least."
    if ground.detected.found and way.engine in ON_ACCELERATORS.values():
        return f"An accelerator is here, and {way.engine} is installed for it."
    if way.engine == "local" and ground.detected.found:
        return "Its weights are GGUF: the embedded engine loads them, and computes on the processor."
    if way.engine == "local":
        return "Its weights are GGUF and there is no accelerator: the embedded engine needs nothing else."
    return f"It is installed, and loads {form}; engines before it lack more."


def _others(ways: Sequence[Way], chosen: Way) -> Iterator[str]:
    """Other engines that could, each with the first thing that it lacks and the chosen one does not."""
    common = {each.what for each in chosen.missing}
    for way in ways:
        own = [_IN_SHORT.get(each.kind, each.what) for each in way.missing if each.what not in common][:1]
        own += [] if way.verified or own else ["nobody verified it"]
        if way.error is None:
            yield f"{way.engine} ({own[0]})" if own else way.engine


def _hosts(card: Card) -> Iterator[str]:
    for row in card.hosted:
        if row.api != "other" and row.now is None and card.weights != "closed":
            yield f"openai (hosted by {row.host})"


def _files(way: Way, card: Card, ground: Ground) -> Weights | None:
    """What is fetched, and what is made of it."""
    form = LOADS.get(way.engine)
    if form is None:
        return None
    artifact = None if way.weights is None else way.weights.artifact
    size, source = files_of(card, artifact)
    making = None if way.plan is None else pending(way.plan)
    return Weights(
        format=form if artifact is None else artifact.format,
        bytes=way.needs.weights_bytes if size is None else size,
        source=source,
        here=artifact is not None and present(artifact, ground.cache),
        to_make=None if making is None else made_of(making),
    )


def _process(launch: Launch | None) -> str | None:
    """The command line of its process; a server that is not ours is said without the warden that keeps it."""
    if launch is None:
        return None
    argv = launch.config.get("argv", launch.argv)
    return shlex.join(str(part) for part in argv) if isinstance(argv, list | tuple) else None


def _environment(launch: Launch | None) -> tuple[str, ...]:
    """The variables that its process gets beside those that all have."""
    if launch is None:
        return ()
    told = cast("Mapping[str, str]", launch.config.get("environment") or launch.environment)
    return tuple(f"{name}={shlex.quote(value)}" for name, value in told.items())


def _ready_s(way: Way, ground: Ground, launch: Launch | None) -> float:
    """As the supervisor counts it: in proportion to what is read."""
    size = way.needs.weights_bytes or 0
    base = ground.engines.ready_s + Timing().ready_per_gib_s * size / GIB
    return round(base + (0.0 if launch is None else launch.start_s), 1)


def _launch(way: Way, ground: Ground) -> Launch | None:
    return None if way.plan is None else launch_of(way.plan, ground.backends)


def _toml(value: Any) -> str:
    """A value as `--option` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return "{" + ", ".join(f"{key} = {_toml(each)}" for key, each in table.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, cast("Sequence[Any]", value))) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)

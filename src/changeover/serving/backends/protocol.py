"""What each kind of engine has to say of itself: how it is described, launched, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from changeover.serving.capabilities import Capabilities
from changeover.serving.options import Json
from changeover.serving.parts import EnginePart
from changeover.serving.patch import Patch
from changeover.serving.plan import Adapter, EnginePlan

__all__ = ["Backend", "Capabilities", "Elsewhere", "Launch", "Missing"]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something without which an engine does not run here."""

    what: str
    """In words, such as `an NVIDIA GPU`."""
    remedy: str
    """What to do; a command where there is one."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How a request asks for an adapter."""

    model: str | None = None
    """What goes into the `model` field; None: what the engine itself is called."""
    patch: Patch | None = None


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start an engine's process."""

    argv: tuple[str, ...]
    config: Mapping[str, Json]
    """Goes through the child's standard input. Holds no secret; the process adds its own."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of what every child gets."""
    first_answer: bool = False
    """It is asked something, and has to answer, before it counts as ready for the first time."""
    probe_path: str = "/health"
    """Answers 200 to a GET while the engine is well."""
    prefix: str = ""
    """Of the paths of its API, before `/v1`."""
    model: str | None = None
    """What goes into the `model` field there; None: what the caller wrote, since the engine does not read it."""
    sockets: bool = False
    """It can listen on a Unix socket: where `socket` is in its configuration, there and on no port."""
    maps_weights: bool = False
    """It maps its weights into memory: a second process beside it has the same copy of them."""
    start_s: float = 0.0
    """What it may take before it reads weights, on top of what any engine may."""
    patch: Patch | None = None
    """Goes into each request that asks for no adapter."""
    adapters: Mapping[Adapter, Selection] = field(default_factory=dict[Adapter, Selection])
    """Those of the plan, and how each is asked for."""


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """An engine that already runs, and how it is reached."""

    base_url: str
    model: str
    api_key_env: str | None
    first_answer: bool = True
    """It is asked something, and has to answer, before it counts as ready for the first time."""


@dataclass(frozen=True, kw_only=True)
class Attached:
    """An adapter on the engine of another deployment: no process of its own."""

    base: str
    """The deployment."""
    adapter: Adapter


class Backend(Protocol):
    """One kind of engine."""

    @property
    def capabilities(self) -> Capabilities:
        """What it does."""
        ...

    def missing(self, plan: EnginePlan | None) -> Sequence[Missing]:
        """What it lacks on this machine, for a plan or for any; empty where it can start. Looks, and changes nothing."""
        ...

    def describe(self, plan: EnginePlan) -> EnginePart:
        """The engine's part of a bundle, without starting it. Reads files."""
        ...

    def launch(self, plan: EnginePlan) -> Launch | Elsewhere | Attached:
        """How it is started, where it already runs, or whose engine it shares. Reads files."""
        ...

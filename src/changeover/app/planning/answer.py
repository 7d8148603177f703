"""A plan of a deployment: how a model would run, what that takes, and what is missing. `changeover deploy` shows and follows it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from changeover.library.fit import Layout
from changeover.serving.plan import EnginePlan

HERE: Final = "here"
"""Where a plan says `hardware`: this machine."""
LackKind = Literal["licence", "weights", "memory", "room", "engine", "address", "model", "key", "fact"]
"""`room`: it would fit, but for what runs already. `key`: a secret that this process does not see. `fact`: nobody published
or verified it."""


@dataclass(frozen=True, kw_only=True)
class Lack:
    """Something without which it does not run as planned."""

    kind: LackKind
    what: str
    """In words, as what comes after `missing:`."""
    remedy: str
    """What to do; a command where there is one."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Files that it takes."""

    format: str
    bytes: int | None
    """None: nobody published it."""
    source: str | None
    """Where they are fetched, in words; None: nothing says."""
    here: bool
    """They are on this machine, verified."""
    to_make: str | None = None
    """What is still to be made of them, in words; None: nothing."""


@dataclass(frozen=True, kw_only=True)
class DeployPlan:
    """How one model would be deployed."""

    deployment: str
    model: str
    hardware: str
    """`here`, hardware as `parse_hardware` takes it, or the name of who hosts it."""
    engine: str | None
    """A kind of engine of ours; on other hardware the name of a server. None: no engine is known to run it there."""
    why: str
    """Why that engine, in a sentence."""
    alternatives: tuple[str, ...] = ()
    """Other ways to run it, each with what it needs."""
    quantisation: str | None = None
    weights: Weights | None = None
    """None: it loads none of ours."""
    layout: Layout | None = None
    flags: tuple[str, ...] = ()
    context_tokens: int | None = None
    slots: int | None = None
    """Requests at once."""
    threads: str | None = None
    """Those of its engine, and since when they are known to be best, in words; None: nobody chose any."""
    needs_bytes: int | None = None
    has_bytes: int | None = None
    """Memory that engines may use there."""
    address: str | None = None
    """Of an engine that runs already."""
    key_variable: str | None = None
    """Environment variable with the key for it."""
    served_as: str | None = None
    """What the model is called there."""
    command: str | None = None
    """What to type: ours for this machine, a documented one for any other. None: something is missing, or nobody wrote
    one down."""
    process: str | None = None
    """The command line of the engine's process here; None where its weights or its software must be here to say it."""
    environment: tuple[str, ...] = ()
    """Variables of that process, each `NAME=value`. `{port}` and `{secret}` are chosen at the start."""
    attach: str | None = None
    """How a server on other hardware becomes a deployment once it runs."""
    ready_s: float | None = None
    """How long it may take to become ready, once its weights are here."""
    missing: tuple[Lack, ...] = ()
    notes: tuple[str, ...] = ()
    engine_plan: EnginePlan | None = None
    """What `deploy` starts it from; None: it starts nothing here, or a part of it is missing."""

    @property
    def ok(self) -> bool:
        """Whether it can run as planned."""
        return not self.missing

    @property
    def undecided(self) -> bool:
        """Whether nothing speaks against it but facts that nobody knows."""
        return bool(self.missing) and all(each.kind == "fact" for each in self.missing)

    def document(self) -> dict[str, Any]:
        """The plan as JSON; of the engine's plan only its options."""
        document = {name: value for name, value in asdict(self).items() if name != "engine_plan"}
        options = None if self.engine_plan is None else dict(self.engine_plan.options)
        return {**document, "options": options, "ok": self.ok}

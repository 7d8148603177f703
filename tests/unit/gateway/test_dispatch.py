"""How much time each in turn is given; who is asked and in which order stands in the tests of the whole door."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from tests.unit.gateway.test_resolve import SNAPSHOT, ask

from changeover.core.clock import SystemClock
from changeover.core.errors import ChangeoverError, ContextOverflow, RequestError, UpstreamError
from changeover.gateway.breaker import Breakers
from changeover.gateway.dispatch import Limits, Trail, dispatch
from changeover.gateway.ways import Way
from changeover.serving.upstream import Upstream

ANSWER = b'{"model":"m","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'


@dataclass(eq=False)
class Engine:
    """Says how long it was given."""

    name: str
    fails: bool = False
    error: ChangeoverError | None = None
    takes_s: float = 0.0
    model: None = None
    given: list[float] = field(default_factory=list[float])

    async def fetch(self, path: str, body: bytes, *, first_byte_s: float, stall_s: float, headers: Any = ()) -> bytes:
        self.given.append(first_byte_s)
        await asyncio.sleep(self.takes_s)
        if self.fails or self.error is not None:
            raise self.error or UpstreamError(f"`{self.name}` fell silent.")
        return ANSWER


class Fleet:
    """Engines that come up after a while."""

    def __init__(self, engines: dict[str, Any], up: Callable[[], bool]) -> None:
        self.engines = engines
        self.up = up

    def upstream(self, name: str) -> Upstream | None:
        return self.engines[name] if self.up() else None

    def is_ready(self, name: str) -> bool:
        return self.up()

    def wake(self, name: str) -> bool:
        return False


class Story:
    """One request, and engines that come and go while it is under way."""

    def __init__(self, *, timeout_s: float = 5.0, ready_wait_s: float = 5.0, breaker: int = 3) -> None:
        self.clock = SystemClock()
        self.began = self.clock.monotonic()
        self.lives: dict[str, list[tuple[float, Any]]] = {}
        """By deployment: from when on which engine answers, or none."""
        self.wakes: dict[str, float] = {}
        """Those that sleep, and when each is awake."""
        self.trail = Trail()
        self._timeout_s = timeout_s
        self._limits = Limits(
            ready_wait_s=ready_wait_s,
            clock=self.clock,
            breakers=Breakers(failures=breaker, open_s=60, clock=self.clock),
        )

    def upstream(self, name: str) -> Upstream | None:
        elapsed = self.clock.monotonic() - self.began
        return next((engine for at, engine in reversed(self.lives[name]) if at <= elapsed), None)

    def is_ready(self, name: str) -> bool:
        return self.upstream(name) is not None

    def wake(self, name: str) -> bool:
        return name in self.wakes and self.upstream(name) is None

    async def asked(self) -> str:
        """Who answers."""
        call = ask(max_tokens=5)
        declared = call.live.task.declared.model_copy(update={"timeout_s": self._timeout_s})
        live = replace(call.live, task=replace(call.live.task, declared=declared))
        [variant] = SNAPSHOT.tasks["summarise"].variants.values()
        turns = [(None, Way.of(replace(variant, id=name, deployment=name), 1)) for name in self.lives]
        call = msgspec.structs.replace(call, live=live)
        opened = await dispatch(call, turns, self, self.trail, self._limits)
        return opened.way.variant.deployment


UNREACHABLE = UpstreamError("`first` cannot be reached (connection refused).", reached=False)


async def test_one_that_cannot_be_reached_is_asked_until_it_is_known_to_be_gone_and_then_until_it_is_back() -> None:
    story = Story()
    dead, again = Engine("first", error=UNREACHABLE), Engine("first")
    story.lives["first"] = [(0.0, dead), (0.4, None), (0.6, again)]
    assert await story.asked() == "first"
    assert len(dead.given) >= 3, "it knows nothing of the request, so that it may be asked as often as one likes"
    assert story.trail.failed == ("first",)


async def test_who_is_in_flight_in_a_crash_waits_though_many_fail_with_it_and_it_took_a_while() -> None:
    story = Story(breaker=1)
    cut = Engine("first", error=UpstreamError("`first` broke the connection."), takes_s=1.2)
    story.lives["first"] = [(0.0, cut), (1.5, None), (1.8, Engine("first"))]
    assert await story.asked() == "first"


async def test_the_wait_for_an_engine_begins_when_it_is_gone_and_not_when_it_was_asked() -> None:
    story = Story(ready_wait_s=0.5)
    cut = Engine("first", error=UpstreamError("`first` broke the connection."), takes_s=0.6)
    story.lives["first"] = [(0.0, cut), (0.6, None), (0.9, Engine("first"))]
    assert await story.asked() == "first"


async def test_a_request_that_engines_die_of_is_not_tried_a_third_time() -> None:
    story = Story()
    dying = [Engine("first", error=UpstreamError("`first` broke the connection.")) for _ in range(3)]
    story.lives["first"] = [(0.2 * place, engine) for place, engine in enumerate(dying)]
    with pytest.raises(UpstreamError, match="broke the connection"):
        await story.asked()
    assert sum(len(engine.given) for engine in dying) == 2


async def test_one_that_is_back_is_asked_before_another_is_awake() -> None:
    story = Story(timeout_s=3.0)
    story.lives["first"] = [(0.0, Engine("first", fails=True)), (0.1, None), (0.4, Engine("first")), (2.0, None)]
    story.lives["second"] = [(9.0, Engine("second"))]
    story.wakes["second"] = 9.0
    assert await story.asked() == "first"


@pytest.mark.parametrize("refusal", ["no model of that name", "too long"])
async def test_what_one_refuses_that_another_may_take_wakes_that_one(refusal: str) -> None:
    gone = RequestError("`first` refused the request: model 'm' not found")
    gone.status = 404
    longer = ContextOverflow("first", prompt_tokens=None, context_tokens=None)
    story = Story()
    story.lives["first"] = [(0.0, Engine("first", error=longer if refusal == "too long" else gone))]
    story.lives["second"] = [(0.2, Engine("second"))]
    story.wakes["second"] = 0.2
    assert await story.asked() == "second"
    assert story.trail.failed == ("first",)


async def test_time_that_went_by_until_engines_were_ready_is_shared_no_more() -> None:
    call = ask(max_tokens=5)
    live = replace(
        call.live, task=replace(call.live.task, declared=call.live.task.declared.model_copy(update={"timeout_s": 1.0}))
    )
    call = type(call)(**{name: getattr(call, name) for name in call.__struct_fields__} | {"live": live})
    [variant] = SNAPSHOT.tasks["summarise"].variants.values()
    first, second = Engine("first", fails=True), Engine("second")
    clock = SystemClock()
    ready_at = clock.monotonic() + 0.5
    fleet = Fleet({"first": first, "second": second}, lambda: clock.monotonic() >= ready_at)
    turns = [(None, Way.of(replace(variant, id=name, deployment=name), 1)) for name in ("first", "second")]
    trail = Trail()
    limits = Limits(ready_wait_s=5, clock=clock, breakers=Breakers(failures=3, open_s=5, clock=clock))
    opened = await dispatch(call, turns, fleet, trail, limits)
    assert opened.way.variant.deployment == "second"
    assert (trail.attempts, trail.failed) == (2, ("first",))
    assert first.given[0] == pytest.approx(0.25, abs=0.1), "half of what is left"
    assert second.given[0] == pytest.approx(0.5, abs=0.15), "all that is left"

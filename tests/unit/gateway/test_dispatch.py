"""How much time each in turn is given; who is asked and in which order stands in the tests of the whole door."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.unit.gateway.test_resolve import SNAPSHOT, ask

from changeover.core.clock import SystemClock
from changeover.core.errors import UpstreamError
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
    model: None = None
    given: list[float] = field(default_factory=list[float])

    async def fetch(self, path: str, body: bytes, *, first_byte_s: float, stall_s: float, headers: Any = ()) -> bytes:
        self.given.append(first_byte_s)
        if self.fails:
            raise UpstreamError(f"`{self.name}` fell silent.")
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

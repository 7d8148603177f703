"""One request on its way through the stages, and what is written down of it, whatever its end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from changeover.core.clock import Clock
from changeover.core.errors import ChangeoverError
from changeover.core.settings import Price
from changeover.gateway.assembled import words_in
from changeover.gateway.contract.usage import estimated_usage
from changeover.gateway.dispatch import Trail
from changeover.gateway.endpoints import CHAT, Counts
from changeover.gateway.http import BodyLimit, Head
from changeover.gateway.keys import Key
from changeover.gateway.leases import NOTHING, Reservation, Wanted
from changeover.gateway.open import Opened
from changeover.gateway.record import Draft
from changeover.gateway.relay import Delivery
from changeover.gateway.resolve import Call
from changeover.gateway.routes import Route
from changeover.gateway.uploads import Upload
from changeover.gateway.violations import NOT_IN_SHAPE
from changeover.serving.variants import Variant
from changeover.tasks.exchanges import Content, Exchange

MICRO = 1_000_000


class Visit(msgspec.Struct, eq=False):
    """One request."""

    id: str
    head: Head
    started_at: datetime
    started: float
    """Monotonic, seconds."""
    route: Route | None = None
    """None: it is refused, see `error`."""
    key: Key | None = None
    left: bool = False
    """The caller went away."""
    late: bool = False
    most_body: BodyLimit | None = None
    upload: Upload | None = None
    keeps_body: bool = True
    deadline: float = float("inf")
    """Monotonic, seconds."""
    call: Call | None = None
    body: bytes = b""
    reservation: Reservation | None = None
    opened: Opened | None = None
    """Who answers, or went on with the answer last."""
    begun: list[tuple[Variant, Counts]] = msgspec.field(default_factory=list[tuple[Variant, Counts]])
    """Who began a stream that broke off, with the tokens of each; others went on with it."""
    trail: Trail = msgspec.field(default_factory=Trail)
    delivery: Delivery = msgspec.field(default_factory=Delivery)
    status: int = 200
    error: ChangeoverError | None = None
    trace: str | None = None

    def count_the_rest(self) -> None:
        """Estimate the tokens of an answer that broke off before its engine counted them: they were computed."""
        delivery, call = self.delivery, self.call
        if call is None or not delivery.started:
            return
        # Anthropic's streams state a first count at their beginning.
        whole = delivery.ended and not delivery.truncated
        if delivery.completion_tokens is not None and (whole or not call.endpoint.wrapped):
            return
        usage = estimated_usage(call.body, words_in(delivery.newest()), call.endpoint.usage_keys)
        prompt, completion = (usage[key] for key in call.endpoint.usage_keys)
        delivery.count(None if delivery.prompt_tokens else prompt, max(delivery.completion_tokens or 0, completion))
        delivery.estimated = True

    def hand_over(self, opened: Opened) -> None:
        """Know that another goes on with the stream, which broke off where it was."""
        assert self.opened is not None, "what goes on has begun"
        self.count_the_rest()
        before, delivery = self.opened.way.variant, self.delivery
        counted = Counts(
            (delivery.prompt_tokens or 0) - (delivery.before.prompt or 0),
            (delivery.completion_tokens or 0) - (delivery.before.completion or 0),
        )
        self.begun.append((before, counted))
        delivery.begin_again()
        self.opened = opened

    def used(self, microusd: int | None) -> Wanted:
        """What it is charged: nothing where nobody answered."""
        delivery = self.delivery
        if not delivery.started:
            return NOTHING
        return Wanted(1, (delivery.prompt_tokens or 0) + (delivery.completion_tokens or 0), microusd or 0)

    def microusd(self, prices: Mapping[str, Price]) -> int | None:
        """What the answer cost, in millionths of a US dollar; None without a price, or an answer."""
        if not prices or self.opened is None:
            return None
        delivery = self.delivery
        prompt, completion, usd = delivery.prompt_tokens or 0, delivery.completion_tokens or 0, 0.0
        for variant, counted in self.begun:
            price = prices.get(variant.deployment)
            if price is None:
                return None
            usd += price.cost(counted.prompt or 0, counted.completion or 0)
            prompt, completion = prompt - (counted.prompt or 0), completion - (counted.completion or 0)
        price = prices.get(self.opened.way.variant.deployment)
        return None if price is None else round((usd + price.cost(max(prompt, 0), max(completion, 0))) * MICRO)

    def draft(self, call: Call, clock: Clock, microusd: int | None, sampled: bool) -> Draft:
        """What is written down of it."""
        declared, route = call.live.task.declared, call.live.route
        content: Content = "none"
        if sampled and not call.internal:
            content = "full" if declared.record == "full" else "redacted" if declared.record == "redacted" else "none"
        delivery = self.delivery
        keeps = content != "none"
        # What two models wrote says nothing of either.
        looks = (
            self.whole
            and not self.begun
            and not call.internal
            and call.endpoint is CHAT
            and call.live.watched(self.started_at)
        )
        held = keeps or looks
        return Draft(
            self._exchange(call, clock, microusd, content),
            self.body if held else None,
            delivery.kept if held and delivery.kept else None,
            len(self.body) + delivery.kept_bytes if held else 0,
            # A rollout is decided by rows, so they are kept while one is under way, whatever is declared.
            declared.record != "off" or not (route.candidate is None and route.former is None),
            keeps,
            call.live.checks if looks else None,
        )

    @property
    def whole(self) -> bool:
        """The caller was sent a whole answer, without an error."""
        return self.error is None and self.delivery.ended and not self.delivery.truncated

    def _exchange(self, call: Call, clock: Clock, microusd: int | None, content: Content) -> Exchange:
        opened, delivery, error = self.opened, self.delivery, self.error
        variant = None if opened is None else opened.way.variant
        return Exchange(
            id=self.id,
            task=call.live.task.name,
            revision=call.live.route.revision,
            variant=None if variant is None else variant.id,
            deployment=None if variant is None else variant.deployment,
            side=None if opened is None else opened.side,
            key=call.key.id,
            internal=call.internal,
            stream=call.stream,
            status=self.status,
            error=None if error is None else error.code,
            error_source=None if error is None else error.source,
            truncated=delivery.truncated,
            abandoned=self.left and not self.delivery.ended,
            attempts=self.trail.attempts,
            failed_variants=self.trail.failed,
            started_at=self.started_at,
            duration_ms=1000 * (clock.monotonic() - self.started),
            first_chunk_ms=None if delivery.first_at is None else 1000 * (delivery.first_at - self.started),
            prompt_tokens=delivery.prompt_tokens,
            completion_tokens=delivery.completion_tokens,
            endpoint=call.endpoint.name,
            team=call.key.team,
            usage_estimated=delivery.estimated,
            cost_microusd=microusd,
            content=content,
            trace=self.trace,
            begun_by=" ".join(variant.id for variant, _ in self.begun) or None,
            violation=NOT_IN_SHAPE if error is not None and error.code == NOT_IN_SHAPE else None,
        )

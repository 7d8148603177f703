"""Stage 3: how much at once, of everybody, and of each key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from changeover.core.errors import CapacityError
from changeover.gateway.leases import Wanted
from changeover.gateway.resolve import Call

BYTES_PER_TOKEN = 3
"""Fewer than in most texts (four in English, three in Chinese and Japanese): a reservation is rather too large."""
TEMPLATE_TOKENS = 32
"""What chat templates add."""
UNBOUNDED_ANSWER_TOKENS = 4096
"""Reserved for an answer that nobody bounds."""


class Admission:
    """Counts requests that are being answered, and refuses one too many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.in_flight = 0
        self._held: dict[str, int] = {}

    def enter(self, key: str) -> None:
        """Take a place; `leave` gives it back.

        While less than half of all places are taken anybody may have any number. Then each key gets no more than its
        even share, so that one caller's flood does not keep the others out.

        Raises:
            CapacityError: All places are taken, or all that this key may have now.
        """
        held = self._held.get(key, 0)
        if self.in_flight >= self.most:
            raise CapacityError(f"{self.in_flight} requests are being answered already. Try again in a second.")
        if 2 * self.in_flight >= self.most and held:
            share = max(self.most // len(self._held), 1)
            if held >= share and len(self._held) > 1:
                raise CapacityError(
                    f"This key has {held} of {self.in_flight} requests that are being answered, its share while "
                    f"{len(self._held)} keys call at once. Try again in a second."
                )
        self.in_flight += 1
        self._held[key] = held + 1

    def leave(self, key: str) -> None:
        self.in_flight -= 1
        held = self._held[key] - 1
        if held:
            self._held[key] = held
        else:
            del self._held[key]


def wanted(call: Call, body_bytes: int, microusd_per_token: tuple[float, float] | None) -> Wanted:
    """Upper bounds of what a request will use: what is not used is given back when it is settled.

    Args:
        call: The request.
        body_bytes: Length of its body.
        microusd_per_token: Price of a prompt token and of an answer's, None: no known price.
    """
    body, endpoint, bound = call.body, call.endpoint, call.live.task.declared.max_output_tokens
    answer = 0
    # Of two bounds that a caller gives, the larger one: engines differ in which they take.
    for name in endpoint.max_tokens:
        given = body.get(name)
        if given is not None and given > answer:  # a whole number, see `resolve`
            answer = given
    if not answer and endpoint.max_tokens:
        answer = bound or UNBOUNDED_ANSWER_TOKENS
    elif bound is not None and answer > bound:
        answer = bound
    if "n" in body or "best_of" in body or "prompt" in body:
        answer *= _answers(body)
    prompt = body_bytes // BYTES_PER_TOKEN + TEMPLATE_TOKENS
    tokens = prompt + answer
    most_tokens, most_microusd = call.key.least_limits
    if tokens > most_tokens:  # it would never be admitted; the limit's own amount is asked for then
        tokens = most_tokens
    if microusd_per_token is None:
        return Wanted(1, tokens)
    cost = round(prompt * microusd_per_token[0] + answer * microusd_per_token[1])
    return Wanted(1, tokens, cost if cost < most_microusd else most_microusd)


def _answers(body: Mapping[str, Any]) -> int:
    """How many are asked for at once."""
    wanted = 1
    for name in ("n", "best_of"):
        given = body.get(name)
        if given is not None and given > wanted:
            wanted = given
    prompts = body.get("prompt")
    if isinstance(prompts, list):
        texts = [each for each in cast("list[Any]", prompts) if not isinstance(each, int)]
        return wanted * max(len(texts), 1)
    return wanted

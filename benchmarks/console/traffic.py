"""Thirty days of requests to the busy installation, with what is counted and said of them: written by the rooms' own queries."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert

from benchmarks.console.around import application_keys
from benchmarks.console.declared import SAMPLES, Sketch
from benchmarks.console.evaluated import HOSTILE
from changeover.app.installation import Installation
from changeover.gateway.usage import UsageRow, write_usage
from changeover.rollouts.queries import latest_rollout
from changeover.rollouts.shadow_queries import ShadowScore, scorer_key
from changeover.serving.queries import load_variants
from changeover.store.engine import Store
from changeover.store.schema import exchanges, feedback, shadow_scores
from changeover.tasks.exchanges import Content, Exchange
from changeover.tasks.queries import add_exchanges, route_history
from changeover.tasks.routes import Route

DAYS = 30
AT_ONCE = 10_000
"""Exchanges of one transaction."""
SEED = 20_261_130
WITH_CONTENT = 40_000
"""Of the newest exchanges so many have their content kept, where the task records it."""
LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
PAIRS = tuple(one + other for one in LETTERS for other in LETTERS)
BUSY_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 11, 14, 15, 14, 12, 13, 15, 14, 12, 9, 6, 4, 3, 2, 2, 1)
"""How many requests begin in each hour of a day, UTC, beside each other."""
VIOLATIONS = ("empty", "language", "refusal", "shape")
ERRORS = ("model_failed", "upstream_timeout", "bad_request", "rate_limited")
COMMENTS = (
    *("Exactly what I needed.", None, "Too long, and the date is wrong.", "助かりました"),
    *("<script>alert('feedback')</script>", None, "ممتاز", "👍🏽"),
)


@dataclass(frozen=True)
class _Lane:
    """One task as its requests see it."""

    name: str
    starts: Sequence[float]
    """When each of its routes began, seconds since 1970, oldest first."""
    routes: Sequence[Route]
    deployments: Mapping[str, str]
    """By variant."""
    texts: Sequence[tuple[str, str]]
    """Requests and messages as they are recorded."""
    content: Content
    tokens: int
    """Of a usual prompt."""

    def route(self, at: float) -> Route:
        return self.routes[max(bisect_right(self.starts, at) - 1, 0)]


def add_traffic(installation: Installation, chosen: Sequence[Sketch], count: int, now: datetime) -> None:
    """Write exchanges in the order in which they came, the hours' usage, feedback, and scores of copied requests."""
    lanes = [_lane(installation.store, sketch) for sketch in chosen]
    prices = installation.project.settings.prices
    costs = {
        name: (each.usd_per_million_prompt_tokens, each.usd_per_million_completion_tokens)
        for name, each in prices.items()
    }
    counted = _Counted()
    around = _Around(lanes, application_keys(installation), costs, count)
    made = counted.each(_exchanges(around, now))
    while batch := list(islice(made, AT_ONCE)):
        with installation.store.append() as connection:
            _add(connection, batch)
    rows = counted.rows()
    for place in range(0, len(rows), 2_000):
        with installation.store.append() as connection:
            write_usage(connection, rows[place : place + 2_000])
    with installation.store.write() as connection:
        if counted.feedback:
            connection.execute(insert(feedback), counted.feedback)
    _add_scores(installation.store, counted.copies)


def _add(connection: Connection, batch: Sequence[Exchange]) -> None:
    """Write exchanges; PostgreSQL takes a million of them by `COPY` in a tenth of the time."""
    if connection.dialect.name == "sqlite":
        add_exchanges(connection, batch)
        return
    names = [column.name for column in exchanges.c]
    pick, place = attrgetter(*names), names.index("failed_variants")
    driver: Any = connection.connection.driver_connection
    with driver.cursor().copy(f"COPY exchanges ({', '.join(names)}) FROM STDIN") as copy:
        for one in batch:
            values = list(pick(one))
            values[place] = " ".join(values[place])
            copy.write_row([each.replace(tzinfo=None) if isinstance(each, datetime) else each for each in values])


def analyse(installation: Installation) -> None:
    """Have PostgreSQL look at what came in at once, as it does by itself with what comes over weeks."""
    if installation.store.engine.dialect.name == "postgresql":
        with installation.store.write() as connection:
            connection.exec_driver_sql("ANALYZE")


class _Counted:
    """What is counted and said of exchanges as they go by."""

    def __init__(self) -> None:
        self._totals: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 7)
        self.feedback: list[dict[str, Any]] = []
        """Rows."""
        self.copies: defaultdict[str, list[tuple[str, datetime]]] = defaultdict(list)
        """Of each task: id and time."""

    def each(self, made: Iterable[Exchange]) -> Iterator[Exchange]:
        """Count, and pass on."""
        for number, one in enumerate(made):
            hour = one.started_at.replace(minute=0, second=0, microsecond=0)
            totals = self._totals[hour, one.team or "", one.key or "", one.task, one.deployment or "", one.internal]
            prompt, completion = one.prompt_tokens or 0, one.completion_tokens or 0
            totals[0] += 1
            totals[1] += one.status >= 400 or one.truncated
            totals[2] += prompt
            totals[3] += completion
            totals[4] += one.usage_estimated
            totals[5] += one.cost_microusd or 0
            totals[6] += one.cost_microusd is None and prompt + completion > 0
            if one.shadow_of is not None and len(self.copies[one.task]) < 200:
                self.copies[one.task].append((one.id, one.started_at))
            if number % 97 == 5 and len(self.feedback) < 4_000 and one.variant is not None and not one.internal:
                self.feedback.append(_feedback(one, number // 97))
            yield one

    def rows(self) -> list[UsageRow]:
        return [UsageRow("gw_busy", *place, *totals) for place, totals in sorted(self._totals.items())]


def _feedback(one: Exchange, number: int) -> dict[str, Any]:
    return {
        "exchange": one.id,
        "task": one.task,
        "variant": one.variant,
        "good": number % 6 != 2,
        "comment": COMMENTS[number % len(COMMENTS)],
        "key": one.key,
        "at": one.started_at + timedelta(minutes=2),
    }


def _lane(store: Store, sketch: Sketch) -> _Lane:
    with store.read() as connection:
        routes = route_history(connection, sketch.name, limit=1_000)[::-1]
        variants = load_variants(connection, {id for route in routes for id in route.variants()})
    texts = [_texts(sketch, number) for number in range(SAMPLES)]
    content: Content = "none" if sketch.record == "metadata" else "redacted" if sketch.record == "redacted" else "full"
    return _Lane(
        name=sketch.name,
        starts=[route.created_at.timestamp() for route in routes],
        routes=routes,
        deployments={id: variant.deployment for id, variant in variants.items()},
        texts=texts,
        content=content,
        tokens=len(texts[0][0]) // 4,
    )


def _texts(sketch: Sketch, number: int) -> tuple[str, str]:
    """A request and the message that answered it, as the gateway records them."""
    asked = sketch.filled(sketch.ask, number)
    answer = sketch.filled(sketch.good if number % 9 else sketch.bad, number)
    if number % 13 == 4:
        answer = f"{HOSTILE[number % len(HOSTILE)]}\n{answer}"
    if number % 31 == 3:
        asked = f"{HOSTILE[number % len(HOSTILE)]}\n{asked}"
    request = {"model": sketch.name, "messages": [{"role": "user", "content": asked}], "temperature": 0}
    message = {"role": "assistant", "content": answer}
    return json.dumps(request, ensure_ascii=False), json.dumps(message, ensure_ascii=False)


def _moments(count: int, now: datetime, dice: np.random.Generator) -> NDArray[np.float64]:
    """When so many requests began within the last days, in order, seconds since 1970: more by day than by night."""
    hours = DAYS * 24
    first = int(now.timestamp()) // 3600 - hours + 1
    weights = np.array([BUSY_HOURS[(first + place) % 24] for place in range(hours)], dtype=float)
    # The hour that is under way is not full yet.
    weights[-1] *= (now.timestamp() % 3600) / 3600
    hour = np.sort(dice.choice(hours, size=count, p=weights / weights.sum()))
    within = dice.random(count) * np.where(hour == hours - 1, now.timestamp() % 3600, 3600.0)
    return np.sort((first + hour) * 3600.0 + within)


@dataclass(frozen=True)
class _Asked:
    """One request as chance would have it."""

    number: int
    at: float
    """Seconds since 1970."""
    place: int
    """Of its task."""
    chances: tuple[float, float, float]
    """Each 0 to 1: who answers, how it ends, what is asked."""
    slow: float
    """Times as long as usual."""


@dataclass(frozen=True)
class _Around:
    """What all requests have in common."""

    lanes: Sequence[_Lane]
    keys: Sequence[tuple[str, str | None]]
    costs: Mapping[str, tuple[float, float]]
    """By deployment: US dollars for a million tokens of prompts, and of answers."""
    count: int


def _exchanges(around: _Around, now: datetime) -> Iterator[Exchange]:
    """All of them, oldest first."""
    dice, count, lanes = np.random.default_rng(SEED), around.count, around.lanes
    shares = 1 / np.arange(2, len(lanes) + 2)
    moments = _moments(count, now, dice).tolist()
    places = dice.choice(len(lanes), size=count, p=shares / shares.sum()).tolist()
    chances = map(tuple, dice.random((count, 3)).tolist())
    slow = dice.lognormal(0.0, 0.55, count).tolist()
    last: dict[int, tuple[str, int]] = {}
    for number, (at, place, three, long) in enumerate(zip(moments, places, chances, slow, strict=True)):
        asked = _Asked(number, at, place, three, long)
        side, variant, shadow_of, text = _answering(lanes[place], asked, last.get(place))
        made = _exchange(around, asked, side, variant, shadow_of, text)
        if side != "shadow":
            last[place] = (made.id, text)
        yield made


def _answering(
    lane: _Lane, asked: _Asked, last: tuple[str, int] | None
) -> tuple[Literal["incumbent", "candidate", "shadow"], str, str | None, int]:
    """Who answers, as what, as a copy of which exchange, and which text it is."""
    route, who, text = lane.route(asked.at), asked.chances[0], int(asked.chances[2] * SAMPLES)
    if route.candidate is None:
        return "incumbent", route.incumbent, None, text
    if last is not None and who > 1 - route.shadow_share / 2:
        return "shadow", route.candidate, *last
    if who < route.candidate_weight:
        return "candidate", route.candidate, None, text
    return "incumbent", route.incumbent, None, text


def _exchange(
    around: _Around,
    asked: _Asked,
    side: Literal["incumbent", "candidate", "shadow"],
    variant: str,
    shadow_of: str | None,
    text: int,
) -> Exchange:
    """One of them. Some fail, break off, break the contract, or are answered by somebody else in the end."""
    lane, number, (who, ends, what) = around.lanes[asked.place], asked.number, asked.chances
    route, deployment = lane.route(asked.at), lane.deployments[variant]
    answered = ends <= (0.985 if side == "candidate" else 0.992)
    named = answered or side == "shadow"
    key, team = around.keys[(asked.place + int(who * 3)) % len(around.keys)]
    kept, stream = lane.content != "none" and number >= around.count - WITH_CONTENT and who < 0.9, what < 0.6
    duration = round((260 + 22 * asked.place + 600 * (side != "incumbent")) * asked.slow, 1)
    prompt, completion = int(lane.tokens * (0.6 + what)) + 20, int(20 + 160 * asked.slow)
    price, stepped_in = around.costs.get(deployment), side == "incumbent" and 0.97 < ends < 0.974
    return Exchange(
        id=_id(asked.at, number),
        task=lane.name,
        revision=route.revision,
        variant=variant if named else None,
        deployment=deployment if named else None,
        side=side,
        key=key,
        internal=side == "shadow",
        stream=stream,
        status=200 if answered else (502, 504, 400, 429)[number % 4],
        error=None if answered else ERRORS[number % 4],
        error_source=None if answered else ("model", "model", "caller", "gateway")[number % 4],
        truncated=answered and stream and ends > 0.9915,
        abandoned=answered and 0.98 < ends < 0.983,
        attempts=2 if stepped_in else 1,
        failed_variants=(route.candidate,) if route.candidate and stepped_in else (),
        started_at=datetime.fromtimestamp(asked.at, UTC),
        duration_ms=duration,
        first_chunk_ms=round(duration * 0.22, 1) if answered and stream else None,
        prompt_tokens=prompt if answered else None,
        completion_tokens=completion if answered else None,
        request=lane.texts[text][0] if kept else None,
        response=lane.texts[(text + 7 * (side == "shadow")) % SAMPLES][1] if kept and answered else None,
        team=team,
        usage_estimated=deployment == "qwen3-vl-8b",
        cost_microusd=round(prompt * price[0] + completion * price[1]) if price and answered else None,
        content=lane.content if kept else "none",
        violation=VIOLATIONS[number % 4] if answered and ends > 0.985 else None,
        shadow_of=shadow_of,
    )


def _id(at: float, number: int) -> str:
    """An id as the gateway gives them, the same each time: the millisecond, then a number."""
    millis, noise = int(at * 1000), number * 2_654_435_761 & (1 << 40) - 1
    stamp = f"{PAIRS[millis >> 40 & 1023]}{PAIRS[millis >> 30 & 1023]}{PAIRS[millis >> 20 & 1023]}"
    stamp += f"{PAIRS[millis >> 10 & 1023]}{PAIRS[millis & 1023]}"
    rest = f"{PAIRS[noise >> 30]}{PAIRS[noise >> 20 & 1023]}{PAIRS[noise >> 10 & 1023]}{PAIRS[noise & 1023]}"
    return f"req_{stamp}-{rest}"


def _add_scores(store: Store, copies: Mapping[str, Sequence[tuple[str, datetime]]]) -> None:
    """What a scorer made of copied requests, for the newest rollout of each task."""
    for task, copied in copies.items():
        with store.read() as connection:
            rollout = latest_rollout(connection, task)
        if rollout is None:
            continue
        scores = [
            ShadowScore(
                exchange=id,
                scorer=scorer_key(0, "ab" * 32),
                rollout=rollout.id,
                name="length",
                incumbent_score=None if place % 41 == 7 else 0.7 + 0.02 * (place % 9),
                candidate_score=None if place % 41 == 7 else 0.72 + 0.02 * (place % 11),
                error="the scorer could not read it" if place % 41 == 7 else None,
                at=at,
            )
            for place, (id, at) in enumerate(copied)
            if at >= rollout.created_at
        ]
        if scores:
            with store.write() as connection:
                connection.execute(insert(shadow_scores), [asdict(score) for score in scores])

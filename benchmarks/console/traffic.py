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
    made = counted.each(_exchanges(lanes, application_keys(installation), costs, count, now))
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


def _exchanges(
    lanes: Sequence[_Lane],
    keys: Sequence[tuple[str, str | None]],
    costs: Mapping[str, tuple[float, float]],
    count: int,
    now: datetime,
) -> Iterator[Exchange]:
    """All of them, oldest first."""
    dice = np.random.default_rng(SEED)
    shares = 1 / np.arange(2, len(lanes) + 2)
    moments = _moments(count, now, dice).tolist()
    places = dice.choice(len(lanes), size=count, p=shares / shares.sum()).tolist()
    chances = dice.random((count, 3)).tolist()
    slow = dice.lognormal(0.0, 0.55, count).tolist()
    last: dict[int, tuple[str, int]] = {}
    for number, (at, place, (one, other, third), long) in enumerate(zip(moments, places, chances, slow, strict=True)):
        lane = lanes[place]
        route = lane.route(at)
        side: Literal["incumbent", "candidate", "shadow"] = "incumbent"
        variant = route.incumbent
        if route.candidate is not None and one < max(route.candidate_weight, 0.0):
            side, variant = "candidate", route.candidate
        shadow_of = None
        text = int(third * SAMPLES)
        if route.candidate is not None and route.shadow_share and place in last and one > 1 - route.shadow_share / 2:
            side, variant, (shadow_of, text) = "shadow", route.candidate, last[place]
        failed = other > 0.992 or (side == "candidate" and other > 0.985)
        deployment = lane.deployments[variant]
        key, team = keys[(place + int(one * 3)) % len(keys)]
        kept = lane.content != "none" and number >= count - WITH_CONTENT and one < 0.9
        stream = third < 0.6
        duration = round((260 + 22 * place + 600 * (side != "incumbent")) * long, 1)
        answered = not failed
        prompt = int(lane.tokens * (0.6 + third)) + 20 if answered else None
        completion = int(20 + 160 * long) if answered else None
        price = costs.get(deployment)
        cost = None
        if price is not None and prompt is not None and completion is not None:
            cost = round(prompt * price[0] + completion * price[1])
        id = _id(at, number)
        if side != "shadow":
            last[place] = (id, text)
        yield Exchange(
            id=id,
            task=lane.name,
            revision=route.revision,
            variant=variant if answered or side == "shadow" else None,
            deployment=deployment if answered or side == "shadow" else None,
            side=side,
            key=key,
            internal=side == "shadow",
            stream=stream,
            status=200 if answered else (502, 504, 400, 429)[number % 4],
            error=None if answered else ERRORS[number % 4],
            error_source=None if answered else ("model", "model", "caller", "gateway")[number % 4],
            truncated=answered and stream and other > 0.9915,
            abandoned=answered and 0.98 < other < 0.983,
            attempts=2 if 0.97 < other < 0.974 else 1,
            failed_variants=(route.candidate,)
            if route.candidate and 0.97 < other < 0.974 and side == "incumbent"
            else (),
            started_at=datetime.fromtimestamp(at, UTC),
            duration_ms=duration,
            first_chunk_ms=round(duration * 0.22, 1) if answered and stream else None,
            prompt_tokens=prompt,
            completion_tokens=completion,
            request=lane.texts[text][0] if kept else None,
            response=lane.texts[(text + (7 if side == "shadow" else 0)) % SAMPLES][1] if kept and answered else None,
            team=team,
            usage_estimated=deployment == "qwen3-vl-8b",
            cost_microusd=cost,
            content=lane.content if kept else "none",
            violation=VIOLATIONS[number % 4] if answered and 0.985 < other < 0.992 else None,
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

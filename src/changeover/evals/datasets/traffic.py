"""A dataset of what applications really ask: drawn from recorded exchanges, masked, without repeats."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection

from changeover.core.errors import DatasetError
from changeover.evals.datasets.masking import Masker
from changeover.evals.datasets.read import inputs_of, parse_sample, read_json
from changeover.evals.datasets.samples import UNLABELLED, Sample
from changeover.evals.datasets.similar import near_duplicates, plain_text
from changeover.tasks.exchanges import Exchange
from changeover.tasks.queries import recorded_exchanges

LENGTHS = ("short", "medium", "long")
"""Tags of the three thirds of requests by their length."""
MOST_VALUES = 20
"""Different values of one key of a request's metadata; one with more says who asks and not what kind of request."""
SPARE = 3
"""Requests that are read for each sample wanted, so that repeats can be left out."""
SEED = "changeover from-traffic 1"

Stratum = tuple[tuple[str, ...], int]
"""Tags of the request's metadata, and the third of its length."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Samples from traffic, and what became of the rest."""

    samples: tuple[Sample, ...]
    """Oldest first. Their target holds the recorded answer, which nobody has called right."""
    requests: int
    """Recorded in the time asked for, from applications, answered whole."""
    unusable: int
    """Of them: with images, tool results or other things that a dataset does not hold."""
    repeats: int
    """Of those looked at: nearly the same as another."""
    masked: Mapping[str, int]
    """How many samples hold a placeholder of each kind."""


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What is remembered of a request while all are read."""

    id: str
    ticket: bytes
    length: int
    metadata: Mapping[str, str]


@dataclass(kw_only=True)
class _Strata:
    """Requests by kind, and how many samples each kind gets."""

    of: dict[str, Stratum] = field(default_factory=dict[str, Stratum])
    quotas: dict[Stratum, int] = field(default_factory=dict[Stratum, int])


def draw_from_traffic(connection: Connection, task: str, since: datetime, most: int) -> Drawn:
    """Draw samples that look like the traffic: each kind of request by its share, the same ones at every call.

    A kind is the request's `metadata`, where its keys have few values, and the third of its length. Samples of one
    conversation share a cluster.

    Raises:
        DatasetError: No request was recorded in that time, or none can be used.
    """
    requests: list[_Request] = []
    seen = 0
    for exchange in recorded_exchanges(connection, task, since):
        seen += 1
        if (request := _request(exchange)) is not None:
            requests.append(request)
    if not requests:
        why = f"{seen} requests were recorded, and none can be used" if seen else "no request was recorded"
        raise DatasetError(f"`{task}`: {why} since {since:%Y-%m-%d %H:%M}. Ask for a longer time with `--since`.")
    requests.sort(key=lambda request: request.ticket)
    strata = _stratified(requests, most)
    looked_at = _first_of_each(requests, strata)
    by_id = {e.id: e for e in recorded_exchanges(connection, task, since, [request.id for request in looked_at])}
    kept: list[tuple[_Request, Sample, Masker]] = []
    for request in looked_at:
        masker = Masker()
        kept.append((request, _sample(by_id[request.id], strata.of[request.id], masker), masker))
    repeats = _repeats([sample for _, sample, _ in kept])
    fresh = [one for place, one in enumerate(kept) if place not in repeats]
    chosen = _fill(fresh, strata, most)
    chosen.sort(key=lambda one: (by_id[one[0].id].started_at, one[0].id))
    return Drawn(
        samples=_alone([sample for _, sample, _ in chosen]),
        requests=seen,
        unusable=seen - len(requests),
        repeats=len(repeats),
        masked=Counter(kind for _, _, masker in chosen for kind in masker.counts),
    )


def sample_of(exchange: Exchange) -> Sample:
    """One recorded exchange as a sample, personal data masked. Its target holds what was answered then.

    Raises:
        DatasetError: Its content was not kept, or it holds what a dataset cannot.
    """
    if exchange.request is None or exchange.endpoint != "chat":
        why = "it is no chat" if exchange.request is not None else "its content was not kept"
        raise DatasetError(f"Exchange `{exchange.id}` can be no sample: {why}.")
    sample = _sample(exchange, ((), 0), Masker())
    return replace(sample, tags=(), cluster=None)


def _request(exchange: Exchange) -> _Request | None:
    try:
        body = _body(exchange)
        sample = _sample(exchange, ((), 0), Masker())
    except DatasetError:
        return None
    metadata = body.get("metadata")
    pairs = cast("dict[str, Any]", metadata).items() if isinstance(metadata, dict) else ()
    return _Request(
        id=exchange.id,
        ticket=hashlib.sha256(f"{SEED}\0{exchange.id}".encode()).digest(),
        length=len(sample.text),
        metadata={key: value for key, value in pairs if isinstance(value, str) and 0 < len(value) <= 64},
    )


def _body(exchange: Exchange) -> dict[str, Any]:
    body = read_json(exchange.request or "", "request")
    if not isinstance(body, dict):
        raise DatasetError("request: an object is expected.")
    return cast("dict[str, Any]", body)


def _sample(exchange: Exchange, stratum: Stratum, masker: Masker) -> Sample:
    """One exchange as a sample.

    Raises:
        DatasetError: It holds what a dataset cannot.
    """
    body = _body(exchange)
    tags, third = stratum
    messages = [_message(message) for message in cast("list[Any]", body.get("messages") or [])]
    messages = masker.value(messages)
    answer = cast("dict[str, Any]", read_json(exchange.response or "", "response") or {})
    recorded: dict[str, Any] = {"recorded": answer.get("content") or ""}
    if calls := answer.get("tool_calls"):
        recorded["recorded_calls"] = calls
    line = {
        "id": exchange.id,
        "input": messages,
        "target": masker.value(recorded),
        "tools": masker.value(body.get("tools") or []),
        "tags": [UNLABELLED, LENGTHS[third], *(masker.text(tag) for tag in tags)],
        "cluster": _conversation(messages),
        "source": (
            f"traffic {exchange.task} exchange {exchange.id} at {exchange.started_at.isoformat(timespec='seconds')}, "
            f"answered by {exchange.deployment}"
        ),
    }
    return parse_sample(line, f"exchange {exchange.id}", inputs_of(None))


def _message(value: Any) -> dict[str, Any]:
    message = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    content = message.get("content")
    if isinstance(content, list):
        parts = [cast("dict[str, Any]", part) for part in cast("list[Any]", content) if isinstance(part, dict)]
        if any(part.get("type") != "text" for part in parts):
            raise DatasetError("request: a message holds something else than text.")
        content = "\n".join(str(part.get("text", "")) for part in parts)
    if not isinstance(content, str) or message.get("tool_calls"):
        raise DatasetError("request: a message holds no text.")
    return {"role": "system" if message.get("role") == "developer" else message.get("role"), "content": content}


def _conversation(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The same for all requests that go on from one first question."""
    first = next((str(message["content"]) for message in messages if message["role"] == "user"), None)
    return None if first is None else "conversation-" + hashlib.sha256(first.encode()).hexdigest()[:12]


def _alone(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Samples without the cluster that nobody shares."""
    counted = Counter(sample.cluster for sample in samples)
    return tuple(sample if counted[sample.cluster] > 1 else replace(sample, cluster=None) for sample in samples)


def _stratified(requests: Sequence[_Request], most: int) -> _Strata:
    values: dict[str, set[str]] = defaultdict(set)
    for request in requests:
        for key, value in request.metadata.items():
            values[key].add(value)
    telling = {key for key, different in values.items() if len(different) <= MOST_VALUES}
    lengths = sorted(request.length for request in requests)
    cuts = [lengths[len(lengths) // 3], lengths[2 * len(lengths) // 3]]
    strata = _Strata()
    for request in requests:
        tags = tuple(f"{key}={value}" for key, value in sorted(request.metadata.items()) if key in telling)
        strata.of[request.id] = (tags, min(bisect_right(cuts, request.length), 2))
    strata.quotas = _shares(Counter(strata.of.values()), most)
    return strata


def _shares(counts: Mapping[Stratum, int], most: int) -> dict[Stratum, int]:
    """Divide a number by shares; what is left over goes to the largest remainders."""
    total = sum(counts.values())
    if total <= most:
        return dict(counts)
    exact = {stratum: most * count / total for stratum, count in counts.items()}
    quotas = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(exact, key=lambda stratum: (quotas[stratum] - exact[stratum], stratum))
    for stratum in by_remainder[: most - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas


def _first_of_each(requests: Iterable[_Request], strata: _Strata) -> list[_Request]:
    """In their drawn order, more than are needed of each kind."""
    left = {stratum: SPARE * (quota + 1) for stratum, quota in strata.quotas.items()}
    found: list[_Request] = []
    for request in requests:
        stratum = strata.of[request.id]
        if left[stratum] > 0:
            left[stratum] -= 1
            found.append(request)
    return found


def _repeats(samples: Sequence[Sample]) -> set[int]:
    """Places of samples that ask nearly what an earlier one asks."""
    texts = [sample.text for sample in samples]
    found = {alike.other for alike in near_duplicates(texts)}
    seen: set[str] = set()
    for place, text in enumerate(map(plain_text, texts)):
        if text in seen:
            found.add(place)
        seen.add(text)
    return found


def _fill(
    fresh: Sequence[tuple[_Request, Sample, Masker]], strata: _Strata, most: int
) -> list[tuple[_Request, Sample, Masker]]:
    """Each kind up to its quota; what repeats have left open is filled in drawn order."""
    left = dict(strata.quotas)
    chosen: list[tuple[_Request, Sample, Masker]] = []
    others: list[tuple[_Request, Sample, Masker]] = []
    for one in fresh:
        stratum = strata.of[one[0].id]
        (chosen if left[stratum] > 0 else others).append(one)
        left[stratum] -= 1
    return [*chosen, *others[: max(0, most - len(chosen))]]

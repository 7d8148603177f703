"""Applications that ask tasks without a pause, for whole answers and for streams, and what each of them got."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.processes import PATIENCE_S, Up

from changeover.app.deploy import declared_variant
from changeover.rollouts import actions
from changeover.rollouts.decide import Step
from changeover.serving.queries import keep_variant

PAUSE_S = 0.01
ANY = 0.999_999
"""Share that a task tolerates: an engine is meant to fail here, thousands of times while it starts anew."""


@dataclass
class Seen:
    """What the callers of one task got."""

    whole: int = 0
    streamed: int = 0
    failed: list[str] = field(default_factory=list[str])
    """Requests that were answered with an error, or not at all."""
    broken: list[str] = field(default_factory=list[str])
    """Streams that began and did not come to their end."""
    answered_by: Counter[str] = field(default_factory=Counter[str])

    @property
    def requests(self) -> int:
        return self.whole + self.streamed


class Traffic:
    """Callers of several tasks, each time as another user. Their answers may be looked at while they go on."""

    def __init__(
        self,
        up: Up,
        *,
        key: str | None = None,
        streams: bool = True,
        fields: Mapping[str, Any] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._up = up
        self._patience_s = patience_s
        self._key = key or up.key
        self._streams = streams
        self._fields = fields or {}
        self._users = itertools.count()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.seen: dict[str, Seen] = {}

    @contextmanager
    def to(self, tasks: Sequence[str], clients: int = 2) -> Generator[Mapping[str, Seen]]:
        """Ask for the length of the block."""
        self.seen = {task: Seen() for task in tasks}
        threads = [threading.Thread(target=self._ask_on, args=(task,)) for task in tasks for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self.seen
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def answered(self, task: str, by: str) -> int:
        """Requests of a task that a deployment has answered so far."""
        with self._lock:
            return self.seen[task].answered_by[by]

    def _ask_on(self, task: str) -> None:
        seen = self.seen[task]
        for stream in itertools.cycle((False, True) if self._streams else (False,)):
            if self._stop.wait(PAUSE_S):
                return
            who, failed, broken = self._ask(task, stream)
            with self._lock:
                seen.whole += not stream
                seen.streamed += stream
                seen.answered_by[who] += failed is None
                seen.failed += [failed] if failed else []
                seen.broken += [broken] if broken else []

    def _ask(self, task: str, stream: bool) -> tuple[str, str | None, str | None]:
        """Who answered, why it failed, and how a stream that had begun broke off."""
        with self._lock:
            fields: dict[str, Any] = {**self._fields, "user": f"u{next(self._users)}", "stream": stream}
        request = self._up.request(task, **fields)
        request.add_header("authorization", f"Bearer {self._key}")
        try:
            with urllib.request.urlopen(request, timeout=self._patience_s) as response:
                who = response.headers["x-changeover-deployment"]
                try:
                    body = response.read()
                except http.client.IncompleteRead as exc:
                    return who, None, f"cut after {len(exc.partial)} bytes"
        except urllib.error.HTTPError as exc:
            return "", f"{exc.code} {json.loads(exc.read())['error']['message']}", None
        except (urllib.error.URLError, OSError) as exc:
            return "", repr(exc), None
        whole = body.endswith(b"data: [DONE]\n\n") and b'"error"' not in body if stream else b'"choices"' in body
        return who, None, None if whole else body[-300:].decode(errors="replace")


def no_request_failed(seen: Mapping[str, Seen]) -> None:
    """Check it, and print what was seen: for tables."""
    for task, each in seen.items():
        print(f"{task}: {each.requests} requests, {len(each.failed)} failed, {len(each.broken)} broken", end=" ")
        print(dict(each.answered_by))
    assert {task: each.failed for task, each in seen.items() if each.failed} == {}
    assert {task: each.broken for task, each in seen.items() if each.broken} == {}
    assert all(each.requests > 4 for each in seen.values())


def give_traffic(up: Up, task: str, name: str, *, promoted: bool) -> None:
    """Let a deployment answer a task whatever becomes of it: no guard takes it out."""
    with up.opened() as installation:
        variant = declared_variant(installation, task, name)
        plan = replace(
            actions.plan_of(installation.tasks[task].declared),
            steps=(Step(canary=0.5, requests=10**9, hold_s=0),),
            tolerated_failures=ANY,
            tolerated_violations=ANY,
            tolerated_slow=ANY,
        )
        by = actions.By(actor="test", reason="test", now=installation.clock.now())
        with installation.store.write() as connection:
            keep_variant(connection, variant, by.now)
            rollout = actions.start(connection, variant, plan, None, by)
            if promoted:
                actions.promote(connection, rollout, None, by)

"""The door's answers that ask no model: which tasks there are, how it is doing, what it can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from changeover.core.errors import ChangeoverError, UnknownTaskError, nearest
from changeover.gateway.http import Head, Headers, Reply, send_json
from changeover.gateway.keys import LOOKERS, Key
from changeover.gateway.metrics import Metrics
from changeover.gateway.openapi import document
from changeover.gateway.resolve import callable_tasks
from changeover.gateway.routes import MODEL_PREFIX, Page
from changeover.gateway.snapshot import Snapshots


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Everything but the calls themselves."""

    snapshots: Snapshots
    metrics: Metrics
    state: Callable[[], dict[str, Any]]
    """How the gateway is doing, for those who may look."""

    def answer(self, page: Page, head: Head, reply: Reply, key: Key | None, headers: Headers) -> None:
        """Answer a page.

        Raises:
            UnknownTaskError: No such task, for this key.
        """
        if page == "health":
            # The state of the store is shown and is no reason to fail: answers go on from the last snapshot.
            shown = self.state() if key is not None and key.role in LOOKERS else {}
            send_json(reply, 200, {"status": "ok", **shown}, headers)
        elif page == "metrics":
            kind, body = self.metrics.render((head.header(b"accept") or b"").decode("latin-1"))
            reply.whole(200, [(b"content-type", kind.encode()), *headers], body)
        elif page == "openapi":
            send_json(reply, 200, document(), headers)
        elif key is not None and page == "models":
            names = callable_tasks(key, self.snapshots.current)
            send_json(reply, 200, {"object": "list", "data": [self._model(name) for name in names]}, headers)
        elif key is not None and page == "model":
            names = callable_tasks(key, self.snapshots.current)
            name = head.path.removeprefix(MODEL_PREFIX)
            if name not in names:
                raise UnknownTaskError(f"No task named `{name[:200]}`. {nearest(name, names)}")
            send_json(reply, 200, self._model(name), headers)

    def refused(self, error: ChangeoverError) -> None:
        """Count a request that ended before or instead of an answer."""
        self.metrics.refused(error.status, error.code)

    def _model(self, name: str) -> dict[str, Any]:
        current = self.snapshots.current
        live = current.tasks.get(name)
        created = 0 if live is None else int(live.route.created_at.timestamp())
        return {"id": name, "object": "model", "created": created, "owned_by": "changeover"}

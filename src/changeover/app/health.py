"""How a gateway is doing, asked of it as any client can: for commands that wait for it, and for pages that say it."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def gateway_state(address: str, key: str | None, timeout_s: float) -> dict[str, Any] | None:
    """What its `/healthz` says: with a key of whoever may look, everything. None: it does not answer. Takes its time."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    proxies = ProxyHandler({}) if urlsplit(address).hostname in LOCAL else ProxyHandler()
    try:
        with build_opener(proxies).open(Request(f"{address}/healthz", headers=headers), timeout=timeout_s) as answer:
            found = json.load(answer)
    except (OSError, HTTPException, ValueError):  # something else may listen there by now, and speak anything
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None

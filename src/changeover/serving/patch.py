"""What a deployment puts into every request to its engine. Apart from the way there: who describes an engine loads no client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Patch(msgspec.Struct, frozen=True):
    """What a deployment puts into the body of each request, whoever sends it and whatever stands there."""

    fields: Mapping[str, Any]
    unread: tuple[str, ...] = ()
    """Paths on which the engine does not read such fields: requests there are refused."""

"""Ways: the variants that may answer a task, with all that is known of each before anybody asks."""

from __future__ import annotations

import msgspec

from changeover.serving.profiles import Profile, profile_of_bundle
from changeover.serving.variants import Variant
from changeover.tasks.routes import Side


class Way(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One variant under one route revision."""

    variant: Variant
    profile: Profile
    lines: bytes
    """Header lines that tell a caller who answered, ready to be sent."""

    @classmethod
    def of(cls, variant: Variant, revision: int) -> Way:
        lines = (
            f"x-changeover-route: {revision}\r\n"
            f"x-changeover-deployment: {variant.deployment}\r\n"
            f"x-changeover-bundle: {variant.bundle.digest[:12]}\r\n"
        )
        return cls(variant=variant, profile=profile_of_bundle(variant.bundle), lines=lines.encode())


Turn = tuple[Side | None, Way]
"""Who may be asked next; the side is None where the caller named the variant."""

"""Ways: the variants that may answer a task, with all that is known of each before anybody asks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from changeover.core.errors import ConfigError
from changeover.gateway.needs import Needs, lacks_of
from changeover.serving.profiles import Profile, profile_of_bundle
from changeover.serving.variants import Variant
from changeover.tasks.routes import Side


@dataclass(frozen=True, eq=False)
class Way:
    """One variant under one route revision."""

    variant: Variant
    lines: bytes
    """Header lines that tell a caller who answered, ready to be sent."""

    @classmethod
    def of(cls, variant: Variant, revision: int) -> Way:
        lines = (
            f"x-changeover-route: {revision}\r\n"
            f"x-changeover-deployment: {variant.deployment}\r\n"
            f"x-changeover-bundle: {variant.bundle.digest[:12]}\r\n"
        )
        return cls(variant, lines.encode())

    @cached_property
    def profile(self) -> Profile:
        """How its model and engine speak.

        Raises:
            ConfigError: Another version of Changeover wrote its bundle. Whoever else answers the task still does.
        """
        return profile_of_bundle(self.variant.bundle)

    @cached_property
    def lacks(self) -> Needs:
        """What it surely has not, of all that a request may need; looked up once."""
        try:
            return lacks_of(self.variant.bundle.engine, self.profile)
        except ConfigError:  # to be said when it is asked, and not where another is
            return frozenset()


Turn = tuple[Side | None, Way]
"""Who may be asked next; the side is None where the caller named the variant."""

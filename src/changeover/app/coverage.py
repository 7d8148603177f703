"""Which kinds of models the shelf has: all, or what may be used under the policy and fits some hardware."""

from __future__ import annotations

from changeover.app.fits import Fits
from changeover.app.shelf import Shelf
from changeover.core.errors import ConfigError
from changeover.library.coverage import Coverage, coverage


def counted_on(shelf: Shelf, fits: Fits | None, *, allowed: bool) -> Coverage:
    """Place the cards of a shelf in the matrix.

    Args:
        shelf: The library, as it is seen here.
        fits: Only what is known to fit; None: all.
        allowed: Only what the policy allows.

    Raises:
        ConfigError: There is no policy.
    """
    if allowed and shelf.policy is None:
        raise ConfigError(
            "`--policy` counts what `policy.toml` allows, and there is none here. "
            "Write it first: policy.example.toml, which `changeover init` makes, has every key."
        )
    return coverage(
        shelf.catalogue,
        lambda card: (not allowed or shelf.judgement(card).allowed) and (fits is None or fits(card) is True),
    )

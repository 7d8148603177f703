"""What a pull may ask beside this machine, and how patient it is. The settings say it; `--online` says it for once."""

from __future__ import annotations

from dataclasses import dataclass, field

from changeover.core.settings import SourceSettings


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How often a server is asked again that is busy or breaks off, and how long is waited before that."""

    tries: int = 6
    """In a row without `fresh_bytes` arriving."""
    first_wait_s: float = 0.5
    """Doubled for each further try."""
    longest_wait_s: float = 60.0
    """A server that asks for more is not waited for."""
    fresh_bytes: int = 1 << 20
    """So many bytes begin the count of tries anew: a large file may be cut off often."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a pull may ask. Without anything said it is offline: packages, files and mirrors only."""

    sources: SourceSettings = field(default_factory=SourceSettings)
    patience: Patience = field(default_factory=Patience)
    code: bool = False
    """Whether files of code are fetched too: somebody has read and approved them."""

"""Hardware as people write it: `h100x8`, `H100×8`, `kunlun-p800x16`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from changeover.core.errors import ConfigError
from changeover.core.sizes import GIB
from changeover.library.accelerators import Accelerator
from changeover.library.catalogue import Catalogue

MOST_CARDS: Final = 4096
_COUNTED = re.compile(r"(?P<name>.+?)\s*[x×*]\s*(?P<count>\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Hardware:
    """So many cards of one kind."""

    accelerator: Accelerator
    count: int

    def __str__(self) -> str:
        """As `parse_hardware` takes it."""
        return f"{self.accelerator.id}x{self.count}"

    @property
    def nodes(self) -> int:
        """Usual nodes that hold them; one where nobody said how many a node has."""
        return -(-self.count // (self.accelerator.per_node or self.count))

    @property
    def total_bytes(self) -> int | None:
        """Memory of all cards; None: not known."""
        memory = self.accelerator.memory_gib
        return None if memory is None else round(memory * GIB) * self.count


def parse_hardware(text: str, catalogue: Catalogue) -> Hardware:
    """Read `NAME`, `NAMExN` or `NAME×N`; a name that ends so itself is taken as it stands.

    Raises:
        ConfigError: No card, or more than anybody has.
        UnknownModelError: There is no accelerator of that name; the nearest is named.
    """
    wanted = text.strip()
    known = {name.casefold() for one in catalogue.accelerators() for name in (one.id, *one.aliases)}
    counted = None if wanted.casefold() in known else _COUNTED.fullmatch(wanted)
    if counted is None:
        return Hardware(catalogue.accelerator(wanted), 1)
    count = int(counted["count"])
    if not 1 <= count <= MOST_CARDS:
        raise ConfigError(f"`{text}` asks for {count} cards. Give 1 to {MOST_CARDS}, as in `h100x8`.")
    return Hardware(catalogue.accelerator(counted["name"].strip()), count)

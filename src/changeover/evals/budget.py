"""How much a run may ask: new calls and their cost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from changeover.core.errors import ConfigError
from changeover.core.settings import Price


class BudgetSpent(Exception):
    """The next call would go beyond what the run may ask."""


@dataclass
class Budget:
    """A cap on new calls and on their cost; cached answers are free."""

    max_calls: int | None = None
    max_cost_usd: float | None = None
    calls: int = 0
    """Begun."""
    cost_usd: float = 0.0
    """Of those that ended."""
    ended: int = 0
    dearest: float = 0.0
    """Of those that ended: what a call is taken to have cost that does not say."""
    known: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a call has ended: before that nobody can say what the next one costs."""

    def check_prices(self, prices: dict[str, Price | None]) -> None:
        """Refuse a cap on cost where a deployment's price is unknown: it could never be kept.

        Raises:
            ConfigError: Names the deployment.
        """
        unknown = [name for name, price in prices.items() if price is None]
        if self.max_cost_usd is not None and unknown:
            raise ConfigError(
                f"`max_cost_usd` is set, but what `{unknown[0]}` costs is not known. Add [prices.{unknown[0]}] to "
                "changeover.toml, or leave the cap out."
            )

    def begin_call(self) -> None:
        """Count a call that is about to be made.

        Raises:
            BudgetSpent: It would go beyond the cap; of cost, if it and those under way cost what calls did on average.
        """
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise BudgetSpent(f"the budget of {self.max_calls} new calls is spent")
        if self.max_cost_usd is not None and self.ended:
            under_way = self.calls - self.ended + 1
            if self.cost_usd + under_way * self.cost_usd / self.ended > self.max_cost_usd:
                raise BudgetSpent(f"the budget of {self.max_cost_usd:g} USD is spent")
        self.calls += 1

    def end_call(self, cost_usd: float | None) -> None:
        """Count what a call cost; None where it is not known."""
        self.ended += 1
        self.dearest = max(self.dearest, cost_usd or 0.0)
        self.cost_usd += self.dearest if cost_usd is None else cost_usd
        self.known.set()

    async def wait_for_price(self) -> None:
        """With a cap on cost, wait until the first call has ended."""
        if self.max_cost_usd is not None and self.calls:
            await self.known.wait()

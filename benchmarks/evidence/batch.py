"""The product's four e-processes over many replications at once: the same numbers as `PairedTest`, for simulations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from changeover.evals.sequential import (
    BET_CAP,
    GAPS,
    LOG_MAX,
    PRIOR_DISCORDANCE,
    PRIOR_SAMPLES,
    PROCESSES,
    WEIGHTS,
    Process,
    TestPlan,
)

Floats = NDArray[np.float64]


class BatchTest:
    """`PairedTest` for many streams side by side; a test holds the two to each other.

    Shapes: `log_capital` (processes, 3 bets, replications), `e_values` (processes, replications).
    """

    def __init__(self, plan: TestPlan, replications: int, processes: Sequence[Process] = PROCESSES) -> None:
        nulls: dict[Process, tuple[float, float]] = {
            "no_worse": (1.0, -plan.margin),
            "futility": (-1.0, 0.0),
            "better": (1.0, 0.0),
            "worse": (-1.0, -plan.margin),
        }
        self.processes = tuple(processes)
        sides = np.array([nulls[name] for name in self.processes]).reshape(-1, 2, 1, 1)
        self._side: Floats = sides[:, 0]
        self._tie: Floats = -sides[:, 0] * sides[:, 1]
        self._gaps: Floats = plan.margin * np.array(GAPS).reshape(1, -1, 1)
        self._weights: Floats = np.array(WEIGHTS).reshape(1, -1, 1)
        self._squares: Floats = np.zeros(replications)
        self.samples = 0
        self.log_capital: Floats = np.zeros((len(self.processes), len(GAPS), replications))

    @property
    def replications(self) -> int:
        return len(self._squares)

    def update(self, differences: Floats) -> Floats:
        """Add one difference to every replication, shape (replications,), and return the e-values."""
        discordance = (PRIOR_SAMPLES * PRIOR_DISCORDANCE + self._squares) / (PRIOR_SAMPLES + self.samples)
        bets = _log_optimal_bets(self._tie, self._gaps, discordance)
        self.log_capital += np.log1p(bets * (self._tie + self._side * differences))
        self._squares += differences * differences
        self.samples += 1
        return self.e_values()

    def e_values(self) -> Floats:
        """Current capital, shape (processes, replications)."""
        capital: Floats = self._weights * np.exp(np.minimum(self.log_capital, LOG_MAX))
        return capital.sum(axis=1)

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Drop the replications that are False in `mask`, shape (replications,)."""
        self.log_capital = self.log_capital[:, :, mask]
        self._squares = self._squares[mask]


def _log_optimal_bets(tie: Floats, gap: Floats, discordance: Floats) -> Floats:
    """`log_optimal_bet` of the product, on arrays."""
    possible = np.maximum(discordance, gap - tie)
    linear = tie * tie + gap * tie - possible
    square = linear * linear - 4.0 * tie * (tie * tie - 1.0) * gap
    root = 2.0 * gap / (np.sqrt(np.maximum(square, 0.0)) - linear)
    return np.minimum(root, BET_CAP / (1.0 - tie))

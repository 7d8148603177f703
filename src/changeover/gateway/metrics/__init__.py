"""Prometheus metrics: what the recorder tells of finished requests, and levels read when somebody asks.

Names and bounds are those of OpenTelemetry's conventions for generative AI where these have one. Counting is done here,
a batch at a time, because the client library's own counters cost ten times as much for each request; the exposition
format is the library's. With several workers each writes its counts into a directory they share, and whichever is asked
answers for all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import time

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from changeover.gateway.metrics.counts import OTHER, Cell, Levels, Tally, ToolTally, cell_of, count, outcome_of
from changeover.gateway.metrics.families import counters, gauges, histograms, losses, of_tools, shadow_skipped
from changeover.tasks.exchanges import Exchange

log = logging.getLogger(__name__)

MOST_CELLS = 5_000
"""Combinations of labels that are told apart; what comes later is counted together under `other`."""
PUBLISH_S = 1.0
"""How old the counts of another worker may be."""
GONE_S = 10.0
"""A worker that has published nothing for so long has no levels any more; what it counted stays."""
FILE_SUFFIX = ".metrics"

__all__ = ["Levels", "Metrics", "outcome_of"]


class Page(msgspec.Struct):
    """What one worker has counted, as it is shared with the others."""

    cells: list[tuple[Cell, Tally]]
    refused: list[tuple[tuple[int, str], int]]
    levels: Levels
    published_at: float
    """Seconds since 1970."""
    skipped: list[tuple[tuple[str, str], int]] = []
    tools: list[tuple[tuple[str, str], ToolTally]] = []


class Metrics(Collector):
    """The counts of this process, and the page that shows those of all. Thread safe."""

    def __init__(
        self, levels: Callable[[], Levels] = Levels, *, directory: Path | None = None, writer: str = "worker"
    ) -> None:
        """Begin at zero.

        Args:
            levels: Read whenever somebody asks; must not wait.
            directory: Shared by the workers of one gateway, empty when the first one starts; None: there is only one.
            writer: Tells this worker from all others, those before it included.
        """
        self._levels = levels
        self._file = None if directory is None else directory / f"{writer}{FILE_SUFFIX}"
        self._lock = threading.Lock()
        self._cells: dict[Cell, Tally] = {}
        self._refused: dict[tuple[int, str], int] = {}
        self._skipped: dict[tuple[str, str], int] = {}
        self._tools: dict[tuple[str, str], ToolTally] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        if directory is None:  # of several processes each would show another's, whoever is asked
            ProcessCollector(registry=self._registry)

    def take(self, batch: Sequence[Exchange]) -> None:
        """Count finished requests. About 2 µs for each."""
        with self._lock:
            cells = self._cells
            for exchange in batch:
                cell = cell_of(exchange)
                tally = cells.get(cell)
                if tally is None:
                    tally = self._begin(cell)
                count(tally, exchange)

    def refused(self, status: int, code: str) -> None:
        """Count a request that ended before it was known whose it is; `code` is one of our errors' codes."""
        with self._lock:
            self._refused[status, code] = self._refused.get((status, code), 0) + 1

    def skipped(self, task: str, reason: str) -> None:
        """Count a request that was drawn for the shadow and is not copied."""
        with self._lock:
            self._skipped[task, reason] = self._skipped.get((task, reason), 0) + 1

    def ran_tool(self, tool: str, outcome: str, seconds: float) -> None:
        """Count a run of a tool; its calls of tasks are counted as any other."""
        with self._lock:
            self._tools.setdefault((tool, outcome), ToolTally()).count(seconds)

    def render(self, accept: str | None = None) -> tuple[str, bytes]:
        """The page, as content type and body, in the format that the caller's `Accept` header asks for."""
        encode, content_type = choose_encoder(accept or "")
        return content_type, encode(self._registry)

    def publish(self) -> None:
        """Write the counts where the other workers find them."""
        if self._file is not None:
            page = msgspec.msgpack.encode(self._page())
            draft = self._file.with_suffix(".draft")
            draft.write_bytes(page)
            draft.replace(self._file)

    async def run(self) -> None:
        """Publish until cancelled. Does nothing where there is one worker."""
        said = False
        while self._file is not None:
            try:
                await asyncio.to_thread(self.publish)
                said = False
            except OSError as exc:
                if not said:
                    log.warning("metrics: other workers cannot see what this one counts: %s", exc.strerror)
                said = True
            await asyncio.sleep(PUBLISH_S)

    def collect(self) -> Iterator[Metric]:
        """The families of the page, for the client library."""
        pages = [self._page(), *self._others()]
        cells: dict[Cell, Tally] = {}
        refused: dict[tuple[int, str], int] = {}
        skipped: dict[tuple[str, str], int] = {}
        tools: dict[tuple[str, str], ToolTally] = {}
        for page in pages:
            for cell, tally in page.cells:
                cells.setdefault(cell, Tally()).add(tally)
            for key, times in page.refused:
                refused[key] = refused.get(key, 0) + times
            for left_out, times in page.skipped:
                skipped[left_out] = skipped.get(left_out, 0) + times
            for ran, times in page.tools:
                tools.setdefault(ran, ToolTally()).add(times)
        yield from counters(cells, refused)
        yield from of_tools(tools)
        yield shadow_skipped(skipped)
        yield from histograms(cells)
        since = time() - GONE_S
        yield from gauges([page.levels for page in pages if page.published_at >= since])
        yield from losses([page.levels for page in pages])

    def _begin(self, cell: Cell) -> Tally:
        if len(self._cells) >= MOST_CELLS:
            return self._cells.setdefault((OTHER, OTHER, "", cell[3], cell[4], OTHER, cell[6]), Tally())
        return self._cells.setdefault(cell, Tally())

    def _page(self) -> Page:
        levels = self._levels()
        with self._lock:
            # A copy, in which nobody counts on.
            cells = msgspec.convert(msgspec.to_builtins(list(self._cells.items())), list[tuple[Cell, Tally]])
            tools = msgspec.convert(
                msgspec.to_builtins(list(self._tools.items())), list[tuple[tuple[str, str], ToolTally]]
            )
            return Page(cells, list(self._refused.items()), levels, time(), list(self._skipped.items()), tools)

    def _others(self) -> Iterator[Page]:
        if self._file is None:
            return
        for file in sorted(self._file.parent.glob(f"*{FILE_SUFFIX}")):
            if file != self._file:
                try:
                    yield msgspec.msgpack.decode(file.read_bytes(), type=Page)
                except (OSError, msgspec.MsgspecError) as exc:
                    log.warning("metrics: cannot read `%s`: %s", file.name, exc)

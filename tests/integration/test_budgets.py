"""Budgets on real stores: many requests at once, several gateways at once, and stores that go away."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text
from tests.support import stores

from changeover.core.clock import SystemClock
from changeover.core.errors import RequestError
from changeover.core.ids import new_id
from changeover.gateway.allowances import NOTHING, Allowances, LimitError, Reservation, Wanted
from changeover.gateway.book import LEASE_S
from changeover.gateway.keys import Key
from changeover.gateway.limits import parse_limit
from changeover.store.engine import Store
from changeover.store.schema import leases, spending

PATIENCE_S = 60.0
"""No test is about a store that is merely slow, but for those that say so."""
GATEWAYS = 4


class LaterClock(SystemClock):
    """The machine's clock, put forward."""

    def __init__(self, later: timedelta = timedelta()) -> None:
        self.later = later

    def now(self) -> datetime:
        return super().now() + self.later

    def monotonic(self) -> float:
        return super().monotonic() + self.later.total_seconds()


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'budgets.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    store = stores.made(url)
    store.close()
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    store = stores.made(f"sqlite:///{tmp_path / 'budgets.db'}")
    store.close()
    return f"sqlite:///{tmp_path / 'budgets.db'}"


def key(*limits: str, team: Sequence[str] = (), id: str = "key_1") -> Key:
    return Key(
        id=id,
        name=f"app {id}",
        role="application",
        limits=tuple(map(parse_limit, limits)),
        team="desk" if team else None,
        team_limits=tuple(map(parse_limit, team)),
    )


@asynccontextmanager
async def gateway(
    url: str, clock: SystemClock | None = None, spool: Path | None = None, patience_s: float = PATIENCE_S
) -> AsyncGenerator[Allowances]:
    """The limits of one gateway, as it runs."""
    store = Store.connect(url)
    allowances = Allowances(store, clock or SystemClock(), new_id("gw"), spool=spool, patience_s=patience_s)
    running = asyncio.create_task(allowances.run())
    try:
        yield allowances
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await allowances.close()
        store.close()


async def ask(
    allowances: Allowances, key: Key, wanted: Wanted, used: Wanted | None = None, hold_s: float = 0.02
) -> LimitError | None:
    """One request: reserve, take its time, settle."""
    try:
        reservation = allowances.reserve_now(key, wanted) or await allowances.reserve(key, wanted)
    except LimitError as error:
        return error
    await asyncio.sleep(hold_s)
    allowances.settle(reservation, wanted if used is None else used)
    return None


def spent(url: str) -> dict[tuple[str, str], tuple[int, int]]:
    """What the store says was spent, and is leased, by holder and unit, over all periods."""
    store = Store.connect(url)
    sums = select(spending.c.holder, spending.c.unit, func.sum(spending.c.spent), func.sum(spending.c.leased))
    with store.read() as connection:
        rows = connection.execute(sums.group_by(spending.c.holder, spending.c.unit)).all()
        held = connection.execute(select(func.coalesce(func.sum(leases.c.amount), 0))).scalar_one()
    store.close()
    assert sum(row[3] for row in rows) == held
    return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in rows}


async def until(condition: Any, patience_s: float = 30) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("limits", "team"), [(["requests/total=100"], []), ([], ["requests/total=100"]), (["usd/total=0.0001"], [])]
)
async def test_of_500_requests_at_once_a_budget_for_100_lets_exactly_100_through(
    store_url: str, limits: list[str], team: list[str]
) -> None:
    async with gateway(store_url) as allowances:
        caller = key(*limits, team=team)
        answers = await asyncio.gather(*(ask(allowances, caller, Wanted(microusd=1)) for _ in range(500)))
        assert sum(answer is None for answer in answers) == 100
        later = await ask(allowances, caller, Wanted(microusd=1))
    assert later is not None
    assert later.status == 429
    [(used, leased)] = spent(store_url).values()
    assert (used, leased) == (100, 0)


async def test_a_budget_that_is_spent_says_so_and_one_that_is_promised_says_try_again(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        caller = key("usd/month=1")
        most = Wanted(microusd=600_000)
        first = await allowances.reserve(caller, most)
        promised = await ask(allowances, caller, most)
        assert promised is not None
        assert (promised.code, promised.retry_after_s) == ("rate_limited", 1.0)
        allowances.settle(first, most)
        await asyncio.sleep(0.3)  # longer than a refusal is remembered
        over = await ask(allowances, caller, most)
        assert over is not None
        assert over.code == "budget_exhausted"
        assert 0 < over.retry_after_s <= 31 * 86_400
        assert "0.60 USD" in over.message
        assert await ask(allowances, caller, Wanted(microusd=400_000)) is None
    assert spent(sqlite_url)["key:key_1", "usd"] == (1_000_000, 0)


async def test_a_reservation_is_an_upper_bound_and_the_rest_is_free_again(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        caller = key("tokens/total=10k")
        for _ in range(40):  # 40 × 4,000 reserved, 40 × 250 used
            assert await ask(allowances, caller, Wanted(tokens=4_000), Wanted(tokens=150), hold_s=0) is None
        assert await ask(allowances, caller, Wanted(tokens=4_000), Wanted(tokens=5_000), hold_s=0) is None
        refused = await ask(allowances, caller, Wanted(tokens=4_000))
        assert refused is not None
    assert spent(sqlite_url)["key:key_1", "tokens"] == (40 * 150 + 5_000, 0)


async def test_a_reservation_is_taken_in_every_limit_or_in_none(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        poor = key("requests/total=1000", team=["usd/total=0.00001"])
        answers = await asyncio.gather(*(ask(allowances, poor, Wanted(microusd=1)) for _ in range(50)))
        assert sum(answer is None for answer in answers) == 10
        assert all("Team `desk`" in answer.message for answer in answers if answer is not None)
    found = spent(sqlite_url)
    assert (found["key:key_1", "requests"], found["team:desk", "usd"]) == ((10, 0), (10, 0))


async def test_keys_of_a_team_share_its_limits_and_not_each_others(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        first = key("requests/total=8", team=["requests/total=10"])
        second = key("requests/total=8", team=["requests/total=10"], id="key_2")
        ones = await asyncio.gather(*(ask(allowances, first, Wanted()) for _ in range(20)))
        twos = await asyncio.gather(*(ask(allowances, second, Wanted()) for _ in range(20)))
        assert (ones.count(None), twos.count(None)) == (8, 2)


async def test_a_request_larger_than_a_whole_limit_is_the_callers_to_mend(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        with pytest.raises(RequestError, match="max_tokens"):
            await allowances.reserve(key("tokens/day=100"), Wanted(tokens=101))
        assert await ask(allowances, key("tokens/day=100"), Wanted(tokens=100), NOTHING) is None


async def test_a_key_without_limits_asks_nobody(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        assert allowances.reserve_now(key(), Wanted(tokens=10**9)) is not None
    assert spent(sqlite_url) == {}


async def test_a_caller_that_leaves_while_it_waits_holds_nothing(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        caller = key("concurrent=5")
        for delay in (0, 0, 0.001, 0.002, 0.005, 0.01):
            asking = [asyncio.create_task(allowances.reserve(caller, Wanted())) for _ in range(5)]
            await asyncio.sleep(delay)
            for task in asking:
                task.cancel()
            for ended in await asyncio.gather(*asking, return_exceptions=True):
                if isinstance(ended, Reservation):
                    allowances.settle(ended, NOTHING)
            await asyncio.sleep(0.3)
        answers = await asyncio.gather(*(ask(allowances, caller, Wanted(), hold_s=0.3) for _ in range(5)))
        assert answers == [None] * 5


async def test_a_new_period_begins_with_a_new_allowance(sqlite_url: str) -> None:
    clock = LaterClock()
    async with gateway(sqlite_url, clock) as allowances:
        caller = key("requests/hour=3")
        answers = await asyncio.gather(*(ask(allowances, caller, Wanted(), hold_s=0) for _ in range(5)))
        if answers.count(None) == 3:  # unless the hour ended in between
            assert await ask(allowances, caller, Wanted()) is not None
        clock.later = timedelta(hours=1)
        answers = await asyncio.gather(*(ask(allowances, caller, Wanted(), hold_s=0) for _ in range(5)))
        assert answers.count(None) >= 3


async def test_a_limit_that_is_raised_holds_at_once(sqlite_url: str) -> None:
    async with gateway(sqlite_url) as allowances:
        caller = key("requests/total=2")
        assert [await ask(allowances, caller, Wanted(), hold_s=0) is None for _ in range(3)] == [True, True, False]
        assert await ask(allowances, key("requests/total=3"), Wanted(), hold_s=0) is None
        assert await ask(allowances, key("requests/total=3"), Wanted(), hold_s=0) is not None


async def test_no_more_requests_are_under_way_than_may_be_at_any_gateway(store_url: str) -> None:
    under_way = most = done = 0

    async def one(allowances: Allowances) -> None:
        nonlocal under_way, most, done
        try:
            reservation = await allowances.reserve(key("concurrent=8"), Wanted())
        except LimitError:
            return
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.03)
        under_way -= 1
        done += 1
        allowances.settle(reservation, Wanted())

    async with gateway(store_url) as first, gateway(store_url) as second:
        for _ in range(6):
            await asyncio.gather(*(one(which) for which in (first, second) for _ in range(20)))
            await asyncio.sleep(0.3)
    assert most <= 8
    assert done >= 6 * 4


async def test_places_of_a_gateway_that_died_are_free_again_and_its_units_count_as_spent(store_url: str) -> None:
    store = Store.connect(store_url)
    dead = Allowances(store, SystemClock(), new_id("gw"), patience_s=PATIENCE_S)
    running = asyncio.create_task(dead.run())
    caller = key("concurrent=2", "requests/total=100")
    for _ in range(2):
        await dead.reserve(caller, Wanted())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    store.close()  # without a word about what it holds
    lost = spent(store_url)["key:key_1", "requests"][1]
    assert 2 <= lost <= 2 + 100 // 8
    async with gateway(store_url) as early:
        assert await ask(early, caller, Wanted()) is not None
    async with gateway(store_url, LaterClock(timedelta(seconds=LEASE_S + 1))) as late:
        assert await ask(late, caller, Wanted()) is None
    assert spent(store_url)["key:key_1", "requests"] == (lost + 1, 0)
    assert spent(store_url)["key:key_1", "concurrent"] == (0, 0)


async def test_a_store_that_does_not_answer_stops_nobody_and_hears_of_it_later(sqlite_url: str) -> None:
    blocker = Store.connect(sqlite_url)
    async with gateway(sqlite_url, patience_s=0.3) as allowances:
        caller = key("requests/total=50")
        with blocker.write() as connection:
            connection.execute(text("SELECT 1"))
            answers = await asyncio.gather(*(ask(allowances, caller, Wanted(), hold_s=0) for _ in range(30)))
            assert answers == [None] * 30
            assert allowances.gone
            # Nobody waits any more, and the limit holds by this gateway's own count.
            answers = [await ask(allowances, caller, Wanted(), hold_s=0) for _ in range(30)]
            assert answers.count(None) == 20
            assert all(answer.status == 429 for answer in answers if answer is not None)
        await until(lambda: not allowances.gone)
        await until(lambda: spent(sqlite_url)["key:key_1", "requests"][0] == 50)
        assert await ask(allowances, caller, Wanted()) is not None
    blocker.close()


async def test_what_a_store_that_is_gone_at_the_end_was_not_told_is_told_by_the_next_start(
    sqlite_url: str, tmp_path: Path
) -> None:
    caller, blocker = key("usd/total=1"), Store.connect(sqlite_url)
    async with gateway(sqlite_url, spool=tmp_path, patience_s=0.3) as allowances:
        reservation = await allowances.reserve(caller, Wanted(microusd=10))
        turn = blocker.write()
        turn.__enter__()
        allowances.settle(reservation, Wanted(microusd=7_000))
        await asyncio.sleep(0)
    [kept] = tmp_path.glob("spending-*.jsonl")
    assert kept.stat().st_mode & 0o077 == 0
    turn.__exit__(None, None, None)
    blocker.close()
    async with gateway(sqlite_url, spool=tmp_path):
        await until(lambda: not list(tmp_path.glob("spending-*")))
    assert spent(sqlite_url)["key:key_1", "usd"][0] >= 7_000


async def test_leases_of_a_gateway_that_has_gone_quiet_are_given_back(sqlite_url: str) -> None:
    clock = LaterClock()
    async with gateway(sqlite_url, clock) as allowances:
        assert await ask(allowances, key("tokens/total=1M"), Wanted(tokens=100)) is None
        await until(lambda: spent(sqlite_url)["key:key_1", "tokens"][0] == 100)
        await until(lambda: spent(sqlite_url)["key:key_1", "tokens"] == (100, 0))


async def test_rows_of_periods_long_over_are_deleted_and_budgets_stay(sqlite_url: str) -> None:
    store = Store.connect(sqlite_url)
    old = datetime.now(UTC) - timedelta(days=3)
    row = {"holder": "key:k", "unit": "tokens", "period": old, "spent": 5, "leased": 0}
    with store.write() as connection:
        connection.execute(insert(spending), [{**row, "per": per} for per in ("minute", "hour", "month", "total")])
    async with gateway(sqlite_url):

        def left() -> set[str]:
            with store.read() as connection:
                return set(connection.execute(select(spending.c.per)).scalars())

        await until(lambda: left() == {"month", "total"})
    store.close()


@pytest.mark.parametrize("limit", ["requests/total=100", "usd/total=0.0001"])
def test_of_500_requests_at_four_gateways_at_once_100_are_let_through(store_url: str, limit: str) -> None:
    passed = at_gateways(store_url, [limit], 125, Wanted(microusd=1))
    assert sum(passed) <= 100
    assert sum(passed) >= 90
    [(used, leased)] = spent(store_url).values()
    assert (used, leased) == (sum(passed), 0)


def test_a_few_at_a_time_at_four_gateways_use_a_budget_up_and_no_more(store_url: str) -> None:
    passed = at_gateways(store_url, ["requests/total=100"], 125, Wanted(), width=4)
    assert 90 <= sum(passed) <= 100
    [(used, leased)] = spent(store_url).values()
    assert (used, leased) == (sum(passed), 0)


def test_tokens_of_four_gateways_stay_within_the_limit_whatever_was_reserved(store_url: str) -> None:
    passed = at_gateways(store_url, ["tokens/total=20k"], 100, Wanted(tokens=1_000), Wanted(tokens=300))
    [(used, leased)] = spent(store_url).values()
    assert (used, leased) == (300 * sum(passed), 0)
    assert 20 <= sum(passed) <= 66


def at_gateways(
    url: str, limits: list[str], requests: int, wanted: Wanted, used: Wanted | None = None, width: int = 1000
) -> list[int]:
    """How many requests each of several gateways let through, processes of their own that begin at the same moment.

    Args:
        url: Of their store.
        limits: Of the key that all use.
        requests: At each gateway.
        wanted: By each request.
        used: By each request; None: all that it wanted.
        width: Requests at once at each gateway.
    """
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(GATEWAYS), context.SimpleQueue()
    processes = [
        context.Process(target=_process, args=(url, limits, requests, wanted, used, width, barrier, answers))
        for _ in range(GATEWAYS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return [answers.get() for _ in processes]


def _process(
    url: str,
    limits: list[str],
    requests: int,
    wanted: Wanted,
    used: Wanted | None,
    width: int,
    barrier: Any,
    answers: Any,
) -> None:
    places = asyncio.Semaphore(width)

    async def in_turn(allowances: Allowances) -> LimitError | None:
        async with places:
            return await ask(allowances, key(*limits), wanted, used)

    async def all_() -> int:
        async with gateway(url) as allowances:
            await asyncio.to_thread(barrier.wait, 60)
            return (await asyncio.gather(*(in_turn(allowances) for _ in range(requests)))).count(None)

    answers.put(asyncio.run(all_()))

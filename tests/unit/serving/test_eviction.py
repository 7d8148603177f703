"""Who is unloaded for another engine: properties that hold for whatever memory holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from changeover.core.sizes import GIB
from changeover.serving.eviction import RESTS_S, Need, NoRoom, Tenant, Unload, make_room
from changeover.serving.memory import Held

NEEDS: list[Need] = ["incumbent", "candidate", "former", "none"]
BYTES = st.integers(min_value=0, max_value=40)
TENANTS = st.lists(
    st.builds(
        Tenant,
        name=st.sampled_from("abcdefgh"),
        bytes=BYTES,
        need=st.sampled_from(NEEDS),
        in_flight=st.sampled_from([0, 0, 0, 1, 7]),
        unused_s=st.sampled_from([0.0, 1.0, RESTS_S - 1, RESTS_S, 100.0, 5000.0]),
        idle=st.booleans(),
        pinned=st.sampled_from([False, False, True]),
    ),
    max_size=8,
    unique_by=lambda tenant: tenant.name,
)
STARTING = st.builds(Held, name=st.sampled_from("axy"), bytes=BYTES)
BUDGET = st.integers(min_value=0, max_value=100)


def beside(running: list[Tenant], starting: Held, *, without: tuple[str, ...] = ()) -> int:
    return sum(each.bytes for each in running if each.name not in (starting.name, *without))


@given(BUDGET, TENANTS, STARTING)
def test_whoever_is_unloaded_there_is_room_then_and_nobody_goes_in_vain(
    budget: int, running: list[Tenant], starting: Held
) -> None:
    decision = make_room(budget, running, starting)
    if isinstance(decision, NoRoom):
        return
    gone = decision.names
    assert not starting.bytes or beside(running, starting, without=gone) + starting.bytes <= budget
    for spared in gone:
        others = tuple(name for name in gone if name != spared)
        assert beside(running, starting, without=others) + starting.bytes > budget
    assert len(set(gone)) == len(gone)


@given(BUDGET, TENANTS, STARTING)
def test_nobody_goes_who_is_needed_pinned_or_has_a_request_under_way(
    budget: int, running: list[Tenant], starting: Held
) -> None:
    decision = make_room(budget, running, starting)
    gone = decision.names if isinstance(decision, Unload) else ()
    tenants = {each.name: each for each in running}
    for name in gone:
        tenant = tenants[name]
        assert name != starting.name
        assert tenant.bytes
        assert not tenant.in_flight
        assert not tenant.pinned
        assert tenant.need == "none" or (tenant.need == "former" and tenant.idle)
        assert tenant.idle or tenant.unused_s >= RESTS_S


@given(BUDGET, TENANTS, STARTING)
def test_there_is_no_room_only_where_all_that_may_go_are_not_enough(
    budget: int, running: list[Tenant], starting: Held
) -> None:
    decision = make_room(budget, running, starting)
    if not isinstance(decision, NoRoom):
        return
    movable = [each for each in running if each.may_go and each.name != starting.name]
    resting = tuple(each.name for each in movable if each.rests)
    assert beside(running, starting, without=resting) + starting.bytes > budget
    all_gone = tuple(each.name for each in movable)
    would_fit = beside(running, starting, without=all_gone) + starting.bytes <= budget
    assert bool(decision.until_rest) == would_fit
    assert set(decision.until_rest).isdisjoint(resting)


@given(BUDGET, TENANTS, STARTING)
def test_the_order_in_which_they_are_listed_decides_nothing(budget: int, running: list[Tenant], starting: Held) -> None:
    assert make_room(budget, running, starting) == make_room(budget, running[::-1], starting)


def tenant(name: str, gib: float, **more: object) -> Tenant:
    return Tenant(name=name, bytes=round(gib * GIB), **more)  # pyright: ignore[reportArgumentType] - by name


def test_what_nobody_needs_goes_before_a_former_and_what_was_not_asked_for_longest_first() -> None:
    running = [
        tenant("incumbent", 2, need="incumbent"),
        tenant("former", 2, need="former", idle=True, unused_s=9000.0),
        tenant("lately", 2, unused_s=60.0),
        tenant("long-ago", 2, unused_s=600.0),
    ]
    assert make_room(8 * GIB, running, Held(name="new", bytes=1 * GIB)) == Unload(("long-ago",))
    assert make_room(8 * GIB, running, Held(name="new", bytes=3 * GIB)) == Unload(("long-ago", "lately"))
    assert make_room(8 * GIB, running, Held(name="new", bytes=5 * GIB)) == Unload(("long-ago", "lately", "former"))
    assert isinstance(make_room(8 * GIB, running, Held(name="new", bytes=7 * GIB)), NoRoom)


def test_a_small_one_is_spared_where_a_large_one_after_it_is_enough() -> None:
    running = [
        tenant("small", 1, unused_s=900.0),
        tenant("large", 4, unused_s=60.0),
        tenant("busy", 3, need="incumbent"),
    ]
    assert make_room(8 * GIB, running, Held(name="new", bytes=4 * GIB)) == Unload(("large",))


def test_one_that_is_asked_at_the_moment_is_waited_for_and_named() -> None:
    running = [tenant("asked", 4, in_flight=1), tenant("lately", 2, unused_s=1.0)]
    decision = make_room(6 * GIB, running, Held(name="new", bytes=2 * GIB))
    assert isinstance(decision, NoRoom)
    assert set(decision.until_rest) == {"asked", "lately"}
    assert str(decision.fit) == "needs 2.0 GiB beside 6.0 GiB running; the budget is 6.0 GiB"

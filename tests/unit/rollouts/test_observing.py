"""What belongs to a rollout: what its own routes answered, whatever the clock says."""

from collections.abc import Generator
from datetime import timedelta

import pytest
from tests.support.rollouts import World

from changeover.app import steering
from changeover.rollouts import actions
from changeover.rollouts.decide import Evidence, Plan, Rollout, State, Step
from changeover.rollouts.exchange import exchange_plan, has_waited
from changeover.rollouts.loop import Controller
from changeover.rollouts.observing import Observer

PLAN = Plan(
    steps=(Step(canary=0.5, requests=3, hold_s=0), Step(canary=0.6, requests=3, hold_s=0)),
    tolerated_failures=0.03,
    alpha=0.01,
    bake_s=60,
)


@pytest.fixture
def world(store_url: str) -> Generator[World]:
    made = World(store_url, ("code",))
    yield made
    made.close()


def begun(world: World) -> Rollout:
    with world.store.write() as connection:
        return actions.start(connection, world.present("code", "new"), PLAN, None, world.by("ana"))


def evidence(world: World, rollout: Rollout) -> Evidence:
    observer = Observer(world.store, world.is_ready, world.clock)
    observer.look([world.now(rollout)])
    return observer.evidence(world.now(rollout))


@pytest.mark.parametrize("promoted", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_was_set_back_does_not_blind_the_guards(world: World, promoted: bool, restarted: bool) -> None:
    rollout = begun(world)
    if promoted:
        steering.promote(world.store, "code", world.by("ana"))
    controller = Controller(world.store, world.is_ready, world.clock)
    controller.tick()
    world.clock.jumps(-timedelta(days=1))
    for _ in range(8):
        world.asked(world.route("code"), "failed", candidate=not promoted)
    (Controller(world.store, world.is_ready, world.clock) if restarted else controller).tick()
    assert world.now(rollout).state == "rolled_back"
    assert world.route("code").incumbent == rollout.incumbent


def test_what_an_earlier_rollout_of_the_same_candidate_saw_is_none_of_this_ones(world: World) -> None:
    begun(world)
    before = world.route("code")
    steering.abort(world.store, "code", world.by("ana"))
    again = begun(world)
    for _ in range(8):
        world.asked(before, "failed", candidate=True)  # by a gateway that had not followed yet
    assert evidence(world, again).whole.asked == 0
    world.clock.jumps(-timedelta(days=1))
    steering.abort(world.store, "code", world.by("ana"))
    after_it = begun(world)  # the clock says that all that was before it
    for _ in range(8):
        world.asked(before, "good", candidate=True)
    assert evidence(world, after_it).whole.asked == 0
    Controller(world.store, world.is_ready, world.clock).tick()
    assert (world.now(after_it).state, world.now(after_it).step) == ("canary", 0)


def test_a_request_that_was_asked_under_an_earlier_step_does_not_count_for_this_one(world: World) -> None:
    rollout = begun(world)
    before = world.route("code")
    with world.store.write() as connection:
        actions.advance(connection, rollout, 1, evidence(world, rollout), world.by("ana"))
    world.asked(before, "good", candidate=True)
    world.asked(world.route("code"), "good", candidate=True)
    seen = evidence(world, rollout)
    assert (seen.whole.asked, seen.step.asked) == (2, 1)


def test_a_promotion_by_hand_in_spite_of_an_alarm_is_not_taken_back_for_what_was_before(world: World) -> None:
    rollout = begun(world)
    for _ in range(12):
        world.asked(world.route("code"), "failed", candidate=True)
    steering.promote(world.store, "code", world.by("ana"))
    assert evidence(world, rollout).guard == 0
    Controller(world.store, world.is_ready, world.clock).tick()
    assert world.now(rollout).state == "baking"


def test_an_alarm_takes_out_the_rollout_that_it_is_about_and_not_the_one_that_was_begun_since(world: World) -> None:
    first = begun(world)
    for _ in range(8):
        world.asked(world.route("code"), "failed", candidate=True)
    later: list[Rollout] = []

    def between_the_look_and_the_deed() -> None:
        steering.abort(world.store, "code", world.by("ana"))
        later.append(begun(world))

    world.store.before = between_the_look_and_the_deed
    Controller(world.store, world.is_ready, world.clock).tick()
    assert [world.now(each).state for each in (first, *later)] == ["aborted", "canary"]


@pytest.mark.parametrize(
    ("state", "seconds", "waited"),
    [
        ("baking", -1, True),
        ("baking", -600, True),
        ("baking", 0, False),
        ("baking", -86_400, False),
        ("done", -1, False),
    ],
)
def test_a_request_waited_for_an_exchange_if_it_began_before_its_end_and_no_day_earlier(
    world: World, state: State, seconds: int, waited: bool
) -> None:
    with world.store.write() as connection:
        plan = exchange_plan(PLAN, 600)
        rollout = actions.propose(connection, world.present("code", "new"), plan, world.by("ana"))
        actions.move(connection, rollout, state=state, step=0, now=world.clock.now())
    over = world.now(rollout)
    assert has_waited(over, over.step_started_at + timedelta(seconds=seconds)) is waited

"""Evidence packs of real rows: what they hold in every state, and that nothing can be changed in them unseen."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from tests.support.packs import NEW, OLD, PLAN, Scene, sign_again, sign_manifest

from changeover.core.errors import ConfigError
from changeover.evals.queries import Comparison, end_comparison
from changeover.evals.trial_queries import Trial, TrialTask, add_trial, put_trial_task
from changeover.evals.trials import Outcome
from changeover.rollouts.actions import (
    abort,
    approve,
    evaluated,
    override,
    promote,
    propose,
    refuse,
    resume,
    roll_back,
    start,
)
from changeover.rollouts.begin import follow_engine
from changeover.rollouts.decide import Evidence, Rollout, Step
from changeover.rollouts.exchange import exchange_plan
from changeover.rollouts.pack import records
from changeover.rollouts.pack.sign import KEY_FILE, public_hex, signing_key, trusted_key
from changeover.rollouts.pack.verify import Verification, verify
from changeover.rollouts.queries import latest_rollout
from changeover.serving.queries import add_deployment, note_state
from changeover.store.schema import rollout_events, rollouts
from changeover.tasks.exchanges import Outcomes

APPROVED = replace(PLAN, approvals=1, approvers=("ben",), approve_before="promotion")
NOTHING = Outcomes(asked=0, failed=0)


@pytest.fixture
def scene(store_url: str, tmp_path: Path) -> Generator[Scene]:
    made = Scene.of(store_url, tmp_path)
    yield made
    made.store.close()


def promoted(scene: Scene) -> Rollout:
    """Measured, tried on traffic that sometimes says nothing, approved, promoted on that, and finished by itself."""
    comparison = scene.measured()
    assert comparison.verdict == "pass"
    rollout = scene.do(start, NEW, APPROVED, comparison.id, scene.by())
    for _ in range(3):
        scene.asked(4)
        scene.asked(1, status=404)
        scene.asked(1, abandoned=True)
        scene.look()
    assert scene.now(rollout).state == "canary", "it waits for an approval"
    scene.do(approve, scene.now(rollout), scene.by("fine", "ben"))
    scene.look()
    assert scene.now(rollout).state == "baking"
    scene.asked(3)
    scene.time.at += timedelta(minutes=2)
    scene.look()
    assert scene.now(rollout).state == "done"
    return rollout


def wrong(verification: Verification) -> dict[str, str]:
    return {check.name: check.says for check in verification.checks if check.holds is False}


def says(verification: Verification, name: str) -> str:
    return next(check.says for check in verification.checks if check.name == name)


def test_a_promotion_is_verified_whole(scene: Scene) -> None:
    pack = scene.pack(promoted(scene))
    found = verify(pack, scene.key.public_key())
    assert wrong(found) == {}
    assert says(found, "verdict").startswith("pass from ")
    assert says(found, "guard counts") == "21 records, as 3 decisions counted them"
    assert says(found, "approvals") == "1 asked for, given by ben"
    assert says(found, "routes").startswith("4 revisions")
    assert "`smollm2-135m-instruct` Apache-2.0, `a-model-without-a-card` unknown" in says(found, "licences")
    unknown = {check.name for check in found.checks if check.holds is None}
    in_turns = scene.store.engine.dialect.name == "sqlite"
    assert unknown == {"licences"} | (set() if in_turns else {"guard evidence"})
    page = (pack / records.REPORT).read_text()
    assert "new has taken over code from old" in page
    assert "<script" not in page


def test_texts_are_in_the_pack_only_where_they_are_asked_for(scene: Scene) -> None:
    rollout = promoted(scene)
    bare, full = scene.pack(rollout), scene.pack(rollout, content=True)
    assert wrong(verify(bare)) == wrong(verify(full)) == {}
    for text in (b"a private answer", b"case 7"):
        assert not any(text in file.read_bytes() for file in bare.iterdir())
        assert any(text in file.read_bytes() for file in full.iterdir())
    assert says(verify(full), "dataset").endswith("40 of them with their text")


def test_the_same_rollout_gives_the_same_files(scene: Scene) -> None:
    rollout = promoted(scene)
    a = scene.pack(rollout)
    scene.time.at += timedelta(minutes=1)
    b = scene.pack(rollout)
    same = {name for name in records.LISTED if (a / name).read_bytes() == (b / name).read_bytes()}
    assert set(records.LISTED) - same == {records.ROLLOUT, records.REPORT}, "they say when they were written"


def test_a_candidate_that_fails_is_told_with_the_alarm_that_took_it_out(scene: Scene) -> None:
    rollout = scene.do(start, NEW, PLAN, scene.measured().id, scene.by())
    scene.asked(1)
    scene.asked(2, status=500)
    scene.asked(3, variant=OLD.id, failed_variants=(NEW.id,), attempts=2)
    scene.look()
    assert scene.now(rollout).state == "rolled_back"
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert says(found, "decisions") == "1 follow from their evidence"


ALARMS: dict[str, dict[str, Any]] = {
    "errors": {"status": 502},
    "violations": {"violation": "language"},
    "feedback": {},
}


@pytest.mark.parametrize("promoted_before", [False, True])
@pytest.mark.parametrize("guard", ALARMS)
def test_every_alarm_follows_from_the_requests(scene: Scene, guard: str, promoted_before: bool) -> None:
    """One controller looks now and then, while good and bad, whole and useless requests and copies come in between."""
    plan = replace(
        PLAN,
        steps=(
            Step(shadow=1.0, requests=4, hold_s=0),
            Step(canary=0.5, requests=4 if promoted_before else 10_000, hold_s=0),
        ),
        drift_requests=200,
        bake_s=10_000,
    )
    rollout = scene.do(start, NEW, plan, scene.measured().id, scene.by())
    controller = scene.controller()
    controller.tick()
    copies = {"side": "shadow", "internal": True, "shadow_of": "req_0"}
    scene.asked(3, **copies)
    scene.asked(1, status=500, **copies)
    controller.tick()
    scene.asked(2, variant=OLD.id, side="incumbent")
    scene.asked(1, abandoned=True)
    assert scene.now(rollout).stage == "canary 50 %"
    if promoted_before:
        scene.asked(6)
        scene.asked(1, **copies)
        late = {"revision": 3}
        controller.tick()
        assert scene.now(rollout).state == "baking"
        scene.asked(2, **late)
        scene.asked(40)
        controller.tick()
    for number in range(400):
        scene.asked(1, **ALARMS[guard])
        if guard == "feedback":
            scene.rated(False)
            scene.rated(True, key="somebody else") if number % 5 == 0 else None
        if number % 7 == 0:
            controller.tick()
        if scene.now(rollout).state == "rolled_back":
            break
    assert scene.now(rollout).state == "rolled_back", "the guard was meant to see it"
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    exact = scene.store.engine.dialect.name == "sqlite" and not (promoted_before and guard == "feedback")
    assert next(check.holds for check in found.checks if check.name == "guard evidence") is (
        exact or (None if promoted_before else True)
    )


def test_a_refused_candidate_is_told_with_the_verdict_that_refused_it(scene: Scene) -> None:
    comparison = scene.measured(lambda number: 0.0)
    assert comparison.verdict == "fail"
    rollout = scene.do(propose, NEW, PLAN, scene.by())
    scene.do(evaluated, rollout, comparison.id, "fail", scene.by())
    failed = Evidence(whole=NOTHING, step=NOTHING, guard=1.0, candidate_ready=True, verdict="fail")
    scene.do(refuse, rollout, failed, scene.by("it failed", "changeover"))
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert says(found, "verdict").startswith("fail from ")
    assert says(found, "gate") == "the comparison says `fail`; the candidate got no request"


def test_an_engine_that_changed_is_told_with_what_confirmed_it(scene: Scene) -> None:
    comparison = scene.measured()
    scene.do(follow_engine, {OLD.id: NEW}, {"code": PLAN}, scene.by("another engine", "changeover"))
    with scene.store.read() as connection:
        rollout = latest_rollout(connection, "code")
    assert rollout is not None
    assert wrong(verify(scene.pack(rollout))) == {}, "it is held"
    scene.do(resume, rollout, scene.by())
    scene.do(evaluated, scene.now(rollout), comparison.id, "pass", scene.by())
    scene.look()
    assert scene.now(rollout).state == "done"
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert says(found, "decisions") == "1 follow from their evidence"
    assert says(found, "gate").startswith(f"{comparison.id} had passed before the confirm")


def test_engines_that_were_exchanged_are_told_with_when_the_new_one_could_answer(scene: Scene) -> None:
    for side in (OLD, NEW):
        words = {"name": side.deployment, "backend": "echo", "model": "m", "options": {}, "engine": {}, "actor": "ana"}
        scene.do(add_deployment, **words, now=scene.time.now())
    rollout = scene.do(start, NEW, exchange_plan(PLAN, 60), scene.measured().id, scene.by())
    scene.look()
    scene.do(note_state, NEW.deployment, state="ready", detail="", now=scene.time.now())
    scene.asked(2)
    scene.look()
    scene.asked(3)
    scene.time.at += timedelta(minutes=2)
    scene.look()
    assert scene.now(rollout).state == "done"
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert says(found, "decisions") == "3 follow from their evidence"
    assert says(found, "events").startswith("4 events")


@pytest.mark.parametrize(("others", "among"), [(0, True), (9, False)])
def test_a_switch_from_a_trial_is_told_with_the_whole_trial(scene: Scene, others: int, among: bool) -> None:
    comparison = scene.measured()
    scene.do(end_comparison, comparison.id, verdict="pass", summary=full_summary(comparison), now=scene.time.now())
    trial = Trial(id=0, candidate="new", plan={"rate": 0.1}, actor="ana", started_at=scene.time.at, ended_at=None)
    trial = scene.do(add_trial, trial)
    for position in range(others + 1):
        measured = position == 0
        row = TrialTask(
            trial=trial.id,
            task="code" if measured else f"task{position}",
            position=position,
            comparison=comparison.id if measured else None,
            outcome=Outcome(kind="measured" if measured else "failed"),
            at=scene.time.now(),
        )
        scene.do(put_trial_task, row)
    rollout = scene.do(start, NEW, PLAN, comparison.id, scene.by(), trial=trial.id)
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert next(check.holds for check in found.checks if check.name == "trial") is (True if among else None)
    assert says(found, "trial").startswith(f"{int(among)} of {others + 1} tasks hold together at 10 %")


def full_summary(comparison: Comparison) -> dict[str, Any]:
    """What a trial's table reads of a summary, beside what replays check."""
    beside = {"shown": "no worse", "max_samples": 40, "calls_fixed_n": None, "unusable": 0, "failed": 0, "doubt": None}
    return {**beside, **(comparison.summary or {})}


def test_a_rollout_that_nobody_measured_says_so(scene: Scene) -> None:
    rollout = scene.do(propose, NEW, PLAN, scene.by())
    waiting = verify(scene.pack(rollout))
    assert wrong(waiting) == {}
    assert says(waiting, "verdict") == "no comparison: nobody measured the candidate for this rollout"
    scene.do(abort, rollout, scene.by("not today"))
    pack = scene.pack(rollout)
    assert wrong(verify(pack)) == {}
    assert "nobody measured the candidate" in (pack / records.REPORT).read_text()


def test_traffic_without_a_comparison_is_wrong_unless_somebody_took_it_on(scene: Scene) -> None:
    first = scene.do(start, NEW, PLAN, None, scene.by())
    scene.do(abort, first, scene.by())
    assert list(wrong(verify(scene.pack(first)))) == ["gate"]
    second = scene.do(propose, NEW, PLAN, scene.by())
    until = scene.time.now() + timedelta(hours=1)
    scene.do(override, second, "evaluation", "ben", until, scene.by("a fault in the old one"))
    scene.do(promote, second, None, scene.by("now"))
    found = verify(scene.pack(second))
    assert wrong(found) == {}
    assert says(found, "gate").startswith("overridden at the promote")
    assert says(found, "overrides") == "evaluation by ben"


def test_an_override_that_had_expired_lets_nothing_pass(scene: Scene) -> None:
    rollout = scene.do(propose, NEW, PLAN, scene.by())
    scene.do(override, rollout, "evaluation", "ben", scene.time.at + timedelta(minutes=1), scene.by("a fault"))
    scene.time.at += timedelta(minutes=2)
    scene.do(promote, rollout, None, scene.by("now"))
    assert list(wrong(verify(scene.pack(rollout)))) == ["gate"]


def test_a_promotion_by_hand_without_the_approvals_that_were_asked_for_is_wrong(scene: Scene) -> None:
    rollout = scene.do(start, NEW, APPROVED, scene.measured().id, scene.by())
    scene.do(promote, rollout, None, scene.by("now"))
    found = verify(scene.pack(rollout))
    assert list(wrong(found)) == ["approvals"]
    assert says(found, "approvals").endswith("with 0 of 1 approvals")


def test_a_promotion_that_was_taken_back_by_hand_is_told_to_its_end(scene: Scene) -> None:
    rollout = promoted(scene)
    scene.do(roll_back, "code", scene.by("complaints"))
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert says(found, "events").endswith("lead to `rolled_back`")
    assert says(found, "routes").startswith("5 revisions")


def test_a_rollout_of_an_older_version_is_verified_by_what_it_kept(scene: Scene) -> None:
    """Before there were shadows, approvals and several guards, plans and evidence held less."""
    rollout = scene.do(start, NEW, PLAN, scene.measured().id, scene.by())
    for _ in range(2):
        scene.asked(4)
        scene.look()
    assert scene.now(rollout).state == "baking"
    with scene.store.write() as connection:
        steps = [{"canary": step.canary, "requests": step.requests, "hold_s": step.hold_s} for step in PLAN.steps]
        plan = {"steps": steps, "tolerated_failures": 0.03, "alpha": 0.01, "bake_s": 60}
        connection.execute(update(rollouts).values(plan=plan))
        for row in connection.execute(select(rollout_events)).all():
            before = ("whole", "step", "guard", "candidate_ready")
            kept = {name: value for name, value in row.evidence.items() if name in before}
            if kept:
                first = next(each for each in row.evidence["guards"] if each["name"] == "errors")
                kept["guard"] = first["evidence"]
            connection.execute(update(rollout_events).where(rollout_events.c.id == row.id).values(evidence=kept))
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert says(found, "decisions") == "2 follow from their evidence"


def test_exchanges_that_are_kept_no_longer_are_said_to_be_gone(scene: Scene) -> None:
    rollout = promoted(scene)
    with scene.store.write() as connection:
        connection.exec_driver_sql("DELETE FROM exchanges WHERE variant IS NOT NULL")
    found = verify(scene.pack(rollout))
    assert wrong(found) == {}
    assert says(found, "guard counts") == "15 exchanges that a decision counted are kept no longer"


def test_a_place_where_something_is_stays_as_it_is(scene: Scene) -> None:
    rollout = scene.do(propose, NEW, PLAN, scene.by())
    (scene.directory / "pack1").mkdir()
    assert verify(scene.pack(rollout)).holds, "an empty directory is fine"
    (scene.directory / "pack2").mkdir()
    (scene.directory / "pack2" / "mine").write_text("keep")
    (scene.directory / "pack3").write_text("keep")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"is not empty|is no directory"):
            scene.pack(rollout)
    assert (scene.directory / "pack2" / "mine").read_text() == (scene.directory / "pack3").read_text() == "keep"
    assert not [file for file in scene.directory.iterdir() if file.name.startswith(".")], "no draft is left"


# What follows is about one pack, which is made once.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Scene, Path]]:
    directory = tmp_path_factory.mktemp("pack")
    scene = Scene.of(f"sqlite:///{directory / 'test.db'}", directory)
    yield scene, scene.pack(promoted(scene), content=True)
    scene.store.close()


@pytest.fixture
def pack(made: tuple[Scene, Path], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made[1], tmp_path / "spoilt"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_any_file_can_be_changed_unseen(made: tuple[Scene, Path], data: st.DataObject) -> None:
    _, pack = made
    files = sorted(file for file in pack.iterdir() if file.stat().st_size)
    file = data.draw(st.sampled_from(files))
    before = file.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    changed = bytes([before[place] ^ data.draw(st.integers(1, 255))])
    try:
        file.write_bytes(before[:place] + changed + before[place + 1 :])
        assert not verify(pack).holds
    finally:
        file.write_bytes(before)
    assert verify(pack).holds


def edit(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    """Change a JSON file's value; of a `.jsonl` file, the list of its lines' values."""

    def perform(pack: Path) -> None:
        file, lines = pack / name, name.endswith(".jsonl")
        text = file.read_text()
        value = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
        change(value)
        written = "".join(json.dumps(each) + "\n" for each in value) if lines else json.dumps(value)
        file.write_text(written)

    return perform


def decision(rollout: Any, action: str) -> Any:
    return next(event for event in rollout["events"] if event["action"] == action)["evidence"]


def drop_last(value: list[Any]) -> object:
    return value.pop()


LIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a score": (edit(records.SAMPLES, lambda v: v[3]["compared"].update(candidate_score=0.0)), "e-values"),
    "an e-value": (edit(records.SAMPLES, lambda v: v[3]["compared"]["evidence"].update(no_worse=9.0)), "e-values"),
    "no e-values": (edit(records.SAMPLES, lambda v: v[3]["compared"].update(evidence={})), "e-values"),
    "a score above one": (edit(records.SAMPLES, lambda v: v[0]["compared"].update(candidate_score=1e9)), "e-values"),
    "a sample left out": (edit(records.SAMPLES, lambda v: v.pop(2)), "drawn order"),
    "two samples swapped": (edit(records.SAMPLES, lambda v: v.insert(0, v.pop(1))), "drawn order"),
    "the last samples left out": (edit(records.SAMPLES, drop_last), "verdict"),
    "the verdict": (edit(records.COMPARISONS, lambda v: v[0].update(verdict="fail")), "verdict"),
    "the summary": (edit(records.COMPARISONS, lambda v: v[0]["summary"].update(no_worse=1e6)), "verdict"),
    "the margin": (edit(records.COMPARISONS, lambda v: v[0]["plan"].update(margin=0.5)), "rules"),
    "the seed": (edit(records.COMPARISONS, lambda v: v[0]["plan"].update(seed=7)), "drawn order"),
    "another candidate": (edit(records.COMPARISONS, lambda v: v[0].update(candidate=OLD.id)), "rules"),
    "no comparison": (edit(records.COMPARISONS, lambda v: v.clear()), "verdict"),
    "a member": (edit(records.DATASETS, lambda v: v[0]["members"].pop()), "dataset"),
    "a member's text": (edit(records.DATASETS, lambda v: v[0]["members"][0]["document"].update(target="x")), "dataset"),
    "an answer's text": (edit(records.SAMPLES, lambda v: v[0]["candidate"][0].update(text="better")), "texts"),
    "an answer's bundle": (edit(records.SAMPLES, lambda v: v[0]["candidate"][0].update(bundle="0" * 64)), "rules"),
    "a prompt": (edit(records.BUNDLES, lambda v: v["bundles"][1]["document"].update(prompt="Else.")), "bundles"),
    "a deployment": (edit(records.BUNDLES, lambda v: v["bundles"][1].update(deployment="else")), "bundles"),
    "what changes": (edit(records.BUNDLES, lambda v: v["differs"].clear()), "bundles"),
    "an approval": (edit(records.APPROVALS, drop_last), "approvals"),
    "who approved": (edit(records.APPROVALS, lambda v: v[0].update(actor="ana")), "approvals"),
    "an override": (
        edit(records.OVERRIDES, lambda v: v.append(json.loads(OVERRIDE))),
        "overrides",
    ),
    "a failure": (edit(records.GUARD, lambda v: v[0].update(status=500)), "guard counts"),
    "a failure hidden": (edit(records.GUARD, lambda v: v.pop(0)), "guard counts"),
    "a count": (edit(records.ROLLOUT, lambda v: decision(v, "promote")["whole"].update(asked=3)), "guard counts"),
    "a guard": (edit(records.ROLLOUT, lambda v: decision(v, "promote").update(guard=0.1)), "guard evidence"),
    "a violation": (edit(records.GUARD, lambda v: v[0].update(violation="language")), "guard counts"),
    "one guard": (
        edit(records.ROLLOUT, lambda v: decision(v, "promote")["guards"][1].update(evidence=5.0)),
        "guard evidence",
    ),
    "what a guard saw": (
        edit(records.ROLLOUT, lambda v: decision(v, "promote")["guards"][1].update(bad=1)),
        "guard counts",
    ),
    "what a guard tolerates": (
        edit(records.ROLLOUT, lambda v: decision(v, "promote")["guards"][0].update(tolerated=0.5)),
        "guard evidence",
    ),
    "a guard left out": (edit(records.ROLLOUT, lambda v: decision(v, "promote")["guards"].pop()), "guard evidence"),
    "a guard after the promotion": (
        edit(records.ROLLOUT, lambda v: decision(v, "finish")["guards"][0].update(evidence=0.5)),
        "guard evidence",
    ),
    "scores of copies": (
        edit(records.ROLLOUT, lambda v: decision(v, "promote").update(scored="pass")),
        "shadow scores",
    ),
    "a trial": (edit(records.ROLLOUT, lambda v: v["rollout"].update(trial=5)), "trial"),
    "a promotion's evidence": (edit(records.ROLLOUT, lambda v: decision(v, "promote").clear()), "decisions"),
    "a step's evidence": (edit(records.ROLLOUT, lambda v: decision(v, "advance").pop("whole")), "decisions"),
    "the evidence that it baked": (edit(records.ROLLOUT, lambda v: decision(v, "finish").clear()), "decisions"),
    "an alarm overheard": (edit(records.ROLLOUT, lambda v: decision(v, "promote").update(guard=500)), "decisions"),
    "too few requests": (
        edit(records.ROLLOUT, lambda v: v["rollout"]["plan"]["steps"][1].update(requests=99)),
        "decisions",
    ),
    "an event": (edit(records.ROLLOUT, lambda v: v["events"].pop(1)), "events"),
    "the state": (edit(records.ROLLOUT, lambda v: v["rollout"].update(state="aborted")), "events"),
    "who started": (edit(records.ROLLOUT, lambda v: v["rollout"].update(actor="ben")), "events"),
    "the totals": (edit(records.ROLLOUT, lambda v: v["guard"].update(failed=1)), "guard counts"),
    "a revision": (edit(records.ROUTES, lambda v: v.pop(1)), "routes"),
    "a share": (edit(records.ROUTES, lambda v: v[1].update(candidate_weight=0.9)), "routes"),
    "who answers": (edit(records.ROUTES, lambda v: v[2].update(incumbent=NEW.id)), "routes"),
    "the task": (edit(records.ROLLOUT, lambda v: v["rollout"].update(task="else")), "subject"),
    "the page": (lambda pack: (pack / records.REPORT).write_text("all is well") and None, "report"),
    "an impossible state": (edit(records.ROLLOUT, lambda v: v["rollout"].update(state="perfect")), "course"),
    "a number that is none": (
        lambda pack: (
            (pack / records.SAMPLES).write_text(
                (pack / records.SAMPLES).read_text().replace('"candidate_score":1.0', '"candidate_score":NaN', 1)
            )
            and None
        ),
        "comparisons",
    ),
    "a number too large": (
        lambda pack: (
            (pack / records.SAMPLES).write_text(
                (pack / records.SAMPLES).read_text().replace('"candidate_score":1.0', '"candidate_score":1e999', 1)
            )
            and None
        ),
        "comparisons",
    ),
    "a margin too large": (edit(records.COMPARISONS, lambda v: v[0]["plan"].update(margin=10**400)), "comparisons"),
    "half a file": (
        lambda pack: (pack / records.COMPARISONS).write_bytes((pack / records.COMPARISONS).read_bytes()[:-9]) and None,
        "comparisons",
    ),
    "a line that breaks off": (
        lambda pack: (pack / records.GUARD).write_bytes((pack / records.GUARD).read_bytes()[:-1]) and None,
        "course",
    ),
    "brackets without an end": (lambda pack: (pack / records.ROUTES).write_text("[" * 200_000) and None, "course"),
}
"""Each told by somebody who has the key: what is changed, and the check that finds it."""

OVERRIDE = json.dumps(
    {
        "id": 1,
        "task": "code",
        "rollout": 1,
        "gate": "approval",
        "approver": "ben",
        "actor": "ana",
        "reason": "r",
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2027-01-01T00:00:00Z",
    }
)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_even_where_it_is_signed(lie: str, made: tuple[Scene, Path], pack: Path) -> None:
    tell, check = LIES[lie]
    tell(pack)
    assert "files" in wrong(verify(pack)), "without the key it is found at once"
    sign_again(pack, made[0].key)
    found = wrong(verify(pack, made[0].key.public_key()))
    assert check in found, found
    assert {"files", "signature", "key"}.isdisjoint(found)


def test_another_key_is_found_by_who_knows_the_right_one(made: tuple[Scene, Path], pack: Path) -> None:
    sign_again(pack, Ed25519PrivateKey.generate())
    assert verify(pack).holds
    assert "whose it is was not checked" in says(verify(pack), "key")
    assert list(wrong(verify(pack, made[0].key.public_key()))) == ["key"]


@pytest.mark.parametrize("name", [*records.LISTED, records.MANIFEST, records.SIGNATURE])
def test_a_file_that_is_missing_or_a_link_is_found(pack: Path, name: str) -> None:
    file = pack / name
    aside = pack.parent / "aside"
    file.rename(aside)
    assert not verify(pack).holds
    file.symlink_to(aside)
    assert any("no regular file" in said for said in wrong(verify(pack)).values())


def test_a_file_that_is_not_listed_is_found(made: tuple[Scene, Path], pack: Path) -> None:
    (pack / "more.json").write_text("{}")
    assert says(verify(pack), "files") == "`more.json` is not in the manifest"
    (pack / "more.json").unlink()
    os.mkfifo(pack / "pipe")
    assert says(verify(pack), "files") == "`pipe` is not in the manifest"


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a/b.json", ".hidden.json", "", "pack.json\n"])
def test_a_name_that_leads_elsewhere_is_refused(made: tuple[Scene, Path], pack: Path, name: str) -> None:
    manifest = json.loads((pack / records.MANIFEST).read_bytes())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    sign_manifest(pack, made[0].key, manifest)
    found = verify(pack)
    assert list(wrong(found)) == ["manifest"]
    assert found.manifest is None


@pytest.mark.parametrize("change", [{"format": 2}, {"format": "1"}, {"rollout": None}, {"files": []}])
def test_a_manifest_of_another_form_is_refused(made: tuple[Scene, Path], pack: Path, change: dict[str, Any]) -> None:
    sign_manifest(pack, made[0].key, {**json.loads((pack / records.MANIFEST).read_bytes()), **change})
    assert list(wrong(verify(pack))) == ["manifest"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"format": 1}', b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(pack: Path, text: bytes) -> None:
    (pack / records.MANIFEST).write_bytes(text)
    assert list(wrong(verify(pack))) == ["manifest"]


def test_what_is_no_directory_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no directory"):
        verify(tmp_path / "nowhere")


def test_the_signing_key_is_made_once_and_stays_private(made: tuple[Scene, Path], tmp_path: Path) -> None:
    key = signing_key(tmp_path)
    file = tmp_path / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert public_hex(signing_key(tmp_path).public_key()) == public_hex(key.public_key())
    assert list(tmp_path.iterdir()) == [file]
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        signing_key(tmp_path)
    file.chmod(0o600)
    file.write_text("nothing")
    with pytest.raises(ConfigError, match="no signing key"):
        signing_key(tmp_path)


def test_a_trusted_key_is_given_as_a_word_or_a_file(made: tuple[Scene, Path], tmp_path: Path) -> None:
    scene, pack = made
    word = public_hex(scene.key.public_key())
    (tmp_path / "hex").write_text(f"{word}\n")
    for given_as in (word, word.upper(), str(tmp_path / "hex"), str(pack / records.PUBLIC_KEY)):
        assert public_hex(trusted_key(given_as)) == word
    (tmp_path / "bad").write_text("nothing")
    for nonsense in ("abc", str(tmp_path / "bad"), str(tmp_path)):
        with pytest.raises(ConfigError, match="no public key"):
            trusted_key(nonsense)

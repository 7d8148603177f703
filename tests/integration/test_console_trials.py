"""Pages of trials: the table of all tasks, filling while one runs, and the switches that begin from it."""

from __future__ import annotations

import re

from sqlalchemy import update
from tests.support.console import BusyConsole

from changeover.app.local import announced
from changeover.app.trial_lines import counts_of, lines_of
from changeover.app.tried import mark_of, tried
from changeover.evals.trial_queries import Trial, recent_trials
from changeover.rollouts.queries import rollouts_of_trial
from changeover.store.schema import comparisons


def trials_of(busy: BusyConsole) -> tuple[Trial, Trial]:
    """The one that has ended, and the one that runs."""
    with busy.installation.store.read() as connection:
        found = recent_trials(connection, 10)
    return next(each for each in found if each.ended_at), next(each for each in found if each.ended_at is None)


async def test_the_table_of_a_trial_has_the_facts_of_every_task(busy_console: BusyConsole) -> None:
    ended, _ = trials_of(busy_console)
    with busy_console.installation.store.read() as connection:
        table = tried(connection, ended, busy_console.installation.clock.now()).table
    async with busy_console.signed_in("viewer") as client:
        page = (await client.get(f"/trials/{ended.id}")).text
        listed = (await client.get("/trials")).text
    for line in lines_of(table):
        row = re.search(
            rf'<tr class="[^"]*">\s*<th scope="row"><a href="/tasks/{line.row.task}">.*?</tr>', page, re.DOTALL
        )
        assert row is not None, line.row.task
        assert line.incumbent in row[0]
        if line.row.difference is not None:
            assert all(fact in row[0] for fact in (line.p95, line.cost, line.difference.split()[0], line.row.advice))
            assert "<svg" in row[0]
        else:
            assert line.recommendation.split("`")[0] in row[0]
    for count in counts_of(table).values():
        assert not count or f"<strong>{count}</strong>" in page
    assert f'href="/trials/{ended.id}"' in listed


async def test_a_task_that_is_measured_now_shows_how_far_it_is(busy_console: BusyConsole) -> None:
    _, running = trials_of(busy_console)
    installation = busy_console.installation
    now = installation.clock.now()
    with installation.store.read() as connection:
        before = mark_of(connection, running)
    assert before[1] is not None, "a comparison of it is open"
    with installation.store.write() as connection:
        connection.execute(update(comparisons).where(comparisons.c.id == before[1]).values(started_at=now))
    with installation.store.read() as connection:
        seen = tried(connection, running, now)
    line = next(line for line in lines_of(seen.table) if line.running)
    assert seen.alive
    assert line.row.samples > 0
    async with busy_console.signed_in("viewer") as client:
        page = (await client.get(f"/trials/{running.id}")).text
    assert f"{line.row.samples} of {line.row.max_samples} samples" in page
    assert f'data-live="/trials/{running.id}/events"' in page


async def test_recommended_switches_begin_with_one_form_and_each_once(busy_console: BusyConsole) -> None:
    ended, _ = trials_of(busy_console)
    async with busy_console.signed_in("operator") as client:
        page = (await client.get(f"/trials/{ended.id}")).text
        offered = re.findall(r'name="task" value="(.*?)"', page)
        assert offered, "the busy installation has one that can begin"
        none = await busy_console.send(client, f"/trials/{ended.id}/switch", task="no-such-task")
        assert none.status_code in (409, 503)
        with announced(busy_console.directory / ".changeover", "http://127.0.0.1:9"):
            answer = await busy_console.send(client, f"/trials/{ended.id}/switch", task=offered[0])
            assert answer.status_code == 303, answer.text
        after = (await client.get(f"/trials/{ended.id}")).text
    with busy_console.installation.store.read() as connection:
        begun = [each for each in rollouts_of_trial(connection, ended.id) if each.task == offered[0]]
    assert len(begun) == 1
    assert begun[0].actor == "key:the operator"
    assert offered[0] not in re.findall(r'name="task" value="(.*?)"', after)
    assert f'href="/rollouts/{begun[0].id}"' in after


async def test_a_viewer_is_shown_no_switch_to_begin(busy_console: BusyConsole) -> None:
    ended, _ = trials_of(busy_console)
    async with busy_console.signed_in("viewer") as client:
        page = await client.get(f"/trials/{ended.id}")
        answer = await busy_console.send(client, f"/trials/{ended.id}/switch", task="code")
    assert f"/trials/{ended.id}/switch" not in page.text
    assert answer.status_code == 403


async def test_what_could_be_tried_comes_after_the_page(busy_console: BusyConsole) -> None:
    async with busy_console.signed_in("viewer") as client:
        page = await client.get("/trials/candidates")
        found = await client.get("/trials/candidates?look=1")
        missing = await client.get("/trials/999")
    assert 'hx-get="/trials/candidates?look=1"' in page.text
    assert "changeover trial MODEL" in found.text
    assert "Newer versions" in found.text
    assert missing.status_code == 404

"""Beginning to measure: a candidate on one task or on all, as `changeover compare` and `changeover trial` do, and ending that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.responses import Response

from changeover.app.bench import Bench, Measurement, Wanted
from changeover.console.choices import Choice, check_choice, choices_for
from changeover.console.following import following
from changeover.console.routes import Page
from changeover.console.visit import Visit, text_of
from changeover.core.errors import ChangeoverError, GateError, NotReadyError, RequestError
from changeover.rollouts.actions import By
from changeover.tasks.queries import current_routes

NOT_RUNNING = "The gateway does not run, so that nothing could be measured. Start it: `changeover up`."
OF_OTHERS = "Something of tasks that are not yours is being measured. It has to end before something else begins."
MOST_CALLS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What stands in a form."""

    candidate: str = ""
    tasks: tuple[str, ...] = ()
    max_calls: str = ""


def bench_of(visit: Visit) -> Bench:
    """Where things are measured."""
    assert visit.desk is not None, "there is a project"
    return visit.desk.bench


def is_theirs(visit: Visit, made: Measurement) -> bool:
    """Whether everything that is measured is of tasks that they may see."""
    return all(visit.person.may_see(task) for task in made.wanted.tasks)


def running_here(visit: Visit) -> Measurement | None:
    """What is measured now, if they may see it."""
    made = bench_of(visit).running
    return made if made is not None and is_theirs(visit, made) else None


def run_here(visit: Visit, *, comparison: str | None = None, trial: int | None = None) -> str | None:
    """The run in this process that measures one by itself, where it can be stopped; None: there is none."""
    made = running_here(visit)
    return made.id if made is not None and (made.comparison, made.trial) == (comparison, trial) else None


def place_of(made: Measurement) -> str | None:
    """The page that shows it from its rows; None: there is none yet, or it did not come so far."""
    if made.rollout is not None:
        return f"/rollouts/{made.rollout}"
    if made.state in ("getting ready", "failed"):
        return None
    if made.trial is not None:
        return f"/trials/{made.trial}"
    return None if made.comparison is None else f"/comparisons/{quote(made.comparison, safe='')}"


async def measuring(visit: Visit) -> Response:
    """What is measured, until rows show it."""
    made = bench_of(visit).newest
    if made is not None and is_theirs(visit, made) and (place := place_of(made)) is not None:
        return visit.go(place)
    return visit.page("measuring/measuring.html", **_values(visit))


async def part(visit: Visit) -> Response:
    """The same, as it changes; the browser goes on to the page with the rows once they are there."""
    made = bench_of(visit).newest
    place = place_of(made) if made is not None and is_theirs(visit, made) else None
    answer = visit.part("measuring/live.html", **_values(visit))
    if place is not None:
        answer.headers["hx-redirect"] = place
    return answer


def _values(visit: Visit, error: str | None = None) -> Mapping[str, Any]:
    made = bench_of(visit).newest
    theirs = made if made is not None and is_theirs(visit, made) else None
    return {"made": theirs, "busy": made is not None and theirs is None and not made.over, "error": error}


async def events(visit: Visit) -> Response:
    """That it came on."""

    async def seen() -> tuple[object, ...]:
        made = bench_of(visit).newest
        return () if made is None else made.mark

    return await following(seen)


async def choose_trial(visit: Visit) -> Response:
    """Ask what shall be tried, and on which tasks."""
    tasks = tuple(await _tasks(visit))
    return await _form(visit, "trial", Typed(candidate=visit.query("candidate"), tasks=tasks))


async def choose_comparison(visit: Visit) -> Response:
    """Ask what shall be compared with who answers a task."""
    task = visit.query("task")
    if task:
        visit.require_task(task)
    return await _form(visit, "comparison", Typed(candidate=visit.query("candidate"), tasks=(task,) if task else ()))


async def begin_trial(visit: Visit) -> Response:
    """Begin what `changeover trial` begins."""
    return await _begin(visit, "trial")


async def begin_comparison(visit: Visit) -> Response:
    """Begin what `changeover compare` begins."""
    return await _begin(visit, "comparison")


async def _begin(visit: Visit, kind: Literal["comparison", "trial"]) -> Response:
    async with visit.form() as form:
        typed = _typed(form)
    try:
        wanted = await _wanted(visit, kind, typed)
        await begin_here(visit, wanted, visit.by("begun in the console"))
    except ChangeoverError as failure:
        return await _form(visit, kind, typed, status=_status(failure), error=failure.message)
    visit.tell("`{}` is being measured. You can leave the page: it goes on.", wanted.candidate)
    return visit.go("/measuring")


async def begin_here(visit: Visit, wanted: Wanted, by: By) -> None:
    """Have something measured in this process.

    Raises:
        ChangeoverError: It cannot be, or something is measured already.
    """
    if visit.desk is None or visit.desk.gateway() is None:
        raise NotReadyError(NOT_RUNNING)
    bench, installation = bench_of(visit), visit.installation

    def begin() -> None:
        check_choice(visit, wanted.candidate)
        if bench.running is not None and running_here(visit) is None:
            raise GateError(OF_OTHERS)  # and not by whom, nor of what
        bench.begin(installation, wanted, by)

    await visit.do(begin)


def _typed(form: FormData) -> Typed:
    tasks = [each for each in form.getlist("task") if isinstance(each, str) and each]
    return Typed(candidate=text_of(form, "candidate"), tasks=tuple(tasks), max_calls=text_of(form, "max_calls"))


async def _wanted(visit: Visit, kind: Literal["comparison", "trial"], typed: Typed) -> Wanted:
    """What a form asks for.

    Raises:
        RequestError: A field is missing, or has a value that is not offered.
        PermissionError_: A task is none of theirs.
    """
    if not typed.candidate:
        raise RequestError("Choose a candidate.")
    if not typed.tasks:
        raise RequestError("Choose at least one task.")
    for task in typed.tasks:
        visit.require_task(task)
    calls = typed.max_calls
    if calls and not (calls.isdecimal() and len(calls) <= 9 and 0 < int(calls) <= MOST_CALLS):
        raise RequestError(f"`{calls[:40]}`: a whole number of calls is expected, 1 to {MOST_CALLS:,}.")
    known = await _tasks(visit)
    tasks = tuple(known) if kind == "trial" and set(typed.tasks) == set(known) else typed.tasks
    return Wanted(
        kind=kind,
        candidate=typed.candidate,
        tasks=tasks if kind == "trial" else typed.tasks[:1],
        max_calls=int(calls) if calls else None,
    )


async def _tasks(visit: Visit) -> list[str]:
    """Tasks that are declared and answered, of those that are theirs; in order."""
    routes = await visit.read(current_routes)
    return [name for name in sorted(visit.theirs.tasks) if name in routes]


async def _form(
    visit: Visit, kind: Literal["comparison", "trial"], typed: Typed, *, status: int = 200, error: str | None = None
) -> Response:
    installation, known = visit.installation, await _tasks(visit)
    task = typed.tasks[0] if kind == "comparison" and typed.tasks and typed.tasks[0] in known else None
    routes = await visit.read(current_routes)

    def found() -> list[Choice]:
        return choices_for(
            visit,
            task=None if task is None else installation.tasks[task],
            incumbent=None if task is None else routes[task].incumbent,
            named=typed.candidate,
        )

    return visit.page(
        f"measuring/{kind}.html",
        status,
        typed=typed,
        known=known,
        task=task,
        choices=await visit.do(found),
        gate=None if task is None else installation.tasks[task].declared.gate,
        running=visit.desk is not None and visit.desk.gateway() is not None,
        now=running_here(visit),
        error=error,
    )


async def stop(visit: Visit) -> Response:
    """End what is measured now."""
    async with visit.form() as form:
        reason, run = text_of(form, "reason"), text_of(form, "run")
    bench, installation = bench_of(visit), visit.installation
    try:
        by = visit.by(reason)
        running = bench.running
        if running is not None and not is_theirs(visit, running):
            raise RequestError("What is measured now is of tasks that are not yours.")
        seen = run or (None if running is None else running.id)
        made = await visit.do(lambda: bench.stop(installation, by, seen))
    except ChangeoverError as failure:
        return visit.page("measuring/measuring.html", _status(failure), **_values(visit, failure.message))
    visit.tell("`{}` stops being measured. What was found so far is kept.", made.wanted.candidate)
    return visit.go(place_of(made) or "/measuring")


def _status(failure: ChangeoverError) -> int:
    """What was asked for is at fault, not this server, where a file or a model cannot be used."""
    return 400 if failure.status == 500 else failure.status


PAGES: tuple[Page, ...] = (
    Page(path="/measuring", endpoint=measuring, right="look"),
    Page(path="/measuring/part", endpoint=part, right="look"),
    Page(path="/measuring/events", endpoint=events, right="look"),
    Page(path="/measuring/trial", endpoint=choose_trial, right="operate"),
    Page(path="/measuring/trial", endpoint=begin_trial, right="operate", methods=("POST",)),
    Page(path="/measuring/comparison", endpoint=choose_comparison, right="operate"),
    Page(path="/measuring/comparison", endpoint=begin_comparison, right="operate", methods=("POST",)),
    Page(path="/measuring/stop", endpoint=stop, right="operate", methods=("POST",)),
)

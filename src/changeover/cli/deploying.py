"""The work of `changeover deploy`: plan, show, fetch, ask for it, wait, list."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.progress import BarColumn, Progress, TextColumn

from changeover.app.adapting import ADAPTER
from changeover.app.deploy import deploy as ask_for
from changeover.app.engine_words import engine_of
from changeover.app.fetching import Terms
from changeover.app.installation import Installation, was_started
from changeover.app.library_files import LibraryFiles
from changeover.app.licence_checks import check_fetch, licensing_of
from changeover.app.local import running_address
from changeover.app.planning import DeployPlan, Lack, Wish, engine_named, ground_at, ground_of, plan_deployment
from changeover.app.planning.again import card_of_plan, deployed, plan_again
from changeover.app.planning.answer import HERE
from changeover.app.planning.attached import means_adapter, plan_attached
from changeover.app.readiness import READY_WAIT_S, states
from changeover.cli.exits import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS
from changeover.cli.frame import actor, err, note, out, plain, print_json
from changeover.cli.plan_view import in_short, plan_lines
from changeover.cli.running import opened
from changeover.cli.weights import fetch_for
from changeover.core.errors import ChangeoverError, ConfigError, EngineError, LicenceError
from changeover.core.sizes import in_mib
from changeover.serving.plan import EnginePlan
from changeover.serving.progress import Progress as Start
from changeover.serving.queries import Deployment, find_deployment
from changeover.serving.weights import LOADS

LIVES: Final = 4
"""Of an engine that does not come up, each as long as its deadline: then the supervisor has given it up."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What the command line said."""

    model: str
    name: str | None
    engine: str | None
    replicas: int
    on: str
    url: str | None
    key_env: str | None
    host: str | None
    common: Mapping[str, int]
    options: Sequence[str]
    """Each `NAME=VALUE`."""
    instead_of: str | None
    dry_run: bool
    as_json: bool

    def wish(self) -> Wish:
        """As planning takes it.

        Raises:
            ConfigError: There is no such engine, or an option is not of the form NAME=VALUE.
        """
        return Wish(
            model=self.model,
            name=self.name,
            engine=None if self.engine is None else engine_named(self.engine),
            on=None if self.on == HERE else self.on,
            url=self.url,
            key_variable=self.key_env,
            host=self.host,
            replicas=self.replicas,
            common=self.common,
            options=options_of(self.options),
        )


def deploy(ask: Ask) -> int:
    """Deploy, or only plan it. Returns the exit status."""
    wish = ask.wish()
    if wish.on is not None or (ask.dry_run and not _started(wish)):
        return _show(plan_deployment(wish, ground_at(Path.cwd())), as_json=ask.as_json)
    installation = opened()
    plan = _planned(installation, wish, instead_of=ask.instead_of)
    if ask.dry_run:
        return _show(plan, as_json=ask.as_json)
    engine_plan = _checked(plan, instead_of=ask.instead_of)
    note(in_short(plan))
    _fetch(installation, engine_plan)
    fresh = _asked_for(installation, plan, engine_plan, instead_of=ask.instead_of)
    if not fresh:
        note(f"{plan.deployment} is there already; it keeps the options it has")
    if running_address(installation.project.state) is not None:
        _wait(installation, plan)
        _list(installation, plan, None, as_json=ask.as_json)
    else:
        _list(installation, plan, "starts with the next `changeover up`", as_json=ask.as_json)
    return EXIT_PASS


def _started(wish: Wish) -> bool:
    """Whether there may be deployments that count for a plan; for an adapter there must be one."""
    files = LibraryFiles.at(Path.cwd())
    return (files.project is not None and was_started(files.project)) or means_adapter(wish, files.catalogue())


def _planned(installation: Installation, wish: Wish, *, instead_of: str | None) -> DeployPlan:
    row = deployed(installation, wish)
    if row is not None:
        return plan_again(installation, row)
    if means_adapter(wish, installation.catalogue):
        return plan_attached(installation, wish)
    return plan_deployment(wish, ground_of(installation).without(instead_of))


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Options given as NAME=VALUE; a value is read as TOML where it is that, else as text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found:
            raise ConfigError(f"`--option {pair}`: write NAME=VALUE, such as `--option delay_s=0.1`.")
        try:
            options[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[key] = value
    return options


def _show(plan: DeployPlan, *, as_json: bool) -> int:
    if as_json:
        print_json(plan.document())
    else:
        for line in plan_lines(plan, out.width):
            out.print(line, soft_wrap=True)
        out.print(f"\n{_ending(plan)}")
    return EXIT_PASS if plan.ok else EXIT_INCONCLUSIVE if plan.undecided else EXIT_FAIL


def _ending(plan: DeployPlan) -> str:
    if plan.hardware == HERE or plan.engine == "openai":
        return "Nothing was fetched or started: that was the plan."
    if plan.command is None:
        return "Nothing was started."
    then = " Once its server answers, `attach` makes a deployment of it." if plan.attach else ""
    return f"Nothing was started: run the command on {plan.hardware}.{then}"


def _checked(plan: DeployPlan, *, instead_of: str | None) -> EnginePlan:
    """What to start. A key that only the running system has to see, and what nobody knows, stop nothing.

    Raises:
        LicenceError: The policy or its licence does not allow it.
        EngineError: Something else is missing; says what, and what to do.
    """
    # Room beside what runs is counted exactly once the weights are here, and what could be stopped is said then.
    fetched = plan.weights is None or plan.weights.here
    passing = {"key", "fact", *(("room",) if fetched or instead_of is not None else ())}
    missing = [each for each in plan.missing if each.kind not in passing]
    for each in missing:
        if each.kind == "licence":
            raise LicenceError(each.what)
    if missing or plan.engine_plan is None:
        raise EngineError(_refusal(plan, missing or plan.missing))
    for each in plan.missing:
        if each.kind != "room":
            note(f"not known or not seen here: {each.what}. {each.remedy}")
    return plan.engine_plan


def _refusal(plan: DeployPlan, missing: Sequence[Lack]) -> str:
    engine = f" with `{plan.engine}`" if plan.engine else ""
    first, more = missing[0], len(missing) - 1
    rest = f" {more} more missing: `changeover deploy {plan.model} --dry-run` lists all." if more else ""
    return f"`{plan.model}` cannot run here{engine}: it needs {first.what}. {first.remedy}{rest}"


def _fetch(installation: Installation, plan: EnginePlan) -> None:
    """Have the weights of a plan here, in the form that its engine takes."""
    card = card_of_plan(installation, plan.model) if plan.backend in (*LOADS, ADAPTER) else None
    if card is None:
        return
    check_fetch(licensing_of(installation), [card])
    project = installation.project
    try:
        fetch_for(plan, card, project.cache, Terms.of(project), installation.homes)
    except KeyboardInterrupt:
        note("what was fetched so far is kept: the same command goes on from there")
        raise


def _asked_for(
    installation: Installation, plan: DeployPlan, engine_plan: EnginePlan, *, instead_of: str | None
) -> bool:
    """Have it run from now on; False if it was there already."""
    try:
        return ask_for(installation, engine_plan, actor(), instead_of=instead_of)
    except ChangeoverError:
        if plan.weights is not None and not plan.weights.here:
            note(f"the weights of {plan.model} were fetched and stay here")
        raise


def _wait(installation: Installation, plan: DeployPlan) -> None:
    """Wait until it can answer, against the time that it may take.

    Raises:
        EngineError: It failed, or the supervisor took longer than that to give it up. Its weights stay where they are.
    """
    deadline_s = plan.ready_s or READY_WAIT_S
    timeout_s = max(READY_WAIT_S, LIVES * deadline_s)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[said]}"))
    size = "" if plan.weights is None or plan.weights.bytes is None else f" for {in_mib(plan.weights.bytes)}"
    began, said = time.monotonic(), ""
    try:
        with Progress(*columns, console=err, transient=True) as progress:
            bar = progress.add_task(f"{plan.deployment}  starting", total=deadline_s, said="")
            for row in states(installation, plan.deployment, timeout_s):
                past = time.monotonic() - began
                start = Start.read(row.detail)
                words = (
                    str(start) if start else f"{past:.0f} s of at most {deadline_s:.0f} s{size}  {plain(row.detail)}"
                )
                progress.update(bar, description=f"{row.name}  {row.state}", completed=past, said=words)
                tells = row.detail not in ("", said) and row.state != "ready" and start is None
                if tells and not err.is_terminal:
                    note(f"{row.name}: {row.state}  {row.detail}")
                said = row.detail
    except KeyboardInterrupt:
        note(
            f"{plan.deployment} goes on starting: `changeover status` shows how far it is, `changeover undeploy "
            f"{plan.deployment}` stops it"
        )
        raise


def _list(installation: Installation, plan: DeployPlan, instead: str | None, *, as_json: bool) -> None:
    """Print what it is now; `instead` of its state where nothing runs that would know that."""
    with installation.store.read() as connection:
        row = find_deployment(connection, plan.deployment)
    state = instead or row.state
    if as_json:
        print_json(
            {
                "deployment": row.name,
                "model": row.model,
                "engine": row.backend,
                "state": state,
                "quantisation": plan.quantisation,
                "memory_bytes": row.memory_bytes,
                "address": row.address,
                "detail": row.detail,
            }
        )
        return
    out.print(f"{row.name}  {state}  [dim]{plain(_described(row, plan, running=instead is None))}[/]", soft_wrap=True)


def _described(row: Deployment, plan: DeployPlan, *, running: bool) -> str:
    memory = None if row.memory_bytes is None or row.state != "ready" else in_mib(row.memory_bytes)
    now = (memory, row.address, row.detail) if running else ()
    return " · ".join(part for part in (engine_of(row), plan.quantisation, *now) if part)

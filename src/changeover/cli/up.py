"""`changeover up`: the running system, in the foreground."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Annotated

import typer
import uvloop

from changeover.app.create import create_installation
from changeover.app.fetching import Terms
from changeover.app.installation import Installation
from changeover.app.licence_checks import check_fetch, licensing_of, not_allowed_now
from changeover.app.listening import listen
from changeover.app.local import make_private, only_one
from changeover.app.logs import set_up_logging
from changeover.app.prepare import deployed_weights, first_admin_key, first_cards, first_keys, prepare
from changeover.app.system import System
from changeover.cli.frame import Json, here, note, out, print_error, print_listening
from changeover.cli.weights import fetch, fetch_artifact
from changeover.core.errors import ArtifactError
from changeover.core.settling import settle_in
from changeover.library.licences.words import refusal

app = typer.Typer(add_completion=False)


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(help="Instead of `gateway.port`; 0 takes any free one.", min=0, max=65535)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that answer, instead of `gateway.workers`.", min=1, max=64)
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Apply declarations whenever their files change.")] = False,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="Stop when standard input ends, so as not to outlive a parent.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the gateway and the engines of this project, and keep them running until Ctrl-C.

    The first start fetches the weights that the tasks need and prints two keys, once: an administrator's and a first
    application's. Without a key nobody gets in.

    Example: changeover up
    """
    project = here()
    set_up_logging(project.settings.telemetry.log, sys.stderr)
    gateway = project.settings.gateway
    make_private(project.state)
    with only_one(project.state):
        listener = listen(
            gateway.host,
            gateway.port if port is None else port,
            host_by="`gateway.host` in changeover.toml",
            port_by="`gateway.port` in changeover.toml" if port is None else "`--port`",
        )
        installation = create_installation(project)
        _fetch_what_is_missing(installation)
        prepare(installation)
        for judgement in not_allowed_now(installation):
            note(f"goes on answering `{judgement.task}`, and is not allowed now: {refusal(judgement)}")
        keys = FirstKeys(application=first_keys(installation), admin=first_admin_key(installation))
        if until_stdin_closes:
            threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
        settle_in()
        system = System(installation, workers=workers, watching=watch)
        try:
            uvloop.run(system.serve(listener, lambda address: announce(installation, address, keys, as_json)))
        finally:
            installation.store.close()
            listener.close()
    note("stopped")


def _fetch_what_is_missing(installation: Installation) -> None:
    cache, terms = installation.project.cache, Terms.of(installation.project)
    first = first_cards(installation)
    if first:
        check_fetch(licensing_of(installation), first)
        fetch(first, cache, terms)
    for absent in deployed_weights(installation):
        if absent.to_make:  # minutes in which nobody would answer
            name = absent.deployment
            note(f"{name}: its weights are to be made again; once this runs, `changeover deploy {name}` makes them")
            continue
        try:
            fetch_artifact(absent.card, absent.artifact, cache, terms)
        except ArtifactError as exc:
            # Its own deployment will say so and stay down; the others answer.
            print_error(exc.message)


def _stop_at_end_of_input() -> None:
    # Not by sys.stdin: its lock would be held by this thread while the interpreter ends.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, kw_only=True)
class FirstKeys:
    """Keys that this start has made; None: there is one already."""

    application: str | None
    admin: str | None


def announce(installation: Installation, address: str, keys: FirstKeys, as_json: bool) -> None:
    """Say where to call. Keys are shown now and never again."""
    tasks = sorted(installation.tasks)
    if as_json:
        print_listening(address=address, tasks=tasks, first_key=keys.application, admin_key=keys.admin)
        return
    name = installation.project.settings.name
    out.print(f"[bold]{name}[/]  gateway  {address}/v1   {_counted(installation, tasks)}")
    if keys.application is not None:
        out.print(f"first API key, shown once  [bold]{keys.application}[/]  for an application: it may call every task")
    if keys.admin is not None:
        out.print(
            f"admin key, shown once      [bold]{keys.admin}[/]  for you: it may do everything, on the console too"
        )
    out.print(
        "try  "
        + "   ".join([*_first_tries(installation, tasks), "changeover status", "changeover console", "Ctrl-C stops"])
    )
    out.file.flush()  # whoever reads a pipe waits for the key


def _counted(installation: Installation, tasks: list[str]) -> str:
    """The tasks by name; where there are tools a count, for they have many."""
    tools = len(installation.tools)
    if not tools:
        return f"tasks  {', '.join(tasks)}"
    of_tools = len(_of_tools(installation).intersection(tasks))
    return f"{_number(len(tasks), 'task')}, {of_tools} of them of {_number(tools, 'tool')}"


def _first_tries(installation: Installation, tasks: list[str]) -> list[str]:
    """What to type first: ask a task that stands by itself, run the example of a tool."""
    own = next((task for task in tasks if task not in _of_tools(installation)), None)
    shown = next((tool.name for tool in installation.tools.values() if tool.declared.example), None)
    return [
        *([f'changeover ask {own} "…"'] if own is not None else []),
        *([f"changeover run {shown} --example"] if shown is not None else []),
    ]


def _of_tools(installation: Installation) -> set[str]:
    return {task for tool in installation.tools.values() for task in tool.tasks}


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

"""`changeover deploy`: a model running under a name."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any

import typer

from changeover.app.adapting import attachment, is_adapter
from changeover.app.deploy import deploy as ask_for
from changeover.app.installation import Installation
from changeover.app.licence_checks import check_fetch, licensing_of
from changeover.app.local import running_address
from changeover.cli.frame import Json, actor, note, out, print_json
from changeover.cli.running import opened, wait_ready
from changeover.cli.weights import Terms, bars, fetch, fetch_one
from changeover.core.errors import ConfigError
from changeover.serving.deployments import plan_for_card, plan_from_row
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import Deployment, all_deployments

app = typer.Typer(add_completion=False)


@app.command()
def deploy(
    model: Annotated[
        str,
        typer.Argument(
            help="A card of the library, or with --engine the name a server knows it by; or a deployment to run again."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the deployment; by default the model's.")] = None,
    engine: Annotated[str, typer.Option(help="local, adapter, echo, or openai for any compatible server.")] = "local",
    url: Annotated[str | None, typer.Option(help="With --engine openai: its base address, up to /v1.")] = None,
    key_env: Annotated[str | None, typer.Option(help="Environment variable that holds that server's key.")] = None,
    slots: Annotated[int | None, typer.Option(help="Requests answered at once.", min=1, max=64)] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of context for each.", min=256)] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of the engine.", min=1)] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Any other option of the engine, as NAME=VALUE; may be repeated.")
    ] = None,
    instead_of: Annotated[
        str | None,
        typer.Option(help="A deployment to stop for it, where memory does not hold both. Its tasks wait meanwhile."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a model where needed, start it, and wait until it is ready. It gets no traffic by that.

    Example: changeover deploy qwen2.5-coder-1.5b-instruct --slots 2
    """
    installation = opened()
    chosen = {"slots": slots, "context_tokens": context, "threads": threads}
    options = {**{key: value for key, value in chosen.items() if value is not None}, **_options(option or [])}
    again = _deployed(installation, model) if engine == "local" and name is None else None
    if again is not None:
        plan = plan_from_row(again, installation.catalogue, installation.project.cache)
    elif engine == "adapter" or (engine == "local" and is_adapter(installation.catalogue.card(model))):
        plan = _adapter(installation, model, name, options)
    elif engine == "local":
        plan = _local(installation, model, name, options)
    elif engine in ("openai", "echo"):
        plan = _other(engine, model, name, url, key_env, options)
    else:
        raise ConfigError(f"No engine named `{engine}`. Known: adapter, echo, local, openai.")
    fresh = ask_for(installation, plan, actor(), instead_of=instead_of)
    if not fresh:
        note(f"{plan.deployment} is there already; it keeps the options it has")
    if running_address(installation.project.state) is not None:
        wait_ready(installation, [plan.deployment])
        state = "ready"
    else:
        state = "starts with the next `changeover up`"
    if as_json:
        print_json({"deployment": plan.deployment, "model": plan.model, "engine": plan.backend, "state": state})
    else:
        out.print(f"{plan.deployment}  {state}")


def _deployed(installation: Installation, name: str) -> Deployment | None:
    """A deployment of that name, unless a card has it too and says more: which weights to fetch."""
    with installation.store.read() as connection:
        rows = {row.name: row for row in all_deployments(connection)}
    return None if any(card.id == name for card in installation.catalogue.cards()) else rows.get(name)


def _local(installation: Installation, model: str, name: str | None, options: dict[str, Any]) -> EnginePlan:
    card = installation.catalogue.card(model)
    project = installation.project
    plan = plan_for_card(card, project.cache, project.settings.engines, name=name, options=options)
    check_fetch(licensing_of(installation), [card])
    fetch([card], project.cache, Terms.of(project))  # after the plan was checked: weights are large
    return plan


def _adapter(installation: Installation, model: str, name: str | None, options: dict[str, Any]) -> EnginePlan:
    card, project = installation.catalogue.card(model), installation.project
    attached = attachment(installation, card, name=name, options=options)
    check_fetch(licensing_of(installation), [card])
    with bars() as bar_of:
        fetch_one(card, attached.artifact, project.cache, Terms.of(project), bar_of(card.id))
    return attached.plan


def _options(pairs: list[str]) -> dict[str, Any]:
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


def _other(
    engine: str, model: str, name: str | None, url: str | None, key_env: str | None, options: dict[str, Any]
) -> EnginePlan:
    if engine == "openai" and url is None:
        raise ConfigError("`--engine openai` needs `--url`, such as http://127.0.0.1:8000/v1.")
    if engine == "openai":
        options = {"base_url": url, "model": model, "api_key_env": key_env, **options}
    return EnginePlan(
        deployment=name or model,
        backend="openai" if engine == "openai" else "echo",
        model=model,
        artifact=None,
        weights_digest=None,
        quantisation=None,
        options=options,
    )

"""A plan for an engine that runs already, somebody else's: at an address that is given, or that a card's hosts have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from changeover.app.planning.answer import DeployPlan, Lack
from changeover.app.planning.ground import Ground
from changeover.app.planning.terms import licence_of, licence_of_engine
from changeover.app.planning.wish import Wish
from changeover.core.errors import ConfigError, nearest
from changeover.library.cards import Card
from changeover.library.running import Hosted
from changeover.serving.backends import describe
from changeover.serving.plan import EnginePlan

NEEDS_URL = "`--engine openai` needs `--url`, such as http://127.0.0.1:8000/v1."
A_URL = "Give the address of a server that runs it: `--url http://SERVER:PORT/v1`."


def at_address(wish: Wish, ground: Ground) -> DeployPlan:
    """Plan an engine at the address that is given.

    Raises:
        ConfigError: The address, the key's variable or an option cannot be used.
    """
    said = {"base_url": wish.url, "model": wish.model, "api_key_env": wish.key_variable}
    plan = _engine_plan(wish, {**said, **wish.options_of("openai")}, model=wish.model)
    options = plan.options
    return DeployPlan(
        deployment=plan.deployment,
        model=plan.model,
        hardware="elsewhere",
        engine="openai",
        why="A server at that address answers.",
        address=str(options["base_url"]),
        key_variable=wish.key_variable,
        served_as=str(options["model"]),
        missing=tuple([*licence_of_engine(describe(plan, ground.backends), ground), *_key(wish.key_variable, ground)]),
        engine_plan=plan,
    )


def at_host(wish: Wish, ground: Ground, card: Card) -> DeployPlan:
    """Plan a card's model at one of those that host it.

    Raises:
        ConfigError: Nobody of that name hosts it, or an option cannot be used.
    """
    row, others = _row(card, wish.host)
    closed = card.weights == "closed"
    why = "Its weights are closed: only its host runs it." if closed else "It is asked for at a host."
    if row is None:
        what = f"an address: the library knows nobody who hosts `{card.id}`"
        return _unhosted(wish, card, why, Lack(kind="address", what=what, remedy=A_URL))
    options = wish.options_of("openai")
    served = str(options["model"]) if "model" in options else _served(row)
    missing = [*_wrong(row, served, asked="model" in options, card=card)]
    key = wish.key_variable or row.key_variable
    plan = None
    if row.base_url is not None and served is not None:
        said = {"base_url": row.base_url, "api_key_env": key, **options, "model": served}
        plan = _engine_plan(wish, said, model=card.id)
    licence = licence_of(card, ground) if plan is None else licence_of_engine(describe(plan, ground.backends), ground)
    missing = [*licence, *missing, *_key(key, ground, row.host)]
    return DeployPlan(
        deployment=wish.name or card.id,
        model=card.id,
        hardware=row.host,
        engine="openai",
        why=why,
        alternatives=tuple(f'at {each.host}: `--host "{each.host}"`' for each in others),
        address=row.base_url,
        key_variable=key,
        served_as=served,
        command=_command(wish, card) if not missing else None,
        missing=tuple(missing),
        notes=tuple(_notes(row, served)),
        engine_plan=plan,
    )


def hosts_of(card: Card) -> Sequence[Hosted]:
    """Those who host a card's model where tasks can ask it, so far as anybody knows; the first is the one to ask."""
    return [each for each in card.hosted if each.api != "other"]


def _unhosted(wish: Wish, card: Card, why: str, lack: Lack) -> DeployPlan:
    return DeployPlan(
        deployment=wish.name or card.id,
        model=card.id,
        hardware="elsewhere",
        engine="openai",
        why=why,
        missing=(lack,),
        notes=tuple(f"{each.host}: {each.note}" for each in card.hosted if each.note),
    )


def _row(card: Card, host: str | None) -> tuple[Hosted | None, Sequence[Hosted]]:
    """The host that is meant, and the others."""
    rows = hosts_of(card)
    if host is None:
        return (rows[0], rows[1:]) if rows else (None, ())
    wanted = host.casefold()
    exact = [each for each in rows if each.host.casefold() == wanted]
    near = exact or [each for each in rows if wanted in each.host.casefold()]
    if not near:
        raise ConfigError(f"No host named `{host}` for `{card.id}`. {nearest(host, [each.host for each in rows])}")
    return near[0], [each for each in rows if each is not near[0]]


def _served(row: Hosted) -> str | None:
    """What to ask for there: the newest id that stays with this model, else the one that it has."""
    return row.fixed_ids[-1] if row.fixed_ids else row.id


def _wrong(row: Hosted, served: str | None, *, asked: bool, card: Card) -> Iterator[Lack]:
    if row.base_url is None:
        yield Lack(kind="address", what=f"the address of {row.host}, which nobody verified", remedy=A_URL)
    if served is None:
        what = f"the name under which {row.host} serves `{card.id}`, which nobody verified"
        yield Lack(kind="model", what=what, remedy="Read it there, and give it: `--option model=NAME`.")
    elif row.now is not None and not asked and served not in row.fixed_ids:
        key = f" --key-env {row.key_variable}" if row.key_variable else ""
        own = f"changeover deploy {served} --engine openai --url {row.base_url}{key}"
        yield Lack(
            kind="model",
            what=f"`{card.id}` itself: {row.host} answers `{served}` with another model now, {row.now}",
            remedy=f"{A_URL} What answers there instead is deployed under its own name: `{own}`.",
        )


def _notes(row: Hosted, served: str | None) -> Iterator[str]:
    yield f"Whatever its tasks are asked goes to {row.host}."
    if served is not None and served in row.fixed_ids:
        older = [name for name in row.fixed_ids if name != served]
        if older:
            yield f"`{served}` is dated, and stays what it is. Also there: {', '.join(f'`{name}`' for name in older)} (`--option model=NAME`)."
    elif served is not None and row.now is None:
        yield (
            f"`{served}` is an alias, and no dated name is known: {row.host} may answer with another model under it. It is "
            "asked again now and then whether it answers as it did (`changeover alias-checks`)."
        )
    if row.note is not None:
        yield row.note


def _key(variable: str | None, ground: Ground, host: str | None = None) -> Iterator[Lack]:
    """A host's key, where this process does not see it."""
    if variable is None and host is not None:
        what = f"the name of the environment variable that holds your key for {host}"
        yield Lack(kind="key", what=what, remedy="Give it: `--key-env NAME`.")
    elif variable is not None and variable not in ground.variables:
        what = f"the environment variable `{variable}`, which holds the key and is not set here"
        yield Lack(kind="key", what=what, remedy=f"Set it where the system starts: `{variable}=… changeover up`.")


def _engine_plan(wish: Wish, options: dict[str, Any], *, model: str) -> EnginePlan:
    return EnginePlan(deployment=wish.name or wish.model, backend="openai", model=model, options=options)


def _command(wish: Wish, card: Card) -> str:
    host = f' --host "{wish.host}"' if wish.host else ""
    return f"changeover deploy {card.id} --engine openai{host}"

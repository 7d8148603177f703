"""`changeover key`: who may call."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.frame import Json, out, print_json
from changeover.cli.running import opened
from changeover.gateway.keys import issue_key, load_keys, revoke_key

app = typer.Typer(add_completion=False, help="Make, list and revoke API keys.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the key is for, such as the application's name.")]


@app.command()
def new(
    name: Name,
    operator: Annotated[bool, typer.Option("--operator", help="May also name variants, as evaluations do.")] = False,
    as_json: Json = False,
) -> None:
    """Make a key and print it, once.

    Example: changeover key new invoice-reader
    """
    installation = opened()
    with installation.store.write() as connection:
        secret = issue_key(
            connection, name=name, role="operator" if operator else "application", now=installation.clock.now()
        )
    if as_json:
        print_json({"name": name, "key": secret})
    else:
        out.print(f"{secret}\n[dim]shown once; only its digest is kept[/]")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the keys that may be used; the keys themselves are nowhere.

    Example: changeover key list
    """
    installation = opened()
    with installation.store.read() as connection:
        found = sorted(load_keys(connection).values(), key=lambda key: key.name)
    if as_json:
        print_json(found)
        return
    for key in found:
        out.print(f"{key.name:<28} {key.role:<12} {key.id}")


@app.command()
def revoke(name: Name, as_json: Json = False) -> None:
    """Make every key of that name useless, within a second.

    Example: changeover key revoke invoice-reader
    """
    installation = opened()
    with installation.store.write() as connection:
        revoke_key(connection, name, installation.clock.now())
    if as_json:
        print_json({"revoked": name})
    else:
        out.print(f"revoked {name}")

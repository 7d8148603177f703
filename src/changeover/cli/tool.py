"""`changeover tool`: making, adding, showing and checking tools."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Key, Url, later

making = later("changeover.cli.tool_making")
listing = later("changeover.cli.tool_listing")
checking = later("changeover.cli.tool_checking")

app = typer.Typer(add_completion=False, help="Make, add, show and check tools.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="Tools; `changeover tools` lists them.")]


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the new tool: lower-case letters, digits and `-`.")],
    of: Annotated[
        str | None, typer.Option("--from", metavar="TOOL", help="Begin with a copy of one that comes with changeover.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="What people read in lists.")] = None,
    as_json: Json = False,
) -> None:
    """Make a tool that works at once: a text goes in, a task is asked, an answer comes out. Its files explain themselves.

    Example: changeover tool new headline --title "Headline"
    """
    making().new(name, of, title, as_json)


@app.command("add")
def add(
    names: Names = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every tool that is not there yet.")] = False,
    as_json: Json = False,
) -> None:
    """Copy tools that come with changeover into this project, where they are yours to change. Nothing is overwritten.

    Example: changeover tool add document-summary
    """
    making().add(names or [], all_of_them, as_json)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A tool of this project, or one that comes with changeover.")],
    as_json: Json = False,
) -> None:
    """Show a tool whole: what it takes, its steps, its tasks and who answers them, what it gives, how to try it.

    Example: changeover tool show document-summary
    """
    listing().show(name, as_json)


@app.command("check")
def check(
    names: Names = None,
    run: Annotated[bool, typer.Option("--run", help="Also run each tool's example, through the gateway.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Check tools: declarations, prompts, templates, schemas, datasets; with `--run` also what comes of their examples.

    Without names all of this project's. What an example gives must meet the tool's contract. Ends with status 1 if a tool
    is broken or its example fails.

    Example: changeover tool check --run
    """
    if status := checking().check(names or [], run=run, url=url, key=key, as_json=as_json):
        raise typer.Exit(status)

"""`changeover run`: a tool, from the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from changeover.cli.signature import Json, Key, Url, later
from changeover.core.errors import ConfigError

work = later("changeover.cli.running_tools")

app = typer.Typer(add_completion=False)


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[INPUT]…",
        help="Files, or a text; `-` is standard input, `@example` the tool's own example. Several files for a tool "
        "that takes one are a batch.",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Another input; `NAME=@FILE` is a file. May be repeated."),
]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE|DIR", help="Write the result there; of a batch into a directory."),
]
Resume = Annotated[
    str | None, typer.Option("--resume", metavar="JOB", help="Wait for a job that goes on, and show its result.")
]
Stream = Annotated[
    bool | None,
    typer.Option("--stream/--no-stream", help="Show the answer while it is written; by default on a terminal."),
]


@app.command()
def run(
    tool: Annotated[str | None, typer.Argument(help="The tool; `changeover tools` lists them.")] = None,
    given: Inputs = None,
    sets: Sets = None,
    output: Output = None,
    example: Annotated[bool, typer.Option("--example", help="Run the tool's own example.")] = False,
    job: Annotated[bool, typer.Option("--job", help="A run that goes on if this command ends.")] = False,
    resume: Resume = None,
    stream: Stream = None,
    chat: Annotated[bool, typer.Option("--chat", help="Talk with a tool that is made for that.")] = False,
    at_once: Annotated[int, typer.Option(help="Files of a batch under way at once.", min=1, max=64)] = 4,
    again: Annotated[bool, typer.Option("--again", help="Of a batch: also what has a result already.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Run a tool on files or texts. The result goes to standard output, with what it is taken from below it.

    Inside a project it asks the gateway that runs there. Of a batch each file's result is written, one line says how it
    went, and one that fails stops no other; the status is 1 then. With `--json` a batch writes a `.json` beside each text.

    Example: changeover run document-summary report.pdf --set sentences=3
    """
    if (tool is None) == (resume is None):
        raise ConfigError("Name a tool, as in `changeover run TOOL FILE`, or a job: `changeover run --resume JOB`.")
    options = work().Options(
        tool=tool,
        given=tuple(given or ()),
        sets=tuple(sets or ()),
        output=output,
        example=example,
        job=job,
        stream=stream,
        at_once=at_once,
        again=again,
        url=url,
        key=key,
        as_json=as_json,
    )
    if resume is not None:
        status = work().resume(resume, options)
    else:
        status = work().chat(options) if chat else work().run(options)
    if status:
        raise typer.Exit(status)

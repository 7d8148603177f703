"""`changeover init`: a project of one's own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from changeover.app.shipped_tools import add_tools, named
from changeover.cli.frame import Json, out, print_json
from changeover.core.errors import ChangeoverError, ConfigError
from changeover.core.settings import SETTINGS_FILE

app = typer.Typer(add_completion=False)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where to make it; the last part is the project's name.")],
    port: Annotated[int, typer.Option(help="Port of the gateway; 0 takes any free one.", min=0, max=65535)] = 8100,
    tools: Annotated[
        str | None, typer.Option(metavar="all|NAME,…", help="Tools that come with changeover, to begin with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a project: `changeover.toml`, four tasks, their datasets and examples, and tools where they are asked for.

    `policy.toml`, what licences are judged by, is yours to write: `policy.example.toml` has every key.

    Example: changeover init my-org --tools all && cd my-org && changeover up
    """
    asked = named(name.strip() for name in tools.split(",") if name.strip()) if tools else []
    make_project(directory, port, asked)
    if as_json:
        print_json({"project": directory.resolve().name, "directory": directory.resolve(), "tools": asked})
        return
    copied = f", tools/ ({len(asked)})" if asked else ""
    out.print(f"Made [bold]{directory}[/]: changeover.toml, tasks/, evals/, examples/{copied}")
    out.print(f"Next  cd {directory} && changeover up")


def make_project(directory: Path, port: int, tools: Sequence[str] = ()) -> None:
    """Copy the template that ships with the package, and tools by their names.

    Raises:
        ConfigError: The directory has something in it, or its name cannot be a project's.
    """
    name = directory.resolve().name
    if not NAME.fullmatch(name):
        raise ConfigError(f"`{name}` cannot be a project's name: use letters, digits, spaces, `.`, `_` and `-`.")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise ConfigError(f"`{directory}` is not empty. Name a new directory.")
    if any(parent.exists() and not parent.is_dir() for parent in directory.absolute().parents):
        raise ConfigError(f"`{directory}` lies below a file. Name a place below a directory.")
    # Beside its place first, then renamed: a project is there whole or not at all.
    draft = directory.with_name(f".{directory.name}.{os.getpid()}")
    try:
        with as_file(files("changeover.templates") / "project") as template:
            shutil.copytree(template, draft, ignore=shutil.ignore_patterns("__pycache__"))
        settings = draft / SETTINGS_FILE
        settings.write_text(settings.read_text().replace("PROJECT_NAME", name).replace("port = 8100", f"port = {port}"))
        add_tools(draft / "tools", tools)
        draft.replace(directory)
    except OSError as exc:
        shutil.rmtree(draft, ignore_errors=True)
        # Copying a tree collects its reasons, one for each file; the last line has the last of them.
        reason = exc.strerror or str(exc).rstrip("')]\"").rpartition("] ")[2]
        raise ChangeoverError(f"Cannot make `{directory}`: {reason}.") from exc

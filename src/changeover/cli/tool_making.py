"""The work of `changeover tool new` and `changeover tool add`."""

from __future__ import annotations

from collections.abc import Sequence

from changeover.app.installation import was_started
from changeover.app.shipped_tools import add_tools, derive_tool, new_tool, shipped_names
from changeover.app.starting_model import starting_model
from changeover.cli.frame import here, out, plain, print_json
from changeover.core.errors import ConfigError
from changeover.core.settings import Project


def new(name: str, of: str | None, title: str | None, as_json: bool) -> None:
    """Make a tool, and say what to do next."""
    project = here()
    if of is None:
        folder = new_tool(project.tools, name, title=title, first_incumbent=starting_model(project))
    else:
        folder = derive_tool(project.tools, name, of=of, title=title)
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    if as_json:
        print_json({"tool": name, "folder": folder, "files": files, "next": _next(project, [name])})
        return
    out.print(f"Made [bold]{plain(folder.relative_to(project.root))}[/]: {plain(', '.join(files))}")
    out.print(
        "It works as it is. Make it yours before you apply it: a prompt that has answered changes by evidence only."
    )
    _show_next(project, [name])


def add(names: Sequence[str], all_of_them: bool, as_json: bool) -> None:
    """Copy shipped tools, and say what to do next."""
    if bool(names) == all_of_them:
        raise ConfigError("Name tools to add, or give `--all`. `changeover tools` lists them.")
    project = here()
    wanted = [name for name in shipped_names() if not (project.tools / name).exists()] if all_of_them else names
    added = add_tools(project.tools, wanted)
    if as_json:
        print_json({"added": added, "next": _next(project, added)})
        return
    out.print(f"Added {plain(', '.join(added))}" if added else "Every tool is here already.")
    _show_next(project, added)


def _next(project: Project, names: Sequence[str]) -> list[str]:
    """Commands that a person would type now."""
    if not names:
        return ["changeover tool check"]
    answer = "changeover apply" if was_started(project) else "changeover up"
    checked = f" {' '.join(names)}" if len(names) < 4 else ""
    return [f"changeover tool check{checked}", answer, f"changeover run {names[0]} --example"]


def _show_next(project: Project, names: Sequence[str]) -> None:
    for number, command in enumerate(_next(project, names)):
        out.print(f"{'Next' if number == 0 else '':<4}  {plain(command)}")

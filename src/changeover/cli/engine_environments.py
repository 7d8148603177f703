"""The work of `changeover engines`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from changeover.app.engines import EngineKind, engine_kinds
from changeover.app.installation import homes_of
from changeover.cli.columns import UNKNOWN, hanging
from changeover.cli.frame import err, note, out, print_json
from changeover.core.errors import EngineError
from changeover.core.settings import Project, cache_directory, find_project
from changeover.serving.backends import backends_in
from changeover.serving.environments import Environment, environment, has_nvidia, installed, remove, steps
from changeover.serving.environments import install as install_one
from changeover.serving.homes import Homes

_INDENT = " " * 16


def show(*, as_json: bool) -> None:
    """List every kind of engine."""
    homes = _homes()
    kinds = engine_kinds(homes, backends_in(homes))
    if as_json:
        print_json(kinds)
        return
    for kind in kinds:
        for line in _lines(kind, out.width):
            out.print(line, soft_wrap=True)
    out.print(f"\n{sum(kind.ready for kind in kinds)} of {len(kinds)} kinds can run here")


def make(names: Sequence[str], *, dry_run: bool, as_json: bool) -> None:
    """Install the environments of engines, one after another."""
    managed = _managed()
    wanted = {name: environment(name, nvidia=has_nvidia()) for name in dict.fromkeys(names)}
    if dry_run:
        _print_steps(wanted, managed, as_json=as_json)
        return
    for name, each in wanted.items():
        if each.needs == "nvidia" and not has_nvidia():
            raise EngineError(f"`{name}` needs an NVIDIA card, and this machine has none. {each.note or ''}".strip())
    done: list[dict[str, object]] = []
    for name, each in wanted.items():
        started = time.monotonic()
        note(f"{name}: about {each.megabytes} MB in {managed}, {each.seconds} s on two busy cores")
        if each.note:
            note(f"  {each.note}")
        with err.status(name) as status:
            fresh = install_one(name, each, managed, lambda said, name=name: status.update(f"{name}  {said}"))
        seconds = round(time.monotonic() - started, 1)
        done.append({"engine": name, "installed": fresh, "seconds": seconds, "directory": managed / name})
        if not as_json:
            out.print(f"{name}  installed ({seconds} s)" if fresh else f"{name}  is there already")
        _say_what_goes_before(name)
    if as_json:
        print_json(done)


def take_away(names: Sequence[str], *, as_json: bool) -> None:
    """Remove environments."""
    managed = _managed()
    for name in names:
        environment(name, nvidia=False)  # nothing else may be removed by this name
    removed = {name: remove(name, managed) for name in dict.fromkeys(names)}
    if as_json:
        print_json(removed)
        return
    for name, found in removed.items():
        out.print(f"{name}  removed" if found else f"{name}  was not installed by `changeover engines install`")


def _print_steps(wanted: dict[str, Environment], managed: Path, *, as_json: bool) -> None:
    plans = {name: steps(each, managed / name) for name, each in wanted.items()}
    if as_json:
        print_json(
            [
                {
                    "engine": name,
                    "there": (installed(name, managed) or {}).get("requirements") == list(wanted[name].requirements),
                    "commands": plan.commands,
                    "emptied": plan.emptied,
                    "megabytes": wanted[name].megabytes,
                    "seconds": wanted[name].seconds,
                }
                for name, plan in plans.items()
            ]
        )
        return
    for name, plan in plans.items():
        out.print(f"# {name}: about {wanted[name].megabytes} MB, {wanted[name].seconds} s", soft_wrap=True)
        for command in plan.commands[:-1]:
            out.print(shlex.join(command), soft_wrap=True, markup=False, highlight=False)
        for module in plan.emptied:
            out.print(f"# the code of {module} is taken out")
        out.print(shlex.join(plan.commands[-1]), soft_wrap=True, markup=False, highlight=False)


def _lines(kind: EngineKind, width: int) -> list[Text]:
    mark, style = ("✓", "green") if kind.ready else ("·", "dim")
    head = Text.assemble((mark, style), f" {kind.name:<14}{kind.version or UNKNOWN:<16}{kind.weights or ''}")
    said = [Text(kind.purpose)]
    if kind.capabilities:
        said.append(Text(f"does {', '.join(each.replace('_', ' ') for each in kind.capabilities)}", "dim"))
    if kind.where:
        said.append(Text(kind.where, "dim"))
    said += [Text(f"missing: {each.what}. {each.remedy}", "yellow") for each in kind.missing]
    if kind.install and kind.version is None:
        said.append(Text(f"takes about {kind.megabytes} MB, and {kind.seconds} s to install", "dim"))
    return [head, *(line for text in said for line in hanging(_INDENT, text, width))]


def _say_what_goes_before(name: str) -> None:
    project = _project()
    home = None if project is None else project.settings.engines.homes.get(name)
    if home is not None and home.python is not None:
        note(f"{name}: this project names `{home.python}` in `engines.homes.{name}`, which goes before it")


def _project() -> Project | None:
    return find_project(Path.cwd())


def _managed() -> Path:
    project = _project()
    return cache_directory() / "engines" if project is None else project.engines


def _homes() -> Homes:
    project = _project()
    return Homes(managed=_managed()) if project is None else homes_of(project)

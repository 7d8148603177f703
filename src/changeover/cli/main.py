"""The `changeover` command: which commands there are, and how any of them may end."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import typer

from changeover import __version__
from changeover.cli.frame import EXIT_FAIL, EXIT_INTERRUPTED, EXIT_USAGE, print_error
from changeover.core.errors import (
    ChangeoverError,
    ConfigError,
    DatasetError,
    UnknownModelError,
    UnknownTaskError,
    nearest,
)

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("changeover.cli.init", "Make a project: settings, tasks, datasets."),
    "up": ("changeover.cli.up", "Start the gateway and the engines of this project."),
    "ask": ("changeover.cli.ask", "Send a text to a task and print the answer."),
    "eval": ("changeover.cli.evaluate", "Score who answers a task, or a deployment, on the task's dataset."),
    "compare": ("changeover.cli.compare", "Measure a candidate against the incumbent until the evidence is enough."),
    "switch": ("changeover.cli.switch", "Bring a candidate in: evidence, canary, promotion."),
    "promote": ("changeover.cli.promote", "Make a candidate the incumbent now, without the remaining steps."),
    "abort": ("changeover.cli.abort", "Stop a rollout before its promotion."),
    "rollback": ("changeover.cli.rollback", "Bring back who answered before the last switch."),
    "status": ("changeover.cli.status", "Show who answers each task, and what runs."),
    "history": ("changeover.cli.history", "Show every route revision of a task: who, why, on what evidence."),
    "models": ("changeover.cli.models", "List the library's models, or show one."),
    "pull": ("changeover.cli.pull", "Fetch a model's weights and verify them."),
    "deploy": ("changeover.cli.deploy", "Run a model under a name."),
    "undeploy": ("changeover.cli.undeploy", "Stop a deployment once nobody is waiting for it."),
    "key": ("changeover.cli.key", "Make, list and revoke API keys."),
    "sandbox": ("changeover.cli.sandbox", "Prepare the sandbox that runs model-written code."),
    "demo": ("changeover.cli.demo", "Show the main job on real small models."),
}
"""Command: its module, and its line in the help. Listing them imports none, so that `--help` is quick."""


HELP = """\
Usage: changeover COMMAND [OPTIONS]

Applications name a task; the model behind it is switched on evidence.

Start here:  changeover init my-org && cd my-org && changeover up
Each command has `--help` with an example, and `--json`.

Commands:
{commands}

Exit status: 0 pass or done, 1 fail, 2 usage, 3 inconclusive."""


def main() -> None:
    """Run a command and end as promised: one clear line for an error, no traceback for what was foreseen."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(argv: Sequence[str]) -> int:
    """Run `changeover ARGV…` and return its exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP.format(commands="\n".join(f"  {name:<10} {line}" for name, (_, line) in COMMANDS.items())))
        return 0 if argv else EXIT_USAGE
    if argv[0] == "--version":
        print(f"changeover {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        print_error(f"No command `{argv[0]}`. {nearest(argv[0], COMMANDS)}")
        return EXIT_USAGE
    status = _guarded(argv[0], argv[1:])
    if status == EXIT_INTERRUPTED:
        print_error("Stopped. What was finished is kept; a rollout that has begun goes on.")
    return status


def _guarded(name: str, argv: Sequence[str]) -> int:
    try:
        return _call(name, argv)
    except (ConfigError, DatasetError, UnknownTaskError, UnknownModelError) as exc:
        print_error(exc.message)
        return EXIT_USAGE
    except ChangeoverError as exc:
        print_error(exc.message)
        return EXIT_FAIL
    except typer.TyperException as exc:
        print_error(f"{exc.format_message() or 'Something is missing.'} See `changeover {name} --help`.")
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (a pager, `head`) has seen enough. Python would complain once more while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as exc:
        # A disk that is full, a file that may not be read: foreseen everywhere at once rather than in each place.
        where = f"`{exc.filename}`: " if exc.filename else ""
        print_error(f"{where}{exc.strerror or exc}.")
        return EXIT_FAIL


def _call(name: str, argv: Sequence[str]) -> int:
    # A command is imported when it is asked for: the one late import that is right. `--help` needs none of them.
    module = importlib.import_module(COMMANDS[name][0])
    command = typer.main.get_command(module.app)
    status = command.main(args=list(argv), prog_name=f"changeover {name}", standalone_mode=False)
    return status if isinstance(status, int) else 0

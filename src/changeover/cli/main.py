"""The `changeover` command: which commands there are. Imports nothing but what lists them, so that `--help` is quick."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Mapping, Sequence

from changeover import __version__
from changeover.cli.exits import EXIT_USAGE

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "init": ("changeover.cli.init", "Make a project: settings, tasks, datasets."),
        "up": ("changeover.cli.up", "Start the gateway and the engines of this project."),
        "apply": ("changeover.cli.apply", "Check the declarations, and answer by them from now on."),
        "ask": ("changeover.cli.ask", "Send a text to a task and print the answer."),
        "demo": ("changeover.cli.demo", "Show the main job on real small models."),
    },
    "Tools": {
        "tools": ("changeover.cli.tools", "List the tools: what they do, who answers their tasks."),
        "run": ("changeover.cli.run", "Run a tool on files or texts."),
        "tool": ("changeover.cli.tool", "Make, add, show and check tools."),
        "console": ("changeover.cli.console", "Open the tools in a browser: forms, progress, results, a chat."),
        "mcp": ("changeover.cli.mcp", "Offer the tools to agents, by the Model Context Protocol."),
    },
    "Library": {
        "models": ("changeover.cli.models", "Find a model by what it is for, list all, or show one whole."),
        "recommend": ("changeover.cli.recommend", "Shortlist models for a task, with why and why not for each."),
        "fit": (
            "changeover.cli.fit",
            "Say whether a model fits hardware, how it runs there, and what would make it fit.",
        ),
        "licences": (
            "changeover.cli.licences",
            "Show what may be done with which model, by its licence and your policy.",
        ),
        "scores": ("changeover.cli.scores", "Show how familiar models are and how well they are supported."),
        "timeline": ("changeover.cli.timeline", "Show what happened to models: releases, successors, lost support."),
        "coverage": ("changeover.cli.coverage", "Show for what the library has models, and where it has none."),
        "library": ("changeover.cli.library", "Read what others say of models; serve weights to engines."),
        "pull": ("changeover.cli.pull", "Fetch a model's weights and verify them."),
    },
    "Evidence": {
        "dataset": ("changeover.cli.dataset", "Import, check, compare and draw the cases of a task."),
        "eval": ("changeover.cli.evaluate", "Score who answers a task, or a deployment, on the task's dataset."),
        "compare": (
            "changeover.cli.compare",
            "Measure a candidate against the incumbent until the evidence is enough.",
        ),
        "candidates": ("changeover.cli.candidates", "List what could replace an incumbent: newer versions first."),
        "trial": ("changeover.cli.trial", "Measure a candidate on every task, in one table."),
        "labels": ("changeover.cli.labels", "Let people judge: a blind sheet out, their labels in."),
    },
    "Switches": {
        "switch": ("changeover.cli.switch", "Bring a candidate in: evidence, canary, promotion."),
        "pause": ("changeover.cli.pause", "Have a rollout stay where it is; its guards stay on."),
        "resume": ("changeover.cli.resume", "Let a rollout that waits go on."),
        "approve": ("changeover.cli.approve", "Agree to a rollout, where the task asks for that."),
        "override": ("changeover.cli.override", "Let a rollout pass a gate, for a reason and for a time."),
        "promote": ("changeover.cli.promote", "Make a candidate the incumbent now, without the remaining steps."),
        "abort": ("changeover.cli.abort", "Stop a rollout before its promotion."),
        "rollback": ("changeover.cli.rollback", "Bring back who answered before the last switch."),
        "status": ("changeover.cli.status", "Show who answers each task, and what runs."),
        "history": ("changeover.cli.history", "Show every route revision of a task: who, why, on what evidence."),
        "audit": ("changeover.cli.audit", "Show who did what, when and why."),
        "diff": ("changeover.cli.diff", "Say in words what differs between two bundles."),
        "evidence": (
            "changeover.cli.evidence",
            "Write what allowed a switch into a signed pack, or check such a pack.",
        ),
    },
    "Running": {
        "deploy": ("changeover.cli.deploy", "Run a model under a name."),
        "undeploy": ("changeover.cli.undeploy", "Stop a deployment once nobody is waiting for it."),
        "logs": ("changeover.cli.logs", "Show what a deployment's engine has written."),
        "tune": ("changeover.cli.tune", "Find the threads that a model answers fastest with here, and keep them."),
        "engines": ("changeover.cli.engines", "List what can run models here; install what cannot yet."),
        "conformance": (
            "changeover.cli.conformance",
            "Try whether a deployment does all that applications ask of engines.",
        ),
        "alias-checks": (
            "changeover.cli.alias_checks",
            "Show, or ask, whether models that others run answer as they did.",
        ),
        "key": ("changeover.cli.key", "Make, list, change and revoke API keys."),
        "team": ("changeover.cli.team", "Make, list, change and remove teams, which own keys and share limits."),
        "usage": ("changeover.cli.usage", "Report who used how much, and what it costs."),
        "sandbox": ("changeover.cli.sandbox", "Prepare the sandbox that runs model-written code."),
    },
    "Leaving": {
        "lockin": ("changeover.cli.lockin", "Show what ties the tasks to their models, and what leaving would cost."),
        "export": ("changeover.cli.export", "Give out everything that is here, in open formats."),
        "import": ("changeover.cli.import_", "Bring an export into an empty installation."),
    },
}
"""Commands by what they are for; of each its module, and its line in the help."""

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}

GUARD = "changeover.cli.guard"


HELP = """\
Usage: changeover COMMAND [OPTIONS]

Applications name a task; the model behind it is switched on evidence.

Start here:  changeover init my-org && cd my-org && changeover up
Each command has `--help` with an example, and `--json`.

{commands}

Exit status: 0 pass or done, 1 fail, 2 usage, 3 inconclusive."""


def main() -> None:
    """Run a command and end with its status."""
    _open_what_is_closed()
    gc.disable()  # until the command is imported: the collector would run a hundred times meanwhile and find nothing
    sys.exit(run_command(sys.argv[1:]))


def _open_what_is_closed() -> None:
    """Let a standard stream that whoever began this has closed be an empty one, not the next file that is opened."""
    for place, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, place)
            if opened != place:
                os.close(opened)
            setattr(sys, name, open(place, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - until the end


def run_command(argv: Sequence[str]) -> int:
    """Run `changeover ARGV…` and return its exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP.format(commands="\n\n".join(f"{name}:\n{_listed(group)}" for name, group in GROUPS.items())))
        return 0 if argv else EXIT_USAGE
    if argv[0] == "--version":
        print(f"changeover {__version__}")
        return 0
    # A command, and what every command needs, is imported when it is asked for: the one late import that is right.
    guard = importlib.import_module(GUARD)
    if argv[0] not in COMMANDS:
        return guard.refuse(argv[0], COMMANDS)
    return guard.run_guarded(argv[0], COMMANDS[argv[0]][0], argv[1:])


def _listed(commands: Mapping[str, tuple[str, str]]) -> str:
    return "\n".join(f"  {name:<12} {line}" for name, (_, line) in commands.items())

"""How well small real models do the work of every shipped tool: the baselines that `changeover tools` shows.

    python -m benchmarks.tools [--model MODEL]… [--samples N] [--only TOOL]… [--directory DIR] [--write]

Each tool's tasks are answered on their own datasets by the models that run on a laptop, through a gateway, and scored as
any evaluation is. `--write` keeps the figures beside the tools; `--directory` keeps the project, so that a second run asks
only what is new. The figures are reported as they are: most of these jobs are too hard for models of this size, which is
what the floors are for.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Container, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import changeover.tools
from changeover.cli.demo.child import running_system
from changeover.cli.init import make_project
from changeover.core.settings import SETTINGS_FILE
from changeover.tasks.declarations import Task, load_tool_tasks

SHIPPED = Path(changeover.tools.__file__).parent / "shipped"
BASELINES = SHIPPED / "baselines.json"
MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct")
INJECTION = "injection"
"""Tag of samples whose material gives orders."""
LONGEST_S = 7_200
PATIENCE_S = 1_800
"""For one answer, instead of what a task gives it."""


def command(directory: Path, *arguments: str) -> dict[str, Any]:
    """What a command of ours says, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "changeover", *arguments, "--json"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"changeover {' '.join(arguments)}: {done.stderr.strip()[-1000:]}")
    return dict(json.loads(done.stdout))


def result_of(said: dict[str, Any]) -> dict[str, Any]:
    """The figures of one evaluation that are kept."""
    slices = said["slices"]
    return {
        "model": said["deployment"],
        "score": round(said["score"], 4),
        "low": round(said["low"], 4),
        "high": round(said["high"], 4),
        "samples": said["samples"],
        "failed": said["failed"],
        "injection": round(slices[INJECTION]["score"], 4) if INJECTION in slices else None,
        "bundle": said["bundle"],
    }


def measure(directory: Path, task: Task, models: Sequence[str], samples: int | None) -> dict[str, Any]:
    """A task's results, in a project whose system runs."""
    bound = () if samples is None else ("--samples", str(samples))
    results = [result_of(command(directory, "eval", task.name, "--deployment", model, *bound)) for model in models]
    return {"samples": samples_of(task), "floor": task.declared.gate.floor, "results": results}


def keep(name: str, found: dict[str, Any], known: Container[str]) -> None:
    """Write a task's results beside the tools; those of other tasks and models stay."""
    kept = json.loads(BASELINES.read_text()) if BASELINES.is_file() else {"tasks": {}}
    tasks = {task: each for task, each in kept["tasks"].items() if task in known}
    by_model = {each["model"]: each for each in [*tasks.get(name, {}).get("results", []), *found["results"]]}
    today = datetime.now(UTC).date().isoformat()
    tasks[name] = {**found, "measured": today, "results": sorted(by_model.values(), key=lambda each: each["model"])}
    written = {"command": "python -m benchmarks.tools --write", "tasks": dict(sorted(tasks.items()))}
    BASELINES.write_text(json.dumps(written, indent=1) + "\n")


def samples_of(task: Task) -> int:
    """How many samples its dataset has."""
    return sum(1 for line in task.dataset.read_text().splitlines() if line.strip())


def show(name: str, found: dict[str, Any]) -> None:
    """A line for each model."""
    for each in found["results"]:
        injected = "" if each["injection"] is None else f"  injection {100 * each['injection']:5.1f}"
        floor = "–" if found["floor"] is None else f"{100 * found['floor']:.0f}"
        figures = f"{100 * each['score']:5.1f}  [{100 * each['low']:.0f}, {100 * each['high']:.0f}]"
        samples = f"{each['samples']:>3} samples"
        print(f"{name:<32} {each['model']:<28} {figures:<18} {samples}  floor {floor:>3}{injected}", flush=True)


def project(directory: Path, threads: int | None) -> None:
    """A project with every shipped tool, brought up to date where it is there already."""
    if not (directory / SETTINGS_FILE).is_file():
        make_project(directory, 0)
        if threads is not None:
            settings = directory / SETTINGS_FILE
            settings.write_text(f"{settings.read_text()}\n[engines]\nthreads = {threads}\n")
    tools = directory / "tools"
    shutil.rmtree(tools, ignore_errors=True)
    shutil.copytree(SHIPPED, tools, ignore=shutil.ignore_patterns("__pycache__"))
    # What is measured is how good answers are: a slow machine must not count against a model.
    for task in tools.glob("*/tasks/*.toml"):
        task.write_text(re.sub(r"^timeout_s = .*$", f"timeout_s = {PATIENCE_S}", task.read_text(), flags=re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="a card of the library; by default the two smallest")
    parser.add_argument("--samples", type=int, help="only so many of each task, drawn at random")
    parser.add_argument("--only", action="append", metavar="TOOL", help="only this tool; may be repeated")
    parser.add_argument("--directory", type=Path, help="where the project is kept; by default nowhere")
    parser.add_argument("--threads", type=int, help="of each engine")
    parser.add_argument("--write", action="store_true", help="keep the figures beside the tools")
    options = parser.parse_args()
    every = load_tool_tasks(SHIPPED)
    for problem in every.problems.values():
        raise problem
    tasks = [task for name, task in every.items() if not options.only or name.partition(".")[0] in options.only]
    with ExitStack() as stack:
        directory = options.directory or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "tools-benchmark"
        project(directory, options.threads)
        stack.enter_context(running_system(directory))
        for model in options.model or MODELS:
            command(directory, "deploy", model)
        for task in tasks:
            found = measure(directory, task, options.model or MODELS, options.samples)
            show(task.name, found)
            if options.write:
                keep(task.name, found, every)


if __name__ == "__main__":
    main()

"""Every block of code on the pages: shell and Python run on one running project, in their order, or say why not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.support.pages import ROOT, Block, blocks_of, repository
from tests.support.processes import Up, load, system, until
from tests.support.projects import deploy_echo
from tests.support.shell import ADDRESS, PATIENCE_S, Shell, commands

from changeover.app.shipped_tools import shipped_folder
from changeover.cli.main import run_command
from changeover.tools.load import load_tools

TEMPLATE = ROOT / "src" / "changeover" / "templates" / "project"
PAGES = sorted(page for page in repository() if page.suffix == ".md" and not page.is_relative_to(TEMPLATE))
SHELLS = ("sh", "bash")
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [
    block for block in BLOCKS if block.language in (*SHELLS, "python") and not block.says.keys() & {"ranby", "norun"}
]
CHECKED = ("toml", "json", "jsonl", "yaml")
"""By `test_every_block_is_what_it_says`."""
OUTPUT = ("", "text")
"""What is printed, or a drawing."""
TOOLS = ("document-summary", "intent-classifier")
MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct")
"""Deployed here as echo engines of the same names."""
MOST_NOT_RUN = 36
"""Blocks; one more needs a good reason, and this figure."""
FEW = 20
"""Cases of the task that the pages switch."""
DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    """A project as `changeover init` makes it, which the pages are about, without weights."""
    directory = tmp_path_factory.mktemp("pages")
    with contextlib.chdir(directory):
        assert run_command(["init", "my-org", "--tools", ",".join(TOOLS)]) == 0
    project = directory / "my-org"
    for file in project.rglob("*.toml"):
        text = re.sub(r'^first_incumbent = ".*"', 'first_incumbent = "echo"', file.read_text(), flags=re.MULTILINE)
        file.write_text(text.replace("port = 8100", "port = 0"))
    task = project / "tasks" / "code.toml"
    task.write_text(task.read_text().replace("unit-tests", "contains").replace("margin = 0.05", "margin = 0.3"))
    cases = ({"id": f"c-{n}", "input": f"Write function {n}.", "target": "function"} for n in range(FEW))
    (project / "evals" / "code" / "v1.jsonl").write_text("".join(f"{json.dumps(case)}\n" for case in cases))
    (project / "policy.example.toml").rename(project / "policy.toml")
    shutil.copy(shipped_folder() / "document-summary" / "example.pdf", project / "report.pdf")
    with system(project) as it:
        with it.opened() as installation:
            for name in MODELS:
                deploy_echo(installation, name, "code")
        for name in ("echo", *MODELS):
            until(lambda name=name: it.ready(name))
        yield it


def run(block: Block, up: Up) -> tuple[int, str]:
    environment = {"CHANGEOVER_KEY": up.key, "CHANGEOVER_URL": up.address}
    if block.language != "python":
        return Shell(up.project, up.address, environment).run(block.text)
    done = subprocess.run(
        (sys.executable, "-c", block.text.replace(ADDRESS, up.address).replace('"KEY"', f'"{up.key}"')),
        cwd=up.project,
        env={**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_one_after_the_other(page: Path, up: Up) -> None:
    blocks = [block for block in RUN if block.page == page]
    traffic = (
        load(up, "code") if any("changeover switch" in block.text for block in blocks) else contextlib.nullcontext()
    )
    with traffic:
        for block in blocks:
            status, said = run(block, up)
            assert status == int(block.says.get("exit", "0")), f"{block}\n{block.text}\n{said}"


def test_the_guide_to_a_task_of_ones_own(up: Up) -> None:
    """Its files are written where it says, and its commands run."""
    task, prompt, cases, commands = (
        block.text for block in BLOCKS if block.page == ROOT / "docs" / "guides" / "own-task.md"
    )
    (up.project / "evals" / "own").mkdir()
    for name, text in (("tasks/own.toml", task), ("tasks/own.prompt.md", prompt), ("evals/own/v1.jsonl", cases)):
        (up.project / name).write_text(text.replace("triage", "own"))
    shell = Shell(up.project, up.address)
    *before, compare = commands.replace("triage", "own").splitlines()
    status, said = shell.run("\n".join(before))
    assert status == 0, said
    status, said = shell.run(compare)
    assert (status, "INCONCLUSIVE" in said) == (3, True), f"three cases decide nothing: {said}"


DEPLOYS = [
    (block, line)
    for block in BLOCKS
    if "norun" in block.says
    for line in commands(block.text)
    if line.startswith("changeover deploy ") and not re.search("--dry-run|--on ", line)
]


@pytest.mark.parametrize(("block", "line"), DEPLOYS, ids=[f"{block}: {line}" for block, line in DEPLOYS])
def test_a_deployment_that_cannot_be_made_here_is_planned(block: Block, line: str, up: Up) -> None:
    """Its engine, its model and each option with its value are checked as if it were made."""
    named = "" if "--name" in line else " --name planned"
    status, said = Shell(up.project, up.address).run(f"{line}{named} --dry-run")
    assert status in (0, 1, 3), f"{block}\n{said}"


def test_every_run_of_a_tool_names_one_that_is_shipped_and_its_inputs() -> None:
    shipped, seen = load_tools(shipped_folder()), 0
    for block in BLOCKS:
        for line in commands(block.text) if block.language in SHELLS and "ranby" in block.says else ():
            if line.startswith("changeover run "):
                name = shlex.split(line)[2]
                assert name in shipped or name == "urgency", f"{block}: {name}"
                inputs = set(re.findall(r"--set (\w+)=", line))
                assert not inputs or inputs <= shipped[name].declared.inputs.keys(), f"{block}: {line}"
                seen += 1
    assert seen > 10, "the pattern finds nothing any more"


def test_every_block_is_run_or_checked_or_says_why_it_is_not() -> None:
    tests = [*(ROOT / "tests").rglob("test_*.py")]
    known = {file.stem for file in tests} | {name for file in tests for name in DEFINED.findall(file.read_text())}
    named = {(str(block), block.says["ranby"]) for block in BLOCKS if "ranby" in block.says}
    assert {each for each in named if each[1] not in known} == set()
    runnable = ("sh", "bash", "python", *CHECKED, *OUTPUT)
    assert [str(block) for block in BLOCKS if block.language not in runnable and not block.says] == []


def test_what_is_not_run_is_counted_so_that_it_does_not_grow_unseen() -> None:
    why = {str(block): block.says["norun"] for block in BLOCKS if "norun" in block.says}
    assert all(len(reason.split()) >= 2 for reason in why.values()), "a reason is a sentence"
    assert len(why) <= MOST_NOT_RUN, json.dumps(why, indent=1)

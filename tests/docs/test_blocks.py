"""Every block of code on the pages: shell and Python run on one running project, in their order, or say why not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support import forked, postgres
from tests.support.outputs import unlike
from tests.support.pages import NOT_RUN, ROOT, SHOWN, Block, blocks_of, repository
from tests.support.processes import Up, load, system, until
from tests.support.projects import deploy_echo, open_written, write_project
from tests.support.shell import PATIENCE_S, Shell, commands
from tests.support.stages import SMALL, STAGES, Stage, nothing_ready, somebody_elses_server

from changeover.app.shipped_tools import shipped_folder
from changeover.cli.main import run_command
from changeover.core.settings import cache_directory
from changeover.library.catalogue import Catalogue
from changeover.library.pull import present
from changeover.serving.environments import environments

TEMPLATE = ROOT / "src" / "changeover" / "templates" / "project"
PAGES = sorted(page for page in repository() if page.suffix == ".md" and not page.is_relative_to(TEMPLATE))
SHELLS = ("sh", "bash")
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [
    block for block in BLOCKS if block.language in (*SHELLS, "python") and not block.says.keys() & {"ranby", "norun"}
]
PRINTED = {
    above: below
    for above, below in pairwise(BLOCKS)
    if above in RUN and above.page == below.page and below.language == "text" and "of" not in below.says
}
"""What a block prints, by the block: the text that stands next on its page."""
CHECKED = ("toml", "json", "jsonl", "yaml", "ini")
"""By `test_every_block_is_what_it_says`."""
TOOLS = ("document-summary", "intent-classifier")
MODELS = ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct")
"""Deployed here as echo engines of the same names."""
SHAPES = ("http", "jinja", "markdown", "nginx")
"""Of these only the form is shown."""
NUMBER_NOT_RUN = 26
"""Blocks, of more than two hundred; each has a reason that `NOT_RUN` knows."""
FEW = 20
"""Cases of the task that the pages switch."""


@dataclass(frozen=True)
class Pages:
    """The project that the pages are about, which runs, and a server that somebody else runs."""

    up: Up
    server: str
    before: Path
    """A copy of its files as every page finds them."""

    def tidy(self) -> None:
        """Take away what a page has left, so that the next one is right by itself."""
        assert self.up.process.poll() is None, self.up.log()
        project, was, is_now = self.up.project, files_of(self.before), files_of(self.up.project)
        left = {name for name in was.keys() | is_now.keys() if was.get(name) != is_now.get(name)}
        for name in left:
            if name in was:
                shutil.copy(self.before / name, project / name)
            else:
                (project / name).unlink()
        for folder in sorted((each for each in project.rglob("*") if each.is_dir()), reverse=True):
            if not any(folder.iterdir()) and not folder.is_relative_to(project / ".changeover"):
                folder.rmdir()
        if any(name.startswith(("tasks/", "tools/")) for name in left):
            status, said = shell_of(self.up).run("changeover apply")
            assert status == 0, said


def files_of(project: Path) -> dict[str, bytes]:
    """What it holds by name, but for its state and its log."""
    names = (file.relative_to(project) for file in project.rglob("*") if file.is_file() or file.is_symlink())
    kept = (name for name in names if name.parts[0] not in (".changeover", "up.log"))
    return {str(name): (project / name).read_bytes() for name in kept}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pages]:
    """A project as `changeover init` makes it, without weights: echo engines answer under the models' names."""
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
    shutil.copy(shipped_folder() / "document-summary" / "example.pdf", project / "report.pdf")
    before = shutil.copytree(project, directory / "before")
    with somebody_elses_server() as server, system(project, environment={"MODELS_KEY": "a-key"}) as up:
        with up.opened() as installation:
            for name in MODELS:
                deploy_echo(installation, name, "code")
        for name in ("echo", *MODELS):
            until(lambda name=name: up.ready(name))
        yield Pages(up, server, before)


def shell_of(up: Up) -> Shell:
    return Shell(up.project, up.address, {"CHANGEOVER_KEY": up.key, "CHANGEOVER_URL": up.address})


def run(block: Block, shell: Shell, key: str) -> tuple[int, str]:
    if "goes" in block.says:
        return begun(block, shell)
    if block.language != "python":
        return shell.run(block.text)
    return shell.call_python(shell.here(block.text).replace('"KEY"', f'"{key}"'))


def begun(block: Block, shell: Shell) -> tuple[int, str]:
    """Start what goes on until Ctrl-C, press it once it says where it is, and wait for its end."""
    shell = replace(shell)  # another terminal: whoever goes on with the page is where they were
    *before, last = commands(re.sub(r"(--port |--http 127\.0\.0\.1:)\d+", r"\g<1>0", shell.here(block.text)))
    if before:
        status, said = shell.run("\n".join(before))
        assert status == 0, said
    cd, _, last = last.rpartition(" && ")
    variables, ours, arguments = last.partition("changeover ")
    assert ours, f"{block}: it goes on and is none of ours"
    command = forked.begin(
        shell.directory / cd.removeprefix("cd "),
        [
            *shlex.split(arguments),
            *(["--port", "0"] if arguments.startswith("console") and "--port" not in arguments else []),
        ],
        {**os.environ, **shell.environment, **dict(each.split("=") for each in variables.split())},
    )
    said = ""
    for line in command.said:
        said += line
        if "http://" in line:
            break
    status, rest = command.interrupt(PATIENCE_S)
    assert "http://" in said, f"it does not say where it is: {said}{rest}"
    return status, said + rest


def runs_of(page: Path, pages: Pages) -> Iterator[tuple[Block, int, str]]:
    """Run the blocks of a page in their order: each with its exit status, and what was said."""
    shell = shell_of(pages.up)
    stage = STAGES.get(str(page.relative_to(ROOT)), nothing_ready)(Stage(pages.up, shell, pages.server))
    blocks = [block for block in RUN if block.page == page]
    traffic = (
        load(pages.up, "code")
        if any("changeover switch" in block.text for block in blocks)
        else contextlib.nullcontext()
    )
    with traffic:
        for block in blocks:
            next(stage, None)
            yield block, *run(block, shell, pages.up.key)
        for _ in stage:
            pass
    pages.tidy()


def missing(page: Path, shell: Shell) -> str | None:
    """What a page's blocks need and this machine has not; None: it has all of it."""
    text = "\n".join(block.text for block in RUN if block.page == page)
    programs = [name for name in ("curl", "git", "openssl", "hf") if re.search(rf"^{name} ", text, re.MULTILINE)]
    for name in programs:
        if shutil.which(name, path=shell.path) is None:
            return f"no {name} here"
    weights = Catalogue.load().card(SMALL).artifacts[0]
    if f"changeover pull {SMALL}" in text and not present(weights, cache_directory()):
        return f"{SMALL} is not in the cache: `changeover pull {SMALL}` fetches it"
    return None


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_one_after_the_other(page: Path, pages: Pages) -> None:
    if reason := missing(page, shell_of(pages.up)):
        pytest.skip(f"neither tried nor proven: {reason}")
    for block, status, said in runs_of(page, pages):
        assert status == int(block.says.get("exit", "0")), f"{block}\n{block.text}\n{said}"
        if block in PRINTED:
            assert unlike(PRINTED[block].text, said.replace(f"{pages.up.project}/", "")) == [], (
                f"{PRINTED[block]} shows what was not printed:\n{said}"
            )


def ran_by(name: str) -> list[Block]:
    return [block for block in BLOCKS if block.says.get("ranby") == name]


def test_a_project_is_begun_as_the_pages_say(tmp_path: Path) -> None:
    """That `changeover up` in it answers is what every other page rests on, which has no weights to wait for."""
    blocks = ran_by("test_a_project_is_begun_as_the_pages_say")
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        made, entered, started = commands(block.text.replace(" && ", "\n"))
        shell = Shell(tmp_path / str(number))
        shell.directory.mkdir()
        status, said = shell.run(made)
        assert status == 0, said
        assert (shell.directory / entered.removeprefix("cd ")).is_dir()
        assert started == "changeover up"
        assert said.splitlines()[-1] == f"Next  {entered} && {started}"


def test_each_word_to_a_rollout_on_one_of_its_own(pages: Pages) -> None:
    [block] = ran_by("test_each_word_to_a_rollout_on_one_of_its_own")
    shell = shell_of(pages.up)
    for line in commands(block.text):
        shell.run('changeover abort code --reason "another one"')
        other = next(name for name in MODELS if pages.up.routed("code")[0] != name)
        assert shell.run(f"changeover compare code --candidate {other}")[0] == 0
        assert shell.run(f"changeover switch code --to {other} --detach")[0] == 0
        if "resume" in line:
            shell.run("changeover pause code")
        status, said = shell.run(line)
        assert status == 0, said


def test_a_database_is_made_and_named_as_the_page_says(
    tmp_path: Path, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = ran_by("test_a_database_is_made_and_named_as_the_page_says")
    [url] = re.findall(r'^url = "(.+)"$', block.page.read_text(), re.MULTILINE)
    with postgres_server.connect() as connection:
        for statement in block.text.replace(" changeover", " gates").split(";"):  # of that name is the tests' own user
            connection.execute(statement.encode())
    monkeypatch.setenv("PGPASSWORD", "a long one")
    theirs = url.replace("changeover@db.intern/changeover", f"gates@127.0.0.1:{postgres_server.port}/gates")
    open_written(postgres.keep_in(write_project(tmp_path / "p"), theirs)).store.close()


def test_the_guide_to_a_task_of_ones_own(pages: Pages) -> None:
    """Its files are written where it says, and its commands run."""
    up = pages.up
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


NOT_RUN_HERE = [block for block in BLOCKS if "norun" in block.says]
DEPLOYS = [
    (block, line)
    for block in NOT_RUN_HERE
    for line in commands(block.text)
    if line.startswith("changeover deploy ") and not re.search("--dry-run|--on ", line)
]


@pytest.mark.parametrize(("block", "line"), DEPLOYS, ids=[f"{block}: {line}" for block, line in DEPLOYS])
def test_a_deployment_that_cannot_be_made_here_is_planned(block: Block, line: str, pages: Pages) -> None:
    """Its engine, its model, its name and each option with its value are checked as if it were made."""
    named = " --name planned" if "qwen2.5-coder-1.5b-instruct --" in line else ""
    status, said = shell_of(pages.up).run(f"{line}{named} --dry-run")
    assert status in (0, 1, 3), f"{block}\n{said}"


def test_what_is_not_run_names_targets_extras_and_engines_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = re.findall(r"^([\w-]+|\$\(READY\)):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    engines, seen = environments(nvidia=False), 0
    for block in NOT_RUN_HERE:
        for line in commands(block.text):
            for name in re.findall(r"changeover\[(\w+)\]", line):
                assert name in extras, f"{block}: {line}"
                seen += 1
            for name in re.findall(r"^make ([\w./-]+)", line):
                assert name in targets or (name, "$(READY)" in targets) == (".venv/.ready", True), f"{block}: {line}"
                seen += 1
            for name in re.findall(r"changeover engines (?:install|remove) (\w+)", line):
                assert name in engines, f"{block}: {line}"
                seen += 1
    assert seen > 10, "the patterns find nothing any more"


def test_every_block_is_run_or_checked_or_says_why_it_is_not() -> None:
    runnable = (*SHELLS, "python", *CHECKED, *SHAPES)
    assert [str(block) for block in BLOCKS if block.language not in (*runnable, "text") and not block.says] == []
    assert [str(block) for block in BLOCKS if not block.language] == [], "say of what language it is"
    texts = [block for block in BLOCKS if block.language == "text" and block not in PRINTED.values()]
    assert [str(block) for block in texts if block.says.get("of") not in SHOWN and "ranby" not in block.says] == []


def test_a_block_that_a_test_runs_is_read_from_its_page_by_it() -> None:
    """By a test of that name, in a file that reads the blocks of that page."""
    files = {file: file.read_text() for file in (ROOT / "tests").rglob("test_*.py")}
    for block in BLOCKS:
        if name := block.says.get("ranby"):
            [text] = [text for text in files.values() if re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE)]
            reads = block.page.name in text or f'ran_by("{name}")' in text
            assert reads, f"{block}: `{name}` does not read it"


def test_what_is_not_run_has_one_of_few_reasons_and_is_counted() -> None:
    why = {str(block): block.says["norun"] for block in NOT_RUN_HERE}
    assert {reason for reason in why.values()} <= NOT_RUN.keys(), json.dumps(why, indent=1)
    assert len(why) == NUMBER_NOT_RUN, f"one more needs a reason, one less is good news:\n{json.dumps(why, indent=1)}"

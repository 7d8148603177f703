"""What the documentation says is there: links, commands, keys, files, code blocks, and the README's own requests."""

import asyncio
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import AsyncGenerator, Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any, NamedTuple, get_origin

import pytest
import typer
import yaml
from pydantic import BaseModel, TypeAdapter
from tests.support.pages import Block, blocks_of, repository, without_blocks
from tests.support.projects import Running, open_written, running, write_project

from changeover.cli import exits
from changeover.cli.main import COMMANDS
from changeover.core import toml
from changeover.core.settings import GatewaySettings, Settings
from changeover.evals.datasets import Dataset
from changeover.evals.judges.labels import read_labels
from changeover.evals.sequential import PairedTest, TestPlan
from changeover.library.catalogue import Catalogue
from changeover.library.licences.policy import Policy
from changeover.tasks.declarations import TaskDeclaration, load_tasks
from changeover.tools.declarations import StepDeclaration
from docs import generate

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "src" / "changeover" / "templates" / "project"
EXAMPLE = ROOT / "changeover.example.toml"
GENERATED = {ROOT / "docs" / "reference" / name for name in generate.PAGES}
UNSET = re.compile(r"^# ([a-z_]+ = .+)$", re.MULTILINE)
"""A key of the example that is left out by default."""


PAGES = sorted(file for file in repository() if file.suffix == ".md")
OURS = [page for page in PAGES if not page.is_relative_to(TEMPLATE)]
WRITTEN = [page for page in PAGES if page not in GENERATED]
"""By hand."""


def short(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def section(page: Path, title: str) -> str:
    return page.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every key below a declaration, such as `gate.margin`."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None or get_origin(field.annotation) is dict:
            yield before + name
        else:
            yield from keys(inner, f"{before}{name}.")


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    assert "make demo" in opening
    assert "make test" in opening
    assert re.search(r"<!-- demo -->.+<!-- /demo -->", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text())):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"`{target}` does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", without_blocks(file.read_text()), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}, target


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index.read_text())}
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - linked - {index} == set()


def test_the_generated_pages_are_current(tmp_path: Path) -> None:
    generate.write(tmp_path)
    for page in GENERATED:
        assert (tmp_path / page.name).read_text() == page.read_text(), f"{page.name}: run `make docs`"


def test_every_error_that_the_code_can_say_is_on_the_page_of_errors() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    # The console's own have pages, whose words people read; nobody is told a code.
    rooms = [room for room in (ROOT / "src" / "changeover").iterdir() if room.name != "console"]
    code = "\n".join(file.read_text() for room in rooms for file in room.rglob("*.py"))
    codes = set(re.findall(r'^    code(?:: [\w\[\]]+)? = "(\w+)"$', code, re.MULTILINE))
    assert len(codes) > 25, "the pattern finds nothing any more"
    assert {each for each in codes if f"`{each}`" not in page} == set()


def test_every_setting_is_on_the_page_of_configuration_with_its_meaning() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    assert [name for name, meaning in rows if meaning == "–"] == []
    known = {*dict(rows), *re.findall(r"^### `\[+(?:\w+\.)*?(\w+)(?:\.NAME)?\]+`", page, re.MULTILINE)}
    assert {
        key.rpartition(".")[2] for model in (Settings, TaskDeclaration, Policy) for key in keys(model)
    } - known == set()


def test_every_command_and_option_is_on_the_page_of_the_command_line_with_its_meaning() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    assert [name for name in COMMANDS if f"\n# changeover {name}\n" not in page.replace("\n## ", "\n# ")] == []
    assert re.findall(r"^\| `[^`]+` \| (?:None)? *\| .*$", page, re.MULTILINE) == [], "an option without a meaning"


def read_from_the_environment() -> Iterator[str]:
    """Names in `os.environ.get(…)`, `os.environ[…]` and constants whose name ends with `_VARIABLE`."""
    for file in (ROOT / "src").rglob("*.py"):
        text = file.read_text()
        yield from re.findall(r'environ(?:\.get\(|\.setdefault\(|\[)"(\w+)"', text)
        yield from re.findall(r'^\w*VARIABLE(?:: [\w\[\]]+)? = "(\w+)"$', text, re.MULTILINE)


def test_every_variable_that_the_code_reads_and_every_setting_that_names_one_is_on_the_page_of_configuration() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text().split("\n## Environment\n")[1]
    ours = set(read_from_the_environment()) - {
        "VLLM_API_KEY",
        "RAY_AUTH_TOKEN_PATH",
    }  # between us and our own processes
    assert {"CHANGEOVER_CACHE", "CHANGEOVER_KEY", "MODELSCOPE_API_TOKEN"} <= ours, "the patterns find nothing any more"
    words = set(re.findall(r"[A-Z][A-Z_]+", page))
    families = tuple(word for word in words if word.endswith("_"))
    assert {name for name in ours - words if not name.startswith(families)} == set()
    named = {name for name in keys(Settings) if name.endswith(("_env", "_variable"))}
    assert len(named) > 2
    assert {name for name in named if f"`{name}`" not in page} == set()


def test_every_exit_status_is_on_the_page_of_the_command_line() -> None:
    assert {status for name, status in vars(exits).items() if name.startswith("EXIT_") and isinstance(status, int)} == (
        generate.EXITS.keys()
    )


def test_the_example_is_valid_as_it_stands_and_holds_the_defaults() -> None:
    assert toml.load(Settings, EXAMPLE) == Settings(name="my-org")


def test_the_example_explains_every_setting() -> None:
    text = UNSET.sub(r"\1", EXAMPLE.read_text())
    toml.validate(Settings, tomllib.loads(text), where=EXAMPLE)
    explained: set[str] = set()
    table = comment = ""
    for line in text.splitlines():
        if line.startswith("#"):
            comment += line
        elif line.startswith("["):
            table, comment = f"{line.strip('[]')}.", ""
        elif not line:
            comment = "" if not comment.endswith(".") else comment
        else:
            key = line.partition(" =")[0]
            assert re.search("Default|default|Required", comment), f"`{table}{key}`: its comment names no default"
            explained.add(f"{table}{key}")
            comment = ""
    assert explained == set(keys(Settings))


def test_every_key_of_a_task_is_explained_in_the_templates_or_the_reference() -> None:
    tasks = load_tasks(TEMPLATE / "tasks")
    commented = set(
        re.findall(r"^(\w+) = .+#.+$", "\n".join(task.file.read_text() for task in tasks.values()), re.MULTILINE)
    )
    reference = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    meant = set(re.findall(r"^\| `(\w+)` \|.*\| (?!–)[^|]+ \|$", reference, re.MULTILINE))
    wanted = {key.rpartition(".")[2] for key in keys(TaskDeclaration)}
    assert wanted - commented - meant - {"parameters"} == set()
    assert "[parameters]  #" in tasks["code"].file.read_text()


class Said(NamedTuple):
    """A command line that a page shows."""

    page: Path
    line: str
    whole: bool
    """From a block: it can be run as it stands. Else from running text, where arguments may be left out."""


def said_commands() -> list[Said]:
    found: list[Said] = []
    for page in PAGES:
        text = page.read_text()
        for block in blocks_of(page):
            if block.language in ("sh", "bash"):
                pieces = re.split(r"&&|;|\||\n", block.text.replace("\\\n", " "))
                found += [
                    Said(page, piece[piece.index("changeover ") :], True) for piece in pieces if is_command(piece)
                ]
        spans = re.findall(r"`(changeover [^`]+)`", without_blocks(text))
        found += [Said(page, piece, False) for span in spans for piece in re.split(r" && ", span) if is_command(piece)]
    return found


def is_command(piece: str) -> bool:
    """One of ours, and no other program's that is told to run ours."""
    ours = re.search(r"(^|\s)changeover [a-z]", piece) is not None
    return ours and " → " not in piece and not piece.startswith("npx ")


def command_of(line: str) -> tuple[Any, list[str]]:
    """The parser that a line is for, and its arguments."""
    words = shlex.split(re.sub(r"\s+(>|#).*", "", line))[1:]
    assert words[0] in COMMANDS, f"no command `{words[0]}`"
    command: Any = typer.main.get_command(importlib.import_module(COMMANDS[words[0]][0]).app)
    arguments = words[1:]
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments.pop(0)]
    if arguments and hasattr(command, "default"):
        command = command.commands[command.default]
    return command, arguments


@pytest.mark.parametrize("said", said_commands(), ids=lambda said: f"{short(said.page)}: {said.line}")
def test_every_command_line_names_a_command_and_options_that_exist(said: Said) -> None:
    command, arguments = command_of(said.line)
    known = {name for option in command.params for name in option.opts} | {"--help"}
    given = {word.strip("[]").partition("=")[0] for word in arguments if word.lstrip("[").startswith("--")}
    assert given - known == set()
    if said.whole:
        command.make_context("changeover", arguments)


def test_every_command_is_shown_on_a_page_written_by_hand() -> None:
    shown = {said.line.split()[1] for said in said_commands() if said.page in WRITTEN}
    assert set(COMMANDS) - shown == set()


REST: dict[type[BaseModel], dict[str, Any]] = {
    Settings: {"name": "a part of it"},
    TaskDeclaration: {
        **dict.fromkeys(("description", "prompt", "dataset", "first_incumbent"), "a part of it"),
        "scorer": {"name": "exact"},
    },
}
"""What a block need not say that shows a part of a declaration."""


DATA = [block for block in BLOCKS if block.language in ("python", "json", "jsonl", "toml", "yaml", "ini")]


@pytest.mark.parametrize("block", DATA, ids=str)
def test_every_block_is_what_it_says(block: Block, tmp_path: Path) -> None:
    if block.language == "python":
        compile(block.text, short(block.page), "exec")
    elif block.language == "ini":
        unit = ConfigParser()
        unit.read_string(block.text)
        command_of(re.sub(r"^.*/(?=changeover )", "", unit["Service"]["ExecStart"]))
    elif block.language == "yaml":
        assert yaml.safe_load(block.text)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        if "[[cards]]" in block.text:
            (tmp_path / "own.toml").write_text(block.text)
            assert Catalogue.load(tmp_path).cards()
        elif "operates_in" in block.text:
            toml.validate(Policy, tomllib.loads(block.text), where=block.page)
        elif re.search(r"\bdo = ", block.text):
            for step in tomllib.loads(block.text)["steps"]:
                TypeAdapter(StepDeclaration).validate_python(step)
        else:
            said = tomllib.loads(block.text)
            model = next(
                kind for kind in (Policy, Settings, TaskDeclaration) if said.keys() <= kind.model_fields.keys()
            )
            toml.validate(model, {**REST.get(model, {}), **said}, where=block.page)
    elif '"by":' in block.text:
        (tmp_path / "labels.jsonl").write_text(
            block.text.replace("<digest>", "a" * 64, 1).replace("<digest>", "b" * 64)
        )
        assert read_labels(tmp_path / "labels.jsonl")
    else:
        (tmp_path / "v1.jsonl").write_text(block.text)
        templates = [other.text for other in BLOCKS if other.page == block.page and other.language == "jinja"]
        assert Dataset.load(tmp_path / "v1.jsonl", template=templates[0] if templates else None).samples


@pytest.mark.parametrize("page", OURS, ids=short)
def test_files_functions_and_modules_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    code = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    for path in re.findall(r"`([\w/]+/[\w/]+\.py)`", text):
        assert (ROOT / path).is_file() or (ROOT / "src" / "changeover" / path).is_file(), path
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert module == "benchmarks.NAME" or importlib.util.find_spec(module) is not None, module
    for path, name in re.findall(r"`([\w/]+/[\w/]+\.py)` `([\w.]+)\(\)`", text):
        assert f"def {name.rpartition('.')[2]}(" in (ROOT / "src" / "changeover" / path).read_text(), f"{path} {name}"
    for name in re.findall(r"`([\w.]+)\(\)`", text):
        assert f"def {name.rpartition('.')[2]}(" in code, name


def test_every_page_of_the_consoles_menu_is_in_its_guide() -> None:
    menu = (ROOT / "src" / "changeover" / "console" / "templates" / "base.html").read_text()
    named = re.findall(r'item\("/[\w-]+", _\("([^"]+)"\)\)', menu)
    guide = (ROOT / "docs" / "guides" / "console.md").read_text()
    assert len(named) > 10, "the pattern finds nothing any more"
    assert [name for name in named if f"**{name}**" not in guide] == []


def test_each_path_through_the_system_fits_on_one_screen() -> None:
    page = ROOT / "docs" / "concepts" / "architecture.md"
    for title in ("The path of a request", "The path of a switch"):
        assert 10 < len(section(page, title).strip().splitlines()) <= 45


def test_the_samples_that_the_page_on_evidence_promises_are_needed() -> None:
    promised = re.search(
        r"after (\d+) samples at 10 points, (\d+) at 5 and (\d+) at 2", unfolded("docs/concepts/evidence.md")
    )
    assert promised is not None
    for margin, samples in zip((0.10, 0.05, 0.02), promised.groups(), strict=True):
        test = PairedTest(TestPlan(margin=margin))
        while test.evidence.verdict == "inconclusive":
            test.update(0.0)
        assert (test.evidence.verdict, test.evidence.samples) == ("pass", int(samples))


def unfolded(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


def test_nothing_names_a_registry_or_somebodys_machine() -> None:
    hosts = (
        "py" + "pi.org",
        "python" + "hosted",
        "npm" + "js.",
        "crates" + ".io",
        "ana" + "conda.org",
        "ruby" + "gems",
    )
    places = re.compile(r"(?<![\w.~-])/(work|root|home/\w+|Users/\w+|tmp/lab)\b")
    for file in repository():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        assert [host for host in hosts if host in text.lower()] == [], short(file)
        assert places.search(text) is None, f"{short(file)}: {places.search(text)}"


@pytest.fixture
async def summarising(tmp_path: Path) -> AsyncGenerator[Running]:
    """A running system whose task `summarise` is answered by the echo engine."""
    async with running(open_written(write_project(tmp_path / "project", tasks=["summarise"]))) as system:
        await system.ready("echo")
        yield system


def first_request(language: str, of: str) -> str:
    """The README's block as a reader copies it."""
    found = [block for block in blocks_of(ROOT / "README.md") if block.language == language]
    [text] = [block.text for block in found if of in block.text]
    return text


async def run_block(system: Running, text: str, *command: str) -> str:
    """Run a block against a running system: only the address, which the README cannot know, is another one."""
    defaults = GatewaySettings()
    address = f"http://{defaults.host}:{defaults.port}"
    assert address in text, "the README does not call the default address"
    process = await asyncio.create_subprocess_exec(
        *command,
        text.replace(address, system.address),
        env={"PATH": os.environ["PATH"], "CHANGEOVER_KEY": system.key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def test_the_readmes_request_with_the_official_client_is_answered(summarising: Running) -> None:
    said = await run_block(summarising, first_request("python", "OpenAI("), sys.executable, "-c")
    assert "ferry" in said


async def test_the_readmes_request_with_curl_is_answered(summarising: Running) -> None:
    bash = shutil.which("bash")
    if bash is None or shutil.which("curl") is None:
        pytest.skip("neither tried nor proven: no curl or no bash here")
    answer = json.loads(await run_block(summarising, first_request("sh", "curl "), bash, "-euo", "pipefail", "-c"))
    assert answer["model"] == "summarise"
    assert "ferry" in answer["choices"][0]["message"]["content"]

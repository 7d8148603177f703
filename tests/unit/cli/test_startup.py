"""What a command imports before it does anything: a person waits for that each time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from changeover.cli.main import COMMANDS

ROOMS = {
    "sqlalchemy",
    "numpy",
    "aiohttp",
    "alembic",
    "uvicorn",
    "uvloop",
    "jsonschema",
    "jinja2",
    "xllamacpp",
    "httptools",
}
"""What any room's machinery is made of."""

SYSTEM_ONLY = {"alembic", "uvicorn", "xllamacpp"}
"""What only the running system and its engines need."""

TOOLS = {"pypdfium2", "docx", "pptx", "openpyxl", "rapidocr", "onnxruntime", "PIL", "mcp", "starlette", "multipart"}
"""What reads documents, and what speaks to agents."""

RUNS_A_SYSTEM = {"up", "demo"}


def imported_by(code: str) -> set[str]:
    """Modules there are after some code has run in an interpreter of its own."""
    program = f"import sys\n{code}\nimport json\nprint()\nprint(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(ended.stdout.splitlines()[-1]))


def found(code: str, unwanted: set[str]) -> list[str]:
    return sorted(imported_by(code) & unwanted)


def running(*arguments: str) -> str:
    return f"from changeover.cli.main import run_command\nassert run_command({list(arguments)!r}) == 0"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_listing_the_commands_imports_none_of_them_and_no_library(option: str) -> None:
    modules = imported_by(running(option))
    ours = {name for name in modules if name.startswith("changeover")}
    assert ours == {"changeover", "changeover.cli", "changeover.cli.exits", "changeover.cli.main"}
    assert not modules & {"typer", "rich", "pydantic", "asyncio", *ROOMS}


@pytest.mark.parametrize(
    "command",
    [
        *("compare", "eval", "switch", "diff", "alias-checks", "trial", "candidates", "evidence", "licences"),
        *("run", "tools", "tool", "mcp"),
        *("deploy", "engines", "conformance", "tune"),
    ],
)
def test_the_help_of_a_command_that_measures_imports_none_of_what_measures(command: str) -> None:
    assert found(running(command, "--help"), ROOMS) == []


def test_commands_beside_the_running_system_import_nothing_that_only_it_needs() -> None:
    modules = [module for name, (module, _) in COMMANDS.items() if name not in RUNS_A_SYSTEM]
    assert found("\n".join(f"import {module}" for module in modules), SYSTEM_ONLY | TOOLS) == []


def test_opening_a_project_imports_its_store_and_no_client_server_or_mathematics() -> None:
    modules = imported_by("import changeover.cli.running")
    assert "sqlalchemy" in modules
    assert not modules & ((ROOMS - {"sqlalchemy"}) | {"rich.progress", "rich.live"})


def test_running_a_tool_imports_a_client_and_nothing_of_the_server() -> None:
    modules = imported_by("import changeover.cli.running_tools")
    assert "httpx2" in modules
    assert not modules & (ROOMS | TOOLS)
    assert not {name for name in modules if name.startswith(("changeover.gateway", "changeover.tools"))}


def test_the_client_imports_nothing_of_ours_but_errors() -> None:
    modules = imported_by("import changeover.client")
    ours = {name for name in modules if name.startswith("changeover") and not name.startswith("changeover.client")}
    assert ours == {"changeover", "changeover.core", "changeover.core.errors"}


def test_what_an_agent_starts_imports_nothing_that_only_a_server_needs() -> None:
    assert found("import changeover.cli.mcp_stdio", ROOMS - {"uvicorn"}) == []  # the SDK imports that one itself


def test_a_run_from_kept_answers_needs_no_http_client() -> None:
    code = "import changeover.app.matching, changeover.evals.comparison, changeover.cli.measure"
    assert found(code, {"aiohttp", "alembic", "uvicorn", "uvloop", "scipy", "pandas"}) == []


def test_the_running_system_imports_no_mathematics_and_nothing_that_only_some_projects_need() -> None:
    heavy = {"numpy", "py3langid", "cryptography", "jinja2", "aiohttp", "xllamacpp", "python_multipart", "pypdfium2"}
    assert found("import changeover.app.system, changeover.app.worker", heavy) == []


@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"]])
def test_a_reader_who_has_seen_enough_is_no_failure(arguments: list[str]) -> None:
    program = f"import sys; from changeover.cli.main import run_command; sys.exit(run_command({arguments!r}))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ended:
        assert ended.stdout is not None
        assert ended.stderr is not None
        ended.stdout.close()
        assert (ended.stderr.read(), ended.wait(60)) == (b"", 0)

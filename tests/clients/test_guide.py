"""The blocks of docs/guides/clients.md, as a reader copies them: only the address is another one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from lane import Gateway, reason_missing

HERE = Path(__file__).parent
GUIDE = HERE.parents[1] / "docs" / "guides" / "clients.md"
ADDRESS = "http://127.0.0.1:8100"
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Section(NamedTuple):
    """One client's part of the guide."""

    client: str
    blocks: dict[str, str]
    """By language."""


def sections() -> list[Section]:
    found: list[Section] = []
    for text in GUIDE.read_text().split("\n## ")[1:]:
        named = re.search(r"`(pip|npm) install ([\w-]+)", text)
        if named is not None:
            client = named[2] if named[1] == "pip" else f"{named[2]}-node"
            found.append(Section(client, dict(BLOCK.findall(text))))
    return found


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.client)
def test_the_guides_block_runs_as_it_stands(section: Section, gateway: Gateway, tmp_path: Path) -> None:
    missing = reason_missing(section.client)
    if missing is not None:
        pytest.skip(f"not installed: {missing}")
    blocks = {language: text.replace(ADDRESS, gateway.address) for language, text in section.blocks.items()}
    environment = {
        **os.environ,
        "CHANGEOVER_KEY": gateway.key,
        "LLM_USER_PATH": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    where = tmp_path
    if "yaml" in blocks:
        (tmp_path / "extra-openai-models.yaml").write_text(blocks["yaml"])
    if "bash" in blocks:
        command = ("bash", "-euo", "pipefail", "-c", blocks["bash"])
    elif "js" in blocks:
        command, where = ("node", "--input-type=module", "--eval", blocks["js"]), HERE / "node"
    else:
        command = (sys.executable, "-c", blocks["python"])
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()

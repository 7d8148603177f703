"""OpenAI's official client for Node: runs `node/openai.test.js`, one test of it at a time."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from lane import Gateway

FILE = Path(__file__).parent / "node" / "openai.test.js"
NAMES = re.findall(r'^test\("(.+?)"', FILE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_in_node(gateway: Gateway, name: str) -> None:
    done = subprocess.run(
        ("node", "--test", "--test-reporter=tap", f"--test-name-pattern=^{re.escape(name)}$", str(FILE)),
        env={**os.environ, "CHANGEOVER_URL": gateway.url, "CHANGEOVER_KEY": gateway.key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), "no test of this name ran"

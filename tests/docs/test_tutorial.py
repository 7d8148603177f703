"""The tutorial, followed word for word: only the port is any free one."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.support.pages import ROOT, blocks_of
from tests.support.processes import system, until
from tests.support.shell import Shell

PAGE = ROOT / "docs" / "tutorial.md"
TOLD = [block for block in blocks_of(PAGE) if "ranby" in block.says]
RUN = [block.text for block in TOLD if block.language == "sh"]
[VERDICT] = [block.text for block in TOLD if block.language == "text"]


def test_the_tutorial_leads_from_nothing_to_a_promotion_and_back(tmp_path: Path) -> None:
    if shutil.which("bash") is None or shutil.which("curl") is None:
        pytest.skip("neither tried nor proven: no curl or no bash here")
    task, cases, start, call, candidate, compare, traffic, switch, again, back, evidence = RUN
    shell = Shell(tmp_path)
    assert shell.run(task) == (0, "")
    assert shell.run(cases) == (0, "")
    project = tmp_path / "orders"
    assert shell.directory == project
    with (project / "changeover.toml").open("a") as file:
        file.write("[gateway]\nport = 0\n")
    assert start == "changeover up\n"
    with system(project) as up:
        shell.address, shell.environment = up.address, {"CHANGEOVER_KEY": up.key}
        until(lambda: up.ready("echo-confirm"))
        status, said = shell.run(call)
        assert status == 0
        assert json.loads(said)["choices"][0]["message"]["content"] == "Thank you for your order."
        status, said = shell.run(candidate)
        assert (status, up.routed("confirm")) == (0, ("echo-confirm", None)), said
        status, said = shell.run(compare)
        assert (status, VERDICT in said) == (0, True), said
        callers = shell.begin(traffic)
        try:
            status, said = shell.run(switch)
        finally:
            os.killpg(callers.pid, signal.SIGTERM)
            callers.wait()
        assert (status, up.routed("confirm")[0]) == (0, "repeats"), said
        until(lambda: up.answering("confirm") == "repeats")  # the gateway follows within a tenth of a second
        status, said = shell.run(again)
        assert (status, "order 79" in said) == (0, True), said
        status, said = shell.run(back)
        assert (status, up.routed("confirm")[0]) == (0, "echo-confirm"), said
        assert "only to see it" in said
        status, said = shell.run(evidence)
        assert status == 0, said
    answers = (project / "answers.txt").read_text()
    assert answers.count('"model":"confirm"') == answers.count("chat.completion") > 10
    assert '"error"' not in answers

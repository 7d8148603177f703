"""What stands ready before the blocks of a page run: the files that its reader has, and the names that are others here.

A stage is a generator: it goes on to its next `yield` before each block of its page.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
import threading
import urllib.error
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docx
import uvicorn
from tests.support import forked
from tests.support.fake_hub import fake_hub
from tests.support.pages import ROOT, blocks_of
from tests.support.processes import Up, load, until
from tests.support.projects import open_written, write_project
from tests.support.shell import PATIENCE_S, Shell

from changeover.app.listening import address_of, listen
from changeover.app.shipped_tools import shipped_folder
from changeover.library.licences.queries import note_text
from changeover.serving.engines.echo_app import Behaviour, EchoApp
from changeover.serving.options import EchoOptions
from changeover.tasks.queries import newest_requests

NEW, SMALL = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"
"""As which echo engines answer in the project of the pages."""
Steps = Generator[None]


@dataclass
class Stage:
    """A terminal in the project that the pages are about, which runs."""

    up: Up
    shell: Shell
    server: str
    """Address of a server that somebody else runs, without a key."""

    def call(self, line: str, status: int | None = 0) -> str:
        """Run a command of ours that no page shows; gives what it said."""
        found, said = self.shell.run(f"changeover {line}")
        assert status is None or found == status, said
        return said

    def write(self, name: str, text: str) -> Path:
        file = self.up.project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def means(self, word: str, here: object) -> None:
        """What a page names, and what it is here."""
        self.shell.words = {**self.shell.words, word: str(here)}

    def passing_trial(self) -> int:
        """Number of a trial that recommends a switch of `code`."""
        self.call('abort code --reason "another one"', None)
        candidate = NEW if self.up.routed("code")[0] != NEW else SMALL
        self.call(f"trial {candidate} --task code")
        return self.trial()

    def asked_and_recorded(self, task: str) -> bool:
        """Ask a task, and look whether any request to it was recorded whole."""
        self.up.ask(task, "Where is my parcel?")
        with self.up.rows() as connection:
            return bool(newest_requests(connection, task, datetime(2026, 1, 1, tzinfo=UTC), 1))

    def answered(self, caller: Up) -> bool:
        """Whether a caller is answered, whose key the gateway may not know yet."""
        try:
            return bool(caller.ask("summarise", "The ferry was cancelled."))
        except urllib.error.HTTPError:
            return False

    def elsewhere(self) -> Path:
        """Go to another project, which does not run."""
        project = write_project(Path(tempfile.mkdtemp(dir=self.up.project.parent)) / "other")
        open_written(project).store.close()
        self.shell.directory = project
        return project

    def trial(self) -> int:
        """Number of the newest one."""
        return json.loads(self.call("trial --json", None))["trial"]

    def switched(self, task: str = "code", to: str = NEW) -> int:
        """Have a model take over a task under load; gives the number of the rollout."""
        with load(self.up, task, clients=1):
            self.call(f"compare {task} --candidate {to}", None)
            self.call(f'switch {task} --to {to} --reason "better"')
        rollout = self.up.rollout(task)
        assert rollout is not None
        return rollout.id


def nothing_ready(_stage: Stage) -> Steps:
    """Of a page that needs no more than the project."""
    yield


def _adapters(stage: Stage) -> Steps:
    stage.call("deploy minutes-tune --engine echo")
    with load(stage.up, "summarise", clients=1):
        yield


def _backup(stage: Stage) -> Steps:
    project = stage.elsewhere()
    git = "git -c user.name=ana -c user.email=ana@example.org"
    stage.shell.run(f"git init -q . && {git} add changeover.toml tasks evals && {git} commit -q -m made")
    shutil.copy(project / ".changeover" / "changeover.db", project / "backup.db")
    yield


def _capabilities(stage: Stage) -> Steps:
    stage.means("http://vllm.intern:8000/v1", stage.server)
    yield


def _datasets(stage: Stage) -> Steps:
    rows = "".join(
        f"{n},Where is parcel {n}?,delivery\nb{n},I was charged {n} euros twice.,billing\n" for n in range(20)
    )
    stage.write("cases/march.csv", f"id,question,answer\n{rows}")
    yield
    yield
    stage.call("apply")
    stage.call(f"compare triage --candidate {NEW}", None)
    cases = (stage.up.project / "evals" / "triage" / "v1.jsonl").read_text()
    stage.write("evals/triage/v2.jsonl", cases.replace("parcel 7", "parcel 70"))
    yield
    task = stage.up.project / "tasks" / "triage.toml"
    task.write_text('record = "full"\n' + re.sub("^record = .*$", "", task.read_text(), flags=re.MULTILINE))
    stage.call("apply")
    until(lambda: stage.asked_and_recorded("triage"))
    yield


def _deploy(stage: Stage) -> Steps:
    stage.means("http://127.0.0.1:8000/v1", stage.server)
    yield
    stage.shell.directory = stage.up.project.parent
    yield
    stage.shell.directory = stage.up.project
    yield


def _evidence_pack(stage: Stage) -> Steps:
    stage.means("evidence 12", f"evidence {stage.switched()}")
    key = re.search(r"[0-9a-f]{64}", stage.call("evidence key"))
    assert key is not None
    stage.means("446d4edcc9451acfc69...", key[0])
    yield
    yield
    yield
    stage.call('rollback code --reason "of the pages"')


def _find_a_model(stage: Stage) -> Steps:
    shutil.copy(stage.up.project / "policy.example.toml", stage.up.project / "policy.toml")
    yield


def _first_switch(stage: Stage) -> Steps:
    stage.means("seq 240", "seq 3")
    yield


def _leave(stage: Stage) -> Steps:
    yield
    yield
    shutil.rmtree(stage.up.project / "acme")
    stage.write("acme/changeover.toml", 'name = "acme"\n[gateway]\nport = 0\n')
    stage.means("changeover import ../everything.zip", "cd acme && changeover import ../everything.zip && cd ..")
    yield


def _library_sync(stage: Stage) -> Steps:
    row = {
        **{"id": "openai/gpt-oss-20b", "name": "GPT OSS 20B", "release_date": "2025-08-05", "open_weights": True},
        **{"modalities": {"input": ["text"], "output": ["text"]}, "limit": {"context": 131072, "output": 32768}},
    }
    listed = {"host": {"name": "Host", "models": {"gpt-oss-20b": row}}}
    stage.write("api.json", json.dumps(listed))
    recipe = 'model:\n  model_id: "openai/gpt-oss-20b"\n  min_vllm_version: "0.9.0"\n'
    stage.write("../recipes/models/openai/gpt-oss-20b.yaml", recipe)
    settings = stage.up.project / "changeover.toml"
    with fake_hub() as hub:
        hub.add("openai/gpt-oss-20b", {"config.json": b"{}", "LICENSE": b"You may.\n"}, likes=9, downloads=100)
        settings.write_text(f'{settings.read_text()}\n[sources]\nhub_endpoint = "{hub.address}"\n')
        yield
        yield


def _licence_policy(stage: Stage) -> Steps:
    stage.write("policy.toml", blocks_of(ROOT / "docs" / "guides" / "licence-policy.md")[0].text)
    yield
    with stage.up.opened() as installation, installation.store.write() as connection:
        note_text(connection, "minimax-m2", "b" * 64, "MiniMaxAI/MiniMax-M2@main", installation.clock.now())
    yield


def _limits(stage: Stage) -> Steps:
    stage.call("team new research --limit usd/month=500")
    key = json.loads(stage.call("key new papers --team research --json"))["key"]
    theirs = replace(stage.up, key=key)
    until(lambda: stage.answered(theirs))
    until(lambda: "research" in stage.call("usage --by team"))
    yield


def _make_a_tool(stage: Stage) -> Steps:
    yield
    yield
    prompt = stage.up.project / "tools" / "urgency" / "tasks" / "answer.prompt.md"
    prompt.write_text(f"{prompt.read_text()}Be quick.\n")
    stage.call("apply")
    stage.means("--to MODEL", f"--to {stage.up.routed('urgency.answer')[0]}")
    yield


def _other_engines(stage: Stage) -> Steps:
    stage.means("http://127.0.0.1:8000/v1", stage.server)
    stage.means("http://127.0.0.1:8001/v1", stage.server)
    stage.means("https://models.example.com/v1", stage.server)
    with load(stage.up, "summarise", clients=1):
        yield
        yield
    stage.call('rollback summarise --reason "of the pages"')


def _operate(stage: Stage) -> Steps:
    stage.switched()
    yield


def _recommend(stage: Stage) -> Steps:
    yield
    with load(stage.up, "summarise", clients=1):
        yield
        yield
    stage.call('rollback summarise --reason "of the pages"', None)


def _several_gateways(stage: Stage) -> Steps:
    here = stage.shell.directory
    stage.means("--workers 4", "--workers 2")
    stage.elsewhere()
    yield
    elsewhere, stage.shell.directory = stage.shell.directory, here
    yield
    stage.shell.directory = elsewhere
    yield


def _people(stage: Stage) -> Steps:
    yield
    settings = stage.up.project / "changeover.toml"
    [declared] = [block.text for block in blocks_of(ROOT / "docs" / "guides" / "people.md") if block.language == "toml"]
    settings.write_text(declared.replace("[console]", "[gateway]\nport = 0\n\n[console]"))
    yield
    yield


def _load_from_the_library(stage: Stage) -> Steps:
    yield
    key = json.loads(stage.call("key new loading --json"))["key"]
    serving = forked.begin(stage.up.project, ["library", "serve", "--port", "0"], os.environ)
    address = re.search(r"http://[\w.:]+\d", serving.said.readline())
    assert address is not None
    stage.means("http://library.example:8101", address[0])
    stage.means("co-...", key)
    stage.means("hf download", f"HF_HOME={stage.up.project / 'hf'} hf download")
    yield
    serving.interrupt(PATIENCE_S)


def _trial(stage: Stage) -> Steps:
    yield
    stage.means("--max-calls 500", "--max-calls 60")
    yield
    stage.means("--show 9", f"--show {stage.trial()}")
    yield
    stage.means("switch --from-trial 9", f"switch --from-trial {stage.passing_trial()} --yes")
    yield
    stage.means("switch summarise --from-trial 9", f"switch code --from-trial {stage.passing_trial()}")
    yield


def _polite_japanese(stage: Stage) -> Steps:
    yield
    stage.means("NEW-MODEL", SMALL)
    yield
    stage.means("--from-trial 1", f"--from-trial {stage.passing_trial()} --yes")
    yield


def _run_a_tool(stage: Stage) -> Steps:
    for name in ("reports/a.pdf", "reports/b.pdf", "long.pdf"):
        (stage.up.project / "reports").mkdir(exist_ok=True)
        shutil.copy(stage.up.project / "report.pdf", stage.up.project / name)
    stage.means("--key KEY", f"--key {stage.up.key}")
    yield


def _customers(stage: Stage) -> Steps:
    shutil.rmtree(stage.up.project / "tools" / "intent-classifier")
    stage.write("complaint.txt", "The lamp arrived broken and I want my 40 euros back.\n")
    stage.write(
        "call.txt", "Agent: How can I help?\nCaller: My parcel of 3 March has not come.\nAgent: We look for it.\n"
    )
    stage.write("draft.txt", "We are sorry. You get 40 euros back.\n")
    stage.write("message.txt", "My lamp broke after a day.\n")
    stage.write("rules.txt", "Promise nothing.\n")
    yield


def _writing_and_reading(stage: Stage) -> Steps:
    shipped = shipped_folder()
    stage.call("tool add meeting-minutes email-reply translation plain-language policy-answers document-comparison")
    stage.call("tool add contract-clauses")
    stage.call("apply")
    for tool, name, here in (
        ("meeting-minutes", "example.txt", "transcript.txt"),
        ("translation", "glossary.csv", "glossary.csv"),
        ("document-comparison", "terms-2025.md", "terms-2025.md"),
        ("document-comparison", "terms-2026.md", "terms-2026.md"),
        ("contract-clauses", "example.pdf", "contract.pdf"),
    ):
        shutil.copy(shipped / tool / name, stage.up.project / here)
    stage.write("mail.txt", "Dear Mr Lund,\n\nwhen do the parts leave? We wait for them.\n\nA. Weber\n")
    stage.write("letter.txt", "The delivery is late. We are sorry.\n")
    document = docx.Document()
    document.add_paragraph("The lessee shall indemnify the lessor against all claims.")
    document.save(str(stage.up.project / "terms.docx"))
    yield


STAGES: dict[str, Callable[[Stage], Steps]] = {
    "docs/guides/adapters.md": _adapters,
    "docs/concepts/capabilities.md": _capabilities,
    "docs/concepts/limits.md": _limits,
    "docs/guides/backup.md": _backup,
    "docs/guides/datasets.md": _datasets,
    "docs/guides/deploy.md": _deploy,
    "docs/guides/evidence-pack.md": _evidence_pack,
    "docs/guides/find-a-model.md": _find_a_model,
    "docs/guides/first-switch.md": _first_switch,
    "docs/guides/leave.md": _leave,
    "docs/guides/library-sync.md": _library_sync,
    "docs/guides/licence-policy.md": _licence_policy,
    "docs/guides/load-from-the-library.md": _load_from_the_library,
    "docs/guides/make-a-tool.md": _make_a_tool,
    "docs/guides/operate.md": _operate,
    "docs/guides/other-engines.md": _other_engines,
    "docs/guides/people.md": _people,
    "docs/guides/polite-japanese.md": _polite_japanese,
    "docs/guides/recommend.md": _recommend,
    "docs/guides/run-a-tool.md": _run_a_tool,
    "docs/guides/several-gateways.md": _several_gateways,
    "docs/guides/trial.md": _trial,
    "docs/tools/customers.md": _customers,
    "docs/tools/writing-and-reading.md": _writing_and_reading,
}


@contextmanager
def somebody_elses_server() -> Iterator[str]:
    """A server that speaks OpenAI's API and asks for no key: the address below which its endpoints are."""
    app = EchoApp("theirs", "", Behaviour(**EchoOptions().model_dump()))

    async def open_to_all(scope: Any, receive: Any, send: Any) -> None:
        headers = [each for each in scope.get("headers", ()) if each[0] != b"authorization"]
        await app({**scope, "headers": [*headers, (b"authorization", b"Bearer ")]}, receive, send)

    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(open_to_all, lifespan="off", log_config=None, access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        until(lambda: server.started)
        yield f"{address_of(listener)}/v1"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()

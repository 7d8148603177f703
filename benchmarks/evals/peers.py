"""Other tools on the same work, in their own words: default settings but for what the work itself says.

Each asks over chat completions, 32 calls in flight, checks that an answer contains a word, and keeps results on disk.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evals.install import node_tool, place, python_tool
from benchmarks.evals.process import Command
from benchmarks.evals.server import KEY
from benchmarks.evals.workload import AT_ONCE, MODELS, PATTERN, Workload

HERE = Path(__file__).parent
OUT = "out"
"""Where a tool keeps its results, below the directory of its run."""


@dataclass(frozen=True)
class Peer:
    """A tool of somebody else."""

    name: str
    caches: bool
    installed: Callable[[], Path]
    """Installs it where needed; gives the directory of its programs."""
    write: Callable[[Workload, Path, str], None]
    """Puts a workload down: cases, directory, the server's address."""
    lines: Callable[[Path, Path, str], Sequence[Sequence[str]]]
    """Command lines of one whole run: programs, directory, address."""
    help_line: Callable[[Path], Sequence[str]] | None
    environment: Mapping[str, str]

    def install(self) -> None:
        self.installed()

    def start_up(self, directory: Path) -> Command | None:
        if self.help_line is None:
            return None
        return Command(
            argv=self.help_line(self.installed()), cwd=directory, environment=self._environment(directory, "")
        )

    @contextmanager
    def session(self, directory: Path, address: str) -> Generator[PeerSession]:
        yield PeerSession(self, address)

    def commands(self, directory: Path, address: str) -> Sequence[Command]:
        environment = self._environment(directory, address)
        lines = self.lines(self.installed(), directory, address)
        return [Command(argv=line, cwd=directory, environment=environment) for line in lines]

    def _environment(self, directory: Path, address: str) -> dict[str, str]:
        # A home of its own: nothing of the user's is read, nothing is left there.
        return {
            "HOME": str(directory),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "OPENAI_API_KEY": KEY,
            "ECHO_API_KEY": KEY,
            "ECHO_BASE_URL": f"{address}/v1",
            "PYTHONDONTWRITEBYTECODE": "",
            **self.environment,
        }


@dataclass(frozen=True)
class PeerSession:
    """A peer against one server. Nothing of it runs between its runs."""

    peer: Peer
    address: str

    def write(self, workload: Workload, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.peer.write(workload, directory, self.address)

    def commands(self, directory: Path) -> Sequence[Command]:
        return self.peer.commands(directory, self.address)

    def beside_cpu_s(self) -> float | None:
        return None


def _jsonl(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_inspect(workload: Workload, directory: Path, address: str) -> None:
    del address  # from the environment
    shutil.copy(HERE / "inspect_task.py", directory / "task.py")
    _jsonl(
        directory / "cases.jsonl",
        [{"id": line.id, "input": line.text, "target": line.target} for line in workload.lines],
    )


def _inspect_lines(programs: Path, directory: Path, address: str) -> Sequence[Sequence[str]]:
    del address
    models = ",".join(f"openai-api/echo/{model}" for model in MODELS)
    options = ("--max-connections", str(AT_ONCE), "--cache", "--display", "none", "--log-dir", str(directory / OUT))
    return [(str(programs / "inspect"), "eval", "task.py", "--model", models, *options)]


def _write_promptfoo(workload: Workload, directory: Path, address: str) -> None:
    config = {
        "prompts": ["{{text}}"],
        "providers": [
            {"id": f"openai:chat:{model}", "config": {"apiBaseUrl": f"{address}/v1", "apiKey": KEY, "temperature": 0}}
            for model in MODELS
        ],
        "tests": [
            {"vars": {"text": line.text}, "assert": [{"type": "contains", "value": line.target}]}
            for line in workload.lines
        ],
    }
    (directory / "promptfooconfig.json").write_text(json.dumps(config))


def _promptfoo(programs: Path) -> Sequence[str]:
    script = place("promptfoo-0.123.1") / "node_modules" / "promptfoo" / "dist" / "src" / "entrypoint.js"
    return (str(programs / "node"), str(script))


def _promptfoo_lines(programs: Path, directory: Path, address: str) -> Sequence[Sequence[str]]:
    del address
    quiet = ("--no-progress-bar", "--no-table", "--no-share")
    out = directory / f"{OUT}.json"
    return [(*_promptfoo(programs), "eval", "-c", "promptfooconfig.json", "-j", str(AT_ONCE), "-o", str(out), *quiet)]


LM_EVAL_TASK = f"""\
task: one_line
dataset_path: json
dataset_kwargs:
  data_files:
    test: cases.jsonl
test_split: test
output_type: generate_until
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs:
  until: []
  do_sample: false
filter_list:
  - name: word
    filter:
      - function: regex
        regex_pattern: '({PATTERN})'
      - function: take_first
metric_list:
  - metric: exact_match
"""


def _write_lm_eval(workload: Workload, directory: Path, address: str) -> None:
    del address
    (directory / "one_line.yaml").write_text(LM_EVAL_TASK)
    _jsonl(directory / "cases.jsonl", [{"text": line.text, "target": line.target} for line in workload.lines])


def _lm_eval_lines(programs: Path, directory: Path, address: str) -> Sequence[Sequence[str]]:
    def line(model: str) -> Sequence[str]:
        arguments = f"model={model},base_url={address}/v1/chat/completions,num_concurrent={AT_ONCE},max_retries=1"
        return (
            *(str(programs / "lm_eval"), "--model", "local-chat-completions", "--model_args", arguments),
            *("--tasks", "one_line", "--include_path", str(directory), "--apply_chat_template", "--log_samples"),
            *("--output_path", str(directory / OUT), "--use_cache", str(directory / f"cache-{model}")),
        )

    return [line(model) for model in MODELS]


def _write_evalscope(workload: Workload, directory: Path, address: str) -> None:
    del address
    (directory / "cases").mkdir()
    _jsonl(
        directory / "cases" / "one_line_test.jsonl",
        [{"text": line.text, "target": line.target} for line in workload.lines],
    )


def _evalscope_lines(programs: Path, directory: Path, address: str) -> Sequence[Sequence[str]]:
    script = str(HERE / "evalscope_run.py")
    return [(str(programs / "python"), script, f"{address}/v1", KEY, str(AT_ONCE), PATTERN, str(directory), *MODELS)]


def _write_bare(workload: Workload, directory: Path, address: str) -> None:
    del address
    _jsonl(directory / "cases.jsonl", [{"text": line.text, "target": line.target} for line in workload.lines])


def _bare_lines(client: str) -> Callable[[Path, Path, str], Sequence[Sequence[str]]]:
    def lines(programs: Path, directory: Path, address: str) -> Sequence[Sequence[str]]:
        script = str(HERE / "bare_loop.py")
        return [(str(programs / "python"), script, client, f"{address}/v1", KEY, str(AT_ONCE), *MODELS)]

    return lines


def _bare(client: str) -> Peer:
    return Peer(
        name=f"bare loop, {client}",
        caches=False,
        installed=lambda: python_tool("bare-1", "aiohttp==3.14.5", "httpx==0.28.1", "openai==3.54.0"),
        write=_write_bare,
        lines=_bare_lines(client),
        help_line=None,
        environment={},
    )


PEERS: Mapping[str, Sequence[Peer]] = {
    "inspect": [
        Peer(
            name="inspect_ai 0.3.285",
            caches=True,
            installed=lambda: python_tool("inspect-0.3.285", "inspect_ai==0.3.285", "openai==3.54.0"),
            write=_write_inspect,
            lines=_inspect_lines,
            help_line=lambda programs: (str(programs / "inspect"), "eval", "--help"),
            environment={},
        )
    ],
    "promptfoo": [
        Peer(
            name="promptfoo 0.123.1",
            caches=True,
            installed=lambda: node_tool("promptfoo-0.123.1", "promptfoo@0.123.1", "24.19.0"),
            write=_write_promptfoo,
            lines=_promptfoo_lines,
            help_line=lambda programs: (*_promptfoo(programs), "eval", "--help"),
            environment={"PROMPTFOO_DISABLE_TELEMETRY": "1", "PROMPTFOO_DISABLE_UPDATE": "1", "NO_COLOR": "1"},
        )
    ],
    "lm-eval": [
        Peer(
            name="lm-eval 0.4.13",
            caches=True,
            installed=lambda: python_tool("lm-eval-0.4.13", "lm-eval[api]==0.4.13"),
            write=_write_lm_eval,
            lines=_lm_eval_lines,
            help_line=lambda programs: (str(programs / "lm_eval"), "--help"),
            environment={"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
    ],
    "evalscope": [
        Peer(
            name="evalscope 1.14.1",
            caches=True,
            installed=lambda: python_tool("evalscope-1.14.1", "evalscope==1.14.1"),
            write=_write_evalscope,
            lines=_evalscope_lines,
            help_line=lambda programs: (str(programs / "evalscope"), "eval", "--help"),
            environment={"HF_HUB_OFFLINE": "1"},
        )
    ],
    "bare": [_bare("aiohttp"), _bare("httpx"), _bare("openai")],
}
"""By the name that `--peers` takes."""

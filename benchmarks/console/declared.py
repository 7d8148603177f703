"""The busy installation as people would have declared it: settings, a policy, task files and their datasets."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SAMPLES = 160
"""Of each dataset."""

FIRMS = (
    *("Nordquay Ferries", "Tellwick Foods", "Orvane", "Kestria", "Port Halden", "Marrow Bay", "Tarn & Sons"),
    *("Brønshøj Møbler", "東雲商事", "Łuna Optyka", "Q8 \U0001f680 Logistics", 'O\'Neill "Quoted" Ltd'),
)
PEOPLE = (
    *("Ines Albrecht", "Deniz Aksoy", "Ana Prieto", "Kenji Mori", "山田太郎", "Zoë Ångström", "محمد العربي"),
    *("Li Wei", "Robert'); DROP TABLE students;--", "Mary-Jane O'Hara"),
)
CITIES = ("Singapore", "Gdańsk", "大阪", "Lyon", "Halifax", "Montevideo", "القاهرة", "Reykjavík")

SETTINGS = """\
# Made by `python -m benchmarks.console.busy`: every name and figure in it is invented.
name = "Nordquay Group"
[gateway]
port = 0
[engines]
memory_gib = 80
{store}[prices]
"""
PRICED = (
    "gemma-3-12b",
    "gemma-3-4b",
    "gemma-4-12b",
    "qwen3-coder-30b",
    "deepseek-r1-14b",
    "gpt-oss-20b",
    "qwen2.5-14b",
)
POLICY = """\
operates_in = ["SG", "JP"]
monthly_users = 2_000_000
yearly_revenue_usd = 480_000_000
customer_facing = true
uses = []

[tasks.credit-memo]
uses = ["credit-decisions"]
customer_facing = false

[tasks.risk-tagging]
uses = ["law-enforcement"]
customer_facing = false
"""
TASK = """\
description = {description}
prompt = "{name}.prompt.md"
dataset = "../evals/{name}/v1.jsonl"
first_incumbent = "echo"
{family}tier = "{tier}"
timeout_s = 60
record = "{record}"
{bake}
[parameters]
temperature = 0.0
max_tokens = 256

[scorer]
name = "{scorer}"
options = {options}
"""


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """One task of the table, from which its files are made and its answers are given."""

    name: str
    description: str
    prompt: str
    by: Sequence[str]
    """Deployments: who answered first, and who came after."""
    ask: str
    good: str
    bad: str
    holds: Sequence[str]
    labels: Sequence[str] = ()
    family: str | None = None
    tier: str = "low"
    record: str = "full"
    bake_s: int | None = None

    def filled(self, text: str, number: int) -> str:
        """A text with everything of one sample in its slots."""
        label = self.labels[number * 7 % len(self.labels)] if self.labels else ""
        slots = {
            "{number}": str(1000 + number),
            "{firm}": FIRMS[number * 5 % len(FIRMS)],
            "{person}": PEOPLE[number * 3 % len(PEOPLE)],
            "{city}": CITIES[number * 11 % len(CITIES)],
            "{amount}": str(12 + number * 37 % 881),
            "{day}": f"{1 + number % 28} {('March', 'June', 'October')[number % 3]}",
            "{label}": label,
        }
        for slot, value in slots.items():
            text = text.replace(slot, value)
        return text

    def sample(self, number: int) -> dict[str, Any]:
        """A line of its dataset."""
        holds = [self.filled(each, number) for each in self.holds]
        return {
            "id": f"{self.name[:40]}-{number:03d}",
            "input": self.filled(self.ask, number),
            "target": holds[0] if self.labels else {"all": holds},
            "tags": [("short", "long", "edge-cases")[number % 7 % 3], ("en", "mixed")[number % 5 == 0]],
            "source": "invented for the busy installation",
        }


def sketches(count: int) -> list[Sketch]:
    """So many tasks; beyond those of the table they come again under a number."""
    table: list[dict[str, Any]] = tomllib.loads((HERE / "tasks.toml").read_text(encoding="utf-8"))["task"]
    found: list[Sketch] = []
    for place in range(count):
        entry, again = table[place % len(table)], place // len(table)
        found.append(Sketch(**{**entry, "name": entry["name"] if not again else f"{entry['name'][:58]}-{again + 1}"}))
    return found


def deployments() -> list[dict[str, Any]]:
    """What runs, and what does not: see deployments.toml."""
    return tomllib.loads((HERE / "deployments.toml").read_text(encoding="utf-8"))["deployment"]


def write_declarations(directory: Path, tasks: Sequence[Sketch], url: str | None) -> None:
    """Write the files of a project that is not there yet."""
    for part in ("tasks", "evals", "library"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    prices = "".join(
        f'"{name}" = {{ usd_per_million_prompt_tokens = 0.{place + 1}, usd_per_million_completion_tokens = 0.{place + 3} }}\n'
        for place, name in enumerate(PRICED)
    )
    store = "" if url is None else f"[store]\nurl = {json.dumps(url)}\n"
    (directory / "changeover.toml").write_text(SETTINGS.format(store=store) + prices, encoding="utf-8")
    (directory / "policy.toml").write_text(POLICY, encoding="utf-8")
    for task in tasks:
        _write_task(directory, task)


def _write_task(directory: Path, task: Sketch) -> None:
    text = TASK.format(
        name=task.name,
        description=_toml(task.description),
        family="" if task.family is None else f"family = {_toml(task.family)}\n",
        tier=task.tier,
        record=task.record,
        bake="" if task.bake_s is None else f"bake_s = {task.bake_s}\n",
        scorer="choice" if task.labels else "contains",
        options=f"{{ labels = {_toml(list(task.labels))} }}" if task.labels else "{}",
    )
    (directory / "tasks" / f"{task.name}.toml").write_text(text, encoding="utf-8")
    (directory / "tasks" / f"{task.name}.prompt.md").write_text(task.prompt + "\n", encoding="utf-8")
    (directory / "evals" / task.name).mkdir(exist_ok=True)
    lines = (json.dumps(task.sample(number), ensure_ascii=False) + "\n" for number in range(SAMPLES))
    (directory / "evals" / task.name / "v1.jsonl").write_text("".join(lines), encoding="utf-8")


def _toml(value: Any) -> str:
    """A string or a list of strings as TOML writes it; JSON's escapes are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def by_name(tasks: Sequence[Sketch]) -> Mapping[str, Sketch]:
    return {task.name: task for task in tasks}


def all_texts(task: Sketch) -> Iterator[tuple[str, int]]:
    """What is asked in each of its samples, with the sample's number."""
    for number in range(SAMPLES):
        yield task.filled(task.ask, number), number

"""Cases that people have become a dataset, or one error that says which row is wrong."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from changeover.core.errors import DatasetError
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.datasets.importers import Choice, Format, Imported, guess_format, import_sources, samples_of
from changeover.evals.datasets.importers.base import Draft
from changeover.evals.datasets.new_task import NewTask, files_of, scoring_for
from changeover.evals.datasets.write import write_dataset
from changeover.evals.scorers import ScorerSpec
from changeover.tasks.declarations import load_task


def _write(path: Path, text: str | Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = text if isinstance(text, str) else "".join(json.dumps(line) + "\n" for line in text)
    path.write_text(lines, encoding="utf-8")
    return path


def _import(*sources: Path, format: Format | None = None, **choice: Any) -> tuple[Imported, tuple[Sample, ...]]:
    found = import_sources(sources, Choice(**choice), format)
    return found, samples_of(found)


def _error(*sources: Path, **choice: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        _import(*sources, **choice)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_columns_of_a_csv_file_are_guessed_by_their_usual_names(tmp_path: Path) -> None:
    text = '\ufeffCase ID,Question,Expected Output,Tags,Notes\r\n7,"What, then?",yes,"a; b",x\r\n\r\n8,Why?,"{""any"": [""x""]}",,\r\n'
    found, (one, other) = _import(_write(tmp_path / "a.csv", text))
    assert (one.id, one.text, one.target, one.tags, one.source) == ("7", "What, then?", "yes", ("a", "b"), "a.csv:2")
    assert (other.target, other.tags) == ({"any": ["x"]}, ())
    assert (
        "taken: id ← Case ID, input ← Question, target ← Expected Output, tags ← Tags; not used: Notes"
        in found.notes[0]
    )


def test_named_columns_win_and_several_inputs_are_variables(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.csv", "question;Customer message;2nd;right\nq;m;s;r\n")
    columns = {"input": ("question", "Customer message", "2nd"), "target": ("right",)}
    _, (sample,) = _import(file, columns=columns)
    assert sample.variables == {"question": "q", "customer_message": "m", "column_2nd": "s"}
    assert (sample.id, sample.target) == ("0002", "r")


def test_a_directory_gives_the_cases_of_all_its_files_with_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("b", "a"):
        _write(tmp_path / "cases" / f"{name}.csv", f"input,target\n{name}1,x\n{name}2,y\n")
    _write(tmp_path / "cases" / "notes.txt", "no case")
    _, samples = _import(tmp_path / "cases")
    assert [(sample.id, sample.text) for sample in samples] == [
        ("a-0002", "a1"),
        ("a-0003", "a2"),
        ("b-0002", "b1"),
        ("b-0003", "b2"),
    ]


@pytest.mark.parametrize(
    ("text", "choice", "expected"),
    [
        ("", {}, ": the file is empty. Its first line must name the columns."),
        ("a,b\n1,2\n", {}, ": which column is the input? Say it with `--input COLUMN`. Columns: a, b."),
        ("input,b\n1,2\n", {}, ": which column is the target? Say it with `--target COLUMN`. Columns: input, b."),
        ("input,target\n1,2\n", {"columns": {"input": ("inputs",)}}, ": no column `inputs`. Did you mean `input`?"),
        ("input,input\n1,2\n", {}, ":1: two columns are called `input`."),
        ("input,target\nx,y\nx\n", {}, ":3: the row has not the 2 cells that the first line names."),
        ("input,target\nx,y,z\n", {}, ":2: the row has not the 2 cells"),
        ('input,target\nx,"y\n', {}, ":2: no CSV: unexpected end of data."),
        ("input,target\nx,\n", {}, ":2: the sample has no target."),
        ("id,input,target\n1,x,y\n1,z,y\n", {}, ":3: id `1` is also that of "),
        (
            "a b,a-b,target\nx,y,z\n",
            {"columns": {"input": ("a b", "a-b")}},
            ": two of the input columns would be the same",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_one_error_that_says_where(
    tmp_path: Path, text: str, choice: dict[str, Any], expected: str
) -> None:
    file = _write(tmp_path / "a.csv", text)
    assert _error(file, **choice).startswith(f"{file}{expected}")


def test_bad_rows_may_be_skipped_and_are_counted(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.csv", "id,input,target\n1,x,y\n2,,y\n3,z\n1,again,y\n4,w,v\n")
    found, samples = _import(file, skip_bad=True)
    assert [sample.id for sample in samples] == ["1", "4"]
    assert [bad.split(":")[1] for bad in found.bad] == ["4", "3", "5"]
    nothing = _write(tmp_path / "b.csv", "input,target\nx,\n")
    assert "No case could be taken. The first reason: " in _error(nothing, skip_bad=True)


def test_bytes_that_are_not_utf8_name_their_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"input,target\nx,\xe9\n")
    assert _error(file) == f"{file}:2: not UTF-8 text. Save the file as UTF-8."


@pytest.mark.parametrize("form", ["lines", "list", "pretty", "wrapped"])
def test_json_rows_are_read_in_every_usual_form(tmp_path: Path, form: str) -> None:
    rows = [{"question": "x", "answer": 4, "id": 1}, {"question": "y", "answer": ["a", "b"], "id": 2}]
    text = {
        "lines": "".join(json.dumps(row) + "\n" for row in rows),
        "list": json.dumps(rows),
        "pretty": json.dumps(rows, indent=2),
        "wrapped": json.dumps({"version": 1, "data": rows}),
    }[form]
    _, (one, other) = _import(_write(tmp_path / "a.json", text))
    assert (one.id, one.text, one.target) == ("1", "x", "4")
    assert (other.id, other.text, other.target) == ("2", "y", {"any": ["a", "b"]})


def test_a_map_takes_values_from_inside(tmp_path: Path) -> None:
    row = {"q": {"text": "x", "parts": ["p0", "p1"]}, "a.b": "y", "meta": {"kind": "k"}}
    paths = {"input.text": "q.text", "input.part": "q.parts.1", "target": "a.b", "tags": "meta.kind"}
    _, (sample,) = _import(_write(tmp_path / "a.jsonl", [row]), paths=paths)
    assert (sample.variables, sample.target, sample.tags) == ({"text": "x", "part": "p1"}, "y", ("k",))


def test_our_own_lines_and_conversations_pass_as_they_are(tmp_path: Path) -> None:
    ours = {"id": "a", "input": {"document": "x"}, "target": {"facts": [["y"]]}, "tags": ["t"], "source": "own"}
    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    _, (one, other) = _import(_write(tmp_path / "a.jsonl", [ours, chat]))
    assert (one.id, one.variables, one.target, one.source) == (
        "a",
        {"document": "x"},
        {"facts": [["y"]]},
        "own (a.jsonl:1)",
    )
    assert (other.text, other.target, other.source) == ("Hi", "Hello", "a.jsonl:2")


@pytest.mark.parametrize(
    ("rows", "choice", "expected"),
    [
        ([{"a": 1}], {}, ":1: no input found. Keys: a. Say where it is, such as `--map input=a.b`."),
        ([{"input": "x"}], {}, ":1: no target found."),
        ([{"input": "x"}], {"paths": {"target": "a.b"}}, ":1: nothing at `a.b`. Keys: input."),
        ([{"input": "x", "target": "y"}, 4], {}, ":2: an object is expected"),
        ("{\n", {}, ":1: not JSON at column"),
        ('{"input": "x", "input": "y"}\n', {}, ":1: key `input` stands twice"),
        ("", {"format": "jsonl"}, ": the file is empty."),
    ],
)
def test_what_is_wrong_with_json_is_one_error_that_says_where(
    tmp_path: Path, rows: Any, choice: dict[str, Any], expected: str
) -> None:
    file = _write(tmp_path / "a.jsonl", rows)
    assert _error(file, **choice).startswith(f"{file}{expected}")


def test_a_choice_that_the_format_does_not_know_is_refused(tmp_path: Path) -> None:
    rows, table = _write(tmp_path / "a.jsonl", [{"a": 1}]), _write(tmp_path / "a.csv", "a,b\n")
    assert "for jsonl use `--map`" in _error(rows, columns={"input": ("a",)})
    assert "for csv name the columns" in _error(table, paths={"input": "a"})
    assert "`inputs` is no field of a sample" in _error(rows, paths={"inputs": "a"})
    assert "give either `input` or variables" in _error(rows, paths={"input": "a", "input.b": "a"})
    assert "No file or directory" in _error(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds none of" in _error(tmp_path / "empty")


PROMPTFOO = """\
prompts:
  - "Translate to {{language}}: {{text}}"
  - file://other.txt
providers: [openai:x]
defaultTest:
  vars: {language: French}
  assert:
    - {type: cost, threshold: 0.01}
tests:
  - description: one
    vars: {text: Hello}
    metadata: {category: greeting}
    assert:
      - {type: icontains, value: bonjour}
      - {type: llm-rubric, value: polite}
  - vars: {text: [Yes, No], unused: 1}
    assert:
      - {type: contains-any, value: ["{{text}}", oui]}
  - vars: {text: Bye}
    assert:
      - {type: equals, value: Au revoir}
      - type: javascript
        value: output.length < 9
"""


def test_promptfoos_tests_become_variables_and_targets_and_what_cannot_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "other.txt", "Other {{text}}")
    found, samples = _import(_write(tmp_path / "promptfooconfig.yaml", PROMPTFOO))
    assert [sample.variables for sample in samples] == [
        {"language": "French", "text": text} for text in ("Hello", "Yes", "No", "Bye")
    ]
    assert [sample.target for sample in samples] == [
        {"all": ["bonjour"]},
        {"any": ["Yes", "oui"]},
        {"any": ["No", "oui"]},
        {"all": ["Au revoir"]},
    ]
    assert samples[0].tags == ("greeting",)
    assert (found.scorer, found.options, found.template) == (
        "contains",
        {"ignore_case": True},
        "Translate to {{language}}: {{text}}",
    )
    said = "\n".join(found.notes)
    for part in ("1 × `llm-rubric`", "1 × `javascript`", "4 × `cost", "left out: unused", "2 prompts: the first"):
        assert part in said


@pytest.mark.parametrize(
    ("asserts", "scorer", "target"),
    [
        ([{"type": "equals", "value": "x"}], "exact", "x"),
        ([{"type": "equals", "value": "x"}, {"type": "equals", "value": "y"}], "exact", {"any": ["x", "y"]}),
        ([{"type": "contains-all", "value": ["x", "y"]}], "contains", {"all": ["x", "y"]}),
        ([{"type": "regex", "value": "^a+$"}], "regex", {"all": ["^a+$"]}),
        ([{"type": "is-json"}], "json-schema", {"schema": {}}),
        ([{"type": "is-json", "value": {"type": "object"}}], "json-schema", {"schema": {"type": "object"}}),
        ([{"type": "assert-set", "assert": [{"type": "contains", "value": "x"}]}], "contains", {"all": ["x"]}),
    ],
)
def test_each_assertion_that_can_be_a_target_suggests_its_scorer(
    tmp_path: Path, asserts: list[Any], scorer: str, target: Any
) -> None:
    config = {"prompts": ["{{q}}"], "tests": [{"vars": {"q": "x"}, "assert": asserts}]}
    found, (sample,) = _import(_write(tmp_path / "c.json", json.dumps(config)))
    assert (found.scorer, sample.target) == (scorer, target)
    if target != {"schema": {}}:
        assert ScorerSpec(name=scorer).read_target(sample) is not None


def test_a_promptfoo_conversation_gives_the_prompt_and_the_template(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{q}}"}]
    _write(tmp_path / "chat.json", json.dumps(chat))
    _write(tmp_path / "tests.csv", "q,__expected\nWhy?,contains: because\nWho?,Me\n")
    config = _write(tmp_path / "c.yaml", "prompts: [file://chat.json]\nproviders: [x]\ntests: file://tests.csv\n")
    found, samples = _import(config)
    assert (found.prompt, found.template) == ("Be brief.", "{{q}}")
    assert [sample.target for sample in samples] == [{"all": ["because"]}, {"all": ["Me"]}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", ": no YAML: "),
        ("- x\n", ": a table of names is expected where `['x']` stands."),
        ("prompts: [x]\n", ": no `tests`."),
        ("tests: file://../x.yaml\n", ": `file://../x.yaml` lies outside its directory."),
        ("tests: file://x.py\n", "x.py: tests that code makes cannot be imported."),
        (
            "tests: [{vars: {q: x}, assert: [{type: javascript, value: x}]}]\n",
            ": test 1: no assertion of this test can be",
        ),
        ("tests: [{assert: [{type: equals, value: x}]}]\n", ": test 1: the test has no `vars`"),
        ("a: &a [*a]\ntests: *a\n", ": "),
    ],
)
def test_what_is_wrong_with_promptfoos_file_is_one_error(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in _error(_write(tmp_path / "c.yaml", text))


SAMPLE = {
    "id": 1,
    "epoch": 1,
    "input": [
        {"id": "m", "role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Which?"}], "source": "input"},
    ],
    "choices": ["red", "blue"],
    "target": ["B"],
    "metadata": {"category": "colour", "other": 4},
    "output": {"choices": []},
}
HEADER = {"version": 2, "status": "success", "eval": {"task": "colours", "scorers": [{"name": "inspect_ai/includes"}]}}


def _archive(path: Path, *samples: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(HEADER))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    return path


@pytest.mark.parametrize("kind", ["json", "eval"])
def test_samples_of_an_inspect_log_are_read_once_for_all_epochs(tmp_path: Path, kind: str) -> None:
    logged = [SAMPLE, {**SAMPLE, "epoch": 2}, {"id": "b", "epoch": 1, "input": "Why?", "target": ["x", "y"]}]
    if kind == "eval":
        log = _archive(tmp_path / "log.eval", *logged)
    else:
        log = _write(tmp_path / "log.json", json.dumps({**HEADER, "samples": logged}))
    found, (one, other) = _import(log)
    assert [message.content for message in one.input] == ["Be brief.", "Which?\n\nA) red\nB) blue"]
    assert (one.id, one.target, one.tags) == ("1", "B", ("colour",))
    assert one.source == f"{log.name}, sample 1, task colours"
    assert (other.text, other.target) == ("Why?", {"any": ["x", "y"]})
    assert found.scorer == "contains"


def test_a_log_packed_with_zstandard_is_read(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="neither tried nor proven: zstandard is not installed")
    name, content = b"samples/1_epoch_1.json", json.dumps(SAMPLE).encode()
    half = len(content) // 2  # in several frames, as inspect_ai writes
    packed = b"".join(zstandard.compress(part) for part in (content[:half], content[half:]))
    sizes = (zlib.crc32(content), len(packed), len(content), len(name))
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 63, 0, 93, 0, 33, *sizes, 0) + name + packed
    central = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 63, 63, 0, 93, 0, 33, *sizes, 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(central), len(local), 0)
    log = tmp_path / "log.eval"
    log.write_bytes(local + central + end)
    _, (sample,) = _import(log)
    assert sample.target == "B"
    log.write_bytes(local.replace(packed, bytes(len(packed))) + central + end)
    assert "damaged" in _error(log)


def test_what_an_inspect_log_cannot_give_is_said(tmp_path: Path) -> None:
    image = {
        "id": "i",
        "epoch": 1,
        "input": [{"role": "user", "content": [{"type": "image", "image": "x"}]}],
        "target": "",
    }
    assert "sample `i`: a message holds something else than text." in _error(_archive(tmp_path / "a.eval", image))
    assert "holds no samples" in _error(_archive(tmp_path / "b.eval"))
    empty = _write(tmp_path / "c.json", json.dumps({**HEADER, "samples": []}))
    assert "holds no samples" in _error(empty)


def _bfcl(tmp_path: Path, *rows: dict[str, Any], name: str = "BFCL_v4_parallel.json") -> Path:
    return _write(tmp_path / name, rows)


QUESTION = {
    "id": "p0",
    "question": [[{"role": "user", "content": "Play it."}]],
    "function": [
        {
            "name": "music.play",
            "description": "Plays.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "speed": {"type": "float"},
                    "place": {"type": "tuple", "items": {"type": "float"}},
                    "more": {"type": "dict", "properties": {"x": {"type": "any", "description": "d"}}},
                },
                "required": ["speed"],
            },
        }
    ],
}


def test_bfcls_questions_become_tools_and_the_calls_that_are_right(tmp_path: Path) -> None:
    truth = {"id": "p0", "ground_truth": [{"music.play": {"speed": [1.0], "place": ["", [1]]}}, {"music.play": {}}]}
    _write(tmp_path / "possible_answer" / "BFCL_v4_parallel.json", [truth])
    found, (sample,) = _import(_bfcl(tmp_path, QUESTION))
    assert sample.target == {
        "calls": [
            {"name": "music_play", "arguments": {"speed": [1.0], "place": ["", [1]]}},
            {"name": "music_play", "arguments": {}},
        ],
        "order": "any",
    }
    [tool] = sample.tools
    assert tool["function"]["name"] == "music_play"
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "speed": {"type": "number"},
            "place": {"type": "array", "items": {"type": "number"}},
            "more": {"type": "object", "properties": {"x": {"description": "d"}}},
        },
        "required": ["speed"],
    }
    assert (found.scorer, sample.tags, sample.text) == ("tool-calls", ("parallel",), "Play it.")


def test_where_no_tool_fits_no_call_is_right_and_missing_answers_are_said(tmp_path: Path) -> None:
    _, (sample,) = _import(_bfcl(tmp_path, QUESTION, name="BFCL_v4_irrelevance.json"))
    assert sample.target == {"calls": [], "order": "any"}
    assert "its answers are missing" in _error(_bfcl(tmp_path, QUESTION))
    _write(tmp_path / "possible_answer" / "BFCL_v4_parallel.json", [{"id": "other", "ground_truth": []}])
    assert "has no answer to `p0`" in _error(_bfcl(tmp_path, QUESTION))
    simulated = {"id": "m", "question": [[{"role": "user", "content": "x"}]] * 2, "initial_config": {}}
    assert "simulated world" in _error(_bfcl(tmp_path, simulated))


@pytest.mark.parametrize(
    ("name", "text", "format"),
    [
        ("a.txt", "question,answer\nx,y\n", "csv"),
        ("a.tsv", "question\tanswer\n", "csv"),
        ("a", '{"question": "x", "answer": "y"}\n', "jsonl"),
        ("a.json", '[\n{"input": "x"}]\n', "jsonl"),
        ("a.json", json.dumps({"prompts": [], "tests": []}), "promptfoo"),
        ("a.json", json.dumps({"status": "success", "eval": {}}, indent=1), "inspect"),
        ("a.json", json.dumps(QUESTION), "bfcl"),
        ("a.yml", "x", "promptfoo"),
    ],
)
def test_a_format_is_guessed_from_the_content(tmp_path: Path, name: str, text: str, format: str) -> None:
    assert guess_format(_write(tmp_path / name, text)) == format


def test_a_text_without_a_form_is_refused(tmp_path: Path) -> None:
    assert "Say what it is: `--format csv|jsonl|" in _error(_write(tmp_path / "a.txt", "hello\n"))


@pytest.mark.parametrize(
    ("targets", "scorer"),
    [
        (["billing", "delivery"] * 5, "choice"),
        (["yes", "no", "Yes"] * 5, "exact"),
        (["4", "1,815", "3.5"], "numeric"),
        (["Paris", "Rome", "Oslo"], "exact"),
        (["A long answer of many words, which nobody would ever say in exactly this way."] * 3, "chrf"),
        ([{"calls": []}], "tool-calls"),
        ([{"facts": [["x"]]}], "key-facts"),
        ([{"schema": {}}], "json-schema"),
        ([{"any": ["x"]}, {"any": ["y"]}], "contains"),
    ],
)
def test_a_new_task_gets_a_scorer_that_reads_its_targets(targets: list[Any], scorer: str) -> None:
    samples = samples_of(
        Imported(
            choice=Choice(), drafts=_drafts([{"id": str(n), "input": "x", "target": t} for n, t in enumerate(targets)])
        )
    )
    scoring = scoring_for(samples, None, {})
    assert scoring.name == scorer
    spec = ScorerSpec(name=scoring.name, options=dict(scoring.options))
    for sample in samples:
        spec.read_target(sample)


def _drafts(lines: list[dict[str, Any]]) -> list[Draft]:
    return [Draft(fields=line, where=f"x:{number}") for number, line in enumerate(lines, start=1)]


def test_a_new_task_loads_with_its_dataset(tmp_path: Path) -> None:
    columns = {"input": ("Message", "order no"), "target": ("team",)}
    text = "Message,order no,team\n" + "".join(f'"said ""{n}""",{n},{("a", "b")[n % 2]}\n' for n in range(40))
    found, samples = _import(_write(tmp_path / "a.csv", text), columns=columns)
    new = NewTask(
        name="triage",
        tasks=tmp_path / "tasks",
        dataset=tmp_path / "evals" / 'odd "name" ü.jsonl',
        samples=samples,
        first="echo",
        scoring=scoring_for(samples, found.scorer, found.options),
    )
    write_dataset(new.dataset, samples)
    for file, content in files_of(new).items():
        _write(file, content)
    task = load_task(tmp_path / "tasks" / "triage.toml")
    assert task.declared.scorer.options == {"labels": ["a", "b"]}
    assert task.declared.gate.margin == 0.15
    assert "a, b" in task.prompt
    dataset = Dataset.load(task.dataset, template=task.input_template)
    assert dataset.samples[0].text == 'Message:\nsaid "0"\n\norder_no:\n0'

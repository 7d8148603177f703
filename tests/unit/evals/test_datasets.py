"""A dataset is read whole or refused with one line that says where."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from changeover.core.errors import DatasetError
from changeover.evals.datasets import Dataset, Message
from changeover.evals.datasets.write import write_dataset

GOOD: dict[str, Any] = {"id": "a", "input": "What is 2 + 2?", "target": "4"}


def _write(tmp_path: Path, *lines: str | dict[str, Any]) -> Path:
    path = tmp_path / "set.jsonl"
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _error(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        Dataset.load(path)
    return caught.value.message


def test_a_string_input_is_one_user_message(tmp_path: Path) -> None:
    dataset = Dataset.load(_write(tmp_path, GOOD))
    (sample,) = dataset.samples
    assert sample.input == (Message(role="user", content="What is 2 + 2?"),)
    assert (dataset.name, sample.target, sample.tags, sample.cluster, sample.source) == ("set", "4", (), None, None)


def test_messages_tags_cluster_and_source_are_kept(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    line = {
        "id": "b",
        "input": messages,
        "target": {"facts": [["x"]]},
        "tags": ["t"],
        "cluster": "c1",
        "source": "own",
    }
    (sample,) = Dataset.load(_write(tmp_path, line)).samples
    assert [message.role for message in sample.input] == ["system", "user"]
    assert (sample.target, sample.tags, sample.cluster, sample.source) == ({"facts": [["x"]]}, ("t",), "c1", "own")
    assert sample.text == "Be brief.\nHi"


def test_blank_lines_a_byte_order_mark_and_unusual_line_separators_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    line = json.dumps({**GOOD, "input": "one\u2028two\x85three"}, ensure_ascii=False)
    path.write_bytes(b"\xef\xbb\xbf" + line.encode() + b"\r\n\r\n\n")
    assert Dataset.load(path).samples[0].input[0].content == "one\u2028two\x85three"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([GOOD, "{"], ":2: not JSON at column 2"),
        ([GOOD, GOOD], ":2: id `a` is also the sample's on line 1"),
        ([GOOD, {"id": "b", "input": "x"}], ":2: the sample has no target"),
        ([{**GOOD, "target": None}], ":1: the sample has no target"),
        ([{**GOOD, "target": ""}], ":1: the sample has no target"),
        ([{**GOOD, "target": {}}], ":1: the sample has no target"),
        ([{**GOOD, "target": 4}], ":1: `target`: a string or an object is expected."),
        ([{"input": "x", "target": "y"}], ":1: `id`: missing. Add it."),
        ([{**GOOD, "id": 7}], ":1: `id`: input should be a valid string."),
        ([{**GOOD, "input": ""}], ":1: `input`: a text, an object of variables, or a list of messages"),
        ([{**GOOD, "input": []}], ":1: `input`: a text, an object of variables, or a list of messages"),
        ([{**GOOD, "input": {}}], ":1: `input`: a text, an object of variables, or a list of messages"),
        ([{**GOOD, "input": {"document": "x"}}], ":1: `input`: an object of variables needs a template. Write one"),
        ([{**GOOD, "tags": [""]}], ":1: `tags.0`: string should have at least 1 character"),
        ([{**GOOD, "cluster": "c" * 201}], ":1: `cluster`: string should have at most 200 characters"),
        ([{**GOOD, "input": [{"role": "tool", "content": "x"}]}], ":1: `input.0.role`: input should be 'system'"),
        ([{**GOOD, "tag": ["x"]}], ":1: `tag`: unknown key. Did you mean `tags`?"),
        (["[1]"], ":1: one JSON object is expected"),
        (['{"id": "a", "id": "b", "input": "x", "target": "y"}'], ":1: key `id` stands twice"),
        (['{"id": "a", "input": "x", "target": {"n": NaN}}'], ":1: `NaN` is no JSON number"),
        (['{"id": "a", "input": "x", "target": {"n": 1e999}}'], ":1: "),
        (['{"id": "a", "input": "\\ud800", "target": "y"}'], ":1: a string holds half of a surrogate pair"),
        (['{"id": "a", "input": "x", "target": ' + "[" * 100_000], ":1: nested too deeply"),
    ],
)
def test_a_bad_line_is_one_error_that_says_where(tmp_path: Path, lines: list[str], expected: str) -> None:
    path = _write(tmp_path, *lines)
    message = _error(path)
    assert message.startswith(f"{path}{expected}")
    assert "\n" not in message


def test_an_unknown_key_in_a_message_names_the_nearest(tmp_path: Path) -> None:
    path = _write(tmp_path, {**GOOD, "input": [{"role": "user", "content": "x", "contents": "y"}]})
    assert "`input.0.contents`: unknown key. Did you mean `content`?" in _error(path)


USER, MODEL = {"role": "user", "content": "Hi"}, {"role": "assistant"}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "system", "content": "x"}], "`input`: the last message must be the user's."),
        ([USER, MODEL], "`input`: the last message must be the user's."),
        ([USER, {"role": "assistant", "content": "Hello"}], "`input`: the last message must be the user's."),
        ([MODEL, USER], "`input.0`: the model can only answer to a user's message."),
        ([USER, MODEL, MODEL, USER], "`input.2`: the model can only answer to a user's message."),
        ([USER, {"role": "assistant", "content": "x"}, MODEL, USER], "`input.2`: the model can only answer"),
        ([{"role": "user"}, USER], "`input.0.content`: missing. Only an assistant's message may have none"),
        ([{**USER, "target": "x"}, USER], "`input.0.target`: only where the model answers"),
        ([USER, {"role": "assistant", "content": "x", "target": "y"}, USER], "`input.1.target`: only where the model"),
        ([USER, {**MODEL, "target": ""}, USER], "`input.1.target`: empty."),
        ([USER, {**MODEL, "target": 4}, USER], "`input.1.target`: a string or an object is expected."),
    ],
)
def test_a_conversation_says_who_speaks_when(tmp_path: Path, messages: list[Any], expected: str) -> None:
    path = _write(tmp_path, {**GOOD, "input": messages})
    assert _error(path).startswith(f"{path}:1: {expected}")


def test_the_model_answers_where_an_assistants_message_has_no_content(tmp_path: Path) -> None:
    messages = [USER, MODEL, {"role": "user", "content": "And?"}, {**MODEL, "content": None, "target": "yes"}, USER]
    (sample,) = Dataset.load(_write(tmp_path, {**GOOD, "input": messages})).samples
    assert [message.content for message in sample.input] == ["Hi", None, "And?", None, "Hi"]
    assert [message.target for message in sample.input] == [None, None, None, "yes", None]
    assert sample.turns == 3


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def test_tools_are_kept_as_they_stand_in_the_file(tmp_path: Path) -> None:
    (sample,) = Dataset.load(_write(tmp_path, {**GOOD, "tools": [TOOL]})).samples
    assert sample.tools == (TOOL,)
    assert sample.digest != Dataset.load(_write(tmp_path, GOOD)).samples[0].digest


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ([{"name": "find"}], "`tools.0."),
        ([{"type": "function", "function": {"name": "a b"}}], "`tools.0.function.name`: string should match pattern"),
        ([{"type": "function", "function": {}}], "`tools.0.function.name`: missing."),
        ([TOOL, TOOL], "`tools.1`: a tool named `find` stands there already."),
        ([{"type": "function", "function": {"name": "f", "parameters": {"type": "dict"}}}], "`tools.0.function.param"),
    ],
)
def test_a_tool_has_the_shape_of_the_openai_api(tmp_path: Path, tools: list[Any], expected: str) -> None:
    path = _write(tmp_path, {**GOOD, "tools": tools})
    assert _error(path).startswith(f"{path}:1: {expected}")


def test_variables_become_one_user_message_by_the_tasks_template(tmp_path: Path) -> None:
    path = _write(tmp_path, {**GOOD, "input": {"title": "A & B", "items": ["x", "y"]}})
    template = "# {{ title }}\n{% for item in items %}\n* {{ item }}\n{% endfor %}\nEnd"
    (sample,) = Dataset.load(path, template=template).samples
    assert sample.input == (Message(role="user", content="# A & B\n* x\n* y\nEnd"),)
    assert sample.variables == {"title": "A & B", "items": ["x", "y"]}


def test_what_a_template_makes_of_variables_is_the_identity(tmp_path: Path) -> None:
    path = _write(tmp_path, {**GOOD, "input": {"document": "x"}})
    one, other = (
        Dataset.load(path, template=text).digest for text in ("Sum up: {{ document }}", "Read {{ document }}")
    )
    assert one != other
    as_text = _write(tmp_path, {**GOOD, "input": "Sum up: x"})
    assert Dataset.load(as_text).digest == one


@pytest.mark.parametrize(
    ("variables", "template", "expected"),
    [
        ({"document": "x"}, "{{ document }} {{ title }}", "the input template needs the variable `title`. Add it"),
        (
            {"document": "x", "titel": "y"},
            "{{ document }} {{ title }}",
            "does not use the variable `titel`. Did you mean",
        ),
        ({"document": "x"}, "{{ document.y.z }}", "the input template fails: 'str object' has no attribute 'y'"),
        ({"document": "x"}, "{{ document / 2 }}", "the input template fails: unsupported operand"),
        ({"document": "x"}, "{{ document.__class__ }}", "the input template fails: access to attribute '__class__'"),
        ({"document": " "}, "{{ document }}", "the input template makes an empty message"),
        ("a text", "{{ document }}", "`input`: the task has an input template, so an object of its variables is"),
    ],
)
def test_variables_that_do_not_fit_their_template_are_one_error_that_says_where(
    tmp_path: Path, variables: Any, template: str, expected: str
) -> None:
    path = _write(tmp_path, GOOD | {"input": variables})
    with pytest.raises(DatasetError) as caught:
        Dataset.load(path, template=template)
    assert caught.value.message.startswith(f"{path}:1: `input`: ")
    assert expected in caught.value.message
    assert "\n" not in caught.value.message


def test_a_template_may_ask_whether_a_variable_is_there(tmp_path: Path) -> None:
    path = _write(tmp_path, {**GOOD, "input": {"document": "x"}})
    template = "{{ document }}{% if title is defined %} {{ title }}{% endif %}"
    assert Dataset.load(path, template=template).samples[0].text == "x"


def test_a_template_that_is_no_jinja_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^The input template is wrong at its line 2: "):
        Dataset.load(_write(tmp_path, GOOD), template="one\n{{ two")


def test_messages_stand_for_themselves_beside_a_template(tmp_path: Path) -> None:
    path = _write(tmp_path, {**GOOD, "input": [USER]})
    assert Dataset.load(path, template="{{ document }}").samples[0].text == "Hi"


def test_nothing_of_a_template_engine_is_loaded_without_a_template() -> None:
    code = "import sys, changeover.evals.datasets; sys.exit(bool({'jinja2', 'yaml', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_written_dataset_reads_as_the_same(tmp_path: Path) -> None:
    lines = [
        {**GOOD, "tags": ["t"], "cluster": "c", "source": "s", "tools": [TOOL]},
        {**GOOD, "id": "b", "input": [USER, {**MODEL, "target": "x"}, USER], "target": {"any": ["é\u2028"]}},
        {**GOOD, "id": "c", "input": {"document": "x"}},
    ]
    dataset = Dataset.load_unrendered(_write(tmp_path, *lines))
    write_dataset(tmp_path / "deep" / "again.jsonl", dataset.samples)
    assert Dataset.load_unrendered(tmp_path / "deep" / "again.jsonl").samples == dataset.samples
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["again.jsonl"]


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    samples = Dataset.load(path).samples
    with pytest.raises(DatasetError, match="is there already"):
        write_dataset(path, samples)
    write_dataset(path, samples, force=True)
    with pytest.raises(DatasetError, match="is a directory"):
        write_dataset(tmp_path, samples, force=True)


def test_a_missing_file_is_said_so(tmp_path: Path) -> None:
    assert "No dataset file" in _error(tmp_path / "none.jsonl")


def test_a_directory_is_no_dataset(tmp_path: Path) -> None:
    assert "cannot be read" in _error(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(content)
    assert "has no sample" in _error(path)


def test_bytes_that_are_not_utf8_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "\xff"}\n')
    assert _error(path).startswith(f"{path}:2: not UTF-8 text")


def _many(tmp_path: Path, count: int, clusters: int | None = None) -> Dataset:
    lines = [{**GOOD, "id": f"s{i}", "cluster": f"c{i % clusters}" if clusters else None} for i in range(count)]
    return Dataset.load(_write(tmp_path, *lines))


def test_digest_ignores_spacing_key_order_and_line_order_and_sees_everything_else(tmp_path: Path) -> None:
    other = {"target": "5", "id": "b", "input": "x"}
    base = Dataset.load(_write(tmp_path, GOOD, other)).digest
    spaced = '{ "input":"What is 2 + 2?",   "target":"4","id":"a" }'
    assert Dataset.load(_write(tmp_path, other, spaced)).digest == base
    as_message = {**GOOD, "input": [{"role": "user", "content": GOOD["input"]}]}
    assert Dataset.load(_write(tmp_path, as_message, other)).digest == base
    for change in ({"target": "5"}, {"input": "y"}, {"id": "z"}, {"tags": ["t"]}, {"cluster": "c"}, {"source": "s"}):
        assert Dataset.load(_write(tmp_path, {**GOOD, **change}, other)).digest != base


def test_shuffling_keeps_every_sample_and_repeats_with_its_seed(tmp_path: Path) -> None:
    dataset = _many(tmp_path, 50)
    drawn = dataset.shuffled(3)
    assert sorted(sample.id for sample in drawn) == sorted(sample.id for sample in dataset.samples)
    assert drawn == dataset.shuffled(3)
    assert drawn != dataset.shuffled(4)
    assert drawn != dataset.samples


def test_shuffled_order_does_not_depend_on_the_file_or_on_added_samples(tmp_path: Path) -> None:
    lines = [{**GOOD, "id": f"s{i}"} for i in range(20)]
    drawn = [sample.id for sample in Dataset.load(_write(tmp_path, *lines)).shuffled(1)]
    more = Dataset.load(_write(tmp_path, {**GOOD, "id": "new"}, *reversed(lines))).shuffled(1)
    assert [sample.id for sample in more if sample.id != "new"] == drawn


def test_every_sample_comes_first_about_as_often(tmp_path: Path) -> None:
    dataset = _many(tmp_path, 5)
    first = Counter(dataset.shuffled(seed)[0].id for seed in range(1000))
    assert len(first) == 5
    assert all(140 < count < 260 for count in first.values())


def test_clusters_are_drawn_together_in_random_order(tmp_path: Path) -> None:
    drawn = [sample.cluster for sample in _many(tmp_path, 30, clusters=6).shuffled(2)]
    assert [drawn[i] for i in range(0, 30, 5)] != [f"c{i}" for i in range(6)]
    assert all(len(set(drawn[i : i + 5])) == 1 for i in range(0, 30, 5))

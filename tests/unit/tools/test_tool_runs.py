"""Whole runs of tools: order, progress, contract, deadline, and what goes on where a run was interrupted."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.tools import Bench, Kept, Scripted, TextReader, bench

from changeover.core.errors import ConfigError, ContractError, OverdueError, RequestError
from changeover.tools.caller import Answered
from changeover.tools.inputs import output_schema, read_example
from changeover.tools.load import load_tool
from changeover.tools.values import Citation, File, Outcome

CALL = '{ do = "call", name = "result", task = "ask", give = { text = "text" } }'
READ = '{ do = "extract", name = "read", file = "document" }'
DOCUMENT = 'document = { type = "document" }'
EXAMPLE = '{ document = "@out.json" }'


def summary(root: Path, **of: Any) -> Bench:
    """The tool that ships first, with a caller of ours."""
    with resources.as_file(resources.files("changeover.tools") / "shipped" / "document-summary") as folder:
        return Bench(tool=load_tool(folder), cache=root / "cache", **of)


LONG = File(name="note.md", data="\f".join(f"Page {n} says {n * 111}. " * 120 for n in range(1, 5)).encode())


async def test_a_document_of_any_length_is_summarised_with_its_pages(tmp_path: Path) -> None:
    def answer(message: str) -> str:
        return "Page 2 says 222. It says 7 things." if "222" in message else "Page 4 says 444."

    tool = summary(tmp_path, caller=Scripted(answer))
    outcome = await tool.run(document=LONG, sentences=2)
    assert outcome.text == outcome.value["summary"] == "Page 2 says 222."
    assert (outcome.value["pages"], outcome.value["parts"]) == (4, 2)
    assert outcome.problems == ["`checked`: something was left out: the figure 7 does not stand in the source."]
    [citation] = outcome.citations
    assert (citation.document, citation.page, citation.supported) == ("note.md", 2, True)
    assert [step.name for step in outcome.steps] == ["read", "parts", "notes", "summary", "checked", "sources"]
    assert [step.calls for step in outcome.steps] == [0, 0, 2, 1, 0, 0]
    assert outcome.tool == "document-summary"
    assert outcome.digest == tool.tool.digest


async def test_progress_tells_every_step_page_and_call(tmp_path: Path) -> None:
    tool = summary(tmp_path, caller=Scripted("Page 1 says 111."))
    await tool.run(document=LONG)
    assert [(each.number, each.step) for each in tool.progress if each.of is None] == [
        (1, "read"), (2, "parts"), (3, "notes"), (4, "summary"), (5, "checked"), (6, "sources"),
    ]  # fmt: skip
    assert [each.done for each in tool.progress if each.step == "read" and each.of] == [1, 2, 3, 4]
    assert [(each.done, each.of) for each in tool.progress if each.step == "notes" and each.of] == [
        (1, 2), (2, 2),
    ]  # fmt: skip
    assert {each.steps for each in tool.progress} == {6}


async def test_who_goes_on_reads_no_file_again(tmp_path: Path) -> None:
    tool = summary(tmp_path, caller=Scripted("Page 1 says 111."), journal=Kept())
    first = await tool.run(document=LONG)
    tool.reader.read_names.clear()
    tool.caller.asked.clear()
    second = await tool.run(document=LONG)
    assert tool.reader.read_names == []
    assert tool.caller.asked == []
    assert (second.value, second.citations, second.problems) == (first.value, first.citations, first.problems)


@pytest.mark.parametrize("answer", ["", " \n", "It was 99.", "\ud800", "{}", "<|im_end|>", "9" * 50_000])
async def test_garbage_never_gets_out(tmp_path: Path, answer: str) -> None:
    tool = summary(tmp_path, caller=Scripted(answer))
    try:
        outcome = await tool.run(document=LONG)
    except ContractError:
        return
    _holds(tool, outcome)


GARBAGE = st.text(max_size=60) | st.sampled_from(
    ["", "[]", "{}", "null", '{"n": 1}', '{"n": "x"}', "```json\n[1]\n```", "[" * 2_000, '{"n": NaN}', "1. 2. 3."]
)


def _holds(tool: Bench, outcome: Outcome) -> None:
    jsonschema.validate(outcome.value, output_schema(tool.tool))
    msgspec.json.encode(outcome)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    schema = {
        "type": "object",
        "required": ["n", "text"],
        "properties": {"n": {"type": "integer"}, "text": {"type": "string", "minLength": 1, "maxLength": 40}},
    }
    return bench(
        tmp_path_factory.mktemp("tools"),
        '{ do = "call", name = "fields", task = "ask", answer = "json", give = { text = "text" } },\n'
        '{ do = "validate", name = "kept", value = "fields", repair = "fields", otherwise = "drop", '
        'checks = [{ check = "schema", schema_file = "n.json" }] },\n'
        '{ do = "call", name = "said", task = "ask", give = { text = "text" } },\n'
        '{ do = "validate", name = "result", value = "said", otherwise = "drop", '
        'checks = [{ check = "figures", source = "text" }, { check = "max-words", most = 8 }] }',
        value="{ n = 'kept.n', text = 'result' }",
        out__json=json.dumps(schema),
        n__json=json.dumps({"type": "object", "required": ["n"]}),
    )


@given(st.lists(GARBAGE, min_size=4, max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_contract_holds_whatever_a_model_answers(strict: Bench, answers: list[str]) -> None:
    strict.caller = Scripted(answers)
    try:
        outcome = asyncio.run(strict.run(text="a 1"))
    except ContractError:
        return
    _holds(strict, outcome)


@given(st.text(max_size=200))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_hostile_inputs_are_answered_or_refused(strict: Bench, text: str) -> None:
    strict.caller = Scripted(['{"n": 1}', "fine"])
    try:
        outcome = asyncio.run(strict.run(text=text))
    except RequestError:
        return
    _holds(strict, outcome)


async def test_what_breaks_the_contract_is_given_to_nobody(tmp_path: Path) -> None:
    schema = '{"type": "object", "properties": {"value": {"type": "string", "maxLength": 3}}}'
    tool = bench(tmp_path, CALL, answer="secret", out__json=schema)
    with pytest.raises(ContractError, match=r"What `tool` made breaks its contract: at `\$\.value`"):
        await tool.run(text="x")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{ value = 'nothing.at_all' }", "nothing is called `nothing`"),
        ("{ value = 'text.missing' }", "`text.missing` cannot be computed"),
        ("{ value = '1 / 0' }", "`1 / 0` cannot be computed: division by zero"),
        ("{ value = 'text[0]' }", "cannot be computed"),
    ],
)
async def test_an_output_that_cannot_be_computed_is_said(tmp_path: Path, value: str, said: str) -> None:
    with pytest.raises((ContractError, ConfigError), match=said):
        await bench(tmp_path, CALL, value=value).run(text="")


async def test_a_step_whose_condition_is_false_is_left_out(tmp_path: Path) -> None:
    steps = CALL.replace('do = "call"', 'do = "call", when = "text | length > 3"')
    tool = bench(tmp_path, steps, value="{ value = 'result or text' }", text="result or text")
    outcome = await tool.run(text="abc")
    assert (outcome.value, outcome.steps, tool.caller.asked) == ({"value": "abc"}, [], [])
    assert (await tool.run(text="abcd")).value == {"value": "fine"}


async def test_a_template_sees_every_input_and_result(tmp_path: Path) -> None:
    tool = bench(
        tmp_path,
        f'{CALL.replace("result", "said")},\n{{ do = "render", name = "result", template = "page.md" }}',
        page__md="# {{ text }}\n\n{% for letter in said %}{{ letter }}-{% endfor %}\n",
        answer="ab",
    )
    assert (await tool.run(text="T")).text == "# T\n\na-b-"


async def test_a_template_that_fails_names_itself(tmp_path: Path) -> None:
    tool = bench(tmp_path, '{ do = "render", name = "result", template = "page.md" }', page__md="{{ text.no.no }}")
    with pytest.raises(ContractError, match=r"The step `result`: `page\.md`: The template cannot be filled in"):
        await tool.run(text="T")


@pytest.mark.parametrize(
    "expression",
    [
        "text.__class__",
        "''.__class__.__mro__",
        "text.format.__globals__",
        "namespace.__init__.__globals__",
        "problems.append(1)",
    ],
)
async def test_no_expression_leaves_the_sandbox(tmp_path: Path, expression: str) -> None:
    tool = bench(tmp_path, CALL, value=f"{{ value = {json.dumps(expression)} }}")
    with pytest.raises(ContractError, match="cannot be computed"):
        await tool.run(text="T")


async def test_a_table_is_rows_and_a_file_as_well(tmp_path: Path) -> None:
    steps = (
        '{ do = "extract", name = "read", file = "table" },\n{ do = "render", name = "result", template = "page.md" }'
    )
    tool = bench(
        tmp_path,
        steps,
        inputs='table = { type = "table" }',
        example='{ table = "@out.json" }',
        page__md="{{ table[0].b }} {{ read.text }}",
    )
    outcome = await tool.run(table=File(name="a.csv", data=b"a\tb\n1\t2"))
    assert outcome.text == "2 a\tb\n1\t2"
    assert tool.reader.read_names == ["a.csv"]
    assert (await tool.run(table=[{"a": "x", "b": "y,z"}])).text == 'y,z a,b\r\nx,"y,z"'
    assert tool.reader.read_names == ["a.csv", "table.csv"]


async def test_several_documents_are_a_list(tmp_path: Path) -> None:
    tool = bench(
        tmp_path,
        READ.replace("document", "files").replace("read", "result"),
        inputs='files = { type = "documents" }',
        example='{ files = ["@out.json"] }',
        value="{ value = \"result | map(attribute='name') | list\" }",
        text="'x'",
    )
    outcome = await tool.run(files=[File(name="a.txt", data=b"a"), File(name="b.txt", data=b"b")])
    assert outcome.value == {"value": ["a.txt", "b.txt"]}
    assert [(each.done, each.of) for each in tool.progress if each.of] == [(1, 2), (2, 2)]


async def test_a_document_that_was_not_given_is_not_read(tmp_path: Path) -> None:
    tool = bench(
        tmp_path,
        READ.replace("read", "result"),
        inputs='document = { type = "document", required = false }',
        text="'x'",
    )
    with pytest.raises(RequestError, match="The step `result` has no file to read: `document` is none"):
        await tool.run()


async def test_what_was_looked_up_is_cited(tmp_path: Path) -> None:
    tool = bench(
        tmp_path,
        '{ do = "look-up", name = "result", question = "text", source = "[\'Dogs bark.\', \'Cats purr.\']", most = 1 }',
        value="{}",
        text="'x'",
        output='citations = "result"',
    )
    [citation] = (await tool.run(text="Which cats?")).citations
    assert citation == Citation(
        claim="Which cats?", document="", page=None, label="", quote="Cats purr.", score=1.0, supported=True
    )


class Silent:
    """Never answers."""

    async def ask(
        self, task: str, messages: Sequence[Mapping[str, Any]], *, on_text: Callable[[str], None] | None = None
    ) -> Answered:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_run_has_a_deadline(tmp_path: Path) -> None:
    tool = bench(tmp_path, CALL, more="timeout_s = 0.05")
    tool.caller = Silent()  # type: ignore[assignment]
    with pytest.raises(OverdueError, match=r"`tool` did not end within its 0\.05 s: it was at step 1 of 1") as late:
        await tool.run(text="x")
    assert (late.value.status, late.value.code) == (504, "model_failed")


class TimedOut:
    """Something below it ran into a limit of its own."""

    async def ask(
        self, task: str, messages: Sequence[Mapping[str, Any]], *, on_text: Callable[[str], None] | None = None
    ) -> Answered:
        raise TimeoutError("a disk that is far away")


async def test_a_limit_of_something_else_is_not_said_to_be_the_runs_deadline(tmp_path: Path) -> None:
    tool = bench(tmp_path, CALL)
    tool.caller = TimedOut()  # type: ignore[assignment]
    with pytest.raises(TimeoutError, match="a disk that is far away"):
        await tool.run(text="x")


async def test_problems_can_be_asked_for(tmp_path: Path) -> None:
    tool = bench(
        tmp_path,
        f"{CALL.replace('result', 'said')},\n"
        '{ do = "validate", name = "result", value = "said", checks = [{ check = "max-words", most = 1 }], otherwise = "flag" }',
        value="{ value = 'problems | length' }",
        answer="two words",
    )
    assert (await tool.run(text="x")).value == {"value": 1}


async def test_the_shipped_example_runs(tmp_path: Path) -> None:
    tool = summary(tmp_path, caller=Scripted("The Harbour branch has 412 new accounts."), reader=TextReader())
    said = File(
        name="example.txt", data=b"The Harbour branch opened 412 new accounts in March."
    )  # the reader takes texts
    outcome = await tool.run(**{**read_example(tool.tool), "document": said})
    assert outcome.text == "The Harbour branch has 412 new accounts."


async def test_what_computes_for_long_leaves_the_threads_of_the_store_alone(tmp_path: Path) -> None:
    steps = """
    { do = "split", name = "parts", source = "text" },
    { do = "look-up", name = "found", question = "'lift'", source = "parts" },
    { do = "cite", name = "cited", text = "'The lift stands.'", source = "found" },
    { do = "validate", name = "result", value = "text", checks = [{ check = "max-words", most = 9 }] }
    """
    tool = bench(tmp_path, steps)
    with ThreadPoolExecutor(2) as own, ThreadPoolExecutor(1) as everybodys:
        asyncio.get_running_loop().set_default_executor(everybodys)
        release = threading.Event()
        blocked = everybodys.submit(release.wait)  # no thread of everybody's is free
        try:
            tool.pool = own
            async with asyncio.timeout(10):
                assert (await tool.run(text="The lift stands still.")).text == "The lift stands still."
            assert not blocked.done()
        finally:
            release.set()

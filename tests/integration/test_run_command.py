"""`changeover run` as a user meets it: against a running gateway, files in, results out."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import commands
from tests.support.processes import Up, begin, end_of, until

MEMO = "The lift in house B is out of service from 11 to 14 March. Ask Ms Ferro for the freight lift."


@dataclass(kw_only=True)
class User(commands.User):
    """Somebody who runs tools in a project's directory, with a folder of their own."""

    up: Up
    folder: Path
    patch: pytest.MonkeyPatch
    before: tuple[str, ...] = ("run",)

    def call(self, *arguments: str, text: str | None = None) -> tuple[int, str, str]:
        """As `commands.User`, with a text on standard input."""
        if text is not None:
            self.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return super().call(*arguments)

    def file(self, name: str, text: str = MEMO) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)


@pytest.fixture
def user(tools_up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    monkeypatch.chdir(tools_up.project)
    return User(project=tools_up.project, said=capsys, up=tools_up, folder=tmp_path, patch=monkeypatch)


def test_a_file_is_run_and_its_text_stands_alone_on_standard_output_with_its_sources(user: User) -> None:
    status, out, err = user.call("document-summary", user.file("memo.txt"), "--set", "sentences=11")
    assert status == 0, err
    assert "at most 11 sentences" in out
    assert "] section 1 “Ask Ms Ferro for the freight lift.”" in out
    assert re.search(r"document-summary.summarise by echo, calls: 1 · \d+\.\d s\n", err)
    status, _, err = user.call("document-summary", user.file("memo.txt"), "--set", "sentences=2")
    assert "warning `checked`: something was left out: the figure 2" in err


def test_the_example_that_comes_with_a_tool_is_run_by_either_name(user: User) -> None:
    by_option, by_word = user.json("document-summary", "--example"), user.json("document-summary", "@example")
    assert "Harbour" in by_option["text"]
    assert by_option["value"] == by_word["value"]
    assert any(each["supported"] for each in by_option["citations"])


def test_text_comes_from_the_line_from_a_file_or_from_standard_input(user: User) -> None:
    assert "a few words" in user.call("headline", "a few words")[1]
    assert "freight lift" in user.call("headline", user.file("memo.txt"))[1]
    assert "freight lift" in user.call("headline", "--set", f"text=@{user.file('memo.txt')}", "--set", "words=5")[1]
    status, out, err = user.call("document-summary", "-", text=MEMO)
    assert status == 0, err
    assert "freight lift" in out


def test_a_streamed_answer_is_shown_once(user: User) -> None:
    _, out, _ = user.call("talk", "one two three", "--stream")
    assert out == "one two three\n"


def test_orders_to_the_terminal_in_an_answer_are_not_obeyed(user: User) -> None:
    for shown in ("--stream", "--no-stream"):
        _, out, _ = user.call("talk", "red \x1b[31m alert [bold]", shown)
        assert out == "red ?[31m alert [bold]\n"


def test_lists_are_given_word_by_word_or_as_json(user: User) -> None:
    assert user.json("waits", "--set", "words=a", "--set", "words=b c")["value"]["words"] == ["a", "b c"]
    assert user.json("waits", "--set", 'words=["x"]')["value"]["words"] == ["x"]


def test_a_result_is_written_to_a_file_or_into_a_directory_under_the_files_name(user: User) -> None:
    memo, place = user.file("memo.txt"), user.folder / "out"
    place.mkdir()
    assert user.call("document-summary", memo, "-o", str(user.folder / "one.md"))[0] == 0
    assert user.call("document-summary", memo, "-o", str(place))[0] == 0
    assert "freight lift" in (user.folder / "one.md").read_text()
    assert (place / "memo.md").read_text() == (user.folder / "one.md").read_text()


def test_several_files_are_a_batch_in_which_one_that_fails_stops_no_other(user: User) -> None:
    files = [user.file(f"{name}.txt", f"Report {name} of the branch.") for name in ("north", "south", "west")]
    broken, place = user.file("east.pdf", "%PDF-1.4 no more"), user.folder / "out"
    arguments = ("document-summary", *files, broken, "-o", str(place), "--at-once", "2")
    status, out, err = user.call(*arguments)
    assert status == 1
    assert sorted(file.name for file in place.iterdir()) == ["north.md", "south.md", "west.md"]
    assert f"✓ {files[0]} → {place / 'north.md'}" in out
    assert f"✗ {broken}  `east.pdf` is damaged" in out
    assert "3 done, 1 failed" in err
    (place / "south.md").write_text("mine now")
    again = user.json(*arguments, "--set", "sentences=1", status=1)
    assert again["skipped"] == []  # the whole results are asked for as well now, and were not there
    assert json.loads((place / "south.json").read_text())["tool"] == "document-summary"
    assert user.json(*arguments, status=1)["skipped"] == files
    assert user.json(*arguments, "--again", status=1)["skipped"] == []


def test_two_files_of_one_name_keep_their_endings_apart(user: User) -> None:
    files = [user.file("memo.txt"), user.file("memo.md")]
    assert user.call("document-summary", *files, "-o", f"{user.folder}/out/")[0] == 0
    assert sorted(file.name for file in (user.folder / "out").iterdir()) == ["memo.md.md", "memo.txt.md"]


def test_no_result_takes_the_place_of_a_file_that_is_to_be_read(user: User) -> None:
    files = [user.file("memo.md"), user.file("other.md")]
    status, _, err = user.call("document-summary", *files, "-o", str(user.folder), "--again")
    assert status == 2
    assert f"written over `{files[0]}`" in err
    assert Path(files[0]).read_text() == MEMO


def test_a_result_that_cannot_be_written_is_shown_instead_of_lost(user: User) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("neither tried nor proven: no device here that is always full")
    status, out, err = user.call("headline", "a few words", "-o", "/dev/full")
    assert status == 1
    assert "a few words" in out
    assert "`/dev/full` could not be written" in err


def test_files_may_have_any_name_and_each_gets_one_line(user: User) -> None:
    names = [b"two\nlines.txt", b"no \xff letter.txt", b"-o [bold].txt", "\N{HIRAGANA LETTER A}.txt".encode()]
    files = [user.file(os.fsdecode(name)) for name in names]
    found = user.json("document-summary", *files, "-o", f"{user.folder}/out/")
    assert found["failed"] == {}
    assert len(list((user.folder / "out").glob("*.md"))) == len(names)
    status, out, _ = user.call("document-summary", *files, "-o", f"{user.folder}/out/")
    assert status == 0
    assert len(out.splitlines()) == len(names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name a tool"),
        (["headlin", "x"], "Did you mean `headline`?"),
        (["headline"], "`headline` needs `text` (The text that needs a heading)"),
        (["headline", "x", "y"], "`y` is more than `headline` takes"),
        (["headline", "x", "--set", "wrods=3"], "Did you mean `words`?"),
        (["headline", "x", "--set", "words"], "write `NAME=VALUE`"),
        (["headline", "x", "--set", "words=many"], "`words` is a number"),
        (["headline", "x", "--set", "words=50"], "at most 20"),
        (["document-summary", "nowhere.pdf"], "`nowhere.pdf` is no file"),
        (["document-summary", "."], "`.` is a directory; name the files in it"),
        (["document-summary", "--set", "document=@nowhere.pdf"], "no file `nowhere.pdf`"),
        (["headline", "x", "--chat"], "not made to be talked with"),
        (["headline", "x", "-o", "nowhere/x.md"], "there is no directory `nowhere`"),
        (["headline", "changeover.toml", "-o", "./changeover.toml"], "is what the tool shall read"),
        (["headline", "--set", "text=@changeover.toml", "-o", "changeover.toml"], "is what the tool shall read"),
        (["--resume", "job_x", "-o", "tools"], "`-o tools` is a directory"),
    ],
)
def test_what_cannot_be_run_is_said_with_what_to_do(user: User, arguments: list[str], said: str) -> None:
    status, out, err = user.call(*arguments)
    assert (status, out) == (2, "")
    assert said in err


def test_a_conversation_goes_on_until_the_input_ends(user: User) -> None:
    said = "first\n\nsecond\n/exit\nnever\n"
    status, out, _ = user.call("talk", "--chat", text=said)
    assert (status, out) == (0, "Say something.\nfirst\nsecond\n")
    _, out, _ = user.call("talk", "--chat", "--json", text=said)
    turns = json.loads("[" + out.strip().replace("\n}\n{", "\n},\n{") + "]")
    assert [turn["value"] for turn in turns] == [{"reply": "first", "turns": 0}, {"reply": "second", "turns": 2}]


def test_a_conversation_that_is_longer_than_the_tool_takes_goes_on_without_its_beginning(user: User) -> None:
    status, out, err = user.call("talk", "--chat", text="one\ntwo\nthree\nfour\n")
    assert (status, out, err) == (0, "Say something.\none\ntwo\nthree\nfour\n", "")


def test_outside_a_project_an_address_and_a_key_are_needed_and_are_enough(user: User) -> None:
    user.patch.chdir(user.folder)
    status, _, err = user.call("headline", "x")
    assert status == 2
    assert "No project here" in err
    assert user.call("headline", "hello", "--url", user.up.address, "--key", user.up.key)[0] == 0
    user.patch.setenv("CHANGEOVER_URL", user.up.address)
    user.patch.setenv("CHANGEOVER_KEY", "co-nobody")
    status, _, err = user.call("headline", "hello")
    assert status == 1
    assert "key" in err


def test_a_job_outlives_its_command_and_is_picked_up_and_a_plain_run_is_cancelled(user: User) -> None:
    over = user.folder / "over"
    left = begin(user.up.project, "run", "waits", "--set", f"until={over}", "--job")
    assert left.stderr is not None
    begun = left.stderr.readline()
    until(user.up.functions)  # and the command waits for it
    left.send_signal(signal.SIGINT)
    ended = end_of(left)
    job = begun.split()[1]
    assert ended.status == 130
    assert f"changeover run --resume {job}" in ended.err
    over.touch()
    assert user.json("--resume", job)["text"] == "waited for 0"

    cancelled = begin(user.up.project, "run", "waits", "--set", "seconds=60")
    until(user.up.functions)
    cancelled.send_signal(signal.SIGINT)
    assert end_of(cancelled).status == 130
    until(lambda: not user.up.functions())


def test_a_result_of_a_batch_that_cannot_be_written_stays_at_the_gateway(user: User) -> None:
    files = [user.file("a.txt"), user.file("b.txt")]
    (user.folder / "out" / "a.md").mkdir(parents=True)  # something that no file takes the place of
    status, out, err = user.call("document-summary", *files, "--again", "-o", str(user.folder / "out"))
    assert status == 1
    assert (user.folder / "out" / "b.md").is_file(), err
    job = re.search(r"`changeover run --resume (job_[\w-]+)` gives it", " ".join((out + err).split()))
    assert job is not None, out + err
    assert user.json("--resume", job[1])["text"] in (user.folder / "out" / "b.md").read_text()  # of the same text


def test_a_batch_that_is_stopped_leaves_no_job_behind(user: User) -> None:
    files = [user.file(f"{name}.txt") for name in "ab"]
    environment = {**os.environ, "CHANGEOVER_URL": user.up.address, "CHANGEOVER_KEY": user.up.key}
    batch = begin(user.folder, "run", "slow-reader", *files, env=environment)
    until(lambda: len(user.up.functions()) == len(files))
    batch.send_signal(signal.SIGINT)
    assert end_of(batch).status == 130
    until(lambda: not user.up.functions())

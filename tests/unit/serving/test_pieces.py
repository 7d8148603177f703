"""Text out of tokens: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.serving.engines.pieces import Pieces, is_cut


def of_bytes(tokens: Sequence[int]) -> str:
    """A tokenizer whose tokens are bytes, as many fall back to."""
    return bytes(tokens).decode(errors="replace")


def said(text: str, stops: Sequence[str] = ()) -> tuple[list[str], Pieces]:
    pieces = Pieces(of_bytes, stops)
    given = [pieces.push(byte) for byte in text.encode()]
    return [*given, pieces.end()], pieces


@given(st.text(alphabet=st.characters(exclude_characters="\ufffd", exclude_categories=["Cs"])))
def test_all_text_comes_and_no_piece_ends_inside_a_character(text: str) -> None:
    pieces, _ = said(text)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_comes_as_soon_as_it_is_whole() -> None:
    pieces, _ = said("né🎉")
    assert pieces == ["n", "", "é", "", "", "", "🎉", ""]


def test_bytes_that_never_become_a_character_do_not_hold_the_text_back_for_ever() -> None:
    pieces = Pieces(of_bytes)
    shown = "".join(pieces.push(0xFF) for _ in range(20))
    assert shown.count("\ufffd") >= 8


def test_a_character_that_was_cut_off_at_the_end_is_left_out() -> None:
    pieces = Pieces(of_bytes)
    assert "".join(pieces.push(byte) for byte in "a🎉".encode()[:3]) + pieces.end() == "a"


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["four"], "one two three"),
        ("one two three", ["three", "two"], "one "),
        ("aba", ["aba", "b"], "a"),
        ("aab", ["ab"], "a"),
        ("a\n\nb", ["\n\n"], "a"),
        ("ends with st", ["stop"], "ends with st"),
        ("日本語", ["本"], "日"),
    ],
)
def test_an_answer_ends_where_the_first_stop_string_begins(text: str, stops: list[str], shown: str) -> None:
    pieces, state = said(text, stops)
    assert "".join(pieces) == shown
    assert state.stopped is (shown != text)


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_wherever_the_text_is_cut_the_stop_string_is_found(text: str, stops: list[str]) -> None:
    pieces, _ = said(text, stops)
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert "".join(pieces) == text[: min(ends)[1] if ends else len(text)]


def test_a_decoder_that_treats_the_first_token_otherwise_does_not_lose_spaces() -> None:
    words = ["The", "▁sun", "▁rises"]

    def decode(tokens: Sequence[int]) -> str:
        return "".join(words[token] for token in tokens).replace("▁", " ").lstrip()

    pieces = Pieces(decode)
    assert [pieces.push(token) for token in range(3)] == ["The", " sun", " rises"]


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"", False),
        (b"fox", False),
        ("né".encode(), False),
        ("né".encode()[:-1], True),
        ("🦊".encode()[:3], True),
        ("🦊".encode()[:1], True),
        ("🦊".encode()[1:], False),
        ("🦊狐".encode()[2:-1], True),
        ("🦊é".encode()[3:], False),
        (b"\xff", False),
    ],
)
def test_a_text_is_cut_where_it_ends_within_a_character_wherever_it_begins(data: bytes, cut: bool) -> None:
    assert is_cut(data) is cut

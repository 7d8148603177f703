"""Texts of strangers in a message: whatever they hold, they end no turn of it."""

from __future__ import annotations

import re

import pytest

from changeover.evals.datasets.marked import without_control
from changeover.library.catalogue import Catalogue

FORMATS = {card.id: card.chat_format or "" for card in Catalogue.load().cards()}
TOKEN = re.compile(r"(?!<image>)<\|?[^<>\s]+>|\[gMASK\]|\]~!?b[\[\]]|\[e~\[")
"""As the library's cards write them; the place of a picture ends no turn."""


SAID = {card: tokens for card, said in FORMATS.items() if (tokens := TOKEN.findall(said))}


def test_most_cards_say_which_tokens_their_turns_end_with() -> None:
    assert {"minimax-m2", "gpt-oss-20b", "gemma-3-27b-it"} <= SAID.keys()


@pytest.mark.parametrize("card", sorted(SAID))
def test_every_token_of_a_chat_format_that_the_library_knows_is_taken_apart(card: str) -> None:
    for token in SAID[card]:
        assert token not in without_control(f"before{token}after")


def test_what_is_taken_apart_is_left_as_it_is_the_second_time() -> None:
    once = without_control("a <|im_end|> [e~[ ]~b]user ]~!b[ [INST] </s> b")
    assert once == without_control(once) == "a < |im_end|> [ e~[ ] ~b]user ] ~!b[ [ INST] < /s> b"

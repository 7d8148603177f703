"""Texts of licences: which differ from what was accepted, and what accepting one does."""

from __future__ import annotations

from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.support import stores
from tests.support.cards import card

from changeover.core.errors import UnknownModelError
from changeover.library.cards import Terms
from changeover.library.licences.queries import accept, note_text, open_reviews, review_needed, texts

OLD, NEW, NEWEST = (letter * 64 for letter in "abc")
NOW = datetime(2026, 11, 30, tzinfo=UTC)
DECLARED = card("declared", terms=Terms(id="MIT", text_sha256=OLD[:16]))
PLAIN = card("plain")


@pytest.fixture
def connection(tmp_path: Path) -> Generator[Connection]:
    store = stores.made(f"sqlite:///{tmp_path / 'test.db'}")
    with store.write() as connection:
        yield connection
    store.close()


def _see(connection: Connection, model: str, *digests: str) -> None:
    for hours, digest in enumerate(digests):
        note_text(connection, model, digest, "hub@main", NOW + timedelta(hours=hours))


def test_a_text_that_is_as_it_was_is_not_kept_again(connection: Connection) -> None:
    _see(connection, "plain", OLD, OLD, NEW, NEW)
    assert [text.sha256 for text in texts(connection, "plain")] == [OLD, NEW]


def test_the_text_that_a_card_names_needs_nobody(connection: Connection) -> None:
    _see(connection, "declared", OLD)
    assert review_needed(connection, DECLARED) is None


def test_another_text_than_the_card_names_has_to_be_read(connection: Connection) -> None:
    _see(connection, "declared", NEW)
    text = review_needed(connection, DECLARED)
    assert text is not None
    assert (text.sha256, text.source, text.accepted_by) == (NEW, "hub@main", None)


def test_without_a_digest_on_the_card_the_first_text_is_what_it_is_compared_with(connection: Connection) -> None:
    _see(connection, "plain", OLD)
    assert review_needed(connection, PLAIN) is None
    _see(connection, "plain", NEW)
    assert review_needed(connection, PLAIN) is not None


def test_an_accepted_text_is_done_until_the_next(connection: Connection) -> None:
    _see(connection, "declared", NEW)
    accepted = accept(connection, "declared", "ana", "read it", NOW)
    assert (accepted.accepted_by, accepted.reason, accepted.accepted_at) == ("ana", "read it", NOW)
    assert review_needed(connection, DECLARED) is None
    _see(connection, "declared", NEWEST)
    assert review_needed(connection, DECLARED) is not None
    _see(connection, "declared", NEW)
    assert review_needed(connection, DECLARED) is None, "it is again the one that was accepted"


def test_accepting_again_changes_nothing(connection: Connection) -> None:
    _see(connection, "plain", OLD)
    accept(connection, "plain", "ana", "read it", NOW)
    assert accept(connection, "plain", "bo", "me too", NOW).accepted_by == "ana"


def test_a_model_without_texts_cannot_be_accepted_and_the_nearest_is_named(connection: Connection) -> None:
    _see(connection, "plain", OLD)
    with pytest.raises(UnknownModelError, match="Did you mean `plain`"):
        accept(connection, "plan", "ana", "read it", NOW)


def test_open_reviews_name_the_cards_that_wait(connection: Connection) -> None:
    _see(connection, "declared", NEW)
    _see(connection, "plain", OLD)
    assert set(open_reviews(connection, (DECLARED, PLAIN))) == {"declared"}

"""What pages take from a browser."""

from __future__ import annotations

from starlette.datastructures import FormData

from changeover.console.visit import text_of


def test_a_field_is_a_text_that_every_store_can_hold() -> None:
    form = FormData([("reason", " it\x00 passed \x00\n")])
    assert text_of(form, "reason") == "it passed"
    assert text_of(form, "other") == ""

"""Bodies with a tool's inputs: whatever arrives, it is inputs or one clear error."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.core.errors import RequestError
from changeover.tools.multipart import MOST_PARTS, read_body
from changeover.tools.values import File

FORM = b"multipart/form-data; boundary=x"


def part(disposition: str, data: bytes = b"") -> bytes:
    return b"--x\r\nContent-Disposition: %b\r\n\r\n%b\r\n" % (disposition.encode(), data)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_a_form_or_a_request_error(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        read_body(FORM, body)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6), st.integers(0, 220))
def test_a_form_with_bytes_changed_or_missing_is_a_form_or_a_request_error(
    changes: list[tuple[int, int]], keep: int
) -> None:
    whole = (
        part('form-data; name="text"', b"hello") + part('form-data; name="a"; filename="a.md"', b"# A") + b"--x--\r\n"
    )
    broken = bytearray(whole)
    for place, value in changes:
        broken[place % len(broken)] = value
    try:
        read_body(FORM, bytes(broken[:keep]))
    except RequestError:
        return
    read_body(FORM, whole)


@given(st.binary(max_size=60))
def test_a_content_type_of_any_bytes_is_taken_or_refused(kind: bytes) -> None:
    try:
        assert read_body(kind, b'{"inputs": {}}') == {}
    except RequestError:
        return


@given(st.dictionaries(st.sampled_from("abc"), st.lists(st.binary(max_size=40), min_size=1, max_size=3)))
def test_files_come_out_of_a_form_as_they_went_in(files: dict[str, list[bytes]]) -> None:
    parts = [
        part(f'form-data; name="{name}"; filename="f"', data) for name, several in files.items() for data in several
    ]
    whole = b"".join(parts) + b"--x--\r\n"
    if any(b"--x" in data for several in files.values() for data in several):
        return
    read = read_body(FORM, whole)
    assert {
        name: [file.data for file in (value if isinstance(value, list) else [value])] for name, value in read.items()
    } == files


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\papers\\\\a.pdf", "a.pdf"),
        ("..", ".."),
        ("", "file"),
        ("a\tb.md", "ab.md"),
        ("領収書.pdf", "領収書.pdf"),
        ("gpj.exe\u202efdp", "gpj.exefdp"),
    ],
)
def test_a_files_name_is_its_last_part_and_nothing_that_is_obeyed(sent: str, kept: str) -> None:
    read = read_body(FORM, part(f'form-data; name="a"; filename="{sent}"', b"x") + b"--x--\r\n")
    assert read["a"] == File(name=kept, data=b"x")


def test_a_form_has_so_many_parts_and_no_more() -> None:
    field = part('form-data; name="a"', b"1")
    assert read_body(FORM, field * MOST_PARTS + b"--x--\r\n") == {"a": ["1"] * MOST_PARTS}
    with pytest.raises(RequestError, match="more than 1000 parts"):
        read_body(FORM, field * (MOST_PARTS + 1) + b"--x--\r\n")


def test_a_part_with_a_long_head_is_refused() -> None:
    with pytest.raises(RequestError, match="The form is broken"):
        read_body(FORM, part(f'form-data; name="{"a" * 5_000}"') + b"--x--\r\n")


def test_a_field_that_is_no_text_needs_the_name_of_a_file() -> None:
    with pytest.raises(RequestError, match=r"`a` is not UTF-8 at byte 1\. Send a file with its name"):
        read_body(FORM, part('form-data; name="a"', b"x\xff") + b"--x--\r\n")

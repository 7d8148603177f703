"""What a path asks for, and which part of a file a request wants: no socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeover.library.serve.address import Address, read_address
from changeover.library.serve.ranges import Span, Unsatisfiable, is_listed, wanted

ADDRESSES = [
    (b"/api/whoami-v2", Address("whoami")),
    (b"/api/models", Address("models")),
    (b"/api/models/a/b", Address("info", "a/b")),
    (b"/api/models/a/b/refs", Address("refs", "a/b")),
    (b"/api/models/a/b/revision/Q4_K_M", Address("info", "a/b", "Q4_K_M")),
    (b"/api/models/a/b/tree/main", Address("tree", "a/b", "main")),
    (b"/api/models/a/b/tree/main/sub/deep", Address("tree", "a/b", "main", "sub/deep")),
    (b"/a/b/resolve/main/sub%20dir/c.gguf", Address("file", "a/b", "main", "sub dir/c.gguf")),
]


@pytest.mark.parametrize(("path", "address"), ADDRESSES)
def test_the_hubs_routes_are_read_from_the_path(path: bytes, address: Address) -> None:
    assert read_address(path) == address


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"",
        b"/v1/models",
        b"/api/datasets/a/b",
        b"/a/b/resolve/main",
        b"/a/b/blob/main/c",
        b"/../b/resolve/main/c",
        b"/api/models/%2e%2e/b",
        b"/a%2Fb/c/resolve/main/d",
        b"/a/b/resolve/main/%ff",
        b"/\xff/b/resolve/main/c",
        b"/a/b/resolve/main/" + b"c" * 5_000,
    ],
)
def test_what_is_no_route_of_a_hub_is_none(path: bytes) -> None:
    assert read_address(path) is None


@given(st.binary(max_size=80))
def test_no_path_breaks_the_reading(path: bytes) -> None:
    read_address(b"/" + path)


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        (None, None),
        ("bytes=0-", Span(0, 10)),
        ("bytes=4-6", Span(4, 7)),
        ("bytes=9-9", Span(9, 10)),
        ("bytes=-4", Span(6, 10)),
        ("bytes=-40", Span(0, 10)),
        ("Bytes = 0-0", Span(0, 1)),
        ("bytes=6-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_a_range_is_one_span_or_the_whole_file(asked: str | None, span: Span | None) -> None:
    assert wanted(asked, 10) == span


@pytest.mark.parametrize(("asked", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_a_range_without_a_byte_cannot_be_had(asked: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        wanted(asked, size)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_span_is_never_outside_the_file(size: int, first: int, last: int) -> None:
    for asked in (f"bytes={first}-{last}", f"bytes={first}-", f"bytes=-{last}"):
        try:
            span = wanted(asked, size)
        except Unsatisfiable:
            continue
        assert span is None or 0 <= span.first < span.end <= size


def test_a_tag_that_the_caller_has_is_found_whatever_its_strength() -> None:
    assert is_listed('"a"', '"b", W/"a"')
    assert is_listed('"a"', "*")
    assert not is_listed('"a"', '"b"')
    assert not is_listed('"a"', None)

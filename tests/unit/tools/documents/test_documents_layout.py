"""In which order the lines of a page are read."""

from __future__ import annotations

from changeover.tools.documents.layout import Line, in_reading_order


def line(text: str, left: float, top: float, width: float = 400, height: float = 20) -> Line:
    return Line(text, left, top, left + width, top + height)


def test_lines_are_read_from_top_to_bottom_whatever_order_they_were_found_in() -> None:
    assert in_reading_order([line("three", 0, 60), line("one", 0, 0), line("two", 2, 31)]) == "one\ntwo\nthree"


def test_a_gap_parts_paragraphs() -> None:
    assert in_reading_order([line("one", 0, 0), line("two", 0, 28), line("three", 0, 90)]) == "one\ntwo\n\nthree"


def test_cells_of_a_row_stand_in_one_line_with_a_tab_between_them() -> None:
    rows = [line(f"item {row}", 0, row * 30, width=80) for row in range(6)]
    prices = [line(f"{row},50", 300, row * 30 + 3, width=60) for row in range(6)]

    assert in_reading_order(prices + rows).split("\n")[:2] == ["item 0\t0,50", "item 1\t1,50"]


def test_words_of_a_line_that_were_found_apart_are_joined() -> None:
    assert in_reading_order([line("world", 110, 2, width=90), line("hello", 0, 0, width=100)]) == "hello world"


def test_two_columns_of_prose_are_read_one_after_the_other() -> None:
    left = [line(f"left {row}", 0, 60 + row * 30) for row in range(5)]
    right = [line(f"right {row}", 450, 60 + row * 30) for row in range(5)]
    heading = line("A heading across both", 0, 0, width=850)

    read = in_reading_order([*right, heading, *left]).split()

    assert " ".join(read) == " ".join(["A heading across both", *(each.text for each in (*left, *right))])


def test_a_page_without_lines_has_no_text() -> None:
    assert in_reading_order([]) == ""

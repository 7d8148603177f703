"""Cutting documents into parts: nothing is lost, nothing is too long, and pages stay known."""

from hypothesis import given
from hypothesis import strategies as st

from changeover.tools.steps.split import parts_of
from changeover.tools.values import Document, Page, Part

WORDS = st.text(alphabet='ab .!?\n\t。、「」"é𝒳\u3000\u2028', max_size=400)
PAGES = st.lists(WORDS, min_size=1, max_size=5)


def document(*texts: str) -> Document:
    pages = [Page(number=number, label=f"p. {number}", text=text) for number, text in enumerate(texts, start=1)]
    return Document(name="a.pdf", kind="pdf", pages=pages)


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(PAGES, st.integers(200, 400))
def test_nothing_is_lost_and_nothing_is_too_long(texts: list[str], most: int) -> None:
    parts = parts_of(document(*texts), most)
    assert squeezed("".join(part.text for part in parts)) == squeezed("".join(texts))
    assert all(0 < len(part.text) <= most for part in parts)
    assert [part.index for part in parts] == list(range(len(parts)))


@given(PAGES, st.integers(20, 60), st.integers(0, 40))
def test_an_overlap_stays_within_the_limit_and_repeats_the_end(texts: list[str], most: int, overlap: int) -> None:
    parts = parts_of(document(*texts), most, overlap)
    assert all(0 < len(part.text) <= most for part in parts)
    whole = squeezed("".join(texts))
    at = 0
    for part in parts:  # each begins where the one before ended, or in it
        text = squeezed(part.text)
        begins = next(start for start in range(at, -1, -1) if whole.startswith(text, start) and start + len(text) >= at)
        at = begins + len(text)
    assert at == len(whole)


@given(PAGES)
def test_every_page_of_a_part_begins_where_it_says(texts: list[str]) -> None:
    for part in parts_of(document(*texts), 300):
        assert len(part.pages) == len(part.starts) == len(part.labels)
        assert part.starts == sorted(part.starts)
        ends = [*part.starts[1:], len(part.text)]
        for number, start, end in zip(part.pages, part.starts, ends, strict=True):
            assert squeezed(part.text[start:end]) in squeezed(texts[number - 1])


def test_a_part_knows_its_pages() -> None:
    parts = parts_of(document("a" * 150, "b" * 150, "", "c" * 90, "d" * 90), 200)
    assert [(part.pages, part.label) for part in parts] == [([1], "p. 1"), ([2], "p. 2"), ([4, 5], "pp. 4-5")]
    assert [part.document for part in parts] == ["a.pdf"] * 3
    [whole] = parts_of(document("one", "two", "three"), 200)
    assert (whole.label, whole.text, whole.starts) == ("pp. 1-3", "one\n\ntwo\n\nthree", [0, 5, 10])


def test_slides_and_sheets_keep_their_own_names() -> None:
    def labelled(*labels: str) -> str:
        pages = [Page(number=number, label=label, text="x") for number, label in enumerate(labels, start=1)]
        [part] = parts_of(Document(name="a", kind="pptx", pages=pages), 200)
        return part.label

    assert labelled("slide 1", "slide 2") == "slides 1-2"
    assert labelled("sheet Costs", "sheet Prices") == "sheet Costs - sheet Prices"
    assert labelled("rows 1-9") == "rows 1-9"


def test_a_part_ends_with_a_paragraph_where_it_can() -> None:
    text = "\n\n".join(f"{letter * 90} end." for letter in "abcd")
    assert [part.text[0] + part.text[-1] for part in parts_of(text, 220)] == ["a.", "c."]


def test_else_it_ends_with_a_sentence() -> None:
    text = " ".join(f"{'word ' * 14}ends here." for _ in range(9))
    parts = parts_of(text, 200)
    assert all(part.text.endswith("ends here.") for part in parts)


def test_sentences_of_japanese_end_without_a_space() -> None:
    text = "".join(f"これは{number}番目の文です。" for number in range(40))
    parts = parts_of(text, 200)
    assert len(parts) == 3
    assert all(part.text.endswith("。") for part in parts)


def test_else_it_ends_with_a_word_and_else_anywhere() -> None:
    assert all(part.text.endswith("word") for part in parts_of("word " * 100, 203))
    assert [len(part.text) for part in parts_of("x" * 500, 200)] == [200, 200, 100]


def test_a_list_of_documents_is_cut_one_by_one() -> None:
    parts = parts_of([document("one"), document("two"), "three"], 200)
    assert [(part.index, part.document, part.text) for part in parts] == [
        (0, "a.pdf", "one"), (1, "a.pdf", "two"), (2, "", "three"),
    ]  # fmt: skip


def test_a_part_that_is_cut_again_keeps_its_pages() -> None:
    [part] = parts_of(document("one " * 40, "two " * 40), 400)
    again = parts_of(part, 200)
    assert [(each.pages, each.label) for each in again] == [([1], "p. 1"), ([2], "p. 2")]


def test_nothing_becomes_no_part() -> None:
    assert parts_of("", 200) == parts_of(" \n\n ", 200) == parts_of([], 200) == parts_of(document("", " "), 200) == []


def test_a_megabyte_without_any_end_is_cut_in_linear_time() -> None:
    assert len(parts_of("x" * 1_000_000, 200)) == 5_000
    assert len(parts_of("a. " * 50_000, 200)) == 747  # 67 in each


def test_a_text_has_no_pages() -> None:
    assert parts_of("Some text.", 200) == [Part(index=0, text="Some text.")]

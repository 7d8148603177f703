"""Family trees: the cards above and below a card, however lineages name them."""

from __future__ import annotations

from pathlib import Path

from changeover.library.catalogue import Catalogue
from changeover.library.genealogy import ancestors, descendants

CARDS = """
[[cards]]
id = "house-8b-tuned"
display_name = "House 8B Tuned"
family = "house"
vendor = "House"
weights = "open"
lineage = { derived_from = "meta-llama/Llama-3.1-8B", derivation = "fine-tuned" }
sources = [{ facts = ["everything"], at = "test", grade = "run", checked = 2026-11-21 }]

[[cards]]
id = "house-8b-merged"
display_name = "House 8B Merged"
family = "house"
vendor = "House"
weights = "open"
lineage = { base = "House 8B Tuned" }
sources = [{ facts = ["everything"], at = "test", grade = "run", checked = 2026-11-21 }]
"""


def test_a_parent_named_by_its_repository_or_its_display_name_is_the_card_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "house.toml").write_text(CARDS)
    catalogue = Catalogue.load(tmp_path)
    above = [
        (one.name, one.known, one.relation, one.steps)
        for one in ancestors(catalogue, catalogue.card("house-8b-merged"))
    ]
    assert above == [("house-8b-tuned", True, "tuned", 1), ("llama-3.1-8b", True, "fine-tuned", 2)]
    below = [(one.name, one.steps) for one in descendants(catalogue, catalogue.card("llama-3.1-8b"))]
    assert ("house-8b-tuned", 1) in below
    assert ("house-8b-merged", 2) in below

import doctest
import re

from changeover.core import digest, errors, ids
from changeover.core.errors import ChangeoverError, nearest


def test_ids_are_unique_and_sort_by_time() -> None:
    made = [ids.new_id("req") for _ in range(2000)]
    assert len(set(made)) == 2000
    assert all(re.fullmatch(r"req_[0-9a-z]{10}-[0-9a-z]{8}", id) for id in made)
    stamps = [id.split("-")[0] for id in made]
    assert stamps == sorted(stamps)


def test_secrets_differ_and_are_long() -> None:
    one, other = ids.new_secret("co"), ids.new_secret("co")
    assert one != other
    assert len(one) > 40


def test_nearest_names_the_likely_one_first() -> None:
    assert nearest("cod", ["code", "summarise"]) == "Did you mean `code`? Known: code, summarise."
    assert nearest("zzz", ["code"]) == "Known: code."
    many = [f"m{number}" for number in range(80)]
    assert nearest("zzz", many) == "80 are known.", "a list that long is no help"
    assert nearest("m7", many).endswith("Near: m70, m71, m72, m73, m74. 80 are known.")


def test_of_very_many_names_only_those_near_are_listed() -> None:
    said = nearest("model-7x", [f"model-{number}" for number in range(100)])
    assert said.startswith("Did you mean `model-7")
    assert "Near: model-97" in said
    assert "model-33" not in said
    assert said.count(",") < 10


def test_the_tree_at_the_top_of_the_errors_module_names_every_class() -> None:
    drawn = set(re.findall(r"(\w+(?:Error_?|Overflow))\s", errors.__doc__ or ""))
    kinds = {ChangeoverError}
    waiting = [ChangeoverError]
    while waiting:
        found = waiting.pop().__subclasses__()
        kinds |= set(found)
        waiting += found
    assert {kind.__name__ for kind in kinds if kind.__module__ == errors.__name__} == drawn


def test_docstring_examples_run() -> None:
    for module in (digest, errors):
        assert doctest.testmod(module).failed == 0

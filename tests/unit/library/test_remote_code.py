from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from changeover.library.artifacts import Artifact, ArtifactFile, digest_of_files
from changeover.library.cards import Card
from changeover.library.facts import FactSource
from changeover.library.licences.policy import ApprovedCode, Policy
from changeover.library.remote_code import asks_for_code, code_allowed, code_of, judge_code

WEIGHTS = ArtifactFile(path="model.safetensors", size_bytes=10, sha256="1" * 64)
MODELING = ArtifactFile(path="modeling_tiny.py", size_bytes=20, sha256="2" * 64)
HELPER = ArtifactFile(path="nested/helper.py", size_bytes=30, sha256="3" * 64)
SOURCE = FactSource(facts=("everything",), at="a test", grade="run", checked=date(2026, 11, 30))
CARD = Card(id="tiny", display_name="Tiny", family="tiny", vendor="Maker", sources=(SOURCE,))


def artifact(*files: ArtifactFile) -> Artifact:
    return Artifact(
        format="safetensors",
        quantisation="F32",
        size_bytes=sum(file.size_bytes for file in files),
        sha256=digest_of_files(files),
        files=files,
    )


def policy(sha256: str, model: str = "tiny") -> Policy:
    approval = ApprovedCode(model=model, sha256=sha256, by="ana", on=date(2026, 11, 30), reason="read it")
    return Policy(approved_code=(approval,))


LIST = digest_of_files((MODELING, HELPER))


def test_the_list_is_of_the_code_alone_whatever_its_order() -> None:
    code = code_of((HELPER, WEIGHTS, MODELING), {})
    assert code.files == (MODELING, HELPER)
    assert code.sha256 == LIST


def test_code_is_allowed_only_by_an_approval_of_just_that_list() -> None:
    coded = artifact(WEIGHTS, MODELING, HELPER)
    allowed = code_allowed(CARD, coded, policy(LIST))
    assert allowed.allowed
    assert allowed.says == "The code of `tiny` was approved by ana on 2026-11-30: read it"


@pytest.mark.parametrize(
    ("files", "given"),
    [
        ((WEIGHTS, MODELING, HELPER), None),
        ((WEIGHTS, MODELING, HELPER), Policy()),
        ((WEIGHTS, MODELING, HELPER), policy(LIST, model="other")),
        ((WEIGHTS, MODELING), policy(LIST)),
        ((WEIGHTS, MODELING, HELPER.model_copy(update={"sha256": "4" * 64})), policy(LIST)),
        ((WEIGHTS, MODELING, HELPER.model_copy(update={"path": "other.py"})), policy(LIST)),
    ],
)
def test_anything_else_is_refused_with_what_would_approve_it(
    files: tuple[ArtifactFile, ...], given: Policy | None
) -> None:
    coded = artifact(*files)
    refused = code_allowed(CARD, coded, given)
    assert not refused.allowed
    assert refused.code.sha256 in refused.says
    assert '[[approved_code]] model = "tiny"' in refused.says


def test_where_there_is_no_code_nothing_may_be_trusted() -> None:
    permission = code_allowed(CARD, artifact(WEIGHTS), policy(LIST))
    assert (bool(permission.code), permission.allowed) == (False, False)


@pytest.mark.parametrize(
    ("configuration", "lines", "elsewhere"),
    [
        ({"auto_map": {"AutoModel": "modeling_x.X"}}, ["c: auto_map.AutoModel → modeling_x.X"], []),
        ({"auto_map": {"AutoTokenizer": [None, "tok.Fast"]}}, ["c: auto_map.AutoTokenizer → tok.Fast"], []),
        ({"auto_map": {"AutoModel": "o/r--m.X"}}, ["c: auto_map.AutoModel → o/r--m.X"], ["o/r"]),
        ({"custom_pipelines": {"p": {"impl": "pipe.P"}}}, ["c: custom_pipelines.p.impl → pipe.P"], []),
        ({"trust_remote_code": True}, ["c: trust_remote_code → True"], []),
        ({"auto_map": {}}, [], []),
        ({"auto_map": None, "trust_remote_code": False}, [], []),
        ({"model_type": "llama"}, [], []),
        (["auto_map"], [], []),
        (None, [], []),
    ],
)
def test_a_configuration_says_what_it_would_have_run(
    configuration: Any, lines: list[str], elsewhere: list[str]
) -> None:
    assert asks_for_code("c", configuration) == (lines, elsewhere)


def test_two_lists_of_files_never_have_one_digest() -> None:
    with pytest.raises(ValueError, match="not a path"):
        ArtifactFile(path=f"modeling_tiny.py\n{'3' * 64}  nested/helper.py", size_bytes=20, sha256="2" * 64)


@pytest.mark.parametrize("levels", [20, 600])
def test_what_is_nested_too_deeply_to_be_read_is_never_approved(levels: int) -> None:
    nested: Any = "o/r--m.X"
    for _ in range(levels):
        nested = [nested]
    code = code_of((MODELING, HELPER), {"config.json": {"auto_map": nested}})
    assert not judge_code("tiny", code, policy(LIST)).allowed


def test_code_of_another_repository_is_refused_even_where_the_list_is_approved() -> None:
    code = code_of((MODELING, HELPER), {"config.json": {"auto_map": {"AutoModel": "o/r--m.X"}}})
    assert not judge_code("tiny", code, policy(LIST)).allowed

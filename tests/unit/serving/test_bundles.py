from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from changeover.core.errors import ConfigError
from changeover.serving.bundles import Bundle, EnginePart, differences

text = st.text(max_size=12)
digests = st.none() | st.text("0123456789abcdef", min_size=64, max_size=64)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | text
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
engines = st.builds(
    EnginePart,
    backend=text,
    engine=st.none() | text,
    engine_version=st.none() | text,
    model=text,
    weights_digest=digests,
    quantisation=st.none() | text,
    tokenizer_digest=digests,
    chat_template_digest=digests,
    observed=digests,
    profile=st.dictionaries(text, values, max_size=3),
    flags=st.dictionaries(text, values, max_size=3),
)
bundles = st.builds(
    Bundle, engine=engines, prompt_name=text, prompt=text, parameters=st.dictionaries(text, values, max_size=3)
)
unhurried = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Whole bundles take long to draw, and longer on a busy machine."""
ENGINE = EnginePart(
    backend="local",
    engine="llama.cpp (xllamacpp)",
    engine_version="1",
    model="a",
    weights_digest="b" * 64,
    quantisation="Q4_1",
    tokenizer_digest="c" * 64,
    chat_template_digest="d" * 64,
    flags={"slots": 4},
)
BUNDLE = Bundle(
    engine=ENGINE, prompt_name="default", prompt="one\ntwo\nthree\n", parameters={"temperature": 0, "max_tokens": 64}
)


def engine_with(**changes: Any) -> Bundle:
    return dataclasses.replace(BUNDLE, engine=dataclasses.replace(ENGINE, **changes))


@unhurried
@given(bundles, bundles, st.data())
def test_any_change_of_any_field_changes_the_digest(one: Bundle, other: Bundle, data: st.DataObject) -> None:
    flat, flat_other = _flat(one), _flat(other)
    field = data.draw(st.sampled_from(sorted(flat)))
    same = _same_json(flat[field], flat_other[field])
    flat[field] = flat_other[field]

    assert (_unflat(flat).digest == one.digest) == same


@unhurried
@given(bundles)
def test_a_bundle_comes_back_from_stored_json_as_the_same_bundle(bundle: Bundle) -> None:
    again = Bundle.from_document(json.loads(json.dumps(bundle.document())))

    assert again.digest == bundle.digest
    assert differences(bundle, again) == []


@unhurried
@given(bundles, bundles)
def test_two_bundles_differ_in_words_exactly_when_their_digests_differ(one: Bundle, other: Bundle) -> None:
    assert bool(differences(one, other)) == (one.digest != other.digest)


def test_the_order_of_parameters_and_the_spelling_of_whole_numbers_do_not_matter() -> None:
    spelt = dataclasses.replace(BUNDLE, parameters={"max_tokens": 64.0, "temperature": -0.0})

    assert spelt.digest == BUNDLE.digest


def test_the_digest_stays_what_it_was_when_rows_were_written() -> None:
    # Stored rows are found by it: a change of the document needs a migration.
    assert BUNDLE.digest == "0cc3a876b57c1d316af3594b2057a734c5a5e366628db688b92508700a704f3d"
    assert BUNDLE.short == BUNDLE.digest[:12]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (engine_with(engine_version="2"), ["engine version 1 → 2"]),
        (engine_with(model="b", quantisation=None), ["model a → b", "quantisation Q4_1 → unknown"]),
        (engine_with(weights_digest="e" * 64), ["weights bbbbbbbbbbbb → eeeeeeeeeeee"]),
        (engine_with(weights_digest="b" * 63 + "e"), [f"weights {'b' * 64} → {'b' * 63}e"]),
        (engine_with(chat_template_digest=None), ["chat template dddddddddddd → unknown"]),
        (engine_with(flags={"slots": 8, "context_tokens": 512}), ["context_tokens unset → 512", "slots 4 → 8"]),
        (dataclasses.replace(BUNDLE, prompt="one\n2\nthree\nfour\n"), ["prompt changed (2 lines)"]),
        (dataclasses.replace(BUNDLE, prompt="one\ntwo\n"), ["prompt changed (1 line)"]),
        (dataclasses.replace(BUNDLE, prompt_name="short"), ["prompt name default → short"]),
        (
            dataclasses.replace(BUNDLE, parameters={"temperature": 0.7}),
            ["max_tokens 64 → unset", "temperature 0 → 0.7"],
        ),
        (
            dataclasses.replace(BUNDLE, parameters={"temperature": False, "max_tokens": 64}),
            ["temperature 0 → false"],
        ),
    ],
)
def test_a_difference_is_said_in_words(changed: Bundle, words: list[str]) -> None:
    assert differences(BUNDLE, changed) == words


@pytest.mark.parametrize("place", ["document", "engine"])
def test_a_document_of_another_version_is_refused(place: str) -> None:
    document = BUNDLE.document()
    (document if place == "document" else document["engine"])["later"] = 1

    with pytest.raises(ConfigError, match="`later`"):
        Bundle.from_document(document)


def _flat(bundle: Bundle) -> dict[str, Any]:
    engine = {f"engine.{field.name}": getattr(bundle.engine, field.name) for field in dataclasses.fields(EnginePart)}
    return {**engine, "prompt_name": bundle.prompt_name, "prompt": bundle.prompt, "parameters": bundle.parameters}


def _unflat(flat: dict[str, Any]) -> Bundle:
    engine = {key.removeprefix("engine."): value for key, value in flat.items() if key.startswith("engine.")}
    rest = {key: value for key, value in flat.items() if not key.startswith("engine.")}
    return Bundle(engine=EnginePart(**engine), **rest)


def _same_json(a: Any, b: Any) -> bool:
    """Equality as engines have it: 0 is 0.0, but true is not 1."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same_json(*pair) for pair in zip(a, b, strict=True))
    return a == b and isinstance(a, bool) == isinstance(b, bool)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EnginePart)])
def test_no_field_of_an_engine_changes_without_a_word(field: str) -> None:
    value: Any = {"a key of its own": 1} if field in ("flags", "profile", "base") else "9" * 64
    assert len(differences(BUNDLE, engine_with(**{field: value}))) >= 1, "a field that is added is named too"


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Bundle)])
def test_no_field_of_a_bundle_changes_without_a_word(field: str) -> None:
    other: dict[str, Any] = {"engine": engine_with(model="b").engine, "parameters": {"n": 1}}
    assert differences(BUNDLE, dataclasses.replace(BUNDLE, **{field: other.get(field, "another")}))


def test_a_bundle_from_before_anything_was_observed_is_the_same_bundle() -> None:
    assert "observed" not in BUNDLE.document()["engine"]
    seen = engine_with(observed="e" * 64)
    assert Bundle.from_document(seen.document()).engine.observed == "e" * 64
    assert differences(BUNDLE, seen) == ["answers observed unknown → eeeeeeeeeeee"]


def test_an_adapter_is_another_bundle_than_its_base_and_says_what_it_stands_on() -> None:
    assert "base" not in BUNDLE.document()["engine"]
    base = {"backend": "local", "model": "a", "weights_digest": "b" * 64, "scale": 1.0}
    tuned = engine_with(backend="adapter", model="tune", weights_digest="e" * 64, base=base)
    assert Bundle.from_document(tuned.document()).digest == tuned.digest
    half = engine_with(backend="adapter", model="tune", weights_digest="e" * 64, base={**base, "scale": 0.5})
    moved = engine_with(
        backend="adapter", model="tune", weights_digest="e" * 64, base={**base, "weights_digest": "f" * 64}
    )
    assert differences(tuned, half) == ["scale 1 → 0.5"]
    assert differences(tuned, moved) == ["base weights bbbbbbbbbbbb → ffffffffffff"]

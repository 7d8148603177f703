from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.library.safetensors_builder import PLAIN, build, raw, tensors

from changeover.core.errors import ArtifactError
from changeover.library.safetensors import MAX_HEADER_BYTES, SafetensorsHeader, check_index, read_header


def read(tmp_path: Path, content: bytes) -> SafetensorsHeader:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return read_header(path)


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path, content)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_header_gives_its_tensors_as_they_lie_and_its_metadata(tmp_path: Path) -> None:
    header = read(tmp_path, build(dict(reversed(PLAIN.items())), metadata={"format": "pt"}))
    assert [(one.name, one.dtype, one.shape, one.begin, one.end) for one in header.tensors] == [
        ("embed.weight", "BF16", (8, 4), 0, 64),
        ("norm.weight", "F32", (4,), 64, 80),
    ]
    assert header.metadata == {"format": "pt"}
    assert header.main_dtype == "BF16"


def test_a_file_without_tensors_is_a_file(tmp_path: Path) -> None:
    header = read(tmp_path, raw(b"{}      "))
    assert (header.tensors, header.main_dtype) == ((), None)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("F4", [3, 2], 3),
        ("F6_E2M3", [4], 3),
        ("F8_E8M0", [5], 5),
        ("C64", [2], 16),
        ("BOOL", [], 1),
        ("F32", [0, 9], 0),
    ],
)
def test_every_type_has_its_own_size(tmp_path: Path, dtype: str, shape: list[int], size: int) -> None:
    header = read(tmp_path, build({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}))
    assert header.tensors[0].end == size


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {**tensors(("a", "F32", (2, 2)))["a"], **changes}}


ONE = entry()
HUGE = 2**64 - 1

REFUSED: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "the length of the header needs 8 bytes and 0 are left"),
    "a length only": (bytes(8), "its header does not begin with `{`"),
    "a header longer than the file": (raw(b"{}", length=3), "the header needs 3 bytes and 2 are left"),
    "a header longer than the format allows": (raw(b"{}", length=MAX_HEADER_BYTES + 1), "claims a header of 100000001"),
    "a header longer than anything": (raw(b"{}", length=HUGE), f"it claims a header of {HUGE} bytes"),
    "another format": (b"GGUF" + bytes(60), "it claims a header of"),
    "a list": (raw(b"[]"), "does not begin with `{`"),
    "no JSON": (raw(b"{a}"), "the header is not JSON"),
    "text behind the object": (raw(b"{} {}"), "the header is not JSON"),
    "a string without an end": (raw(b'{"a'), "the header is not JSON"),
    "no UTF-8": (raw(b'{"\xff":{}}'), "the header is not UTF-8"),
    "not a number": (raw(b'{"a":NaN}'), "it has `NaN` where a number belongs"),
    "a number of five thousand digits": (raw(b'{"a":' + b"9" * 5000 + b"}"), "the header is not JSON"),
    "a thousand levels": (raw(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"), "is nested deeper than 3 levels"),
    "a million levels": (raw(b'{"a":' + b"[" * 1_000_000), "values, more than any model has"),
    "three million values": (raw(b'{"a":[' + b"1," * 3_000_000 + b"1]}"), "values, more than any model has"),
    "a name twice": (raw(b'{"a":{},"a":{}}'), "`a` stands twice"),
    "a key of a tensor twice": (raw(b'{"a":{"dtype":"F32","dtype":"F64"}}'), "`dtype` stands twice"),
    "metadata that is no object": (build(ONE, metadata=["pt"]), "`__metadata__` is not an object"),
    "metadata that is no text": (build(ONE, metadata={"format": 1}), "`format` of `__metadata__` is not text"),
    "a tensor that is a number": (raw(b'{"a":1}'), "has not just `dtype`, `shape` and `data_offsets`"),
    "a tensor without a place": (raw(b'{"a":{"dtype":"F32","shape":[]}}'), "has not just `dtype`"),
    "a tensor with a key more": (build(entry(code="x")), "has not just `dtype`"),
    "a type that nobody knows": (build(entry(dtype="F99")), "tensor `a` has the unknown type `F99`"),
    "a type that is a list": (build(entry(dtype=["F32"])), "has the unknown type"),
    "a shape that is text": (build(entry(shape="2")), "has a shape that is not up to 64 counts"),
    "a shape below zero": (build(entry(shape=[-2, -2])), "has a shape that is not up to 64 counts"),
    "a shape that is true": (build(entry(shape=[True, 4])), "has a shape that is not up to 64 counts"),
    "a shape with a fraction": (build(entry(shape=[2.0, 2])), "has a shape that is not up to 64 counts"),
    "a shape of 65 dimensions": (build(entry(shape=[1] * 65)), "has a shape that is not up to 64 counts"),
    "a shape beyond 64 bits": (build(entry(shape=[2**64])), "has a shape that is not up to 64 counts"),
    "a shape that overflows": (build(entry(shape=[HUGE] * 4)), "and its shape and type need others"),
    "a place that is too small": (build(entry(data_offsets=[0, 15])), "has a place of 15 bytes"),
    "a place that runs backwards": (build(entry(data_offsets=[16, 0])), "does not have two offsets"),
    "a place of three offsets": (build(entry(data_offsets=[0, 8, 16]), weights=bytes(16)), "does not have two offsets"),
    "half a byte": (build(entry(dtype="F4", shape=[3], data_offsets=[0, 1])), "does not end with a whole byte"),
    "a gap before the first": (build(entry(data_offsets=[8, 24])), "tensor `a` leaves a gap before it"),
    "two in one place": (build({**ONE, "b": ONE["a"]}), "tensor `b` overlaps another"),
    "a file that is cut off": (build()[:-1], "end 1 bytes behind the end of the file; the download was cut off"),
    "bytes behind the last tensor": (build() + b"!", "1 bytes behind its tensors belong to none"),
    "a name made to break a terminal": (
        build({"\x1b[2J\nowned" + "x" * 500: entry(dtype="?")["a"]}),
        r"`\x1b[2J\nowned",
    ),
    "a name of five thousand characters": (build({"x" * 5000: ONE["a"]}), "has a name of 5000 characters"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_header_that_cannot_be_is_refused_with_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    message = refusal(tmp_path, content)
    assert message.startswith("`model.safetensors` is not a usable safetensors file: ")
    assert reason in message
    assert len(message) < 300


@pytest.mark.parametrize("piece", [b'"\\', b'\\"', b'"', b"\\", b'"\\"'])
def test_a_header_of_quotes_only_is_refused_in_time_that_grows_with_its_length(tmp_path: Path, piece: bytes) -> None:
    started = time.process_time()
    refusal(tmp_path, raw(b"{" + piece * 1_000_000))
    assert time.process_time() - started < 10


def test_a_header_of_a_real_size_is_read(tmp_path: Path) -> None:
    many = tensors(*((f"layers.{number}.experts.weight", "F8_E4M3", (2, 2)) for number in range(50_000)))
    assert len(read(tmp_path, build(many, weights=bytes(200_000))).tensors) == 50_000


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing\.safetensors` cannot be read: No such file"):
        read_header(tmp_path / "nothing.safetensors")


def parses_or_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(ArtifactError):
        header = read_header(path)
        assert 8 + header.header_bytes + sum(one.end - one.begin for one in header.tensors) == len(content)


WHOLE = build(metadata={"format": "pt"})
IN_TMP_PATH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


@IN_TMP_PATH
@given(length=st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, length: int) -> None:
    refusal(tmp_path, WHOLE[:length])


@IN_TMP_PATH
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_changed_bytes_parse_or_are_refused(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    content = bytearray(WHOLE)
    for place, byte in changes:
        content[place] = byte
    parses_or_is_refused(tmp_path / "model.safetensors", bytes(content))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {"dtype": st.sampled_from(["F32", "BF16", "F4", "I8"]) | ANYTHING},
    optional={
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, 2**31, 2**32, 2**63, 2**64]), max_size=4) | ANYTHING,
        "data_offsets": st.lists(st.sampled_from([0, 1, 4, 8, 16, 2**63, 2**64]), max_size=3) | ANYTHING,
        "more": ANYTHING,
    },
)


@IN_TMP_PATH
@given(
    header=st.dictionaries(st.text(max_size=6) | st.just("__metadata__"), FIELDS | ANYTHING, max_size=4),
    length=st.integers(0, 40),
)
def test_any_header_parses_or_is_refused(tmp_path: Path, header: dict[str, Any], length: int) -> None:
    parses_or_is_refused(tmp_path / "model.safetensors", raw(json.dumps(header).encode(), bytes(length)))


@IN_TMP_PATH
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_right_beginning_parse_or_are_refused(tmp_path: Path, rest: bytes) -> None:
    parses_or_is_refused(tmp_path / "model.safetensors", raw(b"{" + rest))


def index(tmp_path: Path, weight_map: Any) -> None:
    shards = [tmp_path / f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for number, shard in enumerate(shards):
        shard.write_bytes(build(tensors((f"layer.{number}", "F32", (2,)))))
    file = tmp_path / "model.safetensors.index.json"
    file.write_text(json.dumps({"metadata": {"total_size": 16}, "weight_map": weight_map}))
    check_index(file, shards)


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_an_index_that_says_what_its_shards_have_is_taken(tmp_path: Path) -> None:
    index(tmp_path, {"layer.0": FIRST, "layer.1": SECOND})


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"layer.0": FIRST}, "tensor `layer.1` of `model-00002-of-00002.safetensors` is not in it"),
        ({"layer.0": SECOND, "layer.1": SECOND}, "tensor `layer.0` is not in `model-00002"),
        ({"layer.0": FIRST, "layer.1": SECOND, "layer.2": SECOND}, "tensor `layer.2` is not in"),
        ({"layer.0": FIRST, "layer.1": "../../etc/passwd"}, "it names `../../etc/passwd`, which is not there"),
        ({"layer.0": 1}, "`layer.0` has no file's name"),
        (["layer.0"], "it has no `weight_map`"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path: Path, weight_map: Any, reason: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        index(tmp_path, weight_map)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in (FIRST, SECOND):
        (tmp_path / name).write_bytes(build(tensors(("layer.0", "F32", (2,)))))
    file = tmp_path / "model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": {"layer.0": FIRST}}))
    with pytest.raises(ArtifactError, match=r"tensor `layer\.0` is in two shards"):
        check_index(file, [tmp_path / FIRST, tmp_path / SECOND])

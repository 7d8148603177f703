from __future__ import annotations

import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.library.gguf_builder import ARRAY, METADATA, STRING, U32, U64, Typed, build, string, tensor

from changeover.core.errors import ArtifactError
from changeover.library.gguf import KEPT_ITEMS, GgufHeader, LongArray, read_header


def read(tmp_path: Path, content: bytes) -> GgufHeader:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return read_header(path)


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path, content)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("version", [2, 3])
def test_a_header_gives_what_the_file_says_of_itself(tmp_path: Path, version: int) -> None:
    header = read(tmp_path, build(version=version))
    assert (header.version, header.tensor_count) == (version, 2)
    assert header.architecture == "llama"
    assert header.context_length == 2048
    assert header.metadata["tokenizer.chat_template"] == "{{ messages }}"
    assert header.metadata["tokenizer.ggml.add_bos_token"] is False
    assert header.metadata["llama.rope.freq_base"] == 10000.0


def test_a_long_array_keeps_its_count_its_digest_and_its_first_items(tmp_path: Path) -> None:
    tokens = read(tmp_path, build()).metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, LongArray)
    assert tokens.count == 100
    assert tokens.first == tuple(f"token{number}" for number in range(KEPT_ITEMS))
    changed = {**METADATA, "tokenizer.ggml.tokens": (ARRAY, (STRING, [f"token{n}" for n in range(99)] + ["other"]))}
    other = read(tmp_path, build(changed)).metadata["tokenizer.ggml.tokens"]
    assert isinstance(other, LongArray)
    assert other.sha256 != tokens.sha256


def test_a_short_array_is_kept_whole(tmp_path: Path) -> None:
    header = read(tmp_path, build({**METADATA, "general.tags": (ARRAY, (STRING, ["a", "b"]))}))
    assert header.metadata["general.tags"] == ("a", "b")


def digests(tmp_path: Path, changes: dict[str, Typed]) -> tuple[str, str | None]:
    header = read(tmp_path, build({**METADATA, **changes}))
    return header.tokenizer_digest, header.chat_template_digest


def test_each_digest_changes_with_its_own_part_of_the_file_only(tmp_path: Path) -> None:
    tokenizer, template = digests(tmp_path, {})
    assert digests(tmp_path, {"llama.context_length": (U32, 4096)}) == (tokenizer, template)
    other_tokenizer, same_template = digests(tmp_path, {"tokenizer.ggml.bos_token_id": (U32, 1)})
    assert other_tokenizer != tokenizer
    assert same_template == template
    same_tokenizer, other_template = digests(tmp_path, {"tokenizer.chat_template": (STRING, "{{ other }}")})
    assert same_tokenizer == tokenizer
    assert other_template != template
    assert digests(tmp_path, {"tokenizer.chat_template.tool_use": (STRING, "x")})[1] not in (template, other_template)


def test_the_tokenizer_digest_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    turned = {key: METADATA[key] for key in reversed(list(METADATA))}
    assert read(tmp_path, build(turned)).tokenizer_digest == read(tmp_path, build()).tokenizer_digest


def test_a_base_model_has_no_chat_template(tmp_path: Path) -> None:
    header = read(tmp_path, build({key: METADATA[key] for key in METADATA if "template" not in key}))
    assert header.chat_template_digest is None


def with_metadata(**changes: Typed) -> bytes:
    return build({**METADATA, **{key.replace("__", "."): typed for key, typed in changes.items()}})


def header_only(*keys: bytes, key_count: int | None = None, tensor_count: int = 0, version: int = 3) -> bytes:
    count = len(keys) if key_count is None else key_count
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, count) + b"".join(keys)


ARCHITECTURE = string("general.architecture") + struct.pack("<I", STRING) + string("llama")
HUGE = 2**64 - 1

REFUSED = {
    "an empty file": (b"", "the magic needs 4 bytes and 0 are left"),
    "another format": (b"PK\x03\x04" + bytes(60), "does not begin with `GGUF`"),
    "version 1": (build(version=1), "its version is 1; 2 and 3 are known"),
    "a big endian file": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is big endian"),
    "no architecture": (build({}), "`general.architecture` is missing"),
    "an architecture that is a number": (with_metadata(general__architecture=(U32, 1)), "is missing"),
    "more keys than can be": (header_only(key_count=HUGE), f"it claims {HUGE} keys"),
    "more tensors than can be": (header_only(ARCHITECTURE, tensor_count=HUGE), f"it claims {HUGE} tensors"),
    "a key longer than the file": (header_only(struct.pack("<Q", 60_000)), "needs 60000 bytes and 0 are left"),
    "a key longer than allowed": (header_only(struct.pack("<Q", HUGE)), f"claims {HUGE} bytes, more than 65535"),
    "a key that is no text": (header_only(string(b"\xff\xfe") + bytes(20)), "the name of key 0 is not UTF-8"),
    "a key twice": (header_only(ARCHITECTURE, ARCHITECTURE), "`general.architecture` stands twice"),
    "a string longer than the file": (
        header_only(string("a") + struct.pack("<IQ", STRING, 1 << 20)),
        "`a` needs 1048576 bytes and 0 are left",
    ),
    "an unknown value type": (header_only(string("a") + struct.pack("<I", 99)), "`a` has the unknown value type 99"),
    "an array of arrays": (
        header_only(string("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1) + bytes(40)),
        "unknown value type 9",
    ),
    "an array longer than the file": (
        header_only(string("a") + struct.pack("<IIQ", ARRAY, U64, HUGE)),
        f"`a` needs {HUGE * 8} bytes and 0 are left",
    ),
    "an array of strings longer than the file": (
        header_only(string("a") + struct.pack("<IIQ", ARRAY, STRING, 1 << 40)),
        f"`a` needs {8 << 40} bytes and 0 are left",
    ),
    "a long array whose last string is longer than the file": (
        header_only(
            string("a") + struct.pack("<IIQ", ARRAY, STRING, 101) + string("t") * 100 + struct.pack("<Q", HUGE)
        ),
        f"`a` needs {HUGE} bytes and 0 are left",
    ),
    "an alignment of zero": (with_metadata(general__alignment=(U32, 0)), "`general.alignment` is 0"),
    "an alignment that is no power of two": (with_metadata(general__alignment=(U32, 48)), "is 48, not a power of two"),
    "an alignment that is text": (with_metadata(general__alignment=(STRING, "x" * 999)), "not a power of two"),
    "a tensor twice": (build(tensors=[("a", (32,), 0, 0), ("a", (32,), 0, 128)]), "tensor `a` stands twice"),
    "a tensor of nine dimensions": (build(tensors=[("a", (1,) * 9, 0, 0)]), "tensor `a` has 9 dimensions"),
    "a tensor between two places": (
        build(tensors=[("a", (32,), 0, 1)]),
        "tensor `a` does not begin at a multiple of 32",
    ),
    "a tensor that is no whole blocks": (build(tensors=[("a", (33,), 8, 0)]), "cannot divide into blocks of 32"),
    "a tensor behind the end": (build(tensors=[("a", (32,), 0, 1 << 40)]), "behind the end of the file"),
    "a tensor of an unknown type behind the end": (build(tensors=[("a", (32,), 77, 1 << 40)]), "behind the end"),
    "a tensor larger than anything": (build(tensors=[("a", (HUGE, HUGE, HUGE, HUGE), 0, 0)]), "behind the end"),
    "a file that is cut off": (build()[:-1], "tensor `output_norm.weight` ends 1 bytes behind the end of the file"),
    "a name made to break a terminal": (
        header_only(ARCHITECTURE, tensor_count=1) + tensor("\x1b[2J\nowned" + "x" * 500, (), 0, 1),
        r"tensor `\x1b[2J\nowned",
    ),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_header_that_cannot_be_is_refused_with_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    message = refusal(tmp_path, content)
    assert message.startswith("`model.gguf` is not a usable GGUF file: ")
    assert reason in message
    assert len(message) < 300


def test_a_tensor_of_an_unknown_type_inside_the_file_is_let_pass(tmp_path: Path) -> None:
    assert read(tmp_path, build(tensors=[("a", (32,), 77, 64)])).tensor_count == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nothing\.gguf` cannot be read: No such file"):
        read_header(tmp_path / "nothing.gguf")


def test_a_vocabulary_of_a_real_size_is_read_in_well_under_a_second(tmp_path: Path) -> None:
    words = [f"word{number:06d}" for number in range(150_000)]
    content = build({**METADATA, "tokenizer.ggml.tokens": (ARRAY, (STRING, words))})
    started = time.process_time()
    read(tmp_path, content)
    assert time.process_time() - started < 1.0


def parses_or_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(ArtifactError):
        assert read_header(path).architecture


WHOLE = build()
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
    parses_or_is_refused(tmp_path / "model.gguf", bytes(content))


EXTREMES = st.sampled_from([0, 1, 31, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1])


@IN_TMP_PATH
@given(place=st.integers(0, len(WHOLE) - 8), number=EXTREMES, cut=st.integers(0, 600))
def test_an_extreme_number_anywhere_parses_or_is_refused(tmp_path: Path, place: int, number: int, cut: int) -> None:
    content = WHOLE[:place] + struct.pack("<Q", number) + WHOLE[place + 8 :]
    parses_or_is_refused(tmp_path / "model.gguf", content[: len(content) - cut])


@IN_TMP_PATH
@given(st.binary(max_size=400))
def test_any_bytes_behind_a_right_beginning_parse_or_are_refused(tmp_path: Path, rest: bytes) -> None:
    parses_or_is_refused(tmp_path / "model.gguf", b"GGUF" + struct.pack("<I", 3) + rest)

"""The header of a safetensors file, read without trusting it. Pulls check it before a file is kept; bundles take digests from it.

Source: the format's README and its reader `safetensors/src/tensor.rs` of github.com/huggingface/safetensors, whose limit on
the header is ours too. Stricter than that reader: no name stands twice, no unknown key, nothing behind the object but spaces.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, cast

from changeover.core.errors import ArtifactError
from changeover.library.damage import Damage, shown

MAX_HEADER_BYTES: Final = 100_000_000
"""The format's own limit."""
MAX_TENSORS: Final = 1 << 17
"""In one file; models with many come in many."""
MAX_DIMENSIONS: Final = 64
MAX_NAME_BYTES: Final = 4096
MAX_METADATA_KEYS: Final = 65_536
MAX_INDEX_BYTES: Final = 100_000_000

_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "F4": 4,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        **dict.fromkeys(("BOOL", "U8", "I8"), 8),
        **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
        **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
        **dict.fromkeys(("I32", "U32", "F32"), 32),
        **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    }
)
"""Bits of one element, by the format's names."""
_METADATA: Final = "__metadata__"
_TENSOR_KEYS: Final = frozenset({"dtype", "shape", "data_offsets"})
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""Never tries a place twice, however the text goes on; a string without an end reaches to the end."""
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_DEPTH: Final = 3
"""Of a header: the object, a tensor, its shape."""


@dataclass(frozen=True)
class Tensor:
    """One tensor's place."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Counted from the end of the header."""
    end: int


@dataclass(frozen=True, kw_only=True)
class SafetensorsHeader:
    """What a safetensors file says of itself before its weights."""

    tensors: tuple[Tensor, ...]
    """As they lie in the file."""
    metadata: Mapping[str, str]
    header_bytes: int
    sha256: str
    """Of the header as it stands in the file."""

    @property
    def main_dtype(self) -> str | None:
        """The type that most bytes are of; None without a tensor."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors:
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.end - tensor.begin
        return max(sizes, key=lambda dtype: sizes[dtype]) if sizes else None


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check everything before the weights, and that the tensors fill the rest of the file without a gap.

    Raises:
        ArtifactError: The file cannot be read, is no safetensors file, is cut off, or claims what cannot be.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except Damage as exc:
        raise ArtifactError(
            f"`{path.name}` is not a usable safetensors file: {exc}. Fetch it again or use another."
        ) from exc
    except OSError as exc:
        raise ArtifactError(f"`{path}` cannot be read: {exc.strerror}.") from exc


def check_index(index: Path, shards: Iterable[Path]) -> None:
    """Refuse an index that does not say exactly what lies in which of the shards beside it.

    Raises:
        ArtifactError: It is not an index, names a file that is not there, or says other tensors than the shards have.
    """
    try:
        _compare(_weight_map(index), {shard.name: read_header(shard) for shard in shards})
    except Damage as exc:
        raise ArtifactError(f"`{index.name}` does not fit its shards: {exc}. Fetch it again or use another.") from exc
    except OSError as exc:
        raise ArtifactError(f"`{index}` cannot be read: {exc.strerror}.") from exc


def _read(file: BinaryIO, file_bytes: int) -> SafetensorsHeader:
    length = int.from_bytes(_take(file, 8, file_bytes, "the length of the header"), "little")
    if length > MAX_HEADER_BYTES:
        raise Damage(f"it claims a header of {length} bytes, more than {MAX_HEADER_BYTES}")
    raw = _take(file, length, file_bytes - 8, "the header")
    if not raw.startswith(b"{"):
        raise Damage("its header does not begin with `{`")
    _refuse_what_would_grow(raw)
    header = _parsed(raw, "the header")
    metadata = _metadata(header.pop(_METADATA, {}))
    if len(header) > MAX_TENSORS:
        raise Damage(f"it claims {len(header)} tensors, more than {MAX_TENSORS}")
    tensors = sorted((_tensor(name, value) for name, value in header.items()), key=lambda one: (one.begin, one.end))
    _check_places(tensors, file_bytes - 8 - length)
    return SafetensorsHeader(
        tensors=tuple(tensors),
        metadata=MappingProxyType(metadata),
        header_bytes=length,
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _take(file: BinaryIO, count: int, left: int, what: str) -> bytes:
    if count > left:
        raise Damage(f"{what} needs {count} bytes and {left} are left")
    taken = file.read(count)
    if len(taken) < count:
        raise Damage(f"{what} needs {count} bytes and the file gave {len(taken)}")
    return taken


def _refuse_what_would_grow(raw: bytes) -> None:
    """Bound what parsing can cost before it is done: how deep the header is, and how many values it has."""
    bare = _STRINGS.sub(b"", raw)
    most = 16 * MAX_TENSORS  # a tensor has three keys, two offsets and a few dimensions
    values, brackets = bare.count(b",") + 1, bare.count(b"[") + bare.count(b"{")
    if values > most or brackets > 3 * MAX_TENSORS + 2:
        raise Damage(f"its header holds {max(values, brackets)} values, more than any model has")
    depth = 0
    for match in _BRACKETS.finditer(bare):
        depth += 1 if match[0] in b"[{" else -1
        if depth > _DEPTH:
            raise Damage(f"its header is nested deeper than {_DEPTH} levels")


def _parsed(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_without_doubles, parse_constant=_no_constant)
    except UnicodeDecodeError as exc:
        raise Damage(f"{what} is not UTF-8") from exc
    except (ValueError, RecursionError) as exc:
        raise Damage(f"{what} is not JSON") from exc
    if not isinstance(value, dict):
        raise Damage(f"{what} is not a JSON object")
    return cast("dict[str, Any]", value)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    kept = dict(pairs)
    if len(kept) < len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise Damage(f"{shown(double)} stands twice")
    return kept


def _no_constant(word: str) -> Any:
    raise Damage(f"it has `{word}` where a number belongs")


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Damage(f"`{_METADATA}` is not an object")
    found = cast("dict[str, Any]", value)
    if len(found) > MAX_METADATA_KEYS:
        raise Damage(f"`{_METADATA}` has {len(found)} keys, more than {MAX_METADATA_KEYS}")
    for key, text in found.items():
        if not isinstance(text, str):
            raise Damage(f"{shown(key)} of `{_METADATA}` is not text")
    return found


def _tensor(name: str, value: Any) -> Tensor:
    label = shown(name)
    if len(name) > MAX_NAME_BYTES:
        raise Damage(f"tensor {label} has a name of {len(name)} characters, more than {MAX_NAME_BYTES}")
    if not isinstance(value, dict) or {*cast("dict[str, Any]", value)} ^ _TENSOR_KEYS:
        raise Damage(f"tensor {label} has not just `dtype`, `shape` and `data_offsets`")
    said = cast("dict[str, Any]", value)
    dtype, shape, offsets = said["dtype"], _counts(said["shape"]), _counts(said["data_offsets"])
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise Damage(f"tensor {label} has the unknown type {shown(str(dtype))}")
    if shape is None or len(shape) > MAX_DIMENSIONS:
        raise Damage(f"tensor {label} has a shape that is not up to {MAX_DIMENSIONS} counts")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise Damage(f"tensor {label} does not have two offsets, the smaller first")
    bits = prod(shape) * _BITS[dtype]
    if bits % 8:
        raise Damage(f"tensor {label} does not end with a whole byte")
    if bits // 8 != offsets[1] - offsets[0]:
        raise Damage(
            f"tensor {label} has a place of {offsets[1] - offsets[0]} bytes, and its shape and type need others"
        )
    return Tensor(name, dtype, shape, *offsets)


def _counts(value: Any) -> tuple[int, ...] | None:
    """A list of counts below 2⁶⁴; None where it is none."""
    if not isinstance(value, list):
        return None
    items = cast("list[Any]", value)
    return tuple(items) if all(type(item) is int and 0 <= item < 1 << 64 for item in items) else None


def _check_places(tensors: Iterable[Tensor], weights_bytes: int) -> None:
    end = 0
    for tensor in tensors:
        if tensor.begin != end:
            wrong = "overlaps another" if tensor.begin < end else "leaves a gap before it"
            raise Damage(f"tensor {shown(tensor.name)} {wrong}")
        end = tensor.end
    if end > weights_bytes:
        raise Damage(
            f"its tensors end {end - weights_bytes} bytes behind the end of the file; the download was cut off"
        )
    if end < weights_bytes:
        raise Damage(f"{weights_bytes - end} bytes behind its tensors belong to none")


def _weight_map(index: Path) -> dict[str, str]:
    if (size := index.stat().st_size) > MAX_INDEX_BYTES:
        raise Damage(f"it has {size} bytes, more than {MAX_INDEX_BYTES}")
    found = _parsed(index.read_bytes(), "the index").get("weight_map")
    if not isinstance(found, dict):
        raise Damage("it has no `weight_map`")
    for name, shard in cast("dict[str, Any]", found).items():
        if not isinstance(shard, str):
            raise Damage(f"{shown(name)} has no file's name")
    return cast("dict[str, str]", found)


def _compare(weight_map: Mapping[str, str], headers: Mapping[str, SafetensorsHeader]) -> None:
    for absent in sorted(set(weight_map.values()) - set(headers)):
        raise Damage(f"it names {shown(absent)}, which is not there")
    held: dict[str, str] = {}
    for shard, header in headers.items():
        for tensor in header.tensors:
            if tensor.name in held:
                raise Damage(f"tensor {shown(tensor.name)} is in two shards")
            held[tensor.name] = shard
    for name, shard in weight_map.items():
        if held.pop(name, None) != shard:
            raise Damage(f"tensor {shown(name)} is not in {shown(shard)}")
    for name, shard in held.items():
        raise Damage(f"tensor {shown(name)} of {shown(shard)} is not in it")

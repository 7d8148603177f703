"""The header of a GGUF file, read without trusting it. Pulls check it before a file is kept; bundles take digests from it.

Source: the format's specification, `docs/gguf.md` of the ggml project, versions 2 and 3, little endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

from changeover.core.errors import ArtifactError
from changeover.library.damage import Damage, shown

MAX_HEADER_BYTES: Final = 128 << 20
"""Real headers are below 20 MB, nearly all of it the vocabulary."""
MAX_KEYS: Final = 65_536
MAX_TENSORS: Final = 65_536
MAX_NAME_BYTES: Final = 65_535
"""Of a key, by the specification, and of a tensor's name."""
MAX_DIMENSIONS: Final = 4
MAX_ALIGNMENT: Final = 1 << 20
KEPT_ITEMS: Final = 64
"""A longer array keeps these first items, its count and its digest."""

_MAGIC: Final = b"GGUF"
_CHUNK_BYTES: Final = 1 << 20
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_BOOL: Final = 7
_STRING: Final = 8
_ARRAY: Final = 9
_NUMBERS: Final[Mapping[int, str]] = MappingProxyType(
    {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d"}
)
"""Value types of one size, as `struct` writes them."""

_BLOCKS: Final[Mapping[int, tuple[int, int]]] = MappingProxyType(
    {
        0: (1, 4),  # F32
        1: (1, 2),  # F16
        2: (32, 18),  # Q4_0
        3: (32, 20),  # Q4_1
        6: (32, 22),  # Q5_0
        7: (32, 24),  # Q5_1
        8: (32, 34),  # Q8_0
        9: (32, 40),  # Q8_1
        10: (256, 84),  # Q2_K
        11: (256, 110),  # Q3_K
        12: (256, 144),  # Q4_K
        13: (256, 176),  # Q5_K
        14: (256, 210),  # Q6_K
        15: (256, 292),  # Q8_K
        16: (256, 66),  # IQ2_XXS
        17: (256, 74),  # IQ2_XS
        18: (256, 98),  # IQ3_XXS
        19: (256, 50),  # IQ1_S
        20: (32, 18),  # IQ4_NL
        21: (256, 110),  # IQ3_S
        22: (256, 82),  # IQ2_S
        23: (256, 136),  # IQ4_XS
        24: (1, 1),  # I8
        25: (1, 2),  # I16
        26: (1, 4),  # I32
        27: (1, 8),  # I64
        28: (1, 8),  # F64
        29: (256, 56),  # IQ1_M
        30: (1, 2),  # BF16
        34: (256, 54),  # TQ1_0
        35: (256, 66),  # TQ2_0
        39: (32, 17),  # MXFP4
        40: (64, 36),  # NVFP4
    }
)
"""Elements and bytes of one block of each tensor type. Source: `GGML_QUANT_SIZES` of ggml's `gguf` package 0.19.0."""

Scalar = bool | int | float | str


@dataclass(frozen=True)
class LongArray:
    """What is kept of an array of more than `KEPT_ITEMS` items."""

    count: int
    sha256: str
    """Of the items as they stand in the file."""
    first: tuple[Scalar, ...]


Value = Scalar | tuple[Scalar, ...] | LongArray


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says of itself before its weights."""

    version: int
    tensor_count: int
    metadata: Mapping[str, Value]
    architecture: str
    tokenizer_digest: str
    """SHA-256 over every `tokenizer.*` value but the chat templates."""
    chat_template_digest: str | None
    """SHA-256 over every `tokenizer.chat_template*` value; None without one."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of every tensor, the inner dimension first, by its name."""

    @property
    def context_length(self) -> int | None:
        """Tokens the model was trained for."""
        value = self.metadata.get(f"{self.architecture}.context_length")
        return value if type(value) is int else None


def read_header(path: Path) -> GgufHeader:
    """Read and check everything before the weights, and that every tensor lies inside the file.

    Raises:
        ArtifactError: The file cannot be read, is no GGUF file, is cut off, or claims what cannot be.
    """
    try:
        with path.open("rb") as file:
            return _read(_Cursor(file, path.stat().st_size))
    except Damage as exc:
        raise ArtifactError(f"`{path.name}` is not a usable GGUF file: {exc}. Fetch it again or use another.") from exc
    except OSError as exc:
        raise ArtifactError(f"`{path}` cannot be read: {exc.strerror}.") from exc


class _Cursor:
    """Reads forward through the header; no length it is given is believed before it is compared with the file's."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self.file_bytes = file_bytes
        self.position = 0
        self._limit = min(file_bytes, MAX_HEADER_BYTES)
        self._file = file
        self._buffer = bytearray()

    def require(self, count: int, what: str) -> None:
        """Refuse to go on when fewer bytes are left."""
        left = self._limit - self.position
        if count <= left:
            return
        if self._limit < self.file_bytes:
            raise Damage(f"the header is longer than {MAX_HEADER_BYTES >> 20} MiB at {what}")
        raise Damage(f"{what} needs {count} bytes and {left} are left")

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes."""
        self.require(count, what)
        start, self.position = self.position, self.position + count
        self._load(self.position)
        return bytes(self._buffer[start : self.position])

    def u32(self, what: str) -> int:
        return _U32.unpack(self.take(4, what))[0]

    def u64(self, what: str) -> int:
        return _U64.unpack(self.take(8, what))[0]

    def string(self, what: str, most: int = MAX_HEADER_BYTES) -> str:
        length = self.u64(what)
        if length > most:
            raise Damage(f"{what} claims {length} bytes, more than {most}")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError:
            raise Damage(f"{what} is not UTF-8") from None

    def skip_strings(self, count: int, what: str) -> None:
        """Pass over strings without keeping them: a vocabulary has hundreds of thousands."""
        buffer, position, limit, unpack = self._buffer, self.position, self._limit, _U64.unpack_from
        for _ in range(count):
            if position + 8 > len(buffer):
                self.position = position
                self.require(8, what)
                self._load(position + 8)
            position += 8 + unpack(buffer, position)[0]
            if position > limit:
                self.position = limit
                self.require(position - limit, what)
        self.position = position

    def digest_since(self, start: int) -> str:
        """SHA-256 of the bytes from `start` to here."""
        self._load(self.position)
        return hashlib.sha256(self._buffer[start : self.position]).hexdigest()

    def _load(self, end: int) -> None:
        while len(self._buffer) < end:
            block = self._file.read(max(_CHUNK_BYTES, end - len(self._buffer)))
            if not block:
                raise Damage("the file became shorter while it was read")
            self._buffer += block


def _read(cursor: _Cursor) -> GgufHeader:
    version = _read_version(cursor)
    tensor_count = cursor.u64("the tensor count")
    key_count = cursor.u64("the key count")
    if key_count > MAX_KEYS:
        raise Damage(f"it claims {key_count} keys, more than {MAX_KEYS}")
    metadata, digests = _read_metadata(cursor, key_count)
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise Damage("`general.architecture` is missing")
    shapes = _read_tensors(cursor, tensor_count, _alignment(metadata))
    templates = [key for key in digests if key.startswith("tokenizer.chat_template")]
    tokenizer = [key for key in digests if key.startswith("tokenizer.") and key not in templates]
    return GgufHeader(
        version=version,
        tensor_count=tensor_count,
        metadata=MappingProxyType(metadata),
        architecture=architecture,
        tokenizer_digest=_digest_over(tokenizer, digests),
        chat_template_digest=_digest_over(templates, digests) if templates else None,
        shapes=MappingProxyType(shapes),
    )


def _read_version(cursor: _Cursor) -> int:
    if cursor.take(4, "the magic") != _MAGIC:
        raise Damage("it does not begin with `GGUF`")
    version = cursor.u32("the version")
    if version in (2, 3):
        return version
    if version & 0xFFFF == 0:
        raise Damage("it is big endian")
    raise Damage(f"its version is {version}; 2 and 3 are known")


def _read_metadata(cursor: _Cursor, count: int) -> tuple[dict[str, Value], dict[str, str]]:
    """Every value, and the digest of every value with its type, by key."""
    metadata: dict[str, Value] = {}
    digests: dict[str, str] = {}
    for number in range(count):
        key = cursor.string(f"the name of key {number}", MAX_NAME_BYTES)
        if key in metadata:
            raise Damage(f"{shown(key)} stands twice")
        start = cursor.position
        metadata[key] = _read_value(cursor, shown(key))
        digests[key] = cursor.digest_since(start)
    return metadata, digests


def _read_value(cursor: _Cursor, what: str) -> Value:
    kind = cursor.u32(what)
    if kind != _ARRAY:
        return _scalar_reader(kind, what)(cursor)
    kind = cursor.u32(what)
    count = cursor.u64(what)
    read_item = _scalar_reader(kind, what)
    size = struct.calcsize(_NUMBERS[kind]) if kind in _NUMBERS else 8
    cursor.require(count * size, what)  # a string takes 8 bytes at least
    start = cursor.position
    first = tuple(read_item(cursor) for _ in range(min(count, KEPT_ITEMS)))
    if count <= KEPT_ITEMS:
        return first
    if kind == _STRING:
        cursor.skip_strings(count - KEPT_ITEMS, what)
    else:
        cursor.position += (count - KEPT_ITEMS) * size
    return LongArray(count, cursor.digest_since(start), first)


def _scalar_reader(kind: int, what: str) -> Callable[[_Cursor], Scalar]:
    if kind == _STRING:
        return lambda cursor: cursor.string(what)
    if kind not in _NUMBERS:
        raise Damage(f"{what} has the unknown value type {kind}")
    layout = struct.Struct("<" + _NUMBERS[kind])
    return lambda cursor: layout.unpack(cursor.take(layout.size, what))[0]


def _alignment(metadata: Mapping[str, Value]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 0 < value <= MAX_ALIGNMENT or value & (value - 1):
        raise Damage(f"`general.alignment` is {str(value)[:20]}, not a power of two up to {MAX_ALIGNMENT}")
    return value


def _read_tensors(cursor: _Cursor, count: int, alignment: int) -> dict[str, tuple[int, ...]]:
    """Read every tensor's shape, and its place, which is compared with the file's end."""
    if count > MAX_TENSORS:
        raise Damage(f"it claims {count} tensors, more than {MAX_TENSORS}")
    shapes: dict[str, tuple[int, ...]] = {}
    ends: list[tuple[int, str]] = []
    for number in range(count):
        name = cursor.string(f"the name of tensor {number}", MAX_NAME_BYTES)
        label = shown(name)
        if name in shapes:
            raise Damage(f"tensor {label} stands twice")
        dimensions = cursor.u32(label)
        if dimensions > MAX_DIMENSIONS:
            raise Damage(f"tensor {label} has {dimensions} dimensions, more than {MAX_DIMENSIONS}")
        shape = shapes[name] = tuple(cursor.u64(label) for _ in range(dimensions))
        size = _tensor_bytes(cursor.u32(label), shape, label)
        offset = cursor.u64(label)
        if offset % alignment:
            raise Damage(f"tensor {label} does not begin at a multiple of {alignment}")
        ends.append((offset + size, label))
    weights_start = -(-cursor.position // alignment) * alignment
    for end, label in ends:
        if weights_start + end > cursor.file_bytes:
            past = weights_start + end - cursor.file_bytes
            raise Damage(f"tensor {label} ends {past} bytes behind the end of the file; the download was cut off")
    return shapes


def _tensor_bytes(kind: int, shape: Iterable[int], label: str) -> int:
    """Bytes of a tensor; 0 for a type this reader does not know, whose offset alone can be checked."""
    if kind not in _BLOCKS:
        return 0
    elements, size = _BLOCKS[kind]
    row, *rest = (*shape, 1)
    if row % elements:
        raise Damage(f"tensor {label} has rows of {row}, which its type cannot divide into blocks of {elements}")
    return row // elements * size * prod(rest)


def _digest_over(keys: Iterable[str], digests: Mapping[str, str]) -> str:
    lines = "".join(f"{len(key)}:{key}={digests[key]}\n" for key in sorted(keys))
    return hashlib.sha256(lines.encode()).hexdigest()

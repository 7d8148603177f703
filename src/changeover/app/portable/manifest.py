"""What stands in an export's manifest: every file with its digest, every table with its columns and the number of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from changeover.core.digest import canonical_json
from changeover.core.errors import ConfigError
from changeover.rollouts.pack.sign import is_signed_by, read_public

FORMAT: Final = 1
"""Rises when an older `import` would misread an export."""
MANIFEST: Final = "export.json"
SIGNATURE: Final = "export.sig"
PUBLIC_KEY: Final = "public_key.pem"
UNLISTED: Final = (MANIFEST, SIGNATURE, PUBLIC_KEY)
TABLES: Final = "tables/"
DECLARATIONS: Final = "declarations/"
MOST_MANIFEST: Final = 64 << 20
"""Bytes of a manifest: one with a hundred thousand declarations."""

Kind = Literal["text", "integer", "number", "boolean", "time", "json"]
"""What a column's values are. Times are ISO 8601 with their zone; a key that a row lacks is an empty field, and `null` is
the JSON value of a column of kind `json`."""
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]
TableName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file."""

    sha256: Digest
    bytes: Count


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table: a file of JSON lines, one for each row."""

    name: TableName
    rows: Count
    columns: dict[TableName, Kind]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that an export has."""

    format: int
    changeover: str
    """The version that wrote it."""
    schema: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}\Z")]
    """Of the tables."""
    project: str
    created_at: datetime
    content: bool
    """With the texts of requests and answers."""
    keys: bool
    """With the digests of API keys, so that they open here too."""
    tables: list[Table]
    """In the order in which they have to be read: a row names only rows of tables before it, or of its own."""
    files: dict[str, Listed]
    outside: list[str]
    """Files that declarations name and that lie outside the project: they are not here."""

    def text(self) -> bytes:
        """The bytes that are signed."""
        return canonical_json(msgspec.to_builtins(self)).encode() + b"\n"


def table_file(name: str) -> str:
    """Where a table's rows are."""
    return f"{TABLES}{name}.jsonl"


def is_inside(name: str) -> bool:
    r"""Whether a name is that of a file further down, with nothing hidden on the way.

    >>> [is_inside(name) for name in ("tasks/a.toml", "/etc/passwd", "../a", "tasks/../../a", ".git/hooks/x", "a\\b")]
    [True, False, False, False, False, False]
    """
    parts = name.split("/")
    plain = name.isprintable() and not set(name) & set("\\:\0")
    return plain and all(part and not part.startswith(".") and part == part.strip() for part in parts)


def read_manifest(text: bytes, signature: bytes, key: bytes, trusted: Ed25519PublicKey | None) -> Manifest:
    """The manifest of an export, its signature checked.

    Args:
        text: As it stands in the file.
        signature: Over those bytes.
        key: The public key that came with it.
        trusted: Whose signature it must have; None: the one that came with it.

    Raises:
        ConfigError: It is damaged, was edited, somebody else signed it, or a newer version wrote it.
    """
    try:
        named = msgspec.json.decode(text, type=dict[str, object])
        own = read_public(key)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise ConfigError(f"This is no export: its manifest or its key cannot be read ({exc}).") from exc
    if not is_signed_by(trusted or own, signature, text):
        whose = "the key that you trust" if trusted is not None else "its own key"
        raise ConfigError(
            f"The manifest of this export is not signed by {whose}: it was damaged or edited. Export it again."
        )
    if isinstance(found := named.get("format"), int) and found > FORMAT:
        raise ConfigError(
            f"This export has format {found}, and this changeover reads up to {FORMAT}. Upgrade changeover."
        )
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"The manifest of this export is not what its format says: {exc}.") from exc
    _check(manifest.files, manifest.tables)
    return manifest


def _check(files: Mapping[str, Listed], tables: Sequence[Table]) -> None:
    """Refuse names that lead anywhere else, and tables without their file."""
    expected = {table_file(table.name) for table in tables}
    for name in files:
        if not is_inside(name) or not (name in expected or name.startswith(DECLARATIONS)):
            raise ConfigError(f"This export lists a file `{name[:200]}` that no export has. Nothing was read of it.")
    for name in sorted(expected - files.keys()):
        raise ConfigError(f"This export lists no file `{name}` for a table that it has.")

"""The installation's own signing key: Ed25519, made when it is first needed, readable by its owner alone.

The signature is over the bytes of the manifest, and both it and the key have the forms that other tools read, so that
a pack's origin can be checked without Changeover.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from changeover.core.errors import ConfigError

KEY_FILE = "evidence.key"

_HEX = re.compile(r"[0-9a-f]{64}")


def signing_key(state: Path) -> Ed25519PrivateKey:
    """The installation's key, made now if there is none.

    Raises:
        ConfigError: Others may read it, or it is none.
    """
    file = state / KEY_FILE
    if not file.exists():
        _make(file)
    if file.stat().st_mode & 0o077:
        raise ConfigError(f"Others may read the signing key `{file}`. Take their rights away: chmod 600 {file}")
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"`{file}` is no signing key. Bring back the one that was there, or move it away.") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"`{file}` is no Ed25519 key. Bring back the one that was there, or move it away.")
    return key


def _make(file: Path) -> None:
    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(text)
    try:
        with suppress(FileExistsError):  # two that make one at once use the first
            os.link(draft, file)
    finally:
        draft.unlink()


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as a file that other tools read."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_hex(key: Ed25519PublicKey) -> str:
    """A public key as one word."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def fingerprint(key: Ed25519PublicKey) -> str:
    """What people compare."""
    return hashlib.sha256(bytes.fromhex(public_hex(key))).hexdigest()[:16]


def read_public(text: bytes) -> Ed25519PublicKey:
    """A public key from its file.

    Raises:
        ValueError: It is none.
    """
    try:
        key = load_pem_public_key(text)
    except UnsupportedAlgorithm as exc:
        raise ValueError("no Ed25519 public key") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("no Ed25519 public key")
    return key


def trusted_key(given: str) -> Ed25519PublicKey:
    """The key that somebody trusts: 64 hex digits, or a file that holds those or the key in PEM.

    Raises:
        ConfigError: It is none of these.
    """
    word = given.strip().lower()
    try:
        if not _HEX.fullmatch(word):
            text = Path(given).read_bytes()
            if text.startswith(b"-----BEGIN"):
                return read_public(text)
            word = text.decode().strip().lower()
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(word))
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"`{given}` is no public key: give its 64 hex digits, or a file with them or with the key in PEM."
        ) from exc


def is_signed_by(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a key signed a message."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True

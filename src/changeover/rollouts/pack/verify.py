"""Checking an evidence pack: from its files alone, without a project, a store or a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jinja2 import TemplateError

from changeover import __version__
from changeover.core.digest import BLOCK_BYTES, canonical_json
from changeover.core.errors import ChangeoverError, ConfigError
from changeover.evals.replay import replay
from changeover.rollouts.pack import records
from changeover.rollouts.pack.checks import Check, found, unknown
from changeover.rollouts.pack.course import check_course
from changeover.rollouts.pack.files import Files, open_regular, read_bounded
from changeover.rollouts.pack.identities import (
    check_bundles,
    check_datasets,
    check_licences,
    check_order,
    check_rules,
    check_texts,
)
from changeover.rollouts.pack.records import Listed, Manifest
from changeover.rollouts.pack.report import to_html
from changeover.rollouts.pack.sign import fingerprint, is_signed_by, read_public
from changeover.rollouts.pack.verdicts import check_comparison, check_trial

MOST_MANIFEST = 1 << 20

_WRONG = (
    ChangeoverError,
    msgspec.MsgspecError,
    TemplateError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What reading and replaying documents of somebody else can end in."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found of a whole pack."""

    manifest: Manifest | None
    """None: it cannot be read, and nothing else was checked."""
    checks: Sequence[Check]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong. What could not be checked is not wrong."""
        return all(check.holds is not False for check in self.checks)


def verify(directory: Path, trusted: Ed25519PublicKey | None = None) -> Verification:
    """Check everything in a pack that can be checked.

    Args:
        directory: The pack.
        trusted: Whose signature it must have; None: any, and that is said.

    Raises:
        ConfigError: There is no such directory.
    """
    if not directory.is_dir():
        raise ConfigError(f"`{directory}` is no directory. Name the one that `changeover evidence` wrote.")
    try:
        text = read_bounded(directory / records.MANIFEST, MOST_MANIFEST)
        manifest = _manifest(text)
    except _WRONG as exc:
        return Verification(manifest=None, checks=[_broken("manifest", exc)])
    files = Files(directory)
    checks = [
        *_guarded("signature", lambda: _check_signature(directory, text, trusted)),
        *_guarded("files", lambda: [_check_files(directory, manifest)]),
        *_guarded("subject", lambda: [_check_subject(manifest, files)]),
        *_guarded("bundles", lambda: [check_bundles(files)]),
        *_guarded("licences", lambda: [check_licences(files)]),
        *_guarded("dataset", lambda: check_datasets(files)),
        *_guarded("texts", lambda: [check for check in [check_texts(files)] if check is not None]),
        *_guarded("comparisons", lambda: _check_comparisons(files)),
        *_guarded("trial", lambda: [check for check in [check_trial(files)] if check is not None]),
        *_guarded("course", lambda: check_course(files, _verdict(files))),
        *_guarded("report", lambda: [_check_report(manifest, files)]),
    ]
    return Verification(manifest=manifest, checks=checks)


def _guarded(name: str, make: Callable[[], list[Check]]) -> list[Check]:
    """Make checks; documents that cannot be read or replayed are what one of them found."""
    try:
        return make()
    except _WRONG as exc:
        return [_broken(name, exc)]


def _broken(name: str, exc: Exception) -> Check:
    if isinstance(exc, FileNotFoundError):
        return Check(name=name, holds=False, says=f"`{Path(str(exc.filename)).name}` is not there")
    said = str(exc.args[0]) if isinstance(exc, KeyError) and exc.args else str(exc)
    return Check(name=name, holds=False, says=f"cannot be used: {type(exc).__name__}: {said[:200]}")


def _manifest(text: bytes) -> Manifest:
    """Read the manifest.

    Raises:
        ValueError: It is of another format, or no canonical JSON.
    """
    version: Any = msgspec.json.decode(text)
    if not isinstance(version, dict) or version.get("format") != records.FORMAT:  # pyright: ignore[reportUnknownMemberType] - any JSON
        raise ValueError(f"it is not of format {records.FORMAT}, which this version of Changeover reads")
    if canonical_json(version).encode() != text:
        raise ValueError("it is no canonical JSON, and could be read in two ways")
    return msgspec.json.decode(text, type=Manifest)


def _check_signature(directory: Path, text: bytes, trusted: Ed25519PublicKey | None) -> list[Check]:
    key = read_public(read_bounded(directory / records.PUBLIC_KEY, MOST_MANIFEST))
    signature = read_bounded(directory / records.SIGNATURE, MOST_MANIFEST)
    signed = [] if is_signed_by(key, signature, text) else ["the manifest is not what was signed"]
    checks = [found("signature", signed, f"Ed25519, over {records.MANIFEST}")]
    if trusted is None:
        says = f"{fingerprint(key)}; whose it is was not checked: give `--key`"
        return [*checks, unknown("key", says)]
    same = fingerprint(key) == fingerprint(trusted)
    wrong = [] if same else [f"{fingerprint(key)} signed, and {fingerprint(trusted)} is trusted"]
    return [*checks, found("key", wrong, f"{fingerprint(key)}, the one that is trusted")]


def _check_files(directory: Path, manifest: Manifest) -> Check:
    differs: list[str] = []
    for name, listed in manifest.files.items():
        try:
            differs += _differences(directory / name, listed)
        except FileNotFoundError:
            differs.append(f"`{name}` is not there")
        except (OSError, ValueError) as exc:
            differs.append(f"`{name}`: {exc}")
    there = {file.name for file in directory.iterdir()}
    extra = there - manifest.files.keys() - {records.MANIFEST, records.SIGNATURE}
    differs += [f"`{name}` is not in the manifest" for name in sorted(extra)]
    differs += [f"the manifest lacks `{name}`" for name in records.LISTED if name not in manifest.files]
    total = sum(listed.bytes for listed in manifest.files.values())
    return found("files", differs, f"{len(manifest.files)} files, {total:,} bytes, each as its digest says")


def _differences(file: Path, listed: Listed) -> list[str]:
    digest = hashlib.sha256()
    with open_regular(file) as opened:
        left = listed.bytes + 1
        while left > 0 and (block := opened.read(min(BLOCK_BYTES, left))):
            digest.update(block)
            left -= len(block)
    if left != 1:
        return [f"`{file.name}` is {'shorter' if left > 1 else 'longer'} than the manifest says"]
    return [] if digest.hexdigest() == listed.sha256 else [f"`{file.name}` was changed"]


def _check_subject(manifest: Manifest, files: Files) -> Check:
    file = files.rollout
    told = (manifest.rollout, manifest.task, manifest.created_at)
    same = told == (file.rollout.id, file.rollout.task, file.written_at)
    says = f"rollout {manifest.rollout} of `{manifest.task}`, {file.rollout.state}, written by {manifest.changeover}"
    return found("subject", [] if same else ["the manifest speaks of another rollout than the files"], says)


def _check_comparisons(files: Files) -> list[Check]:
    checks: list[Check] = []
    for comparison in files.comparisons:
        samples = files.samples_of(comparison.id)
        checks += [check_rules(comparison, files), check_order(comparison, samples, files)]
        checks += check_comparison(comparison, samples)
    known = {comparison.id for comparison in files.comparisons}
    strange = {sample.compared.comparison for sample in files.samples()} - known
    if strange:
        checks.append(found("samples", [f"some are of a comparison `{id}` that is not there" for id in strange], ""))
    named = files.rollout.rollout.comparison
    if not known:
        says = "no comparison: nobody measured the candidate for this rollout"
        return [
            *checks,
            unknown("verdict", says) if named is None else found("verdict", [f"`{named}` is not there"], ""),
        ]
    return checks


def _verdict(files: Files) -> str | None:
    """What the scores of the comparison that the rollout names say."""
    named = next((each for each in files.comparisons if each.id == files.rollout.rollout.comparison), None)
    if named is None or named.verdict is None:
        return None
    return replay(named, [sample.compared for sample in files.samples_of(named.id)]).verdict


def _check_report(manifest: Manifest, files: Files) -> Check:
    if manifest.changeover != __version__:
        return unknown("report", f"{manifest.changeover} wrote the page, this is {__version__}: not made again")
    same = to_html(files).encode() == read_bounded(files.directory / records.REPORT)
    return found(
        "report", [] if same else ["the page says something else than the JSON files"], "says what the JSON says"
    )

"""The work of `changeover evidence`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from changeover.app.installation import Installation
from changeover.app.local import make_private
from changeover.cli.frame import EXIT_FAIL, EXIT_PASS, here, out, plain, print_json
from changeover.cli.running import check_task, opened
from changeover.core.errors import GateError
from changeover.core.settings import Project
from changeover.evals.report.words import visible
from changeover.rollouts.decide import Rollout
from changeover.rollouts.pack import records
from changeover.rollouts.pack.checks import Check
from changeover.rollouts.pack.collect import Asking
from changeover.rollouts.pack.sign import fingerprint, public_hex, public_pem, signing_key, trusted_key
from changeover.rollouts.pack.verify import verify
from changeover.rollouts.pack.write import check_free, write_pack
from changeover.rollouts.queries import find_rollout, latest_rollout

MOST_DIGITS = 9
"""Of a rollout's number: what a database takes for one."""

_MARKS = {True: "[green]✓[/]", False: "[bold red]✗[/]", None: "[dim]–[/]"}


def write(named: str, directory: Path, content: bool, as_json: bool) -> None:
    """Write a rollout's pack."""
    check_free(directory)
    installation = opened()
    rollout = _found(installation, named)
    key = _key(installation.project)
    asking = Asking(
        project=installation.project.settings.name,
        catalogue=installation.catalogue,
        content=content,
        now=installation.clock.now(),
    )
    with installation.store.read() as connection:
        manifest = write_pack(connection, rollout, asking, key, directory)
    public = key.public_key()
    if as_json:
        print_json({"pack": directory, "public_key": public_hex(public), "manifest": manifest})
        return
    total = sum(listed.bytes for listed in manifest.files.values())
    out.print(
        f"rollout {rollout.id} of {plain(rollout.task)}, {rollout.state.replace('_', ' ')}: {len(manifest.files)} files, {total:,} bytes"
    )
    out.print(f"      report  {plain(directory / records.REPORT)}")
    out.print(f"      key     {fingerprint(public)}, whole: changeover evidence key")
    out.print(f"      next    changeover evidence verify {plain(directory)}")


def verify_pack(directory: Path, trusted: str | None, as_json: bool) -> int:
    """Check a pack and print what was found, a line for each check. Returns the exit status."""
    verification = verify(directory, None if trusted is None else trusted_key(trusted))
    if as_json:
        print_json({"holds": verification.holds, "checks": verification.checks, "manifest": verification.manifest})
    else:
        width = max(len(check.name) for check in verification.checks)
        for check in verification.checks:
            out.print(_line(check, width))
        out.print(_summary(verification.checks))
    return EXIT_PASS if verification.holds else EXIT_FAIL


def print_key(as_json: bool) -> None:
    """Print the public key."""
    public = _key(here()).public_key()
    if as_json:
        said = {
            "public_key": public_hex(public),
            "fingerprint": fingerprint(public),
            "pem": public_pem(public).decode(),
        }
        print_json(said)
    else:
        out.print(public_hex(public))


def _key(project: Project) -> Ed25519PrivateKey:
    make_private(project.state)
    return signing_key(project.state)


def _line(check: Check, width: int) -> str:
    return f"{_MARKS[check.holds]} {check.name:<{width}}  {plain(visible(check.says))}"


def _summary(checks: Sequence[Check]) -> str:
    wrong = sum(check.holds is False for check in checks)
    unknown = sum(check.holds is None for check in checks)
    holds = f"{len(checks) - wrong - unknown} hold"
    beyond = f", {unknown} could not be checked" if unknown else ""
    return (
        f"{holds}{beyond}, [bold red]{wrong} {'is' if wrong == 1 else 'are'} wrong[/]"
        if wrong
        else f"{holds}{beyond}, none is wrong"
    )


def _found(installation: Installation, named: str) -> Rollout:
    """The rollout of a number, or the newest of a task.

    Raises:
        UnknownTaskError: No task has that name.
        GateError: There is no such rollout.
    """
    numbered = named.isdecimal() and len(named) <= MOST_DIGITS
    with installation.store.read() as connection:
        if numbered:
            found = find_rollout(connection, int(named))
        else:
            check_task(installation, named)
            found = latest_rollout(connection, named)
    if found is None:
        what = f"No rollout {named}" if numbered else f"`{named}` has had no rollout"
        raise GateError(f"{what}. `changeover history TASK` shows those that wrote a route.")
    return found

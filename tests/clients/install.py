"""Installs the lane's clients into its own environment, one by one: one that cannot be had stops no other.

Run by the environment's own Python. Writes why a client is missing to `not-installed/NAME` there; the tests show it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MISSING = Path(sys.prefix) / "not-installed"
RUNNER = ("pip", "pytest", "pytest-asyncio")
"""Without these there is no lane. pip comes first: an old one does not look for hashes among constraints."""


def main() -> int:
    """Install everything; fails only without the runner."""
    (Path(sys.prefix) / ".gitignore").write_text("*\n")
    shutil.rmtree(MISSING, ignore_errors=True)
    MISSING.mkdir()
    lines = (HERE / "requirements.txt").read_text().splitlines()
    for line in (line for line in lines if line and not line.startswith("#")):
        name = line.partition("==")[0]
        said = pip_install(line)
        print(f"{name:20}{'installed' if said is None else said}", flush=True)
        if said is not None:
            if name in RUNNER:
                return 1
            (MISSING / name).write_text(said)
    said = npm_install()
    print(f"{'openai for Node':20}{'installed' if said is None else said}", flush=True)
    if said is not None:
        (MISSING / "openai-node").write_text(said)
    return 0


def pip_install(requirement: str) -> str | None:
    """Install one pinned package and what it needs, hashes checked. Gives the reason of a failure."""
    wanted = Path(sys.prefix) / "wanted.txt"  # only files may hold hashes
    wanted.write_text(locked(requirement))
    return run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"),
        *("--constraint", str(HERE / "constraints.txt"), "--requirement", str(wanted)),
    )


def locked(requirement: str) -> str:
    """A requirement with the hashes that constraints.txt has for it."""
    text = (HERE / "constraints.txt").read_text()
    found = re.search(rf"^{re.escape(requirement)} .*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise SystemExit(f"`{requirement}` is not in constraints.txt. Compile it anew.")
    return found[0]


def npm_install() -> str | None:
    """Install the client for Node beside its tests. Gives the reason of a failure."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "there is no Node here"
    options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    return run(npm, "install", *options, "--prefix", str(HERE / "node"))


def run(*command: str) -> str | None:
    """Run a command. Gives the last line that says what went wrong, None if all went well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    return said[-1].strip() if said else f"`{command[0]}` ended with {done.returncode}"


if __name__ == "__main__":
    sys.exit(main())

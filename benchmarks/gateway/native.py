"""The load generator and the upstream, in C because neither may be what is measured: compiled once, kept by content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evals.install import UnavailableError, place, python_tool

SOURCES = Path(__file__).with_name("native")
OPTIONS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
ZIG = "ziglang==0.16.0"
COMPILE_S = 300.0


@dataclass(frozen=True)
class Programs:
    """Where the compiled programs are."""

    load: Path
    upstream: Path


def compiled() -> Programs:
    """Compile what is not compiled yet.

    Raises:
        UnavailableError: There is no C compiler and none can be installed, or it refuses the sources.
    """
    home = place(f"gateway-native-{_digest()}")
    programs = Programs(load=home / "load", upstream=home / "upstream")
    if not (programs.load.exists() and programs.upstream.exists()):
        home.mkdir(parents=True, exist_ok=True)
        compiler = _compiler()
        for program in (programs.load, programs.upstream):
            _compile(compiler, SOURCES / f"{program.name}.c", program)
    return programs


def _digest() -> str:
    taken = hashlib.sha256(" ".join(OPTIONS).encode())
    for file in sorted(SOURCES.iterdir()):
        if file.suffix in (".c", ".h"):
            taken.update(file.read_bytes())
    return taken.hexdigest()[:12]


def _compiler() -> Sequence[str]:
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and shutil.which(name):
            return (name,)
    return (str(python_tool(ZIG.replace("==", "-"), ZIG) / "python"), "-m", "ziglang", "cc")


def _compile(compiler: Sequence[str], source: Path, program: Path) -> None:
    # Into a file of its own first: two benchmarks that start together must not run half a program.
    with tempfile.TemporaryDirectory(dir=program.parent) as directory:
        draft = Path(directory) / program.name
        command = (*compiler, *OPTIONS, "-o", str(draft), str(source))
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_S, check=False)
        if done.returncode:
            raise UnavailableError(f"`{' '.join(compiler)}` refused {source.name}: {done.stderr.strip()[-400:]}")
        draft.replace(program)

"""Making weights of others, in a process of the engine's environment, so that whatever ends it leaves nothing half.

Below `cache/converted/DIGEST-NAME/` stand:

- `model.gguf` or the directory `files/`, only once all is made and was looked at;
- `made.json`, of what and by what they were made, and sizes and times then, which makes `is_made` cheap;
- `make.lock`, held by the process that makes them;
- `make.log`, what the last attempt said;
- `part-…/`, while they are made.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from changeover.core.errors import ArtifactError, EngineError
from changeover.core.sizes import GIB, in_mib
from changeover.library import marks, safetensors
from changeover.library.fetch.progress import Progress
from changeover.library.fit.quantisation import format_of
from changeover.library.gguf import read_header
from changeover.library.pull import locked
from changeover.serving.conversions.declared import SCRIPTS, Conversion, Making
from changeover.serving.homes import Homes, Python

_INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "HF_HUB_OFFLINE": "1",  # everything that it reads is here
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "OMP_NUM_THREADS": "1",  # on busy cores two threads of torch wait for each other
}
_WHOLE: Final = ("config.json", "tokenizer.json")
"""What no directory of safetensors may lack."""


def maker(conversion: Conversion, homes: Homes) -> Python:
    """The interpreter that can make it.

    Raises:
        EngineError: None can; says what to install.
    """
    for name in conversion.homes:
        python = homes.python(name)
        if all(python.version(package) for package in conversion.packages):
            return python
    raise EngineError(
        f"Making {conversion.quantisation} {conversion.makes} of GGUF needs {', '.join(conversion.packages)} in one "
        f"environment. `changeover engines install {conversion.homes[0]}` makes one."
    )


def expected_bytes(making: Making) -> int:
    """About how large the result becomes; measured ones were a fifth smaller, since not all of a file is in few bits."""
    known = format_of(making.source_quantisation)
    bits = 4.0 if known is None else known.bits
    return round(making.source_bytes * making.conversion.bits / bits)


def expected_s(making: Making) -> int:
    """About how long it takes at most."""
    return 5 + round(making.source_bytes * making.conversion.seconds_per_gib / GIB)


def is_made(making: Making) -> bool:
    """Whether the result is there, made as it would be made now, and nobody touched it since."""
    try:
        return marks.says(_mark(making), marks.facts(making.target, _known_by(making)))
    except (OSError, ValueError):
        return False


def convert(making: Making, homes: Homes, progress: Progress) -> Path:
    """Make the weights unless they are there. A second process that makes the same waits for the first.

    Raises:
        EngineError: No environment here can make them.
        ArtifactError: The source is not there, or making them failed; nothing half is kept.
    """
    if is_made(making):
        return making.target
    python = maker(making.conversion, homes)
    if not making.source.is_file():
        raise ArtifactError(f"`{making.source}` is not there. Pull the model first.")
    place = making.target.parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with locked(place / "make.lock", progress):
            if not is_made(making):
                _make(making, python, progress)
    except OSError as exc:
        raise ArtifactError(f"The cache `{making.cache}` cannot be used: {exc.strerror or exc}. Mend it.") from exc
    return making.target


def _make(making: Making, python: Python, progress: Progress) -> None:
    place, target = making.target.parent, making.target
    for left in place.glob("part-*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    _require_space(making)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=place))
    try:
        result = part / target.name
        versions = _run(making, python, result, progress)
        _check(making, result)
        _mark(making).unlink(missing_ok=True)
        _remove(target)
        result.replace(target)
        marks.write(_mark(making), {**marks.facts(target, _known_by(making)), "by": versions})
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run(making: Making, python: Python, result: Path, progress: Progress) -> Mapping[str, Any]:
    """Run the script and pass on what it says. Gives the versions of what made it."""
    log = making.target.parent / "make.log"
    # -I: neither the working directory nor a variable may add modules.
    argv = (python.executable, "-I", str(SCRIPTS / making.conversion.script), str(making.source), str(result))
    inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
    versions: Mapping[str, Any] = {}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env={**inherited, **_ENVIRONMENT}
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                versions = _told(line, progress) or versions
            status = process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            progress.finish()
    if status or not result.exists():
        raise ArtifactError(
            f"`{making.source.name}` could not be made into {making.conversion.quantisation} "
            f"{making.conversion.makes}: {_reason(log, status)} Nothing is kept but `{log}`."
        )
    return versions


def _told(line: bytes, progress: Progress) -> Mapping[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}  # a library that prints
    match said:
        case {"step": str(step), "total": int() | None as total}:
            progress.start(step, total)
        case {"done": int(done)}:
            progress.advance(done)
        case {"versions": {**versions}}:
            return versions
        case _:
            pass
    return {}


def _check(making: Making, result: Path) -> None:
    """Look at what was made: a file that is whole, and the same tokenizer and template.

    Raises:
        ArtifactError: It is not what it should be.
    """
    if making.conversion.makes == "gguf":
        before, now = read_header(making.source), read_header(result)
        same = (before.tokenizer_digest, before.chat_template_digest) == (
            now.tokenizer_digest,
            now.chat_template_digest,
        )
        if not same or before.tensor_count != now.tensor_count:
            raise ArtifactError(f"`{making.source.name}` lost its tokenizer, template or tensors. Nothing is kept.")
        return
    absent = [name for name in _WHOLE if not (result / name).is_file()]
    tensors = sorted(result.glob("*.safetensors"))
    if absent or not tensors:
        what = ", ".join(absent) or "its weights"
        raise ArtifactError(f"`{making.source.name}` was converted without {what}. Nothing is kept.")
    for file in tensors:
        safetensors.read_header(file)


def _require_space(making: Making) -> None:
    needed, free = expected_bytes(making), shutil.disk_usage(making.target.parent).free
    if free < needed:
        raise ArtifactError(
            f"Making {making.conversion.quantisation} of `{making.source.name}` needs about {in_mib(needed)} in "
            f"`{making.cache}`, and {in_mib(free)} are free. Free some space and ask again."
        )


def _known_by(making: Making) -> dict[str, Any]:
    conversion = making.conversion
    return {"source": making.source_digest, "conversion": conversion.name, "revision": conversion.revision}


def _mark(making: Making) -> Path:
    return making.target.with_name("made.json")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _reason(log: Path, status: int) -> str:
    lines = _lines(log)
    if status < 0:
        return f"it was ended by signal {-status}, as when memory ran out."
    return f"{lines[-1][:300].rstrip('.')}." if lines else f"it ended with {status}."


def _lines(log: Path) -> Sequence[str]:
    text = log.read_text(encoding="utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip() and "it/s]" not in line]

"""Servers that somebody else wrote: how they are put under a warden, and what they need of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from changeover.core.sizes import GIB, in_gib
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected, Found, detect
from changeover.serving.backends.common import module, warden
from changeover.serving.backends.protocol import Launch, Missing
from changeover.serving.engines.warden import PORT
from changeover.serving.homes import Python
from changeover.serving.weights import size_of

OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Weights are ours already, and nobody is told what runs here."""


def under_warden(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    reads: Sequence[Path],
    model: str | None,
    start_s: float,
    first_answer: bool,
) -> Launch:
    """Start a server by our warden, which picks its port and ends all that it starts.

    Args:
        argv: Its command, with `{port}`.
        environment: On top of what every engine gets, with `{secret}`.
        reads: Files and directories that it must be able to read, beside its own software.
        model: What requests have to name.
        start_s: What it may take before it reads weights.
        first_answer: Whether it has to answer before it counts as ready.
    """
    assert any(PORT in part for part in argv), "a server without a port cannot be asked"
    return Launch(
        argv=module("changeover.serving.engines.warden"),
        # A file in the directory where we were started must not pose as a module of the server's.
        config=warden(argv, environment, needs=[str(path.absolute()) for path in reads], directory="/"),
        model=model,
        start_s=start_s,
        first_answer=first_answer,
    )


@cache
def machine() -> Detected:
    """The accelerators of this machine. They are looked for once: the vendors' tools may take seconds."""
    return detect(Catalogue.load().accelerators())


def cards_for(engine: str, detected: Detected) -> Sequence[Found]:
    """Accelerators here that an engine is known to run on."""
    return [each for each in detected.found if any(one.engine == engine for one in each.accelerator.engines)]


def lacking_package(
    home: Python, packages: Sequence[str], engine: str, install: str | None = None
) -> Sequence[Missing]:
    """What an engine's home lacks of these packages; `install` says how they come there, if not by our command."""
    missing = [each for each in packages if home.version(each) is None]
    named = f"name an interpreter that has it as `engines.homes.{engine}.python`."
    remedy = (
        f"{install}, and {named}" if install else f"Install it with `changeover engines install {engine}`, or {named}"
    )
    return [Missing(what=f"the package `{each}` for `{home.executable}`", remedy=remedy) for each in missing]


def lacking_cards(
    engine: str, detected: Detected, *, wanted: int, share: float, weights: Path | None
) -> Sequence[Missing]:
    """What a server lacks of accelerators: any, enough of them, or memory on each for its part of the weights.

    Args:
        engine: As accelerators' cards call it.
        detected: What this machine has.
        wanted: Accelerators that share the weights.
        share: Of each one's memory that the server may take.
        weights: Whose size counts, if they are here.
    """
    found = cards_for(engine, detected)
    if not found:
        seen = f" ({'; '.join(detected.unknown)})" if detected.unknown else ""
        what = f"an accelerator that `{engine}` runs on: none was found here{seen}"
        return [
            Missing(
                what=what,
                remedy="Deploy it on a machine that has one; `changeover fit MODEL --on HARDWARE` says what it needs.",
            )
        ]
    most = max(found, key=lambda each: each.count)
    if most.count < wanted:
        what = f"{wanted} accelerators: here {'is' if most.count == 1 else 'are'} {most.count} × {most.accelerator.display_name}"
        return [
            Missing(what=what, remedy=f"Ask for at most {most.count} with `tensor_parallel` and `pipeline_parallel`.")
        ]
    size, memory = _size(weights), most.accelerator.memory_gib
    if size is None or memory is None:
        return []
    part, room = size // wanted, round(memory * GIB * share)
    if part <= room:
        return []
    what = f"{in_gib(part)} on each of {wanted} × {most.accelerator.display_name} for the weights: there are {in_gib(room)}"
    return [Missing(what=what, remedy="Share the weights between more accelerators, or take a smaller quantisation.")]


def _size(weights: Path | None) -> int | None:
    try:
        return None if weights is None else size_of(weights)
    except OSError:
        return None  # they are not here yet

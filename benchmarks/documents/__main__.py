"""How fast files of each kind are read, in how much memory, and how many characters OCR gets wrong.

    python -m benchmarks.documents [--quick] [--json FILE]

Every kind is read by a process of its own, as tools have it done: the second time a file is read counts, the most memory
that the process ever had, and what the process had before it read anything. Then thirty pictures of known text, in three
fonts and five sizes, as they are, askew, turned, noisy, faint and badly packed: characters that would have to be changed,
as a share of those that are true, blank space aside. `--quick` reads shorter files, and six of the pictures.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import psutil
from rapidfuzz.distance import Levenshtein

from benchmarks.documents.files import TREATMENTS, Sample, pictures, samples
from benchmarks.promises import command
from changeover.tools.documents.processes import Readers
from changeover.tools.documents.reader import Limits
from changeover.tools.values import File

LIMITS = Limits(most_bytes=256 << 20, most_pages=10_000, most_chars=50_000_000, seconds=600)
MEMORY_MIB = 1_024
PICTURES, QUICK_PICTURES = 30, 6


@dataclass(frozen=True)
class Pace:
    """Reading one file, the second time, by the clock of the processor."""

    kind: str
    size_mb: float
    pages: int
    seconds: float
    before_mib: float
    """What the process has when it has read one line of text."""
    peak_mib: float

    @property
    def pages_per_second(self) -> float:
        """Of its own pages, slides, sheets or sections."""
        return self.pages / max(self.seconds, 0.01)


@dataclass(frozen=True)
class Picture:
    """One picture, read."""

    treatment: str
    pixels: int
    """Height of its letters."""
    errors: float
    confidence: float
    seconds: float


async def paced(sample: Sample) -> Pace:
    """Read a file twice in a new process."""
    data = sample.data()
    readers = Readers(1, MEMORY_MIB)
    try:
        await readers.read(File(name="first.txt", data=b"One line."), LIMITS)
        before = most_memory(readers.processes[0])
        await readers.read(File(name=sample.name, data=data), LIMITS)
        begun = worked(readers.processes[0])
        document = await readers.read(File(name=sample.name, data=data), LIMITS)
        seconds = worked(readers.processes[0]) - begun
        return Pace(
            sample.name, len(data) / 1e6, len(document.pages), seconds, before, most_memory(readers.processes[0])
        )
    finally:
        await readers.close()


def most_memory(process: int) -> float:
    """The most memory that a process ever had, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def worked(process: int) -> float:
    """Seconds that processors worked for a process: other load on the machine does not count."""
    times = psutil.Process(process).cpu_times()
    return max(times.user + times.system, 0.001)


async def recognised(count: int) -> list[Picture]:
    """Read pictures of known text."""
    readers = Readers(1, MEMORY_MIB)
    read: list[Picture] = []
    try:
        await readers.read(File(name="first.png", data=next(pictures(1)).data), LIMITS)  # loads the networks
        for made in pictures(count):
            begun = worked(readers.processes[0])
            document = await readers.read(File(name="picture", data=made.data), LIMITS)
            seconds = worked(readers.processes[0]) - begun
            text, known = (re.sub(r"\s+", "", each) for each in (document.text, made.text))
            errors = Levenshtein.distance(text, known) / len(known)
            read.append(Picture(made.treatment, made.pixels, errors, document.pages[0].confidence or 0.0, seconds))
    finally:
        await readers.close()
    return read


def run(quick: bool) -> dict[str, object]:
    """Everything that `--json` writes."""
    paces = [asyncio.run(paced(sample)) for sample in samples(quick)]
    read = asyncio.run(recognised(QUICK_PICTURES if quick else PICTURES))
    return {
        "kinds": [{**asdict(each), "pages_per_second": each.pages_per_second} for each in paces],
        "pictures": [asdict(each) for each in read],
        "summary": {
            "mean_error": fmean(each.errors for each in read),
            "median_error": median(each.errors for each in read),
            "worst_error": max(each.errors for each in read),
            "median_seconds": median(each.seconds for each in read),
        },
    }


def show(report: dict[str, object]) -> None:
    """Print the tables as Markdown, ready for docs/benchmarks.md."""
    print(
        "| file | MB | pages | pages per second of a core | memory before, MiB | most memory, MiB |\n|---|--:|--:|--:|--:|--:|"
    )
    for each in report["kinds"]:  # pyright: ignore[reportGeneralTypeIssues] - what `run` wrote
        print(
            f"| {each['kind']} | {each['size_mb']:.2f} | {each['pages']:,} | {each['pages_per_second']:,.1f} "
            f"| {each['before_mib']:.0f} | {each['peak_mib']:.0f} |"
        )
    read = [Picture(**each) for each in report["pictures"]]  # pyright: ignore[reportGeneralTypeIssues]
    print(
        "\n| pictures | number | characters wrong, mean | worst | confidence | s of a core, median |\n|---|--:|--:|--:|--:|--:|"
    )
    groups = [*((name, [each for each in read if each.treatment == name]) for name in TREATMENTS), ("all", read)]
    for name, group in groups:
        if group:
            print(
                f"| {name} | {len(group)} | {fmean(each.errors for each in group):.2%} "
                f"| {max(each.errors for each in group):.2%} | {fmean(each.confidence for each in group):.3f} "
                f"| {median(each.seconds for each in group):.2f} |"
            )


if __name__ == "__main__":
    command(__doc__, run, show)

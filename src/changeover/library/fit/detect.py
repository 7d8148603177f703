"""Which accelerators this machine has: what the vendors' tools list, else its PCI bus and device files. Changes nothing.

The tools are those that the accelerators' cards name. They run with a time limit, with nothing of our environment but
the path, and never as root: where we are root, as nobody.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from changeover.core.sizes import GIB, MIB
from changeover.library.accelerators import Accelerator

TIMEOUT_S: Final = 10.0
NOBODY: Final = 65534

_LISTED: Final = re.compile(r"^\|\s+(?P<number>\d+)\s+(?P<name>\S.*?)\s+(?:N/A|On|Off)\s*\|\s*(?P<bus>[0-9A-Fa-f:.]+)")
"""A card's first line in the tables of nvidia-smi, xpu-smi and hl-smi."""
_USED_OF: Final = re.compile(r"\d+MiB\s*/\s*(?P<mib>\d+)MiB")
_NPU: Final = re.compile(r"^\|\s*\d+\s+(?P<name>\S+)\s*\|\s*(?:OK|Warning|Alarm|Critical|UNKNOWN)\s*\|")
_OF: Final = re.compile(r"/\s*(?P<mb>\d+)\s*\|\s*$")
_ROCM: Final = re.compile(r"^GPU\[(?P<number>\d+)\]\s*:\s*(?P<key>[^:]+?)\s*:\s*(?P<value>.*\S)\s*$")


@dataclass(frozen=True)
class Listed:
    """One card as a tool lists it."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """So many cards of one kind in this machine."""

    accelerator: Accelerator
    """With the memory that its driver reports, where a tool said so."""
    count: int
    how: str
    """How they were found, in words."""


@dataclass(frozen=True)
class Detected:
    """What a machine has."""

    found: tuple[Found, ...]
    unknown: tuple[str, ...]
    """What a tool listed and no card in the library describes, and tools that failed."""


def detect(
    accelerators: Iterable[Accelerator],
    *,
    path: str | None = None,
    root: Path = Path("/"),
    timeout_s: float = TIMEOUT_S,
) -> Detected:
    """Find this machine's accelerators.

    Args:
        accelerators: Those that the library has cards of.
        path: Where the vendors' tools are looked for; None: the process's own path.
        root: Where `sys` and `dev` are.
        timeout_s: How long one tool may take.
    """
    known = tuple(accelerators)
    found: list[Found] = []
    unknown: list[str] = []
    seen: set[str] = set()
    for command in dict.fromkeys(one.detection.command for one in known if one.detection.command):
        output = _output(command, path or os.environ.get("PATH", os.defpath), timeout_s)
        if isinstance(output, Failed):
            unknown.append(str(output))
        if not isinstance(output, str):
            continue
        tool = shlex.split(command)[0]
        listed = list(_PARSERS[tool](output)) if tool in _PARSERS else []
        mine = [one for one in known if one.detection.command == command]
        for card in dict.fromkeys(listed):
            one = _described(card.name, mine)
            if one is None:
                unknown.append(f"{tool} lists `{card.name}`, of which the library has no card")
                continue
            seen.add(one.id)
            exact = one.model_copy(update={"memory_gib": card.bytes / GIB})
            found.append(Found(accelerator=exact, count=listed.count(card), how=f"listed by {tool}"))
    on_bus, shared = list(_on_bus(root)), Counter(pattern for one in known for pattern in one.detection.devices)
    for one in known:
        devices = set(one.detection.pci_devices)
        count = sum(vendor in one.detection.pci_vendors and device in devices for vendor, device in on_bus)
        files = max((_files(root, each) for each in one.detection.devices if shared[each] == 1), default=0)
        if one.id not in seen and (count or files):
            how = "on the PCI bus" if count else "by its device files"
            found.append(Found(accelerator=one, count=count or files, how=f"{how}; its memory is the card's word"))
    return Detected(tuple(found), tuple(unknown))


@dataclass(frozen=True)
class Failed:
    """A tool that is here and gave nothing."""

    tool: str
    why: str

    def __str__(self) -> str:
        return f"{self.tool} {self.why}"


def _output(command: str, path: str, timeout_s: float) -> str | Failed | None:
    """What a tool prints; None where it is not here."""
    name, *arguments = shlex.split(command)
    tool = shutil.which(name, path=path)
    if tool is None:
        return None
    root = os.geteuid() == 0
    try:
        ended = subprocess.run(
            [tool, *arguments],
            capture_output=True,
            check=False,
            cwd="/",
            env={"PATH": path, "LANG": "C"},
            errors="replace",
            extra_groups=[] if root else None,
            group=NOBODY if root else None,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
            user=NOBODY if root else None,
        )
    except subprocess.TimeoutExpired:
        return Failed(name, f"gave no answer in {timeout_s:g} s")
    except OSError as exc:
        return Failed(name, f"could not be run: {exc.strerror or exc}")
    return ended.stdout if ended.returncode == 0 else Failed(name, f"ended with status {ended.returncode}")


def _described(name: str, accelerators: Iterable[Accelerator]) -> Accelerator | None:
    """The accelerator whose name begins a tool's; of several the longest beginning, so that an `L40S` is no `L4`."""
    matches = [
        (len(beginning), one) for one in accelerators for beginning in one.detection.names if name.startswith(beginning)
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def _comma_separated(text: str) -> Iterator[Listed]:
    """`NVIDIA H100 80GB HBM3, 81559`: name and MiB."""
    for line in text.splitlines():
        name, _, mib = line.rpartition(",")
        if name and mib.strip().isdigit():
            yield Listed(name.strip(), int(mib) * MIB)


def _table(text: str) -> Iterator[Listed]:
    """Pairs of lines: number, name and bus; then used and whole memory. Virtual cards stand for the one they are parts of."""
    rows: list[tuple[str, str, int]] = []
    name = bus = None
    for line in text.splitlines():
        if (listed := _LISTED.match(line)) is not None:
            name, bus = listed["name"], listed["bus"]
        elif name is not None and bus is not None and (memory := _USED_OF.search(line)) is not None:
            rows.append((name, bus.rpartition(".")[0], int(memory["mib"]) * MIB))
            name = bus = None
    divided = {slot for name, slot, _ in rows if name.endswith(" VF")}
    for name, slot, count in rows:
        if name.endswith(" VF") or slot not in divided:
            yield Listed(name, count)


def _npu(text: str) -> Iterator[Listed]:
    """Pairs of lines: number and name; then `Memory-Usage` and `HBM-Usage`, of which the last is meant."""
    name = None
    for line in text.splitlines():
        if (listed := _NPU.match(line)) is not None:
            name = listed["name"]
        elif name is not None and (memory := _OF.search(line)) is not None:
            yield Listed(name, int(memory["mb"]) * MIB)
            name = None


def _rocm(text: str) -> Iterator[Listed]:
    """`GPU[0] : Card Series: AMD Instinct MI300X` and `GPU[0] : VRAM Total Memory (B): 206141652992`."""
    names: dict[str, str] = {}
    totals: dict[str, int] = {}
    for match in filter(None, map(_ROCM.match, text.splitlines())):
        if match["key"].casefold() == "card series":
            names[match["number"]] = match["value"]
        elif match["key"] == "VRAM Total Memory (B)" and match["value"].isdigit():
            totals[match["number"]] = int(match["value"])
    for number, name in names.items():
        if number in totals:
            yield Listed(name, totals[number])


def _apple(text: str) -> Iterator[Listed]:
    """`Chip: Apple M2 Max` and `Memory: 64 GB`, by which Apple means GiB."""
    said = dict(re.findall(r"^\s*(Chip|Memory): (.+?)\s*$", text, re.MULTILINE))
    memory = re.fullmatch(r"(\d+) GB", said.get("Memory", ""))
    if memory is not None and "Chip" in said:
        yield Listed(said["Chip"], int(memory[1]) * GIB)


_PARSERS: Final[Mapping[str, Callable[[str], Iterator[Listed]]]] = MappingProxyType(
    {
        "nvidia-smi": _comma_separated,
        "xpu-smi": _table,
        "hl-smi": _table,
        "npu-smi": _npu,
        "rocm-smi": _rocm,
        "system_profiler": _apple,
    }
)


def _files(root: Path, pattern: str) -> int:
    """Device files of a pattern that only one accelerator has."""
    return sum(1 for _ in root.glob(pattern.lstrip("/")))


def _on_bus(root: Path) -> Iterator[tuple[str, str]]:
    """Vendor and device of everything on the PCI bus, as four hex digits."""
    for device in root.glob("sys/bus/pci/devices/*"):
        try:
            vendor, model = ((device / name).read_text().strip().removeprefix("0x") for name in ("vendor", "device"))
        except OSError:
            continue
        yield vendor, model

"""Finding this machine's accelerators: fake tools that print what the real ones print, and a fake PCI bus."""

from __future__ import annotations

import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from changeover.core.sizes import GIB
from changeover.library.catalogue import Catalogue
from changeover.library.fit.detect import Detected, detect

ACCELERATORS = Catalogue.load().accelerators()
MIB = 1 << 20

NVIDIA = """\
NVIDIA H100 80GB HBM3, 81559
NVIDIA H100 80GB HBM3, 81559
NVIDIA L40S, 46068
NVIDIA L4, 23034
"""
# Project-HAMi/HAMi issue 1548, driver 5.0.21.40: one whole card, and one that is divided in two.
KUNLUN = """\
Tue Dec 23 16:24:21 2025
+-----------------------------------------------------------------------------+
| XPU-SMI               Driver Version: 5.0.21.40    XPU-RT Version: 5.0.21   |
|-------------------------------+----------------------+----------------------+
| XPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | XPU-Util  Compute M. |
|                               |             L3-Usage |            SR-IOV M. |
|===============================+======================+======================|
|   0  P800 OAM           N/A   | 00000000:03:00.0 N/A |                    0 |
| N/A   37C  N/A     85W / 400W |      0MiB / 98304MiB |      0%      Default |
|                               |      0MiB /    96MiB |              Enabled |
+-------------------------------+----------------------+----------------------+
|   1  P800 VF            N/A   | 00000000:03:00.1 N/A |                  N/A |
| N/A   37C  N/A     85W / 400W |  45604MiB / 49152MiB |      0%      Default |
|                               |     48MiB /    48MiB |                  N/A |
+-------------------------------+----------------------+----------------------+
|   2  P800 VF            N/A   | 00000000:03:00.2 N/A |                  N/A |
| N/A   37C  N/A     85W / 400W |      0MiB / 49152MiB |      0%      Default |
|                               |      0MiB /    48MiB |                  N/A |
+-------------------------------+----------------------+----------------------+
|   3  P800 OAM           N/A   | 00000000:52:00.0 N/A |                    0 |
| N/A   38C  N/A     85W / 400W |      0MiB / 98304MiB |      0%      Default |
|                               |      0MiB /    96MiB |             Disabled |
+-------------------------------+----------------------+----------------------+

+-----------------------------------------------------------------------------+
| Processes:                                                                  |
|  XPU   XI   CI        PID   Type   Process name                  XPU Memory |
|        ID   ID                                                   Usage      |
|=============================================================================|
|  No running processes found                                                 |
+-----------------------------------------------------------------------------+
"""
GAUDI = """\
+-----------------------------------------------------------------------------+
| HL-SMI Version:                              hl-1.21.0-fw-59.2.1.0          |
| Driver Version:                                     1.20.1-366eb9c          |
|-------------------------------+----------------------+----------------------+
| AIP  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncor-Events|
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | AIP-Util  Compute M. |
|===============================+======================+======================|
|   0  HL-325L             N/A  | 0000:e9:00.0     N/A |                   0  |
| N/A   36C   P0  228W /  900W  |   672MiB / 131072MiB |     0%            0% |
|-------------------------------+----------------------+----------------------+
|   1  HL-325L             N/A  | 0000:c1:00.0     N/A |                   0  |
| N/A   37C   P0  226W /  900W  |   672MiB / 131072MiB |     0%            0% |
|-------------------------------+----------------------+----------------------+
| Compute Processes:                                               AIP Memory |
|  AIP       PID   Type   Process name                             Usage      |
|=============================================================================|
|   0        N/A   N/A    N/A                                      N/A        |
+=============================================================================+
"""
# vllm-project/vllm-ascend issue 1903.
ASCEND = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.rc3                 Version: 24.1.rc3                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 98.4        50                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3369 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | OK            | 96.5        53                0    / 0             |
| 0                         | 0000:01:00.0  | 0           0    / 0          3368 / 65536         |
+===========================+===============+====================================================+
"""
ROCM = """\
============================ ROCm System Management Interface ============================
====================================== Product Info ======================================
GPU[0]          : Card Series:          AMD Instinct MI300X
GPU[0]          : Card Model:           0x74a1
GPU[1]          : Card Series:          AMD Instinct MI300X
GPU[1]          : Card Model:           0x74a1
==========================================================================================
================================== Memory Usage (Bytes) ==================================
GPU[0]          : VRAM Total Memory (B): 206141652992
GPU[0]          : VRAM Total Used Memory (B): 297611264
GPU[1]          : VRAM Total Memory (B): 206141652992
GPU[1]          : VRAM Total Used Memory (B): 297623552
==========================================================================================
================================== End of ROCm SMI Log ===================================
"""
APPLE = """\
Hardware:

    Hardware Overview:

      Model Name: MacBook Pro
      Chip: Apple M2 Max
      Total Number of Cores: 12 (8 performance and 4 efficiency)
      Memory: 64 GB
"""


@pytest.fixture
def tools() -> Iterator[Path]:
    """A directory for tools that others may read too: where tests run as root, tools run as nobody."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


def tool(directory: Path, name: str, body: str) -> None:
    file = directory / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH | stat.S_IROTH)


def prints(directory: Path, name: str, text: str) -> None:
    (directory / f"{name}.txt").write_text(text)
    (directory / f"{name}.txt").chmod(0o644)
    tool(directory, name, f'exec /bin/cat "{directory}/{name}.txt"')


def found(directory: Path, root: Path | None = None) -> Detected:
    return detect(ACCELERATORS, path=str(directory), root=root or directory / "none", timeout_s=5.0)


def counted(detected: Detected) -> dict[tuple[str, int], int]:
    """How many cards, by id and MiB."""
    return {
        (each.accelerator.id, round((each.accelerator.memory_gib or 0) * GIB / MIB)): each.count
        for each in detected.found
    }


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("nvidia-smi", NVIDIA, {("h100-80", 81559): 2, ("l40s", 46068): 1, ("l4", 23034): 1}),
        ("xpu-smi", KUNLUN, {("kunlun-p800", 98304): 1, ("kunlun-p800", 49152): 2}),
        ("hl-smi", GAUDI, {("gaudi3", 131072): 2}),
        ("npu-smi", ASCEND, {("ascend-910b", 65536): 2}),
        ("rocm-smi", ROCM, {("mi300x", 206141652992 // MIB): 2}),
        ("system_profiler", APPLE, {("apple-unified", 64 * 1024): 1}),
    ],
)
def test_what_a_vendors_tool_lists_is_found_with_the_memory_that_it_reports(
    tools: Path, name: str, text: str, expected: dict[tuple[str, int], int]
) -> None:
    prints(tools, name, text)
    detected = found(tools)
    assert counted(detected) == expected
    assert detected.unknown == ()


def test_a_card_that_the_library_does_not_know_is_said_and_not_taken_for_another(tools: Path) -> None:
    prints(tools, "nvidia-smi", "NVIDIA GeForce GTX 1080, 8192\nNVIDIA L4, 23034\n")
    detected = found(tools)
    assert counted(detected) == {("l4", 23034): 1}
    assert detected.unknown == ("nvidia-smi lists `NVIDIA GeForce GTX 1080`, of which the library has no card",)


@pytest.mark.parametrize("text", ["", "No devices were found\n", "\0\1\2 ,\n,,,\n| 0 x |\n", "NVIDIA L4, a lot\n"])
@pytest.mark.parametrize("name", ["nvidia-smi", "xpu-smi", "npu-smi", "rocm-smi", "hl-smi"])
def test_a_tool_that_prints_nonsense_finds_nothing(tools: Path, name: str, text: str) -> None:
    prints(tools, name, text)
    assert found(tools).found == ()


def test_a_tool_that_fails_is_named_and_the_others_are_still_asked(tools: Path) -> None:
    tool(tools, "nvidia-smi", "echo 'Failed to initialize NVML' >&2; exit 9")
    prints(tools, "npu-smi", ASCEND)
    detected = found(tools)
    assert counted(detected) == {("ascend-910b", 65536): 2}
    assert detected.unknown == ("nvidia-smi ended with status 9",)


def test_a_tool_that_hangs_is_left_after_its_time(tools: Path) -> None:
    tool(tools, "nvidia-smi", "exec /bin/sleep 60")
    began = time.monotonic()
    detected = detect(ACCELERATORS, path=str(tools), root=tools / "none", timeout_s=0.2)
    assert time.monotonic() - began < 30
    assert detected.unknown == ("nvidia-smi gave no answer in 0.2 s",)


def test_a_tool_gets_nothing_of_our_environment_and_never_our_root_rights(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    tool(tools, "nvidia-smi", '[ -z "$OPENAI_API_KEY" ] && [ "$(/usr/bin/id -u)" != 0 ] && echo "NVIDIA L4, 23034"')
    assert counted(found(tools)) == {("l4", 23034): 1}


def test_without_a_tool_the_pci_bus_tells_cards_by_their_ids(tools: Path) -> None:
    bus = tools / "sys/bus/pci/devices"
    for number, (vendor, device) in enumerate(
        [("0x1d22", "0x3687"), ("0x1d22", "0x3687"), ("0x2057", "0x3686"), ("0x8086", "0x3687"), ("0x1d22", "0x0001")]
    ):
        slot = bus / f"0000:0{number}:00.0"
        slot.mkdir(parents=True)
        (slot / "vendor").write_text(f"{vendor}\n")
        (slot / "device").write_text(f"{device}\n")
    (bus / "broken").mkdir()
    assert counted(found(tools, tools)) == {("kunlun-p800", 98304): 3}
    prints(tools, "xpu-smi", KUNLUN)
    assert ("kunlun-p800", 49152) in counted(found(tools, tools)), "the tool's word stands before the bus"


def test_without_either_device_files_tell_cards_whose_files_are_their_own(tools: Path) -> None:
    (tools / "dev").mkdir()
    for name in ("xpu0", "xpu1", "xpu7", "xpuctrl", "nvidia0", "nvidiactl", "kfd"):
        (tools / "dev" / name).touch()
    assert counted(found(tools, tools)) == {("kunlun-p800", 98304): 3}, "which NVIDIA or AMD card it is, no file says"


def test_a_machine_without_any_has_none(tools: Path) -> None:
    assert found(tools) == Detected((), ())

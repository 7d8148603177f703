"""What a process takes away from itself before it reads anything: memory, time, files, network, other programs.

Everything here is asked of the kernel by an unprivileged process. What a kernel does not offer is left out and said:
limits hold everywhere; Landlock (files, signals) and seccomp (sockets, programs) are Linux's. No step is undone by
whatever takes the process over.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from pathlib import Path

MOST_FILE_BYTES = 64 << 20
"""Of a file that it writes in its own directory."""
MOST_DESCRIPTORS = 128
ADDRESS_HEADROOM_BYTES = 2 << 30
"""Addresses that are reserved and never used, beyond memory: libraries, stacks of threads."""

_READABLE = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/mime.types", "/etc/localtime", "/proc/self")
_READABLE_FILES = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/urandom", "/sys/devices/system/cpu")

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2


def confine(memory_bytes: int, own_directory: Path) -> list[str]:
    """Give up what reading does not need; for good.

    Args:
        memory_bytes: Most memory of its own.
        own_directory: The only place where it may write.

    Returns:
        What holds now: `limits`, and `files`, `calls` where the kernel offers them.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE_BYTES, MOST_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_DESCRIPTORS, MOST_DESCRIPTORS))
    if sys.platform != "linux":
        return ["limits"]
    # Addresses are no memory: OCR reserves twice what it uses. What is private and writable is what is used.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    addresses = memory_bytes + ADDRESS_HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    held = ["limits"]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        held += ["files"] * _keep_from_files(libc, own_directory)
        held += ["calls"] * _keep_from_calls(libc)
    return held


def allow_seconds(seconds: float, threads: int) -> None:
    """End this process when its processors worked so much longer than now; for when nobody is left to watch it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds * threads) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_READ = _READ_FILE | _READ_DIR
_ALL_OF_FILES = (1 << 13) - 1
"""Every right of the first version: run, read, write, remove, make."""
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ON_ONE_FILE = (1 << 0) | (1 << 1) | _READ_FILE | _TRUNCATE
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_TCP = 0b11
_SIGNALS_AND_SOCKETS = 0b11


def _keep_from_files(libc: ctypes.CDLL, own_directory: Path) -> bool:
    """Landlock: libraries and its own directory are all that it can open; no signal leaves it (from Linux 6.12)."""
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    rights = _ALL_OF_FILES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=Q", rights)
    if version >= 4:
        attributes += struct.pack("=Q", _TCP)
    if version >= 6:
        attributes += struct.pack("=Q", _SIGNALS_AND_SOCKETS)
    rules = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        elsewhere = os.environ.get("LD_LIBRARY_PATH", "").split(":")
        libraries = {Path(each).resolve() for each in (*sys.path, sys.prefix, sys.base_prefix, *elsewhere) if each}
        readable = {*libraries, *map(Path, (*_READABLE, *_READABLE_FILES))}
        for path, allowed in [*((each, _READ) for each in readable), (own_directory, rights)]:
            _allow(libc, rules, path, allowed)
        return libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    with contextlib.suppress(OSError):  # what is not there needs no right
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = rights if path.is_dir() else rights & _ON_ONE_FILE
            libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)


# Sockets, other programs, other processes, and the ways around: io_uring, kernel modules, name spaces.
_DENIED = {
    "x86_64": (
        0xC000003E,
        (
            *(41, 42, 49, 50, 53, 43, 288, 59, 322, 57, 58, 101, 62, 310, 311, 165, 272, 308, 321, 248, 249, 250),
            *(425, 426, 427, 298, 323, 434, 438, 304, 175, 313, 246, 135, 161),
        ),
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(198, 199, 200, 201, 202, 203, 242, 221, 281, 117, 129, 270, 271, 40, 97, 268, 280, 217, 218, 219),
            *(425, 426, 427, 241, 282, 434, 438, 265, 105, 273, 104, 92, 51),
        ),
    ),
}
"""By machine: its number for the audit, and the numbers of calls."""
_X32 = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _NOT_PERMITTED = 0x7FFF0000, 0x00050001


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _keep_from_calls(libc: ctypes.CDLL) -> bool:
    """Seccomp: calls that no reading needs answer `not permitted`."""
    if platform.machine() not in _DENIED or sys.byteorder != "little":
        return False
    audit, calls = _DENIED[platform.machine()]

    def line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, otherwise, value)

    lines = [line(_LOAD, 4), line(_EQUAL, audit, 1, 0), line(_RETURN, _NOT_PERMITTED), line(_LOAD, 0)]
    lines += [line(_AT_LEAST, _X32, 0, 1), line(_RETURN, _NOT_PERMITTED)]
    for call in calls:
        lines += [line(_EQUAL, call, 0, 1), line(_RETURN, _NOT_PERMITTED)]
    lines.append(line(_RETURN, _ALLOW))
    program = _Program(len(lines), b"".join(lines))
    return libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0

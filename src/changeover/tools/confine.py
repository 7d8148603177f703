"""What a process takes away from itself before it reads or runs anything: memory, time, files, network, other programs.

Used by the processes that read documents and by those that call functions of tools. Everything here is asked of the
kernel by an unprivileged process. What a kernel does not offer is left out and said: limits hold everywhere; Landlock
(files, signals) and seccomp (sockets, programs) are Linux's. No step is undone by whatever takes the process over.
Imports the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_READABLE = (
    *("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64", "/usr/share", "/lib", "/lib64"),
    *("/etc/ld.so.cache", "/etc/mime.types", "/etc/localtime", "/proc/self"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/urandom", "/sys/devices/system/cpu"),
)
_OF_PYTHON = ("lib", "lib64", "share")
"""Below the directories where Python, and the environment that it runs in, are installed."""
_PASSED_ON = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH")
"""Of the environment."""

_KEPT_FROM = {
    "files": "files of the gateway's user (no Landlock)",
    "calls": "the network, programs and other processes (no seccomp)",
}

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a process keeps. It gives up the rest."""

    own_directory: Path
    """The only place where it may write."""
    readable: tuple[Path, ...] = ()
    """Directories that it may read beside the libraries of Python and of the system."""
    memory_bytes: int
    """Most memory of its own."""
    headroom_bytes: int
    """Addresses beyond memory that are reserved and never used: libraries, stacks of threads."""
    file_bytes: int
    """Most of a file that it writes in its own directory."""
    descriptors: int
    """Most files that it has open."""
    processor_s: int | None = None
    """Most time of processors; None: not yet, see `allow_seconds`."""


def environment(own_directory: Path) -> dict[str, str]:
    """What a process that is going to confine itself is started with: no secret is among it."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "HOME": str(own_directory), "TMPDIR": str(own_directory)}


def offered() -> list[str]:
    """What `confine` would answer on this machine. Gives up nothing."""
    if sys.platform != "linux":
        return ["limits"]
    libc = ctypes.CDLL(None, use_errno=True)
    return ["limits", *["files"] * (_landlock_version(libc) >= 1), *["calls"] * (_column(libc) is not None)]


def left_open(held: Sequence[str]) -> list[str]:
    """What is not kept from a process where only this holds, for people."""
    return [what for name, what in _KEPT_FROM.items() if name not in held]


def confine(policy: Policy) -> list[str]:
    """Give up what is not kept; for good.

    Returns:
        What holds now: `limits`, and `files`, `calls` where the kernel offers them.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, policy.file_bytes)
    _limit(resource.RLIMIT_NOFILE, policy.descriptors)
    if policy.processor_s is not None:
        _limit(resource.RLIMIT_CPU, policy.processor_s)
    if sys.platform != "linux":
        return ["limits"]
    # Addresses are no memory: OCR reserves twice what it uses. What is private and writable is what is used.
    _limit(resource.RLIMIT_DATA, policy.memory_bytes)
    _limit(resource.RLIMIT_AS, policy.memory_bytes + policy.headroom_bytes)
    held = ["limits"]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        held += ["files"] * _keep_from_files(libc, policy)
        held += ["calls"] * _keep_from_calls(libc)
    return held


def allow_seconds(seconds: float, threads: int) -> None:
    """End this process when its processors worked so much longer than now; for when nobody is left to watch it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds * threads) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 11
_ALL_OF_FILES = (1 << 13) - 1
"""Every right of the first version: run, read, write, remove, make."""
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_NOT_EVEN_ITS_OWN = _EXECUTE | _MAKE_CHAR | _MAKE_SOCK | _MAKE_BLOCK
"""A device that is made by root stands for the disk itself, wherever it is made."""
_ON_ONE_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_TCP = 0b11
_SIGNALS_AND_SOCKETS = 0b11


def _keep_from_files(libc: ctypes.CDLL, policy: Policy) -> bool:
    """Landlock: what is readable and its own directory are all that it can open; no signal leaves it (Linux 6.12)."""
    version = _landlock_version(libc)
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
        for path in {*_libraries(), *map(Path, _READABLE), *policy.readable}:
            _allow(libc, rules, path, _READ)
        _allow(libc, rules, Path(os.devnull), _READ_FILE | _WRITE_FILE)
        _allow(libc, rules, policy.own_directory, rights & ~_NOT_EVEN_ITS_OWN)
        return libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _landlock_version(libc: ctypes.CDLL) -> int:
    return libc.syscall(_CREATE_RULESET, None, 0, 1)


def _libraries() -> Iterator[Path]:
    """Where modules and what they link to are found. Not the whole of `/usr` or of an environment: others live there."""
    yield from (Path(each).resolve() for each in sys.path if each)
    yield from (Path(prefix, each) for prefix in (sys.prefix, sys.base_prefix) for each in _OF_PYTHON)
    yield from (Path(each) for each in os.environ.get("LD_LIBRARY_PATH", "").split(":") if each)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    with contextlib.suppress(OSError):  # what is not there needs no right
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = rights if path.is_dir() else rights & _ON_ONE_FILE
            libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)


# What is denied: names of calls, with their numbers on x86-64 and on ARM; none where the machine has no such call.
_SOCKETS = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
_PROGRAMS = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
}  # fmt: skip
_OTHER_PROCESSES = {
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "perf_event_open": (298, 241), "bpf": (321, 280),
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "semget": (64, 190), "semop": (65, 193), "semtimedop": (220, 192), "semctl": (66, 191),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
}  # fmt: skip
_ATTRIBUTES = {  # of files, wherever they are: Landlock leaves these alone
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}  # fmt: skip
_SYSTEM = {  # what root could do, name spaces, and ways around the rest
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265), "personality": (135, 92),
    "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "clock_adjtime": (305, 266), "acct": (163, 89), "quotactl": (179, 60),
    "syslog": (103, 116), "iopl": (172, None), "ioperm": (173, None),
}  # fmt: skip
_DENIED = _SOCKETS | _PROGRAMS | _OTHER_PROCESSES | _ATTRIBUTES | _SYSTEM
_ONLY_ITSELF = {"tgkill": (234, 131), "prlimit64": (302, 261)}
"""Allowed where their first argument is none, or this process."""
_CLONE, _CLONE3 = (56, 220), (435, 435)
"""A thread is made by the same calls as a process. The newer has its flags where a filter cannot look."""
_SECCOMP = (317, 277)
_GET_ACTION_AVAIL = 2
_CLONE_THREAD, _CLONE_NEW = 0x00010000, 0x7E020000

_MACHINES, _AUDITS = ("x86_64", "aarch64"), (0xC000003E, 0xC00000B7)
"""In the order of the numbers above, and what a filter sees of them."""
_X32 = 0x40000000
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
"""Where they lie in what a filter sees."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NOT_PERMITTED, _NOT_KNOWN = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _keep_from_calls(libc: ctypes.CDLL) -> bool:
    """Seccomp: calls that are denied answer `not permitted`."""
    column = _column(libc)
    if column is None:
        return False
    lines = b"".join(_filter(column, os.getpid()))
    program = _Program(len(lines) // 8, lines)
    return libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0


def _column(libc: ctypes.CDLL) -> int | None:
    """Which of the numbers are this machine's; None where they are not known, or the kernel takes no filter."""
    machine, answer = os.uname().machine, ctypes.c_uint32(_ERROR)
    if machine not in _MACHINES or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return None
    column = _MACHINES.index(machine)
    return column if libc.syscall(_SECCOMP[column], _GET_ACTION_AVAIL, 0, ctypes.byref(answer)) == 0 else None


def _filter(column: int, process: int) -> Iterator[bytes]:
    """The program that the kernel runs at each call. Jumps are counted from the next line."""

    def line(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
        return struct.pack("=HBBI", code, then, otherwise, value)

    def when(call: int, *then: bytes) -> Iterable[bytes]:
        return (line(_EQUAL, call, 0, len(then)), *then)

    deny, allow = line(_RETURN, _NOT_PERMITTED), line(_RETURN, _ALLOW)
    yield from (line(_LOAD, _MACHINE), line(_EQUAL, _AUDITS[column], 1, 0), deny)
    yield from (line(_LOAD, _NUMBER), line(_AT_LEAST, _X32, 0, 1), deny)
    for numbers in _DENIED.values():
        if (call := numbers[column]) is not None:
            yield from when(call, deny)
    first = line(_LOAD, _FIRST_ARGUMENT)
    for numbers in _ONLY_ITSELF.values():
        yield from when(numbers[column], first, line(_EQUAL, 0, 2, 0), line(_EQUAL, process, 1, 0), deny, allow)
    yield from when(_CLONE3[column], line(_RETURN, _NOT_KNOWN))
    yield from when(
        _CLONE[column], first, line(_ANY_OF, _CLONE_NEW, 1, 0), line(_ANY_OF, _CLONE_THREAD, 1, 0), deny, allow
    )
    yield allow

"""What a function of a tool cannot reach, by real attempts; the same attempts succeed in a process that is not confined."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.tools import bench

from changeover.core.errors import ContractError
from changeover.tools.confine import left_open, offered
from changeover.tools.functions import Bounds, call_function

BOUNDS = Bounds(seconds=30, memory_mib=256)

OWN = '''
import ctypes, json, mmap, os, resource, signal, socket, sqlite3, stat, subprocess, sys, tempfile, threading
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)

def called(name, *arguments):
    """Call the C library; what goes wrong is an error."""
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

def forked():
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)

def f(attempts, there, port):
    gateway, there = os.getppid(), Path(there)
    said = {}
    for name, code in attempts.items():
        try:
            exec(code, globals() | {"gateway": gateway, "there": there, "port": port})
        except Exception as exc:
            said[name] = type(exc).__name__
        else:
            said[name] = "done"
    return said

if __name__ == "__main__":
    print(json.dumps(f(*json.load(sys.stdin))))
'''

DENIED = {
    "connect to a server": "socket.create_connection(('127.0.0.1', port)).close()",
    "send a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()",
    "open a socket of this machine": "socket.socket(socket.AF_UNIX).close()",
    "run a program": "subprocess.run(['/bin/true'], check=True)",
    "spawn a program": "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "fork": "forked()",
    "fork and fork": "for _ in range(40): forked()",
    "fork by the newest call": "libc.syscall(435, None, 0) == -1 and ctypes.get_errno() == 38 and forked()",
    "signal the gateway": "os.kill(gateway, 0)",
    "signal a thread of the gateway": "called('tgkill', gateway, gateway, 0)",
    "bound the gateway": "resource.prlimit(gateway, resource.RLIMIT_CPU)",
    "trace the gateway": "called('ptrace', 2, gateway, 0, 0)",
    "look into the gateway": "called('process_vm_readv', gateway, None, 0, None, 0, 0)",
    "see the gateway's environment": "Path(f'/proc/{gateway}/environ').read_bytes()",
    "mount": "called('mount', b'none', b'/nowhere', b'tmpfs', 0, None)",
    "have another name space": "called('unshare', 0)",
    "share memory": "called('shmctl', -1, 0, None)",
    "read the names of users": "Path('/etc/passwd').read_text()",
    "list what there is": "os.listdir('/')",
    "read a home": "(there / 'home/key.txt').read_text()",
    "read it by a link": "os.symlink(there / 'home/key.txt', 'link'); Path('link').read_text()",
    "read another tool": "(there / 'tools/other/tool.toml').read_text()",
    "list the tools": "os.listdir(there / 'tools')",
    "write in a home": "(there / 'home/new.txt').write_text('x')",
    "write in its own folder": "(there / 'tools/own/new.txt').write_text('x')",
    "change its own code": "(there / 'tools/own/own.py').open('a').close()",
    "empty a file": "os.truncate(there / 'home/key.txt', 0)",
    "remove a file": "(there / 'home/old.txt').unlink()",
    "open a file to others": "os.chmod(there / 'home/key.txt', 0o666)",
    "give a file away": "os.chown(there / 'home/key.txt', os.getuid(), os.getgid())",
    "make a file look old": "os.utime(there / 'home/key.txt', (0, 0))",
    "make a device": "os.mknod('device', stat.S_IFCHR | 0o600, os.makedev(1, 3))",
}
ALLOWED = {
    "write in its own directory": "Path('own.txt').write_text('x'); Path('own.txt').rename('new.txt')",
    "use a temporary file": "tempfile.TemporaryFile().write(b'x')",
    "throw away": "open(os.devnull, 'w').write('x')",
    "compute in threads": "t = threading.Thread(target=sum, args=([1],)); t.start(); t.join()",
    "query a database in memory": "assert sqlite3.connect(':memory:').execute('SELECT 1').fetchone() == (1,)",
    "query a database in its directory": "sqlite3.connect('a.db').execute('CREATE TABLE a (b)').connection.close()",
    "read its folder": "assert (there / 'tools/own/data/rates.csv').read_text() == 'a,1'",
    "load a module of a library": "import numpy, zoneinfo; zoneinfo.ZoneInfo('Asia/Tokyo')",
    "see what it may use": "resource.getrlimit(resource.RLIMIT_CPU)",
}


@dataclass
class Tried:
    """How attempts ended, by name: the error, or `done`."""

    confined: dict[str, str]
    free: dict[str, str]


def made(root: Path) -> Path:
    """A home with a key, and two tools of which one has the attempts."""
    (root / "home").mkdir(parents=True)
    (root / "home/key.txt").write_text("key")
    (root / "home/old.txt").write_text("old")
    (root / "tools/other").mkdir(parents=True)
    (root / "tools/other/tool.toml").write_text("secret = 1")
    (root / "tools/own/data").mkdir(parents=True)
    (root / "tools/own/data/rates.csv").write_text("a,1")
    (root / "tools/own/own.py").write_text(OWN)
    return root


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    """The attempts of a function, and those of a process that may all."""
    if offered() != ["limits", "files", "calls"]:
        pytest.skip(f"this kernel offers less: {offered()}")
    root = tmp_path_factory.mktemp("tried")
    there, free = made(root / "confined"), made(root / "free")
    (root / "cwd").mkdir()
    attempts = DENIED | ALLOWED
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        file = there / "tools/own/own.py"
        confined = asyncio.run(call_function(file, "f", BOUNDS, arguments=[attempts, str(there), port]))
        told = subprocess.run(
            [sys.executable, "-I", str(free / "tools/own/own.py")],
            input=json.dumps([attempts, str(free), port]),
            cwd=root / "cwd",
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        yield Tried(confined, json.loads(told.stdout))
    assert (there / "home/key.txt").read_text() == "key"
    assert sorted(os.listdir(there / "home")) == ["key.txt", "old.txt"]


@pytest.mark.parametrize("attempt", DENIED)
def test_a_function_cannot(tried: Tried, attempt: str) -> None:
    if tried.free[attempt] == "PermissionError":
        pytest.skip("this user may not do it anywhere")
    assert tried.confined[attempt] == "PermissionError"


@pytest.mark.parametrize("attempt", ALLOWED)
def test_a_function_can(tried: Tried, attempt: str) -> None:
    assert tried.confined[attempt] == "done"


async def test_a_function_becomes_no_other_program(tmp_path: Path) -> None:
    if "calls" not in offered():
        pytest.skip("this kernel offers no seccomp")
    (tmp_path / "own.py").write_text("import os\ndef f(): os.execv('/bin/true', ['true'])")
    with pytest.raises(ContractError, match=r"failed: PermissionError.*reads its tool's folder.*reaches nothing else"):
        await call_function(tmp_path / "own.py", "f", BOUNDS)


async def test_a_step_and_a_check_read_the_whole_folder_of_their_tool(tmp_path: Path) -> None:
    read = "from pathlib import Path\nRATES = (Path(__file__).parent.parent / 'rates.csv').read_text()\n"
    steps = (
        '{ do = "function", name = "rates", file = "code/own.py", call = "f" },\n'
        '{ do = "validate", name = "result", value = "rates", '
        'checks = [{ check = "function", file = "code/own.py", call = "check" }] }'
    )
    (tmp_path / "tool/code").mkdir(parents=True)
    tool = bench(
        tmp_path,
        steps,
        text="'x'",
        rates__csv="a,1",
        **{"code/own__py": f"{read}def f(): return RATES\ndef check(v): return None if v == RATES else RATES"},
    )
    assert (await tool.run(text="abc")).value == {"value": "a,1"}


def test_what_a_kernel_does_not_forbid_is_said() -> None:
    assert left_open(["limits", "files", "calls"]) == []
    assert left_open(["limits", "calls"]) == ["files of the gateway's user (no Landlock)"]
    assert len(left_open(["limits"])) == 2

"""Functions of tools: what they are given, what they may not reach, and how they are ended."""

import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.tools import Kept, bench

from changeover.core.errors import ContractError
from changeover.tools.functions import Bounds, call_function

BOUNDS = Bounds(seconds=20, memory_mib=512)


async def call(root: Path, code: str, *arguments: Any, bounds: Bounds = BOUNDS, **keywords: Any) -> Any:
    file = root / "own.py"
    file.write_text(code, encoding="utf-8")
    return await call_function(file, "f", bounds, arguments=arguments, keywords=keywords)


async def test_json_goes_in_and_comes_out(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "b": "とても\ud7a3\x00"}
    assert await call(tmp_path, "def f(x, *, y): return {'x': x, 'y': y}", value, y="z") == {"x": value, "y": "z"}
    assert await call(tmp_path, "def f(): return '\\ud800'") == "\ud800"


async def test_a_file_beside_it_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("ANSWER = 42")
    assert await call(tmp_path, "import other\ndef f(): return other.ANSWER") == 42


async def test_what_it_prints_is_no_answer(tmp_path: Path) -> None:
    assert await call(tmp_path, "import os\ndef f():\n print('{}')\n os.system('echo hi')\n return 1") == 1


async def test_it_has_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANGEOVER_SECRET", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    seen = await call(tmp_path, "import os, sys\ndef f(): return [dict(os.environ), os.getcwd(), sys.flags.isolated]")
    assert not {"CHANGEOVER_SECRET", "PYTHONPATH", "PYTHONSTARTUP"} & seen[0].keys()
    assert seen[0]["HOME"] == seen[0]["TMPDIR"] == seen[1]
    assert not Path(seen[1]).exists()
    assert seen[2] == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(): raise ValueError('not this\\nway')", r"`own\.py`: `f` failed: ValueError: not this way \(line 1\)"),
        ("def f(x): pass", r"failed: TypeError: f\(\) missing 1 required positional argument"),
        ("def g(): pass", "failed: KeyError: 'f'"),
        ("def f(: pass", "failed: SyntaxError"),
        ("def f(): return {1, 2}", "failed: TypeError: Object of type set is not JSON serializable"),
        ("def f(): return float('nan')", "failed: ValueError: Out of range float values"),
        ("import sys\ndef f(): sys.exit(3)", "failed: SystemExit: 3"),
        ("import os\ndef f():\n os.write(2, b'oh\\nno\\n')\n os._exit(3)", r"gave no answer: no\."),
        ("import os\ndef f(): os.abort()", "gave no answer"),
        ("def f(): return f", "failed: TypeError"),
        ("def f(): return 'x' * (40 << 20)", r"returned more than 32 MiB"),
        ("def f(): return bytearray(3 << 30)", "failed: it took more memory than it may"),
        ("def f(): open('x', 'wb').write(bytes(300 << 20))", "gave no answer|failed: OSError"),
        ("def f(): return [open(__file__) for _ in range(200)]", "failed: OSError: .*Too many open files"),
    ],
)
async def test_what_goes_wrong_is_said_in_a_sentence(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(ContractError, match=said) as failed:
        await call(tmp_path, code)
    assert len(failed.value.message) < 700


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n while True: pass",
        "import time\ndef f(): time.sleep(600)",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef f(): time.sleep(600)",
    ],
)
async def test_what_takes_too_long_is_ended(tmp_path: Path, code: str) -> None:
    begun = time.monotonic()
    with pytest.raises(ContractError, match=r"took longer than 0\.5 s, and was ended"):
        await call(tmp_path, code, bounds=Bounds(seconds=0.5, memory_mib=256))
    assert time.monotonic() - begun < 60


async def test_a_step_calls_its_function_by_names(tmp_path: Path) -> None:
    step = '{ do = "function", name = "result", file = "own.py", call = "f", give = { a = "text", parts = "parts" } }'
    tool = bench(
        tmp_path,
        f'{{ do = "split", name = "parts", source = "text" }},\n{step}',
        text="'x'",
        own__py="def f(a, parts): return [a.upper(), parts[0]['text']]",
    )
    tool.journal = Kept()
    assert (await tool.run(text="abc")).value == {"value": ["ABC", "abc"]}
    (tool.tool.folder / "own.py").write_text("def f(a, parts): raise ValueError('called again')")
    assert (await tool.run(text="abc")).value == {"value": ["ABC", "abc"]}


async def test_what_has_no_json_form_is_not_given(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="A value of type `bytes` has no JSON form"):
        await call(tmp_path, "def f(x): return x", b"x")

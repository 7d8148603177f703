"""Images, by a projector beside the embedded engine's model: a tiny random Qwen3-VL sees colours apart, and no more."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engines.places import TINY, run

from changeover.core.clock import SystemClock
from changeover.core.errors import RequestError
from changeover.serving.backends import backends_in, describe
from changeover.serving.homes import Homes
from changeover.serving.plan import EnginePlan
from changeover.serving.profiles import profile_of_part
from changeover.serving.supervisor import Supervisor
from changeover.serving.upstream import Upstream

NAME = "qwen3-vl"
START_S = 120

pytestmark = pytest.mark.engine("local")


@pytest.fixture(scope="module")
def projector(ggufs: dict[str, str | None], home: Callable[[str], Path]) -> Path:
    if wrong := ggufs[NAME]:
        pytest.fail(f"`{NAME}` could not be made a GGUF file: {wrong}")
    [made] = run(home("convert"), Path(__file__).with_name("tiny") / "to_projector.py", str(TINY), NAME, timeout_s=300)
    return Path(made["file"])


async def test_an_image_is_read_where_there_is_a_projector(projector: Path, homes: Homes, tmp_path: Path) -> None:
    plan = planned(projector=str(projector))
    assert "vision" in profile_of_part(describe(plan)).has
    supervisor = Supervisor(SystemClock(), tmp_path, backends=backends_in(homes))
    try:
        upstream = await started(supervisor, plan)
        plain = await said(upstream, [{"type": "text", "text": "What is it?"}])
        red, blue = [await said(upstream, shown(colour)) for colour in ((255, 0, 0), (0, 0, 255))]
    finally:
        await supervisor.close()
    assert plain["usage"]["prompt_tokens"] < red["usage"]["prompt_tokens"] == blue["usage"]["prompt_tokens"]
    assert words(red) != words(blue)


async def test_without_one_an_image_is_the_callers_mistake(
    ggufs: dict[str, str | None], homes: Homes, tmp_path: Path
) -> None:
    assert ggufs[NAME] is None
    supervisor = Supervisor(SystemClock(), tmp_path, backends=backends_in(homes))
    try:
        upstream = await started(supervisor, planned())
        with pytest.raises(RequestError, match="image input is not supported") as refused:
            await said(upstream, shown((255, 0, 0)))
    finally:
        await supervisor.close()
    assert refused.value.status == 400


def planned(**options: str) -> EnginePlan:
    return EnginePlan(
        deployment="eyes",
        backend="local",
        model=NAME,
        artifact=TINY / NAME / f"{NAME}.gguf",
        options={"context_tokens": 1024, "slots": 1, **options},
    )


async def started(supervisor: Supervisor, plan: EnginePlan) -> Upstream:
    await supervisor.ensure(plan)
    await supervisor.wait_ready(plan.deployment, START_S)
    upstream = supervisor.upstream(plan.deployment)
    assert upstream is not None
    return upstream


async def said(upstream: Upstream, content: list[dict[str, Any]]) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0}
    answer = await upstream.fetch("/v1/chat/completions", json.dumps(body).encode(), first_byte_s=60, stall_s=60)
    return json.loads(answer)


def words(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["message"]["content"]


def shown(colour: tuple[int, int, int]) -> list[dict[str, Any]]:
    url = f"data:image/png;base64,{base64.b64encode(png(colour)).decode()}"
    return [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]


def png(colour: tuple[int, int, int], side: int = 56) -> bytes:
    """A square of one colour."""
    rows = b"".join(b"\0" + bytes(colour) * side for _ in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )

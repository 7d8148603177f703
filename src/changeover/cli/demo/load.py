"""Client load: applications that go on asking while models are switched behind them."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import dataclass, field
from types import TracebackType

from openai import AsyncOpenAI, OpenAIError

MOST_TOKENS = 16
"""Short answers: the point is many requests across the switch, not long ones."""


@dataclass
class Counts:
    """What the clients saw."""

    requests: int = 0
    failed: int = 0
    truncated: int = 0
    errors: list[str] = field(default_factory=list[str])


class ClientLoad:
    """A few clients in a thread of their own, asking one task until they are stopped; every second one streams."""

    def __init__(self, address: str, key: str, task: str, prompts: list[str], clients: int = 2) -> None:
        self.counts = Counts()
        self._address = address
        self._key = key
        self._task = task
        self._prompts = prompts
        self._clients = clients
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="client load")

    def __enter__(self) -> ClientLoad:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        numbers = itertools.count()
        # No retries: a failed request must be seen as one.
        async with AsyncOpenAI(base_url=f"{self._address}/v1", api_key=self._key, max_retries=0, timeout=120) as client:
            await asyncio.gather(*(self._ask_on(client, numbers) for _ in range(self._clients)))

    async def _ask_on(self, client: AsyncOpenAI, numbers: itertools.count[int]) -> None:
        while not self._stop.is_set():
            number = next(numbers)
            prompt = self._prompts[number % len(self._prompts)]
            try:
                finished = await (self._streamed if number % 2 else self._whole)(client, prompt, f"user-{number}")
            except (OpenAIError, OSError) as exc:
                self.counts.failed += 1
                self.counts.errors.append(str(exc))
            else:
                self.counts.truncated += not finished
            self.counts.requests += 1

    async def _whole(self, client: AsyncOpenAI, prompt: str, user: str) -> bool:
        answer = await client.chat.completions.create(
            model=self._task, messages=[{"role": "user", "content": prompt}], max_tokens=MOST_TOKENS, user=user
        )
        return bool(answer.choices and answer.choices[0].finish_reason)

    async def _streamed(self, client: AsyncOpenAI, prompt: str, user: str) -> bool:
        finished = False
        stream = await client.chat.completions.create(
            model=self._task,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=MOST_TOKENS,
            user=user,
            stream=True,
        )
        async for chunk in stream:
            finished = finished or any(choice.finish_reason is not None for choice in chunk.choices)
        return finished

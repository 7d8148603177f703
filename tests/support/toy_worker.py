"""A worker without a model: letters are its tokens, and it says what it was asked. For the front's tests.

Words of the last message that change what it does: `boom` (a step raises), `boom-grammar` (a step raises while a grammar waits
for its first token), `sleep` (as long as it may, each step a third of a second), `die` (the process ends), `impossible` (its
tokens cannot be), `endless` (as long as it may). `running` is answered with how many others are under way.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from changeover.serving.engines.worker import Ask, Refused, Run, work

END = 0


class ToyEngine:
    def __init__(self, config: Mapping[str, Any]) -> None:
        if config.get("broken"):
            raise RuntimeError("somewhere/deep.cpp:12: the weights are no weights")
        self.ends = frozenset({END})
        self._runs: list[Run] = []

    @property
    def busy(self) -> bool:
        return bool(self._runs)

    def warm(self) -> None:
        pass

    def templated(self, ask: Ask) -> str:
        if ask["messages"][0]["content"] == "untemplatable":
            raise Refused("The model's chat template refuses these messages: roles must alternate")
        return ask["messages"][-1]["content"].replace("running", str(len(self._runs)))

    def tokens(self, text: str, *, special: bool) -> list[int]:
        return list(text.encode())

    def text(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    def start(self, run: Run) -> None:
        self._runs.append(run)

    def cancel(self, run: Run) -> None:
        self._runs.remove(run)

    def step(self, hear: Callable[[], None]) -> None:
        for run in list(self._runs):
            prompt = bytes(run.prompt)
            if prompt == b"die":
                os._exit(3)
            if prompt == b"sleep":
                time.sleep(0.3)
            if prompt == b"boom" or run.ask.get("grammar") == {"ebnf": "boom"}:
                raise RuntimeError("[09:00:00] /build/grammar.cc:552: it broke")
            at = len(run.taken)
            token = ord("x") if prompt in (b"endless", b"sleep") else run.prompt[at] if at < len(run.prompt) else END
            likely = -math.inf if prompt == b"impossible" else -0.5
            run.take([token], [(likely, [(token, likely), (ord("z"), -1.5)][: run.ask.get("logprobs") or 0])])
            if prompt == b"endless":
                time.sleep(0.001)
        self._runs = [run for run in self._runs if not run.done]

    def failed(self, why: str) -> bool:
        suspects = [run for run in self._runs if run.ask.get("grammar")]
        for run in suspects:
            run.refuse(f"The engine cannot use this schema or grammar: {why}")
        for run in [] if suspects else self._runs:
            run.fail(f"The engine failed: {why}")
        self._runs = [run for run in self._runs if not run.done]
        return bool(suspects)


if __name__ == "__main__":
    work(ToyEngine)

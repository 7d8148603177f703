"""The worker that computes with openvino-genai. Runs in that package's environment, started by `at_home.py`."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy
import openvino  # pyright: ignore[reportMissingImports] - as the next
import openvino_genai  # pyright: ignore[reportMissingImports] - installed in the engine's environment only

from changeover.serving.engines.openvino_grammar import letter_by_letter
from changeover.serving.engines.pieces import HALF, is_cut
from changeover.serving.engines.worker import Ask, Refused, Run, Score, reason, work

_openvino: Any = openvino
_genai: Any = openvino_genai
_native: Any = _genai.py_openvino_genai  # has the classes that the package itself does not name
_SAMPLING: Final = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
_MOST_CLEARING_STEPS: Final = 8
_MOST_PARTS: Final = 4
"""Tokens that together may be one character."""
_ONE_BYTE: Final = re.compile(rb"<0x([0-9A-F]{2})>")
"""A token that is a byte, in vocabularies that SentencePiece has made."""
_GRAMMAR: Final = {"regex": "regex", "ebnf": "grammar"}
"""Our names, and the engine's."""


class OpenVINOEngine:
    """One pipeline that batches continuously. Only the worker's one thread may touch it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Load the model.

        Raises:
            RuntimeError: The weights cannot be read.
        """
        scheduler = _genai.SchedulerConfig()
        scheduler.cache_size = config["cache_gib"]
        scheduler.max_num_seqs = config["slots"]
        # A step cannot be interrupted, so this is also how soon a caller who left frees its place.
        scheduler.max_num_batched_tokens = config["batched_tokens"]
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = True
        properties = {"INFERENCE_NUM_THREADS": config["threads"], "NUM_STREAMS": 1} if config["device"] == "CPU" else {}
        self._pipeline = _genai.ContinuousBatchingPipeline(config["artifact"], scheduler, config["device"], properties)
        self._tokenizer = self._pipeline.get_tokenizer()
        self._bytes = {number: _spelled(token) for token, number in self._tokenizer.get_vocab().items()}
        self._special = bool(config["special_text"])
        self._end: int = self._tokenizer.get_eos_token_id()
        self.ends = frozenset({self._end, *config["ends"], *_ends_beside(Path(config["artifact"]))})
        self._numbers = itertools.count(1)
        self._running: dict[Run, Any] = {}

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def warm(self) -> None:
        """Nothing: all of it is native code, and loaded."""

    def templated(self, ask: Ask) -> str:
        if not self._tokenizer.chat_template:
            raise Refused("This model has no chat template. Ask it by `/v1/completions`.")
        more = {"tools": ask["tools"]} if ask.get("tools") else {}
        try:
            return self._tokenizer.apply_chat_template(
                ask["messages"], add_generation_prompt=True, extra_context=ask.get("template") or {}, **more
            )
        except RuntimeError as exc:
            raise Refused(f"The model's chat template refuses these messages: {reason(exc)}") from exc

    def tokens(self, text: str, *, special: bool) -> list[int]:
        encoded = self._tokenizer.encode(text, add_special_tokens=special).input_ids
        return [int(each) for each in encoded.data[0]]

    def text(self, tokens: Sequence[int]) -> str:
        if not tokens:
            return ""
        text = self._tokenizer.decode(list(tokens), skip_special_tokens=not self._special)
        # The engine's own decoder leaves out what is not a whole character, so that nobody sees that more is to come.
        last = b"".join(self._bytes.get(each, b"") for each in tokens[-_MOST_PARTS:])
        return text + HALF if is_cut(last) else text

    def start(self, run: Run) -> None:
        self._running[run] = self._handle(run)

    def cancel(self, run: Run) -> None:
        handle = self._running.pop(run, None)
        if handle is not None:
            handle.cancel()

    def step(self, hear: Callable[[], None]) -> None:
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        for run, handle in list(self._running.items()):
            self._report(run, handle)

    def failed(self, why: str) -> bool:
        """Go on with whoever is not to blame.

        Whatever was scheduled in a step that raised is stuck. A grammar that cannot be compiled raises in the first step
        of its request: then only those that have one and no token yet are ended, and the others are taken in anew, with
        what they have said already as a part of their prompt, which the cache still holds.

        Raises:
            RuntimeError: It goes on raising with nothing left to do; a new process is needed.
        """
        running, self._running = self._running, {}
        for handle in running.values():
            handle.cancel()
        self._clear()
        suspects = {run for run in running if run.ask.get("grammar") and not run.taken}
        lost = suspects or set(running)
        for run in running:
            if run in suspects:
                run.refuse(f"The engine cannot use this schema or grammar: {why}")
            elif run in lost or run.ask.get("grammar"):  # a grammar does not go on where it was
                run.fail(f"The engine failed: {why}")
            else:
                self._running[run] = self._handle(run)
        return bool(suspects)

    def _clear(self) -> None:
        """Let the pipeline forget what was cancelled, before anything new stands beside it."""
        for _ in range(_MOST_CLEARING_STEPS):
            if not self._pipeline.has_non_finished_requests():
                return
            with contextlib.suppress(RuntimeError):
                self._pipeline.step()
        raise RuntimeError("the pipeline does not forget what failed")

    def _handle(self, run: Run) -> Any:
        try:
            numbers = [*run.prompt, *run.taken]
            return self._pipeline.add_request(next(self._numbers), _tensor(numbers), self._generation(run))
        except (RuntimeError, TypeError, ValueError) as exc:
            raise Refused(reason(exc)) from exc

    def _generation(self, run: Run) -> Any:
        asked: Mapping[str, Any] = run.ask["sampling"]
        config = _genai.GenerationConfig()
        config.apply_chat_template = False
        config.set_eos_token_id(self._end)
        config.stop_token_ids = set(self.ends)
        config.max_new_tokens = run.limit - len(run.taken)
        config.do_sample = asked["temperature"] > 0
        if config.do_sample:
            config.temperature = asked["temperature"]
            config.rng_seed = secrets.randbits(63) if run.seed is None else run.seed & (2**63 - 1)
        for name in _SAMPLING:
            if asked.get(name) is not None and (config.do_sample or name.endswith("penalty")):
                setattr(config, name, asked[name])
        if run.ask.get("logprobs") is not None:
            config.logprobs = 1
        grammar = run.ask.get("grammar")
        if grammar is not None:
            ((kind, asked_for),) = grammar.items()
            value = letter_by_letter(kind, asked_for)
            said = (
                {"json_schema": json.dumps(value, ensure_ascii=False)}
                if kind == "json_schema"
                else {_GRAMMAR[kind]: value}
            )
            config.structured_output_config = _genai.StructuredOutputConfig(**said)
        return config

    def _report(self, run: Run, handle: Any) -> None:
        tokens, scores, finish = list[int](), list[Score](), None
        while handle.can_read():
            for output in handle.read().values():
                tokens += output.generated_ids
                scores += [(float(each), ()) for each in output.generated_log_probs]
                if output.finish_reason == _native.GenerationFinishReason.LENGTH:
                    finish = "length"
                elif output.finish_reason != _native.GenerationFinishReason.NONE:
                    finish = "stop"
        ended = handle.get_status() != _native.GenerationStatus.RUNNING and not handle.can_read()
        if tokens or finish:
            run.take(tokens, scores, finish=finish)
        if ended and not run.done:
            run.fail("The engine has no room for this request in its cache. A larger `cache_gib` has.")
        if run.done:
            self.cancel(run)


def _spelled(token: bytes) -> bytes:
    """The bytes that a token of the vocabulary stands for."""
    byte = _ONE_BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token


def _ends_beside(weights: Path) -> Sequence[int]:
    """The ends that a model says of itself where its weights are a directory: chat models often have two."""
    path = weights / "generation_config.json"
    said: Any = json.loads(path.read_bytes()).get("eos_token_id") if path.is_file() else None
    return [each for each in (cast("list[Any]", said) if isinstance(said, list) else [said]) if type(each) is int]


def _tensor(tokens: Sequence[int]) -> Any:
    return _openvino.Tensor(numpy.array([tokens], dtype=numpy.int64))


if __name__ == "__main__":
    work(OpenVINOEngine)

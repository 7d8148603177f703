"""The worker that computes with transformers. Runs in that package's environment, started by `at_home.py`.

Not by `transformers serve`: that asks for no key, loads whatever model a caller names, fetches whatever address stands in a
message, computes a prompt of any length, and goes on with an answer whose caller has left.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import torch  # pyright: ignore[reportMissingImports] - installed in the engine's environment only
import transformers  # pyright: ignore[reportMissingImports] - as well

from changeover.serving.engines.worker import Ask, Refused, Run, Score, reason, work

_torch: Any = torch
_transformers: Any = transformers
_MOST_TOP: Final = 20
"""Log-probabilities that can be asked for with each token."""


class _Left(Exception):
    """Whoever wanted the answer is gone, or has enough."""


class TransformersEngine:
    """One model that answers one request after the other."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Load the model.

        Raises:
            Exception: Whatever the library finds wrong with the checkpoint.
        """
        _torch.set_num_threads(config["threads"])
        path, how = config["artifact"], {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer = _transformers.AutoTokenizer.from_pretrained(path, **how)
        how |= {"dtype": config["dtype"], "use_safetensors": True}
        self._model = _class_for(path).from_pretrained(path, **how).to(config["device"]).eval()
        said = self._model.generation_config
        ends: Any = said.eos_token_id
        known: set[Any] = {*(cast("list[Any]", ends) if isinstance(ends, list) else [ends])}
        known |= {self._tokenizer.eos_token_id, *config["ends"]}
        self.ends = frozenset(each for each in known if type(each) is int)
        # What a request does not say is OpenAI's default, not the checkpoint's.
        self._model.generation_config = _transformers.GenerationConfig(
            eos_token_id=sorted(self.ends), pad_token_id=min(self.ends, default=0), bos_token_id=said.bos_token_id
        )
        self._special = bool(config["special_text"])
        self._waiting: deque[Run] = deque()

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def warm(self) -> None:
        prompt = self.tokens("Hello", special=True)
        if self._tokenizer.chat_template:
            with contextlib.suppress(Refused):  # one that wants something else is compiled all the same
                prompt = self.tokens(
                    self.templated({"messages": [{"role": "user", "content": "Hello"}]}), special=False
                )
        sampling = {"temperature": 1.0, "top_p": 0.9, "top_k": 2, "presence_penalty": 0.1}
        tokens = _torch.tensor([prompt], device=self._model.device)
        self.text(self._model.generate(tokens, generation_config=_generation(sampling, 2))[0].tolist())

    def templated(self, ask: Ask) -> str:
        if not self._tokenizer.chat_template:
            raise Refused("This model has no chat template. Ask it by `/v1/completions`.")
        try:
            return self._tokenizer.apply_chat_template(
                ask["messages"],
                tools=ask.get("tools") or None,
                add_generation_prompt=True,
                tokenize=False,
                **(ask.get("template") or {}),
            )
        except Exception as exc:  # a template's own words, and whatever Jinja raises
            raise Refused(f"The model's chat template refuses these messages: {exc}"[:300]) from exc

    def tokens(self, text: str, *, special: bool) -> list[int]:
        return self._tokenizer(text, add_special_tokens=special)["input_ids"]

    def text(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=not self._special) if tokens else ""

    def start(self, run: Run) -> None:
        self._waiting.append(run)

    def cancel(self, run: Run) -> None:
        """One that waits is passed over, and the one that runs is ended, by `Run.done`."""

    def step(self, hear: Callable[[], None]) -> None:
        """A whole answer: the library has no smaller step. It hears meanwhile, after each token."""
        run = self._waiting[0]
        try:
            if not run.done:
                self._generate(run, hear)
        finally:
            self._waiting.popleft()

    def failed(self, why: str) -> bool:
        """`step` has dropped the one that ran, and said so."""
        return False

    def _generate(self, run: Run, hear: Callable[[], None]) -> None:
        asked: Mapping[str, Any] = run.ask["sampling"]
        _torch.manual_seed(run.seed) if run.seed is not None else _torch.seed()
        prompt = _torch.tensor([run.prompt], device=self._model.device)
        reporter = _Reporter(run, hear)
        try:
            if run.ask.get("score_prompt"):
                run.score_prompt(self._scores(prompt, run.ask["logprobs"]))
            self._model.generate(
                prompt,
                attention_mask=_torch.ones_like(prompt),
                generation_config=_generation(asked, run.limit),
                logits_processor=[_Penalties(asked, len(run.prompt)), reporter.look],
                streamer=reporter,
            )
        except _Left:
            pass
        except Exception as exc:
            if not run.done:
                run.fail(f"The engine failed: {reason(exc)}")
            raise

    def _scores(self, prompt: Any, wanted: int) -> Sequence[Score]:
        """Of each token of a prompt after those before it."""
        with _torch.inference_mode():
            scores = _torch.log_softmax(self._model(prompt).logits[0, :-1].float(), dim=-1)
        own = scores.gather(1, prompt[0, 1:, None])[:, 0].tolist()
        top = scores.topk(min(wanted, _MOST_TOP), dim=-1)
        likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        pairs = [list(zip(*each, strict=True)) for each in likeliest]
        return [(None, ()), *zip(own, pairs, strict=True)]


class _Reporter:
    """Takes tokens from the library as they come, and their log-probabilities just before."""

    def __init__(self, run: Run, hear: Callable[[], None]) -> None:
        self._run = run
        self._hear = hear
        self._prompt_seen = False
        self._wanted: int | None = run.ask.get("logprobs")
        self._last: Any = None

    def look(self, _tokens: Any, scores: Any) -> Any:
        """A processor of logits that changes none. The library calls those that are given before its samplers."""
        if self._wanted is not None:
            self._last = _torch.log_softmax(scores[0].float(), dim=-1)
        return scores

    def put(self, tokens: Any) -> None:
        """The prompt first, then each token."""
        if self._prompt_seen:
            number = int(tokens.reshape(-1)[0])
            self._run.take([number], [self._entry(number)] if self._wanted is not None else ())
        self._prompt_seen = True
        self._hear()
        if self._run.done:
            raise _Left

    def end(self) -> None:
        if not self._run.done:
            self._run.take([], finish="length")

    def _entry(self, token: int) -> Score:
        likeliest = self._last.topk(min(self._wanted or 0, _MOST_TOP))
        return float(self._last[token]), list(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True))


class _Penalties:
    """OpenAI's two, which the library does not have: for being there at all, and for each time."""

    def __init__(self, asked: Mapping[str, Any], prompt: int) -> None:
        self._presence: float = asked.get("presence_penalty") or 0.0
        self._frequency: float = asked.get("frequency_penalty") or 0.0
        self._prompt = prompt

    def __call__(self, tokens: Any, scores: Any) -> Any:
        if not (self._presence or self._frequency) or tokens.shape[-1] <= self._prompt:
            return scores
        times = _torch.bincount(tokens[0, self._prompt :], minlength=scores.shape[-1])[: scores.shape[-1]]
        return scores - times * self._frequency - (times > 0) * self._presence


def _generation(asked: Mapping[str, Any], limit: int) -> Any:
    sampling: dict[str, Any] = {"do_sample": asked["temperature"] > 0}
    if sampling["do_sample"]:
        top_k = asked.get("top_k") or 0
        sampling |= {
            "temperature": float(asked["temperature"]),
            "top_k": max(top_k, 0),
            "top_p": asked.get("top_p") or 1.0,
            "min_p": asked.get("min_p"),
        }
    if asked.get("repetition_penalty") is not None:
        sampling["repetition_penalty"] = float(asked["repetition_penalty"])
    return _transformers.GenerationConfig(max_new_tokens=limit, **sampling)


def _class_for(path: str) -> Any:
    """The class that writes text, for models that see too."""
    config = _transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    known = _transformers.AutoModelForCausalLM._model_mapping
    return _transformers.AutoModelForCausalLM if type(config) in known else _transformers.AutoModelForImageTextToText


if __name__ == "__main__":
    work(TransformersEngine)

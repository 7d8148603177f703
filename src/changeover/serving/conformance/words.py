"""Probes of plain answers: chats and streams, why they end, what they count, and that letters stay whole."""

from __future__ import annotations

from typing import Any, cast

from changeover.serving.conformance.outcome import Absent, Beside, Wrong
from changeover.serving.conformance.talk import COMPLETIONS, Streamed, Talk, Whole

STORY = "Write a short story about a fox and a river."
FOREIGN = "狐狸 🦊🏔️ жёлтый größt ñoño 日本語"
"""Letters of one to four bytes, and one made of several: engines' tokens cut through them. No such letter stands before a
digit or one of a to f: XGrammar reads a schema's `ße` as one letter, which is another matter."""
ENDS = ("stop", "length")


async def chat(talk: Talk) -> str:
    """A whole answer has OpenAI's shape."""
    answer = await talk.chat(STORY)
    if answer.message.get("role") != "assistant":
        raise Wrong(f"the message's role is `{answer.message.get('role')}`")
    for name in ("id", "model"):
        if not isinstance(answer.fields.get(name), str):
            raise Wrong(f"it has no `{name}`")
    if not answer.text and not answer.message.get("reasoning_content"):
        raise Wrong("it is empty")
    return f"{answer.text[:60]!r}"


async def stream(talk: Talk) -> str:
    """A stream has OpenAI's shape, from its first event to its end mark."""
    answer = await talk.stream(STORY)
    if not answer.done:
        raise Wrong("its end mark `[DONE]` never came")
    if answer.finish not in ENDS:
        raise Wrong(f"its `finish_reason` is `{answer.finish}`")
    if not answer.pieces and not any(delta.get("reasoning_content") for delta in answer.deltas):
        raise Wrong("no text came")
    return f"{len(answer.pieces)} pieces"


async def system_role(talk: Talk) -> str:
    """A system message is taken, and read."""
    if talk.subject.through == "engine" and talk.subject.profile.system_role == "no":
        raise Beside("the family has no such role: the gateway puts the text before the user's")
    user = {"role": "user", "content": STORY}
    answers = [
        await talk.chat([{"role": "system", "content": words}, user], max_tokens=1)
        for words in (
            "You help.",
            "You are a lighthouse keeper who only speaks of storms, ships and the wide grey sea.",
        )
    ]
    return _longer(*answers, what="a longer system message")  # many templates have one of their own where there is none


async def multi_turn(talk: Talk) -> str:
    """Earlier turns are taken, and read."""
    user = {"role": "user", "content": STORY}
    without = await talk.chat([user], max_tokens=1)
    earlier = [
        {"role": "user", "content": "What is your name, and where do you live?"},
        {"role": "assistant", "content": "I am Ada, and I live in a small house by the sea."},
    ]
    return _longer(without, await talk.chat([*earlier, user], max_tokens=1), what="earlier turns")


def _longer(without: Whole, answer: Whole, *, what: str) -> str:
    before, after = without.usage.get("prompt_tokens"), answer.usage.get("prompt_tokens")
    if not isinstance(before, int) or not isinstance(after, int):
        raise Beside("the prompt's tokens are not counted, so it cannot be seen")
    if after <= before:
        raise Wrong(f"{what} changed nothing: {before} prompt tokens, then {after}")
    return f"{before} prompt tokens, then {after}"


async def completions(talk: Talk) -> str:
    """Text goes on without a chat template."""
    body = {"prompt": "The fox walked to the", "max_tokens": 8, "temperature": 0}
    choices: Any = (await talk.post(COMPLETIONS, body)).get("choices")
    text = choices[0].get("text") if choices else None
    if not isinstance(text, str):
        raise Wrong("the choice has no `text`")
    return f"{text[:60]!r}"


async def ends_at_a_limit(talk: Talk) -> str:
    """`max_tokens` bounds the answer, and `finish_reason` says so."""
    answer = await talk.chat(STORY, max_tokens=4)
    if answer.finish != "length":
        raise Wrong(f"`finish_reason` is `{answer.finish}`, not `length`")
    streamed = await talk.stream(STORY, max_tokens=4)
    if streamed.finish != "length":
        raise Wrong(f"`finish_reason` of a stream is `{streamed.finish}`, not `length`")
    return "length"


async def ends_by_itself(talk: Talk) -> str:
    """`finish_reason` is `stop` where the answer ended for another reason than its limit."""
    text = (await talk.chat(STORY)).text
    answer = await talk.chat(STORY, stop=[_middle(text)])
    if answer.finish != "stop":
        raise Wrong(f"`finish_reason` is `{answer.finish}`, not `stop`")
    return "stop"


async def stop_sequences(talk: Talk) -> str:
    """An answer ends before a text that the caller names, whole and streamed."""
    text = (await talk.chat(STORY)).text
    end = _middle(text)
    cut = (await talk.chat(STORY, stop=[end])).text
    streamed = (await talk.stream(STORY, stop=[end])).text
    for said in (cut, streamed):
        if end in said:
            raise Wrong(f"{end!r} stands in {said[-40:]!r}")
        if len(said) >= len(text):
            raise Absent(f"`stop` is not read: {end!r} changed nothing")
    return f"ends before {end!r}"


def _middle(text: str) -> str:
    """A few letters from the middle of a text, that stand there for the first time."""
    at = len(text) // 2
    for size in range(3, max(4, len(text) - at)):
        found = text[at : at + size]
        if text.find(found) == at and found.strip():
            return found
    raise Beside("the model says too little to stop it")


async def choices(talk: Talk) -> str:
    """Several answers to one request, each with its number."""
    answer = await talk.chat(STORY, n=2, temperature=0.9, max_tokens=8)
    found = [each.get("index") for each in answer.choices]
    if len(found) == 1:
        raise Absent("`n` is ignored without a word: one choice came")
    if sorted(cast("list[int]", found)) != [0, 1]:
        raise Wrong(f"the choices have the numbers {found}")
    return "two choices"


async def usage(talk: Talk) -> str:
    """An answer says how many tokens it took."""
    return _counted(await talk.chat(STORY, max_tokens=8), 8)


async def usage_streamed(talk: Talk) -> str:
    """A stream that asks for it says at its end how many tokens it took: as many as the whole answer."""
    whole = await talk.chat(STORY, max_tokens=8)
    answer = await talk.stream(STORY, max_tokens=8, stream_options={"include_usage": True})
    said, prompt = _counted(answer, 8), answer.usage.get("prompt_tokens")
    if prompt != whole.usage.get("prompt_tokens"):
        raise Wrong(f"{prompt} prompt tokens in a stream, {whole.usage.get('prompt_tokens')} in a whole answer")
    return said


def _counted(answer: Whole | Streamed, most: int) -> str:
    prompt, completion = (answer.usage.get(key) for key in ("prompt_tokens", "completion_tokens"))
    if not isinstance(prompt, int) or not isinstance(completion, int):
        raise Wrong(f"`usage` is {dict(answer.usage)}")
    if prompt < 1 or not 1 <= completion <= most:
        raise Wrong(f"{prompt} prompt tokens and {completion} of at most {most}")
    return f"{prompt} + {completion} tokens{', estimated' if answer.usage.get('estimated') else ''}"


async def reasoning(talk: Talk) -> str:
    """Reasoning stands in a field of its own, and leaves no mark in the text."""
    form = talk.subject.profile.reasoning
    if form == "none":
        raise Beside("the model does not reason")
    if talk.subject.through == "engine" and form != "field":
        raise Beside(f"the engine leaves it in the text, as `{form}`: the gateway takes it out")
    answer = await talk.chat("How many days have two weeks? Think first.", max_tokens=200)
    marks = [mark for mark in ("<think>", "</think>", "<|channel|>", "<|channel>") if mark in answer.text]
    if marks:
        raise Wrong(f"{marks[0]!r} stands in the text")
    thought = answer.message.get("reasoning_content") or answer.message.get("reasoning")
    if not thought:
        raise Beside("the model did not reason this time")
    return f"{str(thought)[:60]!r}"


async def unicode(talk: Talk) -> str:
    """Letters whose bytes are several tokens come whole: the pieces of a stream join to the text."""
    fields: dict[str, Any] = {}
    asked = f"Repeat exactly, and nothing else: {FOREIGN}"
    if talk.subject.has_grammar:
        schema: dict[str, Any] = {"type": "object", "properties": {"said": {"enum": [FOREIGN]}}, "required": ["said"]}
        fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "said", "schema": schema}}
    streamed = await talk.stream(asked, max_tokens=120, **fields)
    broken = [piece for piece in streamed.pieces if "\ufffd" in piece]
    if broken:
        raise Wrong(f"a piece holds half a letter: {broken[0]!r}")
    if fields and FOREIGN not in streamed.text:
        raise Wrong(f"the text came as {streamed.text[:60]!r}")
    if streamed.text.isascii():
        raise Beside("the model wrote no letter of several bytes")
    return f"{len(streamed.pieces)} pieces, {streamed.text[:40]!r}"


async def seeds(talk: Talk) -> str:
    """The same seed gives the same answer."""
    await talk.chat(STORY, max_tokens=1)  # all of the prompt is known now: engines that keep it begin elsewhere
    same = {"temperature": 1.0, "max_tokens": 16}
    first, again, other = [(await talk.chat(STORY, seed=seed, **same)).text for seed in (7, 7, 8)]
    if first != again:
        raise Wrong(f"seed 7 gave {first[:30]!r}, then {again[:30]!r}")
    return f"{first[:30]!r} twice; {'another' if other != first else 'the same'} with another seed"

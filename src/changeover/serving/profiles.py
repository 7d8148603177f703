"""Profiles: how a model and its engine speak, as data, so that the gateway can hold one contract for all of them.

The table by family is `profiles.toml`; backends put what is not plain into a bundle, and the gateway reads it from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final, Literal, Protocol, cast

import msgspec
from pydantic import Field

from changeover.core import toml
from changeover.core.errors import ConfigError, nearest
from changeover.library.lineage import plain_name
from changeover.serving.capabilities import CAPABILITIES
from changeover.serving.options import BackendName, Json
from changeover.serving.parts import EnginePart

Endpoint = Literal["chat", "completions", "embeddings", "responses", "messages"]
Reasoning = Literal["none", "field", "think", "think_open", "harmony", "gemma4"]
Thinks = Literal["always", "unless_off", "if_on"]
History = Literal["strip", "keep", "keep_between_tool_calls"]
Effort = Literal["none", "field", "enable_thinking", "thinking", "top_level_enable_thinking", "thinking_budget"]
EffortValue = Literal["none", "minimal", "low", "medium", "high"]
ToolCalls = Literal[
    "native", "native_or_bare", "hermes", "qwen_coder", "glm", "minimax", "kimi", "deepseek", "harmony", "gemma4", "none"
]  # fmt: skip
Structured = Literal["response_format", "guided_json", "structured_outputs", "grammar", "json_object", "none"]

NO_GRAMMAR: Final[tuple[Structured, ...]] = ("json_object", "none")
"""Where an engine holds no answer to a schema."""
Grammar = Literal["grammar", "structured_outputs"]
Continues = Literal["none", "prefill", "continue_final_message"]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one model on one engine speaks. The defaults are the plain way: OpenAI's own."""

    reasoning: Reasoning = "none"
    """Where the engine leaves reasoning: nowhere; in a field of its own (`reasoning_content` or `reasoning`); in the text
    as `<think>…</think>`, as the same without its beginning because the template has written it, in harmony's channels,
    or in Gemma 4's."""
    thinks: Thinks = "always"
    """Whether it reasons: always, unless it is told not to, or only when it is told to."""
    reasoning_history: History = "strip"
    """What earlier answers' reasoning the model is to see."""
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    """The name under which the engine takes kept reasoning in a message."""
    effort: Effort = "field"
    """What `reasoning_effort` becomes: nothing, itself, `chat_template_kwargs.enable_thinking`,
    `chat_template_kwargs.thinking`, `enable_thinking` beside the messages, or that with a `thinking_budget`."""
    effort_values: tuple[EffortValue, ...] = ()
    """Values of `reasoning_effort` that the engine knows; empty: any."""
    tool_calls: ToolCalls = "native"
    """How tool calls come: as fields; as fields or, from small models, as bare JSON; as text of a family's format; not at
    all, so that tools go through the prompt."""
    forced_calls: Literal["engine", "schema"] = "engine"
    """Who sees to it that a call is made where one must be: the engine, or a schema for the whole answer."""
    system_role: Literal["yes", "one", "no"] = "yes"
    """Whether system messages may stand as they are, must be one at the beginning, or do not exist."""
    structured: Structured = "response_format"
    """Where a JSON Schema for the answer goes. `grammar` is TGI's form; from `json_object` on it stands in the prompt."""
    grammar: Grammar = "grammar"
    """Where a grammar for the answer goes, as GBNF writes it: a field of that name, or vLLM's `structured_outputs`."""
    dropped: tuple[str, ...] = ()
    """Fields of a request that the engine does not know and would refuse."""
    seeded: Literal["cached", "fresh"] = "cached"
    """Whether a prompt that was computed before may be used for a request with a seed. llama.cpp's differs in the last bits
    from one that is computed anew, and so does what is drawn."""
    continues: Continues = "none"
    """Whether the engine goes on with an assistant's message that is the last one, so that a stream which broke off elsewhere
    can be gone on with: not at all, always, or where `continue_final_message` asks for it."""
    context_tokens: int | None = None
    """Prompt and answer together; None: it is not known here."""
    endpoints: tuple[Endpoint, ...] | None = None
    """What the engine serves; None: it is not known, and the engine itself is asked."""
    usage: bool = True
    """Whether the engine counts tokens."""
    has: tuple[str, ...] = ()
    """Capabilities of this deployment that its kind of engine does not declare."""
    lacks: tuple[str, ...] = ()
    """Capabilities that this deployment has not, whatever its kind of engine declares."""

    @property
    def takes_plain(self) -> bool:
        """Texts of systems and users, with OpenAI's own sampling parameters, can be sent as they are."""
        return self.system_role == "yes" and not self.dropped

    def with_seed(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body whose seed has the same answer each time; the same object where that is so anyway."""
        fresh = self.seeded == "fresh" and body.get("seed") is not None and "cache_prompt" not in body
        return {**body, "cache_prompt": False} if fresh else body

    def document(self, backend: BackendName) -> dict[str, Json]:
        """What is not plain for this kind of engine, as JSON; `{}` if all is, so that such bundles stay what they were."""
        plain: dict[str, Json] = msgspec.to_builtins(PLAIN[backend])
        mine: dict[str, Json] = msgspec.to_builtins(self)
        return {name: _listed(value) for name, value in mine.items() if value != plain[name]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, where: str = "profile") -> Profile:
        """Read what `document` wrote, or what a person wrote in a deployment's options.

        Raises:
            ConfigError: A key or value is unknown; names it.
        """
        for key in document:
            if key not in cls.__struct_fields__:
                raise ConfigError(f"{where}: `{key}`: unknown key. {nearest(key, cls.__struct_fields__)}")
        try:
            profile = msgspec.convert(dict(document), cls)
        except msgspec.ValidationError as exc:
            raise ConfigError(f"{where}: {_place(str(exc))}. See the fields of a profile in the reference.") from exc
        for key, names in (("has", profile.has), ("lacks", profile.lacks)):
            for name in names:
                if name not in CAPABILITIES:
                    raise ConfigError(f"{where}: `{key}`: no capability `{name}`. {nearest(name, CAPABILITIES)}")
        return profile._without()

    def _without(self) -> Profile:
        """What is lacking and can be done another way is done so: a schema, and tools, go through the prompt."""
        changed: dict[str, Any] = {}
        if "json_schema" in self.lacks and self.structured not in NO_GRAMMAR:
            changed["structured"] = "none"
        if "tools" in self.lacks and self.tool_calls in ("native", "native_or_bare"):
            changed["tool_calls"] = "none"
        return msgspec.structs.replace(self, **changed) if changed else self


PLAIN: Mapping[BackendName, Profile] = {
    # Asked of the server of xllamacpp 2026.10.11549: 200 for these four; embeddings are a 501 unless it was started for
    # them, which the deployment's profile then says.
    # It forces no call, and leaves bare JSON, which small models write instead of their template's format, in the text.
    # With a last message of the assistant's it goes on at that very letter, and writes nothing of it again.
    "local": Profile(
        endpoints=("chat", "completions", "responses", "messages"),
        tool_calls="native_or_bare",
        forced_calls="schema",
        seeded="fresh",
        continues="prefill",
    ),
    # vLLM 0.32 answers these, and embeddings only where it was started for nothing else. Without a tool parser it refuses
    # `tools`, so they go through the prompt; with one a call is forced, and its arguments are held to the tool's schema by
    # the latest version alone. Of a message it reads `reasoning`, and no other name (its renderers/chat_utils.py).
    # It goes on with a message where `continue_final_message` is true and `add_generation_prompt` is not (protocol.py).
    "vllm": Profile(
        endpoints=("chat", "completions", "responses", "messages"),
        tool_calls="none",
        forced_calls="schema",
        reasoning_field="reasoning",
        grammar="structured_outputs",
        continues="continue_final_message",
    ),
    "kunlun": Profile(
        endpoints=("chat", "completions"),
        tool_calls="none",
        forced_calls="schema",
        reasoning_field="reasoning",
        grammar="structured_outputs",
        continues="continue_final_message",
    ),
    # sglang 0.5.23 leaves calls in the text where it has no parser, and takes either name of reasoning in a message. It
    # forces calls itself; told to call none, it would not show the tools to the model.
    # By `continue_final_message` it goes on (its examples, openai_chat_with_response_prefill.py).
    "sglang": Profile(endpoints=("chat", "completions"), continues="continue_final_message"),
    # Behind fronts of ours, which take nothing out of the text: of a family whose format is not known, calls come by the
    # prompt. Transformers holds answers to no schema.
    "openvino": Profile(endpoints=("chat", "completions"), tool_calls="none", forced_calls="schema"),
    "transformers": Profile(endpoints=("chat", "completions"), tool_calls="none", structured="none"),
    "llama-server": Profile(
        endpoints=("chat", "completions", "responses", "messages"),
        tool_calls="native_or_bare",
        forced_calls="schema",
        seeded="fresh",
        continues="prefill",
    ),
    # Ollama's documentation of its compatible API, and openai/openai.go: `reasoning`, and four values of the effort.
    "ollama": Profile(
        endpoints=("chat", "completions", "embeddings", "responses"),
        reasoning_field="reasoning",
        effort_values=("none", "low", "medium", "high"),
    ),
    "ray": Profile(endpoints=("chat", "completions")),
    "adapter": Profile(endpoints=("chat", "completions")),
    "echo": Profile(continues="prefill"),
    "openai": Profile(),
}
"""What a kind of engine does with a model of no known family. It is not written into bundles: their engine says it."""

_DOES_ITSELF: Mapping[BackendName, Mapping[str, Json]] = {
    # llama.cpp's server takes reasoning and tool calls out of the text, for every chat template it knows, describes tools
    # to models without a format of their own, and holds answers to a schema.
    "local": {"reasoning": "field", "tool_calls": "native_or_bare", "structured": "response_format"},
    "llama-server": {"reasoning": "field", "tool_calls": "native_or_bare", "structured": "response_format"},
    "vllm": {},
    "kunlun": {},
    "sglang": {},
    "openvino": {},
    "transformers": {"structured": "none"},
    "ollama": {
        "reasoning": "field",
        "reasoning_field": "reasoning",
        "tool_calls": "native",
        "structured": "response_format",
    },
    "ray": {},
    "adapter": {},
    # The echo engine speaks as its options say, whatever its model is called.
    "echo": msgspec.to_builtins(PLAIN["echo"]),
    # What runs behind the address is not known: the family's own format is expected, and fields are taken as they come.
    "openai": {},
}
"""What an engine does whatever family it serves; it stands above the family."""


class Parsers(toml.Declared):
    """By which an engine takes tool calls and reasoning out of the text itself. None: it leaves them there."""

    tools: str | None = None
    reasoning: str | None = None
    template: bool = False
    """Its own chat template does not show tools to the model: the tool parser needs another one."""
    flags: tuple[str, ...] = ()
    """What the engine needs besides to speak with this family."""


class _Family(toml.Declared):
    id: str
    models: tuple[str, ...]
    """Patterns of plain names, matched from their beginning."""
    architectures: tuple[str, ...] = ()
    """`general.architecture` of GGUF files that only this family has."""
    profile: dict[str, Any]
    parsers: dict[str, Parsers] = Field(default_factory=dict[str, Parsers])
    """By engine."""
    sources: tuple[str, ...]


class _Table(toml.Declared):
    families: tuple[_Family, ...]


def profile_of(
    backend: BackendName,
    model: str,
    *,
    architecture: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    where: str = "profile",
) -> Profile:
    """The profile of a model on a kind of engine: the family's, under the engine's, under what an operator wrote.

    Args:
        backend: The kind of engine.
        model: Id of a card, a hub's `owner/name`, or the name it is served under.
        architecture: Of the file of weights, if there is one; only used where the name says nothing.
        overrides: Fields of a `Profile`; they win.
        where: Begins the message of an error.

    Raises:
        ConfigError: An override is no field of a profile, or has no value that it can have.
    """
    family = family_profile(model, architecture) or {}
    engine = dict(_DOES_ITSELF[backend])
    if "reasoning" not in family:
        engine.pop("reasoning", None)
    plain: dict[str, Any] = msgspec.to_builtins(PLAIN[backend])
    return Profile.from_document({**plain, **family, **engine, **(overrides or {})}, where=where)


class _Bundle(Protocol):
    @property
    def engine(self) -> EnginePart: ...


def profile_of_bundle(bundle: _Bundle) -> Profile:
    """The profile that a bundle was made with; about a microsecond.

    Raises:
        ConfigError: Another version of Changeover wrote it, and this one does not know a field of it.
    """
    return profile_of_part(bundle.engine)


def profile_of_part(engine: EnginePart) -> Profile:
    """As `profile_of_bundle`, of its engine's part alone."""
    return _stored(engine.backend, msgspec.json.encode(engine.profile))


@lru_cache(maxsize=1024)
def _stored(backend: str, document: bytes) -> Profile:
    plain = PLAIN.get(cast("BackendName", backend), Profile())
    written: dict[str, Any] = msgspec.json.decode(document)
    return Profile.from_document({**msgspec.to_builtins(plain), **written}, where="A stored bundle's profile")


def family_profile(model: str, architecture: str | None = None) -> Mapping[str, Any] | None:
    """What the table says of a model; None for a family it does not know. The first row that matches counts."""
    family = _family(model, architecture)
    return None if family is None else family.profile


def family_parsers(engine: str, model: str, architecture: str | None = None) -> Parsers:
    """What the table says of an engine's own parsers for a model; none for a family or an engine that it does not know."""
    family = _family(model, architecture)
    return Parsers() if family is None else family.parsers.get(engine, Parsers())


def family_profiles() -> Mapping[str, Mapping[str, Any]]:
    """What the table says of each family, in its order."""
    return {family.id: family.profile for family in _table().families}


def _family(model: str, architecture: str | None) -> _Family | None:
    name = plain_name(model)
    for family in _table().families:
        if any(re.match(pattern, name) for pattern in family.models):
            return family
    # Configurations write `glm4_moe` and `gpt_oss` where GGUF has `glm4moe` and `gpt-oss`.
    network = None if architecture is None else re.sub("[-_]", "", architecture)
    for family in _table().families:
        if network is not None and network in (re.sub("[-_]", "", each) for each in family.architectures):
            return family
    return None


def _listed(value: Json) -> Json:
    """Tuples as lists: that is how they come back from a file or the database."""
    return list(value) if isinstance(value, tuple) else value


def _place(message: str) -> str:
    """Msgspec's words with the key as people write it."""
    said, _, place = message.partition(" - at `$")
    key = place.strip("`.") or None
    return f"`{key}`: {said[0].lower()}{said[1:]}" if key else said


@cache
def _table() -> _Table:
    with resources.as_file(resources.files("changeover.serving") / "profiles.toml") as path:
        table = toml.load(_Table, path)
    for family in table.families:
        Profile.from_document(family.profile, where=f"{path.name}: `{family.id}`")
    return table

"""What a model runs on: engines, launch recipes, memory, shape. Part of a card; `fit` and the support score read it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from changeover.core.toml import Declared
from changeover.library.facts import Name, Price

Positive = Annotated[int, Field(gt=0)]


class EngineSupport(Declared):
    """One engine that runs it."""

    engine: Name
    """`vllm`, `sglang`, `transformers`, `llama.cpp`, `ollama`, `vllm-omni`, `vllm-kunlun`, `fastdeploy`, or `repository`:
    the vendor's own code."""
    since: Name | None = None
    """The first version of the engine that runs it."""
    until: Name | None = None
    """The last version that did; the engine has dropped it since."""
    tool_parser: Name | None = None
    reasoning_parser: Name | None = None
    architectures: tuple[Name, ...] = ()
    """On an accelerator: the classes of models that its own edition of the engine registers. Empty: whatever a card says
    that the engine runs."""
    note: Name | None = None


class Recipe(Declared):
    """A way to start it that somebody documented."""

    engine: Name
    command: Name
    quantisation: Name | None = None
    hardware: Name | None = None
    """What it was written for, in words."""
    verified_hardware: tuple[Name, ...] = ()
    """Kinds of hardware that its author ran it on."""


class MemoryMinimum(Declared):
    """The least memory of accelerators that somebody published for it."""

    quantisation: Name
    minimum_gb: Annotated[float, Field(gt=0)]
    """Decimal gigabytes, over all accelerators together."""
    source: Name


class Shape(Declared):
    """Numbers of the architecture, by which memory is computed. Read in the model's own configuration."""

    layers: Positive
    attention_layers: Positive | None = None
    """Layers that keep keys and values of the whole context; None: all of them."""
    sliding_layers: Annotated[int, Field(ge=0)] = 0
    """Of the attention layers, those that look back no further than `sliding_window_tokens`."""
    sliding_window_tokens: Positive | None = None
    kv_heads: Positive | None = None
    head_dimension: Positive | None = None
    kv_latent_dimension: Positive | None = None
    """Multi-head latent attention: numbers kept per token and layer, in place of heads."""


class Architecture(Declared):
    """How engines know it."""

    transformers_class: Name | None = None
    model_type: Name | None = None
    gguf: Name | None = None
    """The architecture's name in GGUF headers."""
    in_transformers: bool | None = None
    """Whether the class comes with the library `transformers`."""
    remote_code: bool | None = None
    """Whether the repository brings code that an engine would run."""
    pickle: bool | None = None
    """Whether the weights come only as pickle, which runs code when it is read."""
    shape: Shape | None = None


class Hosted(Declared):
    """An address under which somebody runs it for others."""

    host: Name
    id: Name | None = None
    """What a request names; None: not known."""
    base_url: Name | None = None
    api: Literal["openai", "other"] | None = None
    """What is spoken there; None: not known, and taken to be OpenAI's. Of `other` the note says more."""
    key_variable: Name | None = None
    """Environment variable that the host's clients read the key from."""
    pin: Literal["digest", "snapshot", "alias"]
    """What the id stands for: weights by digest, a dated snapshot, or whatever the host answers with today."""
    snapshots: tuple[Name, ...] = ()
    """Dated ids of the same model."""
    moved: date | None = None
    """Since when, as far as it is known, the id answers with another model."""
    now: Name | None = None
    """The model that it answers with, if that is another one."""
    prices: tuple[Price, ...] = ()
    """Oldest first."""
    note: Name | None = None

    @property
    def fixed_ids(self) -> tuple[str, ...]:
        """Ids that stay with this model, the newest last."""
        own = (self.id,) if self.id is not None and self.pin != "alias" else ()
        return (*own, *self.snapshots)

"""Spreading a model over cards: which layouts there are, what each takes, and whether that fits. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from changeover.core.sizes import GB, GIB
from changeover.library.accelerators import Accelerator
from changeover.library.cards import Card
from changeover.library.fit.answer import Layout, Part, Published, Verdict
from changeover.library.fit.context import context_bytes, context_share
from changeover.library.fit.known import Limit, limit_for
from changeover.library.fit.quantisation import Weights, weights_of
from changeover.library.fit.servers import Overhead, overhead_on
from changeover.library.running import Shape

TIGHT: Final = 0.95
"""Share of what is usable from which on a fit is tight."""
RULE: Final = 1.2
"""Weights times this: the rule by which vLLM's recipes get their minima (vllm-project/recipes, CONTRIBUTING). It stands
in for the context where a model's shape is not known."""
RULE_TOKENS: Final = 131_072
"""Tokens of all requests together up to which the rule is believed."""
LARGEST_TENSOR_PARALLEL: Final = 8
"""Over how many cards tensors are split where nobody said how many a node has."""


@dataclass(frozen=True)
class Demand:
    """What is asked for."""

    card: Card
    accelerator: Accelerator
    quantisation: str
    context: int
    concurrency: int

    @property
    def weights(self) -> Weights:
        return weights_of(self.card, self.quantisation)

    @property
    def shape(self) -> Shape | None:
        return self.card.architecture.shape

    @property
    def writes(self) -> bool:
        """Whether it writes text, so that it keeps a context; where nobody says, it does."""
        return not self.card.modalities_out or "text" in self.card.modalities_out

    @property
    def limit(self) -> Limit | None:
        return limit_for(self.card, self.quantisation)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A model on a layout, by memory alone."""

    layout: Layout
    verdict: Verdict
    parts: tuple[Part, ...]
    usable: int
    total: int
    published: Published | None

    @property
    def needs(self) -> int:
        return sum(part.bytes for part in self.parts)


def place(demand: Demand, count: int) -> Placed | None:
    """The smallest layout of at most so many cards on which it fits; else a tight one, else the largest.

    None where the weights or the accelerator's memory are not known. More cards never give a worse verdict: each count's
    layouts are among those of the next.
    """
    if demand.weights.bytes is None or demand.accelerator.memory_gib is None:
        return None
    placed = [_placed(demand, layout, demand.weights.bytes) for layout in layouts(demand, count)]
    for wanted in ("fits", "tight", "unknown"):
        found = next((each for each in placed if each.verdict == wanted), None)
        if found is not None:
            return found
    return placed[-1]


def layouts(demand: Demand, count: int) -> list[Layout]:
    """Ways to spread it over at most so many cards, fewest cards first.

    Tensors are split over powers of two within a node; beyond it, nodes (or groups as large as may be) make a pipeline.
    """
    return sorted(_layouts(demand, count), key=lambda layout: (layout.cards, layout.pipeline_parallel))


def _layouts(demand: Demand, count: int) -> Iterator[Layout]:
    per_node = demand.accelerator.per_node or LARGEST_TENSOR_PARALLEL
    limit, shape = demand.limit, demand.shape
    across = limit is not None and limit.tensor_parallel_across_nodes
    most = count if across else min(count, per_node)
    largest, largest_expert = 1, False
    tensor = 1
    while tensor <= most:
        expert = limit is not None and limit.max_tensor_parallel is not None and tensor > limit.max_tensor_parallel
        allowed = not expert or (limit is not None and limit.expert_parallel_beyond)
        if allowed and _divides(shape, tensor):
            yield Layout(
                tensor_parallel=tensor, pipeline_parallel=1, nodes=-(-tensor // per_node), expert_parallel=expert
            )
            if tensor <= per_node:
                largest, largest_expert = tensor, expert
        tensor *= 2
    stages = 2
    while largest * stages <= count and (shape is None or stages <= shape.layers):
        cards = largest * stages
        yield Layout(
            tensor_parallel=largest,
            pipeline_parallel=stages,
            nodes=-(-cards // per_node),
            expert_parallel=largest_expert,
        )
        stages += 1


def _divides(shape: Shape | None, tensor: int) -> bool:
    """Whether the heads of keys and values can be split so, or kept so many times."""
    if shape is None or shape.kv_heads is None or shape.kv_latent_dimension is not None:
        return True
    return shape.kv_heads % tensor == 0 or tensor % shape.kv_heads == 0


def _placed(demand: Demand, layout: Layout, weights: int) -> Placed:
    overhead = overhead_on(demand.accelerator)
    memory = round((demand.accelerator.memory_gib or 0) * GIB)
    usable = int(memory * overhead.usable) * layout.cards
    parts, certain = _parts(demand, layout, weights, overhead)
    needs = sum(part.bytes for part in parts)
    published = published_for(demand, needs if certain else None, usable)
    return Placed(
        layout=layout,
        verdict=_verdict(needs, usable, certain=certain, published=published),
        parts=parts,
        usable=usable,
        total=memory * layout.cards,
        published=published,
    )


def _parts(demand: Demand, layout: Layout, weights: int, overhead: Overhead) -> tuple[tuple[Part, ...], bool]:
    """What it takes over all cards, and whether that is all of it."""
    held = Part(name="weights", bytes=weights, how=demand.weights.how)
    shape = demand.shape
    tokens = f"{demand.concurrency} × {demand.context:,} tokens"
    whole = None if shape is None else context_bytes(shape, demand.context, demand.concurrency)
    if shape is None or whole is None:
        believed = not demand.writes or demand.context * demand.concurrency <= RULE_TOKENS
        what = f"{tokens} and all else" if demand.writes else "all else"
        how = f"{what}: {'' if believed else 'more than '}a fifth of the weights, by rule"
        return (held, Part(name="context", bytes=round(weights * (RULE - 1)), how=how)), believed
    kept = context_share(shape, layout.tensor_parallel, layout.pipeline_parallel)
    cards = layout.cards
    process = overhead.alone if cards == 1 else overhead.together
    times = kept * cards
    more = "" if times < 1.01 else f", kept {times:.3g} times"
    return (
        held,
        Part(name="context", bytes=round(whole * times), how=f"{tokens} in 16 bits{more}"),
        Part(name="activations", bytes=overhead.activations * cards, how="what each card computes in"),
        Part(name="process", bytes=process * cards, how="the engine itself, on each card"),
    ), True


def published_for(demand: Demand, needs: int | None, usable: int) -> Published | None:
    """The minimum that was published for it in this quantisation, beside what was computed."""
    for minimum in demand.card.memory:
        if minimum.quantisation.casefold() == demand.quantisation.casefold():
            count = round(minimum.minimum_gb * GB)
            return Published(
                minimum_bytes=count,
                source=minimum.source,
                difference_bytes=None if needs is None else needs - count,
                met=usable >= count,
            )
    return None


def _verdict(needs: int, usable: int, *, certain: bool, published: Published | None) -> Verdict:
    """By what was computed; one step worse where there is less than somebody published."""
    if needs > usable:
        return "no"
    if not certain:
        return "unknown"
    tight = needs > usable * TIGHT
    if published is not None and not published.met:
        return "no" if tight else "tight"
    return "tight" if tight else "fits"

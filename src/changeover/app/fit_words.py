"""What `fit` says, in lines with labels: each figure and what it was made from."""

from __future__ import annotations

from changeover.core.sizes import in_both
from changeover.library.fit import Fit


def rows_of(judged: Fit) -> list[tuple[str, str]]:
    """Label and words; an empty label goes on with the line above."""
    rows = [("needs", _sizes(judged.needs_bytes))]
    rows += [("", f"{_sizes(part.bytes):<26} {part.name}: {part.how}") for part in judged.parts]
    rows += [("usable", _usable(judged))]
    if (published := judged.published) is not None:
        less = "" if published.met else " – more than is usable"
        more = published.difference_bytes
        beside = "" if more is None else f"; computed is {_sizes(abs(more))} {'more' if more > 0 else 'less'}"
        rows.append(("published", f"{_sizes(published.minimum_bytes)}{less}{beside}"))
    if judged.most_requests is not None:
        rows.append(("room", f"{judged.most_requests} × {judged.context_tokens:,} tokens at once"))
    rows.append(("how", _how(judged)))
    for name, words in (
        ("it would with", [remedy.words for remedy in judged.remedies]),
        ("not known", judged.missing),
        ("note", judged.notes),
    ):
        rows += [("" if number else name, word) for number, word in enumerate(words)]
    return rows


def _usable(judged: Fit) -> str:
    if judged.layout is None or judged.total_bytes == judged.has_bytes:
        return _sizes(judged.has_bytes)
    cards = judged.layout.cards
    return f"{_sizes(judged.has_bytes)} of {_sizes(judged.total_bytes)} on {cards} card{'s' if cards > 1 else ''}"


def _how(judged: Fit) -> str:
    engine = judged.engine or "no engine known"
    layout = judged.layout
    if layout is None:
        return engine
    said = [f"{layout.cards} card{'s' if layout.cards > 1 else ''}"]
    said += [f"{layout.nodes} nodes"] if layout.nodes > 1 else []
    said += [f"tensors over {layout.tensor_parallel}"] if layout.tensor_parallel > 1 else []
    said += [f"pipeline of {layout.pipeline_parallel}"] if layout.pipeline_parallel > 1 else []
    said += ["experts spread"] if layout.expert_parallel else []
    return f"{engine} · {' · '.join(said)}"


def _sizes(count: int | None) -> str:
    return "not known" if count is None else in_both(count)

"""A model's relatives as a drawing: what it was made from on its left, what was made from it and what follows it on its right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from changeover.app.model_words import billions
from changeover.app.whole_card import WholeCard
from changeover.library.cards import Card
from changeover.library.catalogue import Catalogue

WIDE: Final = 212
HIGH: Final = 44
BETWEEN: Final = 100
"""Pixels between two generations: an edge and its word stand there."""
APART: Final = 12
MARGIN: Final = 4
LONGEST_NAME: Final = 29
"""Characters of a name that a box holds."""
MOST_IN_COLUMN: Final = 12


@dataclass(frozen=True, kw_only=True)
class Node:
    """A model."""

    name: str
    shown: str
    """As much of the name as there is room for."""
    about: str
    href: str | None
    """None: it has no card."""
    own: bool
    x: float
    y: float

    @property
    def middle(self) -> float:
        return self.y + HIGH / 2


@dataclass(frozen=True, kw_only=True)
class Edge:
    """From a model to one that came of it."""

    relation: str
    """What the later one is: `tuned`, `distilled`; `follows` for a successor."""
    path: str
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, kw_only=True)
class Family:
    """The drawing."""

    nodes: Sequence[Node]
    edges: Sequence[Edge]
    width: float
    height: float
    left_out: int
    """Relatives that there was no room for; the list below has them."""


@dataclass(frozen=True, kw_only=True)
class _Kin:
    name: str
    relation: str
    level: int
    """0 is the card; what it was made from is below 0."""
    beside: str


def family_of(whole: WholeCard, catalogue: Catalogue) -> Family | None:
    """The drawing; None: the model has no relatives that anybody knows."""
    own = whole.card.id
    kin = [
        *(_Kin(name=r.name, relation=r.relation, level=-r.steps, beside=r.beside) for r in whole.ancestors),
        *(_Kin(name=r.name, relation=r.relation, level=r.steps, beside=r.beside) for r in whole.descendants),
    ]
    known = {each.name for each in kin}
    kin += [
        _Kin(name=each.card.id, relation="follows", level=1, beside=own)
        for each in whole.successors
        if each.card.id not in known
    ]
    if not kin:
        return None
    columns: dict[int, list[_Kin]] = {}
    for each in kin:
        columns.setdefault(each.level, []).append(each)
    shown = {level: column[:MOST_IN_COLUMN] for level, column in columns.items()}
    nodes = _placed(own, shown, {card.id: card for card in catalogue.cards()})
    return Family(
        nodes=list(nodes.values()),
        edges=[_edge(each, nodes) for each in _all(shown) if each.beside in nodes],
        width=max(node.x for node in nodes.values()) + WIDE + MARGIN,
        height=max(node.y for node in nodes.values()) + HIGH + MARGIN,
        left_out=len(kin) - sum(len(column) for column in shown.values()),
    )


def _placed(own: str, columns: Mapping[int, Sequence[_Kin]], cards: Mapping[str, Card]) -> dict[str, Node]:
    rows = max(1, *(len(column) for column in columns.values()))
    whole = rows * (HIGH + APART) - APART
    levels = sorted({0, *columns})
    nodes: dict[str, Node] = {}
    for place, level in enumerate(levels):
        names = [own] if level == 0 else [each.name for each in columns[level]]
        top = (whole - (len(names) * (HIGH + APART) - APART)) / 2
        for number, name in enumerate(names):
            nodes[name] = _node(
                name,
                cards.get(name),
                own=level == 0,
                x=MARGIN + place * (WIDE + BETWEEN),
                y=MARGIN + top + number * (HIGH + APART),
            )
    return nodes


def _node(name: str, card: Card | None, *, own: bool, x: float, y: float) -> Node:
    facts = () if card is None else (billions(card.parameters_b), card.released_on)
    return Node(
        name=name,
        shown=name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…",
        about=" · ".join(fact for fact in facts if fact),
        href=None if card is None or own else f"/library/{quote(name, safe='')}",
        own=own,
        x=x,
        y=y,
    )


def _edge(kin: _Kin, nodes: Mapping[str, Node]) -> Edge:
    """Of one relative; its word stands beside the relative, where no two edges meet."""
    relative, nearer = nodes[kin.name], nodes[kin.beside]
    above, below = (relative, nearer) if kin.level < 0 else (nearer, relative)
    x1, y1, x2, y2 = above.x + WIDE, above.middle, below.x, below.middle
    half = (x1 + x2) / 2
    left = kin.level < 0
    return Edge(
        relation=kin.relation,
        path=f"M{x1:g} {y1:g}C{half:g} {y1:g} {half:g} {y2:g} {x2:g} {y2:g}",
        label_x=x1 + 6 if left else x2 - 8,
        label_y=relative.middle - 5,
        anchor="start" if left else "end",
    )


def _all(columns: Mapping[int, Sequence[_Kin]]) -> Iterable[_Kin]:
    return (each for column in columns.values() for each in column)

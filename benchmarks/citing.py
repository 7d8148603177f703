"""How often `cite` is right on sentences that were labelled by hand: borne out by a text, or not.

    python -m benchmarks.citing [--half a|b] [--wrong] [--json]

A sentence counts as borne out where every citation of it is supported and has no problem. Precision is the share of these
that the text bears out, recall the share of those that the text bears out which are found.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from changeover.tools.declarations import CiteStep
from changeover.tools.steps.cite import citations

PAIRS = Path(__file__).with_name("citing.toml")
TRUE = ("supported", "paraphrase")
KINDS = (*TRUE, "denial", "number", "name", "unrelated")
LANGUAGES = {"branch": "en", "gifts": "en", "pumpe": "de", "konto": "de", "henpin": "ja", "kaigi": "ja"}
LEAST = float(CiteStep.model_fields["least"].default)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A sentence, and the text that it is said to come from."""

    language: str
    half: str
    kind: str
    claim: str
    source: str

    @property
    def true(self) -> bool:
        return self.kind in TRUE


@dataclass(frozen=True, kw_only=True)
class Found:
    """How `cite` judged."""

    pairs: int
    precision: float
    recall: float
    right: dict[str, str]
    """By kind: how many were judged right, of how many."""
    wrong: tuple[Pair, ...]


def pairs() -> Iterator[Pair]:
    """Every labelled sentence."""
    told = tomllib.loads(PAIRS.read_text(encoding="utf-8"))
    for group in told["pairs"]:
        source = group["source"]
        for claim in group["claims"]:
            yield Pair(
                language=LANGUAGES[source],
                half=claim["half"],
                kind=claim["kind"],
                claim=claim["text"],
                source=told["sources"][source],
            )


def borne_out(pair: Pair) -> bool:
    """What `cite` says of a sentence."""
    found = citations(pair.claim, pair.source, LEAST)
    return bool(found) and all(each.supported and not each.problem for each in found)


def measure(several: Sequence[Pair]) -> Found:
    """Judge every sentence."""
    said = [(pair, borne_out(pair)) for pair in several]
    hits = sum(out and pair.true for pair, out in said)
    right = Counter(pair.kind for pair, out in said if out is pair.true)
    every = Counter(pair.kind for pair in several)
    return Found(
        pairs=len(several),
        precision=hits / max(1, sum(out for _, out in said)),
        recall=hits / max(1, sum(pair.true for pair in several)),
        right={kind: f"{right[kind]}/{every[kind]}" for kind in KINDS},
        wrong=tuple(pair for pair, out in said if out is not pair.true),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("a", "b"), help="only the pairs that were, or were not, looked at before")
    parser.add_argument("--wrong", action="store_true", help="show the sentences that are judged wrong")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = [pair for pair in pairs() if options.half in (None, pair.half)]
    groups = {"all": chosen} | {code: [p for p in chosen if p.language == code] for code in ("en", "de", "ja")}
    found = {name: measure(group) for name, group in groups.items()}
    if options.json:
        kept = ("pairs", "precision", "recall", "right")
        print(json.dumps({name: {key: getattr(each, key) for key in kept} for name, each in found.items()}, indent=1))
        return
    for name, each in found.items():
        kinds = "  ".join(f"{kind} {right}" for kind, right in each.right.items())
        print(f"{name:<4} {each.pairs:>3} pairs  precision {each.precision:.2f}  recall {each.recall:.2f}  {kinds}")
    if options.wrong:
        print(*(f"{pair.half} {pair.language} {pair.kind:<10} {pair.claim}" for pair in found["all"].wrong), sep="\n")


if __name__ == "__main__":
    main()

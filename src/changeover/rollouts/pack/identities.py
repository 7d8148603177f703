"""Whether everything in a pack is what its digest says: bundles, datasets, rules, and the order of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from changeover.core.digest import sha256_text, sha256_value
from changeover.evals.datasets import Dataset, Sample
from changeover.evals.queries import Comparison
from changeover.rollouts.pack.checks import Check, found, unknown
from changeover.rollouts.pack.files import Files
from changeover.rollouts.pack.records import BundleRecord, DatasetRecord, Member, SampleRecord
from changeover.serving.bundles import Bundle, differences
from changeover.serving.variants import Variant

BESIDE_RULES = frozenset(
    {"max_observations", "min_observations", "changeover", "notes", "dataset", "scorer", "measures"}
)
"""Keys of a comparison's plan that are no rules of its test."""


def check_bundles(files: Files) -> Check:
    """Every bundle's digest follows from its document, and every variant's id from its bundle."""
    bundles = files.bundles
    differs: list[str] = []
    for each in bundles.bundles:
        if sha256_value(each.document) != each.digest:
            differs.append(f"the bundle of `{each.deployment}` does not make the digest {each.digest[:12]}")
        bundle = Bundle.from_document(each.document)
        if Variant.of(each.task, each.deployment, bundle).id != each.variant:
            differs.append(f"variant {each.variant} is not `{each.deployment}` with that bundle")
    by_id = {each.variant: each for each in bundles.bundles}
    rollout = files.rollout.rollout
    if (bundles.incumbent, bundles.candidate) != (rollout.incumbent, rollout.candidate):
        differs.append("incumbent and candidate are not those of the rollout")
    missing = {rollout.incumbent, rollout.candidate, *_named(files)} - by_id.keys()
    differs += [f"variant {id} is not there" for id in sorted(missing)]
    if not missing and not differs:
        old, new = (Bundle.from_document(by_id[id].document) for id in (rollout.incumbent, rollout.candidate))
        if differences(old, new) != bundles.differs:
            differs.append("what changes is told otherwise than the documents say")
    return found("bundles", differs, f"{len(by_id)} bundles make their digests, and their variants' ids")


def _named(files: Files) -> Iterator[str]:
    for route in files.routes:
        yield from route.variants()


def check_licences(files: Files) -> Check:
    """What is known of the two models' licences. Nothing that a digest proves: the library said so."""
    by_id = {each.variant: each for each in files.bundles.bundles}
    sides = [by_id[files.bundles.incumbent], by_id[files.bundles.candidate]]
    says = ", ".join(f"`{each.document['engine']['model']}` {_licence(each)}" for each in sides)
    strange = [each.deployment for each in sides if each.terms is not None and each.terms.weights_on_card is False]
    if any(each.terms is None for each in sides):
        return unknown("licences", f"{says}; the library had no card")
    if strange:
        return unknown("licences", f"{says}; the weights of {', '.join(strange)} are not those on the card")
    return Check(name="licences", holds=True, says=f"{says}, as the library said")


def _licence(each: BundleRecord) -> str:
    return "unknown" if each.terms is None or each.terms.licence is None else each.terms.licence


def check_datasets(files: Files) -> list[Check]:
    """Each dataset's digest follows from its members, and each member's from its text where that is there."""
    return [_check_dataset(dataset) for dataset in files.datasets]


def _check_dataset(dataset: DatasetRecord) -> Check:
    if dataset.members is None:
        return unknown("dataset", f"the store kept no members of {dataset.digest[:12]}")
    differs: list[str] = []
    if sha256_value(sorted(member.digest for member in dataset.members)) != dataset.digest:
        differs.append(f"its {len(dataset.members)} members do not make the digest {dataset.digest[:12]}")
    with_text = [member for member in dataset.members if member.document is not None]
    differs += [f"sample `{member.id}` is not what its digest says" for member in with_text if not _is_itself(member)]
    texts = f", {len(with_text)} of them with their text" if with_text else ""
    return found("dataset", differs, f"{len(dataset.members)} members make the digest {dataset.digest[:12]}{texts}")


def _is_itself(member: Member) -> bool:
    document = member.document or {}
    same = (document.get("id"), document.get("cluster")) == (member.id, member.cluster)
    return same and sha256_value(document) == member.digest


def check_order(comparison: Comparison, samples: Sequence[SampleRecord], files: Files) -> Check:
    """The samples are the first of the dataset in the order of the declared seed: nobody chose them."""
    dataset = next((each for each in files.datasets if each.digest == comparison.dataset), None)
    if dataset is None or dataset.members is None:
        return unknown("drawn order", "the dataset's members are not there")
    if "seed" not in comparison.plan:
        return unknown("drawn order", "the version that measured kept no seed")
    known = tuple(
        Sample(id=member.id, input=(), target="", cluster=member.cluster, variables=None) for member in dataset.members
    )
    order = Dataset(name="", path=Path(), samples=known, digest="").shuffled(comparison.plan["seed"])
    digests = {member.id: member.digest for member in dataset.members}
    differs: list[str] = []
    if len(samples) > len(order):
        differs.append(f"{len(samples)} samples were drawn of {len(order)}")
    for place, (drawn, due) in enumerate(zip(samples, order, strict=False), start=1):
        row = drawn.compared
        if row.position != place or row.sample_id != due.id:
            differs.append(f"`{row.sample_id}` stands at {row.position}, where `{due.id}` was to be drawn as {place}")
        elif row.sample != digests[due.id] or row.cluster != due.cluster:
            differs.append(f"`{row.sample_id}` is not the dataset's sample of that id")
    says = f"{len(samples)} samples, the first of {len(order)} by seed {comparison.plan['seed']}"
    return found("drawn order", differs, says)


def check_rules(comparison: Comparison, files: Files) -> Check:
    """The comparison is of these two variants, by the scorer and the rules whose digest it was looked up by."""
    rollout = files.rollout.rollout
    by_id = {each.variant: each for each in files.bundles.bundles}
    differs: list[str] = []
    if comparison.task != rollout.task:
        differs.append(f"it is about `{comparison.task}`")
    if (comparison.incumbent, comparison.candidate) != (rollout.incumbent, rollout.candidate):
        differs.append("it compared other variants than the rollout is about")
    scorer: Any = comparison.plan.get("scorer")
    named = scorer.get("digest") if isinstance(scorer, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - any JSON
    if named is None:
        return found("rules", differs, "of these variants; the version that measured kept no scorer's digest")
    rules = {name: value for name, value in comparison.plan.items() if name not in BESIDE_RULES}
    if sha256_value([named, rules]) != comparison.scorer:
        differs.append(f"its scorer and rules do not make the digest {comparison.scorer[:12]}")
    samples = files.samples_of(comparison.id)
    for id, role in ((rollout.incumbent, "incumbent"), (rollout.candidate, "candidate")):
        answers = [answer for sample in samples for answer in getattr(sample, role)]
        if {answer.bundle for answer in answers} - {by_id[id].digest}:
            differs.append(f"some of the {role}'s answers are another bundle's")
    return found("rules", differs, f"margin {comparison.plan['margin']:g}, scorer and rules make their digest")


def check_texts(files: Files) -> Check | None:
    """Texts of answers make the digests that stand beside them; None where the pack holds no texts."""
    if not files.rollout.content:
        return None
    differs: list[str] = []
    number = 0
    for sample in files.samples():
        for answer in (*sample.incumbent, *sample.candidate):
            if answer.text is not None:
                number += 1
                if sha256_text(answer.text) != answer.text_sha256:
                    differs.append(f"answer {answer.id} is not what its digest says")
    return found("texts", differs, f"{number} answers make their digests")

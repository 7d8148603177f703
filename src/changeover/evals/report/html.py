"""The report as one HTML file: no network, no script, nothing beside it. Made from the record alone.

Every text may come from a model or a dataset: the template escapes all of it, after `words.visible` has made hidden
characters visible, and the page's own policy forbids scripts, frames and requests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from changeover import __version__
from changeover.evals.report import plots, words
from changeover.evals.report.examples import Chooser, Examples, present
from changeover.evals.report.language import ENGLISH, Language
from changeover.evals.report.plots import Mark, Outcome, Row, Step
from changeover.evals.report.record import ComparisonReport, Ratio, ReportSample, Slice
from changeover.evals.report.words import Claim

HERE = Path(__file__).parent
WIDE, NARROW = 540.0, 330.0
"""Pixels that the pictures are drawn for: beside each other or on a tablet, and on a telephone."""
MOST_SLICES_DRAWN = 14
MOST_SLICES = 200
MOST_ROWS = 1500
"""Of the table of all samples."""
MOST_FAILED = 40


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with what it says."""

    title: str
    says: str
    wide: Markup
    narrow: Markup


def to_html(report: ComparisonReport, compiled: Path | None = None, language: Language = ENGLISH) -> str:
    """The whole report as one HTML document, which can be sent as a file and read without a network.

    Args:
        report: The record.
        compiled: Directory that keeps the compiled template, which only this user may write; None: it is compiled
            again in each process.
        language: Of all that no model, dataset or person wrote.
    """
    return page_template(HERE / "template.html", compiled, language).render(_context(report, language))


def to_part(report: ComparisonReport, compiled: Path | None = None, language: Language = ENGLISH) -> Markup:
    """What stands inside of the document, for a page of something else: within an element of the class `report`.

    Its style is that of `part_style`.
    """
    page = page_template(HERE / "inside.html", compiled, language)
    return Markup(page.render(_context(report, language)))  # it was escaped there


@cache
def part_style() -> str:
    """The report's style, for what stands within an element of the class `report` and for nothing else.

    It goes by the width of that element where the document goes by that of the window.
    """
    style = (HERE / "style.css").read_text(encoding="utf-8").replace(":root{", "&{")
    return f".report{{container-type:inline-size;{style.replace('@media (m', '@container (m')}}}\n"


def _context(report: ComparisonReport, language: Language) -> Mapping[str, Any]:
    """Everything that the templates print."""
    usable = [sample for sample in report.samples if sample.usable]
    steps = steps_of(report)
    return {
        "report": report,
        "headline": language.said(words.headline(report)),
        "headline_parts": words.headline_parts(report, language),
        "word": language.said(report.verdict).upper(),
        "language": language.tag,
        "claim": words.main_claim(report),
        "figures": figures(report, steps, usable, language),
        "ratios": [(ratio, _reading(ratio)) for ratio in report.ratios],
        "slices": report.slices[:MOST_SLICES],
        "unseen": unseen_slices(report),
        "groups": examples(report, usable),
        "failed": _failed(report)[:MOST_FAILED],
        "rows": report.samples[:MOST_ROWS],
        "observations": steps[-1].observations if steps else 0,
        "calls": report.calls_new + report.calls_cached,
        "plan": _plan(report),
        "w": words,
        "day": _day,
        "version": __version__,
    }


def steps_of(report: ComparisonReport) -> list[Step]:
    """What was known after each observation, the end of the comparison included.

    An observation is a sample, or the mean of a cluster, which is known after its last sample.
    """
    usable = [sample for sample in report.samples if sample.usable]
    means = _running_means(usable)
    steps: dict[int, Step] = {}
    for sample in usable:
        if sample.observations > 0:
            steps[sample.observations] = Step(
                observations=sample.observations,
                mean=means[min(sample.observations, len(means)) - 1],
                low=sample.low,
                high=sample.high,
                no_worse=sample.no_worse,
                futility=sample.futility,
                better=sample.better,
                worse=sample.worse,
            )
    ordered = [steps[observations] for observations in sorted(steps)]
    if usable and (not ordered or len(means) > ordered[-1].observations):
        # The last cluster was counted after its last sample had been written down.
        ordered.append(
            Step(
                observations=len(means),
                mean=means[-1],
                low=report.low,
                high=report.high,
                no_worse=report.no_worse,
                futility=report.futility,
                better=report.better,
                worse=report.worse,
            )
        )
    return ordered


def _running_means(usable: Sequence[ReportSample]) -> list[float]:
    """Mean of the differences after each observation."""
    means: list[float] = []
    total = 0.0
    for _, group in groupby(usable, key=lambda sample: (sample.cluster, None if sample.cluster else sample.position)):
        differences = [sample.difference for sample in group]
        total += sum(differences) / len(differences)
        means.append(total / (len(means) + 1))
    return means


def figures(
    report: ComparisonReport, steps: Sequence[Step], usable: Sequence[ReportSample], language: Language
) -> list[Figure]:
    """The pictures, in the order in which a newcomer asks; none where nothing could be used."""
    if not steps:
        return []
    drawn = [_evidence(report, steps, language), _running(report, steps, language), _paired(report, usable, language)]
    if report.slices:
        drawn.append(_slices(report, len(usable), language))
    return drawn


def _evidence(report: ComparisonReport, steps: Sequence[Step], language: Language) -> Figure:
    claim = words.main_claim(report)
    reached = _crossing(steps, claim)
    if reached is None:
        says = (
            f"After {words.several(steps[-1].observations, 'observation')} the evidence for “{claim.words}” stands at "
        )
        says += f"{words.odds(claim.e_value)}; {words.needed(claim.rate)} decides."
    else:
        says = f"The evidence for “{claim.words}” reached {words.odds(_e_value(reached, claim))} after "
        says += f"{words.several(reached.observations, 'observation')}; {words.needed(claim.rate)} was needed."
        if report.verdict == "inconclusive":
            says += " It does not count: see above."
    return evidence_figure(
        steps,
        alpha=report.alpha,
        beta=report.beta,
        marks=_marks(report, steps),
        says=says,
        name="evidence",
        language=language,
    )


def evidence_figure(
    steps: Sequence[Step],
    *,
    alpha: float,
    beta: float,
    marks: Sequence[Mark],
    says: str,
    name: str,
    language: Language = ENGLISH,
) -> Figure:
    """How the evidence grew, as a picture."""
    return _figure(
        "Evidence over samples",
        says,
        lambda width, name: plots.evidence(
            steps, alpha=alpha, beta=beta, marks=marks, width=width, name=name, language=language
        ),
        name,
        language,
    )


def _marks(report: ComparisonReport, steps: Sequence[Step]) -> list[Mark]:
    """The moment of the verdict, and that of a stronger claim if it came later."""
    if report.verdict == "inconclusive":
        return []
    claims = words.claims(report)
    deciding = [claims["no_worse"]] if report.verdict == "pass" else [claims["futility"], claims["worse"]]
    fell = [(step.observations, _e_value(step, claim)) for claim in deciding if (step := _crossing(steps, claim))]
    if not fell:
        return []
    marks = [Mark(observations=min(fell)[0], e_value=min(fell)[1], word=report.verdict)]
    shown = words.main_claim(report)
    later = _crossing(steps, shown)
    if later is not None and later.observations > marks[0].observations:
        marks.append(Mark(observations=later.observations, e_value=_e_value(later, shown), word=shown.words))
    return marks


def _crossing(steps: Sequence[Step], claim: Claim) -> Step | None:
    """The first step at which a claim was shown."""
    return next((step for step in steps if _e_value(step, claim) * claim.rate >= 1 - 1e-9), None)


def _e_value(step: Step, claim: Claim) -> float:
    return float(getattr(step, claim.process))


def _running(report: ComparisonReport, steps: Sequence[Step], language: Language) -> Figure:
    return difference_figure(
        steps,
        margin=report.margin,
        difference=report.difference,
        low=report.low,
        high=report.high,
        name="difference",
        language=language,
    )


def difference_figure(
    steps: Sequence[Step],
    *,
    margin: float,
    difference: float,
    low: float,
    high: float,
    name: str,
    language: Language = ENGLISH,
) -> Figure:
    """How the difference settled, with its interval, as a picture."""
    adjusted = abs(steps[-1].mean - difference) > 0.0005
    return _figure(
        "Difference so far",
        f"Candidate minus incumbent: {words.points(difference)} points, "
        f"95 % interval {words.interval(low, high)}. The interval holds at every look.",
        lambda width, name: plots.running_difference(
            steps, margin=margin, difference=difference, width=width, adjusted=adjusted, name=name, language=language
        ),
        name,
        language,
    )


def _paired(report: ComparisonReport, usable: Sequence[ReportSample], language: Language) -> Figure:
    differences = [sample.difference for sample in usable]
    won, lost = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
    groups = _outcomes(report, usable, won, lost)
    if groups is not None:
        told = "a square is a sample" if len(usable) <= 700 else "by number of samples"
        return _figure(
            "Paired outcomes",
            f"Only samples on which the two differ speak: {words.count(won)} won, {words.count(lost)} lost; {told}.",
            lambda width, name: plots.outcomes(groups, width=width, name=name, language=language),
            "outcomes",
            language,
        )
    mean = sum(differences) / len(differences)
    return _figure(
        "Paired differences, sorted",
        "Each sample's difference, from the largest gain to the largest loss: the areas are what is weighed.",
        lambda width, name: plots.sorted_differences(
            differences, margin=report.margin, mean=mean, width=width, name=name, language=language
        ),
        "differences",
        language,
    )


def _outcomes(
    report: ComparisonReport, usable: Sequence[ReportSample], won: int, lost: int
) -> tuple[Outcome, ...] | None:
    """The ways in which samples ended where there are few; None where scores are graded."""
    decided = (Outcome(name="won", samples=won, look="gain"), Outcome(name="lost", samples=lost, look="loss"))
    if report.judging is not None and report.judging.position_bias is not None:
        return (*decided, Outcome(name="tied", samples=len(usable) - won - lost, look="even"))
    scores = [(sample.incumbent.score, sample.candidate.score) for sample in usable]
    if not all(score in (0.0, 1.0) for pair in scores for score in pair):
        return None
    right, wrong = scores.count((1.0, 1.0)), scores.count((0.0, 0.0))
    return (
        *decided,
        Outcome(name="both right", samples=right, look="even"),
        Outcome(name="both wrong", samples=wrong, look="hollow"),
    )


def _slices(report: ComparisonReport, usable: int, language: Language) -> Figure:
    whole = Row(name="all samples", samples=usable, difference=report.difference, low=report.low, high=report.high)
    largest = sorted(report.slices, key=lambda part: -part.samples)[:MOST_SLICES_DRAWN]
    drawn = [part for part in report.slices if part in largest]
    rows = [whole]
    rows += [
        Row(name=part.tag, samples=part.samples, difference=part.difference, low=part.low, high=part.high)
        for part in drawn
    ]
    says = "Each slice by itself, with its own 95 % interval; of many, some miss by chance. The verdict is about all."
    if len(drawn) < len(report.slices):
        says += f" The {len(drawn)} largest of {len(report.slices)}."
    return _figure(
        "Slices",
        says,
        lambda width, name: plots.forest(rows, margin=report.margin, width=width, name=name, language=language),
        "slices",
        language,
    )


def _figure(title: str, says: str, draw: Callable[[float, str], str], name: str, language: Language) -> Figure:
    # Safe: `axes.Drawing` escapes every text that it is given, and the rest are our own words and numbers.
    return Figure(
        title=language.said(title),
        says=language.said(says),
        wide=Markup(draw(WIDE, f"{name}-wide")),
        narrow=Markup(draw(NARROW, f"{name}-narrow")),
    )


def unseen_slices(report: ComparisonReport) -> list[Slice]:
    """Slices too small to tell whether there is a loss of the margin, the least telling first."""
    return sorted(
        (part for part in report.slices if words.untold(part, report)), key=lambda part: (part.samples, part.tag)
    )


def examples(report: ComparisonReport, usable: Sequence[ReportSample]) -> list[Examples]:
    """Samples won, lost and even; what speaks for the verdict first."""
    chooser = Chooser(report.incumbent.deployment, report.candidate.deployment)
    kinds = kinds_of(report, usable)
    if report.verdict == "fail":
        kinds = [kinds[1], kinds[0], *kinds[2:]]
    return [
        chooser.choose(
            kind.samples, title=kind.title, what=kind.what, sign=kind.sign, look=kind.look, at_once=kind.at_once
        )
        for kind in kinds
        if kind.samples
    ]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Samples that ended alike."""

    title: str
    what: str
    sign: str
    look: str
    at_once: int
    """So many of them are shown without being asked for."""
    samples: Sequence[ReportSample]


def kinds_of(report: ComparisonReport, usable: Sequence[ReportSample]) -> list[Kind]:
    """Samples won, lost and even."""
    won = [sample for sample in usable if sample.difference > 0]
    lost = [sample for sample in usable if sample.difference < 0]
    even = [sample for sample in usable if sample.difference == 0]
    higher, lower = (f"{report.candidate.deployment} scored {word}" for word in ("higher", "lower"))
    return [
        Kind(title="Won", what=higher, sign="▲", look="gain", at_once=4, samples=won),
        Kind(title="Lost", what=lower, sign="▼", look="loss", at_once=4, samples=lost),
        Kind(title="Even", what="the same score", sign="=", look="even", at_once=0, samples=even),
    ]


def to_reading(
    report: ComparisonReport,
    kind: Kind,
    start: int,
    count: int,
    compiled: Path | None = None,
    language: Language = ENGLISH,
) -> Markup:
    """Some samples of a kind to read through, the largest differences first; see `to_part`."""
    names = (report.incumbent.deployment, report.candidate.deployment)
    ordered = sorted(kind.samples, key=lambda sample: (-abs(sample.difference), sample.position))
    shown = tuple(present(sample, names) for sample in ordered[start : start + count])
    group = Examples(
        title=kind.title, what=kind.what, sign=kind.sign, look=kind.look, total=len(ordered), open=shown, folded=()
    )
    return Markup(page_template(HERE / "reading.html", compiled, language).render(group=group, w=words))


def _failed(report: ComparisonReport) -> list[tuple[ReportSample, str, str]]:
    """Samples that somebody could not answer or that could not be scored: who, and why."""
    found: list[tuple[ReportSample, str, str]] = []
    for sample in report.samples:
        sides = ((report.incumbent.deployment, sample.incumbent), (report.candidate.deployment, sample.candidate))
        told = [(who, side.error) for who, side in sides if side.error is not None]
        if not sample.usable and not told:
            told = [("scorer", "it could not score this sample")]
        found += [(sample, who, words.shorten(why, 300)[0]) for who, why in told]
    return found


def _reading(ratio: Ratio) -> str:
    """What a ratio shows, in a word; nothing where its interval holds 1."""
    if not ratio.low <= ratio.high or ratio.low <= 1.0 <= ratio.high:
        return ""
    less, more = {"latency": ("faster", "slower"), "length": ("shorter", "longer"), "cost": ("cheaper", "dearer")}[
        ratio.name
    ]
    return more if ratio.ratio > 1.0 else less


def _plan(report: ComparisonReport) -> list[tuple[str, str]]:
    """What was fixed before the first sample."""
    about = {
        "population": "the cases that the dataset stands for",
        "dataset": f"exactly the {words.count(report.dataset_samples)} samples of the dataset",
    }[report.about]
    return [
        ("margin", f"{words.size(report.margin)} of 100"),
        ("alpha", f"{words.percent(report.alpha)} wrong passes at most"),
        ("beta", f"{words.percent(report.beta)} wrong fails at most"),
        ("at most", words.several(report.max_samples, "sample")),
        ("about", about),
        ("failed", f"at most {words.percent(report.max_failed_share)} for a pass"),
        ("seed", str(report.seed)),
    ]


def _day(moment: datetime | None) -> str:
    if moment is None:
        return "not ended"
    zone = " UTC" if moment.utcoffset() is not None and not moment.utcoffset() else moment.strftime(" %z").rstrip()
    return f"{moment:%Y-%m-%d %H:%M:%S}{zone}"


@cache
def page_template(file: Path, compiled: Path | None = None, language: Language = ENGLISH) -> Template:
    """A page's template, read once. It may include the style sheet that all pages share, `style.css`."""
    if compiled is not None:
        compiled.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = Environment(
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FileSystemLoader([file.parent, HERE]),
        bytecode_cache=None if compiled is None else FileSystemBytecodeCache(str(compiled)),
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # the extension's own
        language.text, _no_plural, newstyle=True
    )
    environment.filters["said"] = language.said
    environment.filters["visible"] = words.visible
    return environment.get_template(file.name)


def _no_plural(one: str, many: str, number: int) -> str:
    """Counted nouns are `words.several`, which every language has as a sentence."""
    raise NotImplementedError(f"`{one}`: write it with `several`")


def _finalize(value: Any) -> Any:
    """Called on everything that the template prints, before it is escaped."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return words.visible(value)
    return value

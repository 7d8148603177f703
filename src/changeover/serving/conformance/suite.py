"""The suite: every probe of a subject, one after the other, and what is true of its capabilities by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from changeover.core.errors import ChangeoverError, ContextOverflow, NoTemplateError, RequestError, UpstreamError
from changeover.serving.capabilities import CAPABILITIES
from changeover.serving.conformance.catalogue import PROBES, Probe
from changeover.serving.conformance.outcome import Absent, Beside, Finding, Result, Wrong
from changeover.serving.conformance.talk import Subject, Talk

NOT_THERE = frozenset({404, 405, 501})
"""Statuses of an engine that has no such thing."""
LONGEST = 240
"""Characters of what was seen."""
NO_TEMPLATE = "no chat template: the model can only go on with a text"

_COUNTS: Sequence[Result] = ("failed", "missing", "passed", "not applicable")


async def look_at(
    subject: Subject, probes: Sequence[Probe] = PROBES, on_finding: Callable[[Finding], None] | None = None
) -> list[Finding]:
    """Look at a subject with every probe.

    Args:
        subject: An engine, or a deployment behind a gateway.
        probes: In their order.
        on_finding: Told of each as it is found.
    """
    findings: list[Finding] = []
    for probe in probes:
        finding = await look(subject, probe)
        findings.append(finding)
        if on_finding is not None:
            on_finding(finding)
    return findings


async def look(subject: Subject, probe: Probe) -> Finding:
    """Look with one probe. Whatever the engine does is a finding, and no error."""
    talk = Talk(subject)
    result: Result = "passed"
    try:
        seen = await probe.look(talk)
    except Beside as exc:
        result, seen = "not applicable", str(exc)
    except Absent as exc:
        result, seen = "missing", str(exc)
    except Wrong as exc:
        result, seen = "failed", str(exc)
    except ContextOverflow as exc:
        result, seen = "not applicable", f"its context is too small for the probe: {exc.message}"
    except NoTemplateError:
        result, seen = ("missing" if probe.capability == "chat" else "not applicable"), NO_TEMPLATE
    except RequestError as exc:
        result, seen = "missing", exc.message
    except UpstreamError as exc:
        result, seen = "missing" if exc.upstream_status in NOT_THERE else "failed", exc.message
    except ChangeoverError as exc:
        result, seen = "failed", exc.message
    return Finding(
        probe=probe.name,
        capability=probe.capability,
        result=result,
        seen=_line(seen),
        sent=talk.sent,
        declared=subject.standing[probe.capability],
    )


def verdicts(findings: Sequence[Finding]) -> Mapping[str, Result]:
    """Every capability that was looked at, as its probes together say: one that fails counts more than one that passes."""
    by: dict[str, Result] = {}
    for name in CAPABILITIES:
        results = [finding.result for finding in findings if finding.capability == name]
        if results:
            by[name] = next(result for result in _COUNTS if result in results)
    return by


def profile_options(findings: Sequence[Finding]) -> Mapping[str, Sequence[str]]:
    """What a deployment's profile has to say, beside what its kind of engine declares, to be true: `has` and `lacks`."""
    declared = {finding.capability: finding.declared for finding in findings}
    found = verdicts(findings)
    has = [name for name, result in found.items() if result == "passed" and declared[name] is not True]
    lacks = [name for name, result in found.items() if result in ("failed", "missing") and declared[name] is not False]
    return {"has": has, "lacks": lacks}


def _line(text: str) -> str:
    said = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"

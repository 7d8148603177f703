"""The conformance suite on a deployment, as a person follows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict

from rich.text import Text

from changeover.app.conformance import adapter_of, at_engine, keep_profile, through_gateway
from changeover.app.installation import Installation
from changeover.app.local import gateway_address, operator_key
from changeover.cli.columns import hanging
from changeover.cli.frame import EXIT_FAIL, EXIT_PASS, out, print_json, run
from changeover.cli.running import opened
from changeover.cli.terminal import clean
from changeover.core.errors import EngineError
from changeover.serving.conformance import PROBES, Finding, Result, Subject, look_at, profile_options
from changeover.serving.deployments import plan_from_row
from changeover.serving.parts import EnginePart
from changeover.serving.queries import Deployment, find_deployment

STYLES: Mapping[Result, str] = {"passed": "green", "failed": "red", "missing": "yellow", "not applicable": "dim"}
NAME = max(len(probe.name) for probe in PROBES)
RESULT = max(len(each) for each in STYLES)


def look(name: str, *, direct: bool, keep: bool, as_json: bool) -> int:
    """Look at a deployment, print what is found, and give the exit status."""
    installation = opened()
    with installation.store.read() as connection:
        row = find_deployment(connection, name)
    findings = run(_findings(_subject(installation, row, direct=direct), as_json))
    options = profile_options(findings)
    if keep:
        keep_profile(installation, row, options)
    lies = [finding for finding in findings if finding.is_lie]
    if as_json:
        print_json(
            {
                "deployment": name,
                "through": "engine" if direct else "gateway",
                "findings": [{**asdict(each), "is_lie": each.is_lie} for each in findings],
                "profile": options,
                "kept": keep,
            }
        )
    else:
        for line in summary(name, findings, options, direct=direct, kept=keep):
            out.print(line)
    return EXIT_FAIL if lies and not keep else EXIT_PASS


def _subject(installation: Installation, row: Deployment, *, direct: bool) -> AbstractAsyncContextManager[Subject]:
    plan = plan_from_row(row, installation.catalogue, installation.project.cache)
    ready_s = installation.project.settings.engines.ready_s
    if direct:
        return at_engine(plan, installation.backends, ready_s=ready_s)
    address = gateway_address(installation.project)
    if row.state != "ready":
        raise EngineError(
            f"`{row.name}` is {row.state}. Start it with `changeover deploy {row.name}`, or look at its engine by `--direct`."
        )
    return through_gateway(
        plan,
        EnginePart.from_document(row.engine),
        installation.backends[plan.backend],
        address,
        operator_key(installation.project.state),
        adapter=adapter_of(installation, row.name),
    )


async def _findings(looking: AbstractAsyncContextManager[Subject], as_json: bool) -> list[Finding]:
    async with looking as subject:
        return await look_at(subject, on_finding=None if as_json else _show)


def _show(finding: Finding) -> None:
    mark = " (declared)" if finding.is_lie else ""
    said = Text(f"{finding.result:<{RESULT}}", STYLES[finding.result])
    said.append(f"  {clean(finding.seen)}{mark}", "" if finding.result in ("failed", "missing") else "dim")
    for line in hanging(f"{finding.probe:<{NAME}}  ", said, out.width):
        out.print(line)


def summary(
    name: str, findings: Sequence[Finding], options: Mapping[str, Sequence[str]], *, direct: bool, kept: bool
) -> list[str]:
    """What it comes to, and what to do."""
    counts = Counter(finding.result for finding in findings)
    lines = [f"\n{name}: {', '.join(f'{counts[each]} {each}' for each in STYLES if counts[each])}"]
    lies = dict.fromkeys(finding.capability for finding in findings if finding.is_lie)
    if lies and not kept:
        lines.append(f"declared and not there: {', '.join(lies)}")
    if kept:
        lines.append("kept in its profile: " + (_written(options) or "nothing, since all is as its engine declares"))
    elif direct and (written := _written(options)):
        lines.append(f"its profile could say: {written}    keep it by `changeover conformance {name} --keep`")
    return lines


def _written(options: Mapping[str, Sequence[str]]) -> str:
    return "  ".join(f"{key} = [{', '.join(repr(each) for each in names)}]" for key, names in options.items() if names)

"""The work of `changeover alias-checks`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from changeover.app.alias_checks import AliasChecks
from changeover.app.local import gateway_address
from changeover.cli.exits import EXIT_FAIL, EXIT_INCONCLUSIVE, EXIT_PASS
from changeover.cli.frame import clock_time, note, out, plain, print_json, run
from changeover.cli.running import check_task, opened
from changeover.evals.alias_evidence import ALARM_AT
from changeover.evals.alias_queries import AliasCheck, recent_checks
from changeover.evals.report.words import odds


def alias_checks(task: str | None, now: bool, limit: int, as_json: bool) -> int:
    """Show the history, or check now. Returns the exit status."""
    installation = opened()
    if task is not None:
        check_task(installation, task)
    if not now:
        with installation.store.read() as connection:
            found = recent_checks(connection, task, limit)
        _show(found, as_json)
        return EXIT_PASS
    gateway_address(installation.project)
    checks = AliasChecks(installation)
    aliases = [each for each in checks.aliases() if task in (None, each.task.name)]
    made = run(checks.check(aliases))
    _show(made, as_json)
    verdicts = {each.verdict for each in made}
    return EXIT_FAIL if "changed" in verdicts else EXIT_INCONCLUSIVE if "failed" in verdicts else EXIT_PASS


def _show(checks: Sequence[AliasCheck], as_json: bool) -> None:
    if as_json:
        print_json(checks)
        return
    if not checks:
        note("no checks: no task is answered by a model that others run, or none was due yet")
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("when", "task", "deployment", "verdict", "changed", "evidence", "calls", "tokens", ""):
        right = column in ("changed", "evidence", "calls", "tokens")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "", overflow="fold")
    for each in checks:
        verdict = f"[{_COLOURS[each.verdict]}]{each.verdict}[/]"
        compared = "–" if each.verdict == "failed" else f"{each.changed} of {each.detail['samples']}"
        evidence = "–" if each.verdict in ("failed", "baseline") else odds(each.evidence)
        cost = each.detail["cost"]
        spent = f"{cost['tokens']}" + ("" if cost["usd"] is None else f" (${cost['usd']:.4f})")
        said = plain(each.detail.get("error", ""))
        cells = (verdict, compared, evidence, str(each.asked), spent, f"[dim]{said}[/]")
        table.add_row(clock_time(each.at), plain(each.task), plain(each.deployment), *cells)
    out.print(table)
    out.print(
        f"[dim]alarm at {odds(ALARM_AT)}: at most one false one in a hundred years of daily checks of an alias[/]"
    )


_COLOURS = {"baseline": "dim", "same": "green", "changed": "red", "failed": "yellow"}

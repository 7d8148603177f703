"""What stands around the tasks of the busy installation: deployments, keys, teams, trials, jobs, checks, the library's rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, cast, get_args

from sqlalchemy import insert

from benchmarks.console.declared import Sketch, deployments
from benchmarks.console.evaluated import Comparing, MadeUp, chance
from changeover.app.apply import apply
from changeover.app.installation import Installation, read_again
from changeover.app.prepare import first_keys
from changeover.core.digest import sha256_text
from changeover.evals.alias_queries import AliasCheck, Outcome, add_check
from changeover.evals.queries import answers_by_id, compared_samples
from changeover.evals.trial_queries import Trial, TrialTask, add_trial, end_trial, put_trial_task
from changeover.evals.trials import Outcome as Tried
from changeover.evals.trials import ratios_of, samples_left
from changeover.gateway.keys import Role, find_keys, issue_key, make_team, revoke_key
from changeover.gateway.limits import parse_limit
from changeover.library.facts import Grade
from changeover.library.licences.queries import accept, note_text
from changeover.library.observations import Observation
from changeover.library.queries import Sync, add_observations, add_sync
from changeover.library.state_queries import keep_states
from changeover.library.states import Reached
from changeover.serving.bundles import describe
from changeover.serving.options import BackendName
from changeover.serving.parts import EnginePart
from changeover.serving.plan import EnginePlan
from changeover.serving.queries import add_deployment, load_variants, note_state
from changeover.serving.variants import Variant
from changeover.store.audit import note
from changeover.store.schema import tool_jobs
from changeover.tasks.applied import append_applied, document_of
from changeover.tasks.queries import current_routes

TEAMS: Mapping[str, Sequence[str]] = {
    "desk": ("usd/month=400", "requests/minute=600"),
    "support-apac": ("tokens/day=4M",),
    "claims & complaints": ("usd/month=120", "concurrent=8"),
    "platform": (),
    "チーム東京": ("requests/day=20k",),
}
APPLICATIONS: Sequence[tuple[str, str | None]] = (
    ("trading-desk", "desk"),
    ("helpdesk-bot", "support-apac"),
    ("claims-intake", "claims & complaints"),
    ("developer-tools", "platform"),
    ("nightly-batch", "platform"),
    ("社内チャット", "チーム東京"),
    ('x<b>bold</b> & "quoted"', None),
)
CHAT = """\
title = "Desk chat"
description = "Answers questions of the desk; the echo engine says again what was said."
[inputs.history]
type = "conversation"
required = false
max_items = 20
[inputs.message]
type = "text"
description = "What you want to know."
[[steps]]
name = "reply"
do = "call"
task = "say"
messages = "(history or []) + [{'role': 'user', 'content': message}]"
[output]
value = { reply = "reply" }
text = "reply"
schema_file = "output.schema.json"
[chat]
history = "history"
message = "message"
greeting = "What would you like to know?"
[example]
message = "hello there"
"""
NOTE = """\
title = "Note of a document"
description = "Reads a document and writes a note of it."
[inputs.document]
type = "document"
description = "PDF, text, or a scan."
[inputs.language]
type = "choice"
description = "Of the note."
choices = ["as the document", "English", "日本語"]
default = "as the document"
[[steps]]
name = "read"
do = "extract"
file = "document"
[[steps]]
name = "reply"
do = "call"
task = "say"
messages = "[{'role': 'user', 'content': read.text[:2000]}]"
[output]
value = { reply = "reply" }
text = "reply"
schema_file = "output.schema.json"
[example]
document = "@example.txt"
"""
SAY = """\
description = "Says it again."
prompt = "say.prompt.md"
dataset = "say.jsonl"
first_incumbent = "echo"
[parameters]
temperature = 0.0
[scorer]
name = "contains"
"""
SCHEMA = {
    "type": "object",
    "required": ["reply"],
    "properties": {"reply": {"type": "string"}},
    "additionalProperties": False,
}


def write_tools(installation: Installation) -> None:
    """Two tools: a chat, and one that takes a document."""
    for name, text in (("desk-chat", CHAT), ("document-note", NOTE)):
        folder = installation.project.tools / name
        (folder / "tasks").mkdir(parents=True)
        (folder / "tool.toml").write_text(text, encoding="utf-8")
        (folder / "example.txt").write_text("The lease ends on 14 March.\n", encoding="utf-8")
        (folder / "output.schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
        (folder / "tasks" / "say.toml").write_text(SAY, encoding="utf-8")
        (folder / "tasks" / "say.prompt.md").write_text("Say it again.\n", encoding="utf-8")
        sample = {"id": "say-1", "input": "please say ok", "target": "ok"}
        (folder / "tasks" / "say.jsonl").write_text(json.dumps(sample) + "\n", encoding="utf-8")


def add_deployments(installation: Installation, at: datetime, *, asleep: bool = False) -> None:
    """Every deployment of the table, as its supervisor saw it last."""
    for place, each in enumerate(deployments()):
        options: dict[str, Any] = each.get("options", {})
        with installation.store.write() as connection:
            add_deployment(
                connection,
                name=each["name"],
                backend=each["backend"],
                model=each["model"],
                options=options,
                engine=_engine(installation, each, options).document(),
                actor=("ana", "kenji")[place % 2],
                now=at + timedelta(days=3 * place),
                desired="stopped" if asleep else each.get("desired", "running"),
            )
            note_state(
                connection,
                each["name"],
                state=each["state"],
                detail=each["detail"],
                address=f"http://127.0.0.1:{20_100 + place}" if each["state"] == "ready" else None,
                pid=40_000 + place if each["state"] == "ready" else None,
                restarts=each.get("restarts", 0),
                memory_bytes=each["memory_mib"] << 20 if "memory_mib" in each else None,
                now=at + timedelta(days=199),
            )


def _engine(installation: Installation, each: Mapping[str, Any], options: Mapping[str, Any]) -> EnginePart:
    if each["backend"] in ("echo", "openai"):
        backend = cast("BackendName", each["backend"])
        plan = EnginePlan(deployment=each["name"], backend=backend, model=each["model"], options=options)
        return describe(plan, installation.backends)
    return EnginePart(
        backend=each["backend"],
        engine="llama.cpp" if each["backend"] == "local" else "vllm",
        engine_version="b6942" if each["backend"] == "local" else "0.11.0",
        model=each["model"],
        weights_digest=sha256_text(each["name"]),
        quantisation="Q4_K_M" if each["backend"] == "local" else "BF16",
        tokenizer_digest=sha256_text("tokenizer of " + each["name"]),
        chat_template_digest=sha256_text("template of " + each["name"]),
        flags={"context_tokens": 8192},
    )


def add_keys(installation: Installation, now: datetime) -> dict[str, str]:
    """Teams, keys of applications, and one key of each role, whose secrets are given by role."""
    first_keys(installation)
    long_ago = now - timedelta(days=160)
    secrets: dict[str, str] = {}
    with installation.store.write() as connection:
        for team, limits in TEAMS.items():
            make_team(connection, team, [parse_limit(each) for each in limits], long_ago)
        for place, (name, team) in enumerate(APPLICATIONS):
            at = long_ago + timedelta(days=11 * place)
            only = None if place % 3 else ["summarise", "code", "market-brief", "reply-ja"]
            ends = now + timedelta(days=6) if place == 4 else None
            issue_key(connection, name=name, role="application", now=at, team=team, tasks=only, expires_at=ends)
        for role in get_args(Role):
            secrets[role] = issue_key(connection, name=f"the {role}", role=role, now=now - timedelta(days=90))
        issue_key(connection, name="left in spring", role="application", now=long_ago)
        revoke_key(connection, "left in spring", now - timedelta(days=120))
        issue_key(
            connection, name="expired pilot", role="application", now=long_ago, expires_at=now - timedelta(days=9)
        )
    return secrets


def application_keys(installation: Installation) -> list[tuple[str, str | None]]:
    """Id and team of the key of each application."""
    with installation.store.read() as connection:
        return [(find_keys(connection, name)[0].id, team) for name, team in APPLICATIONS]


def apply_declarations(installation: Installation, now: datetime) -> Installation:
    """Apply what is declared, after some earlier declarations that said other things; gives the project read again."""
    write_tools(installation)
    installation = read_again(installation)
    root, tasks = installation.project.root, dict(installation.tasks)
    with installation.store.write() as connection:
        for place, name in enumerate([*tasks][:8]):
            tasks[name] = replace(tasks[name], prompt=f"{tasks[name].prompt}\n(wording {place})")
            changed = {"task": name, "kind": "changed", "changes": ["timeout_s 30 → 60"], "waits": [], "of": "task"}
            append_applied(
                connection,
                document_of(tasks, root),
                actor=("ana", "ci", "kenji")[place % 3],
                changes=[{**changed, "incumbent": None}],
                now=now - timedelta(days=120 - 14 * place),
            )
    apply(installation, "ana")
    return installation


async def add_trials(
    installation: Installation,
    chosen: Sequence[Sketch],
    caller: MadeUp,
    comparing: Comparing,
    incumbents: Mapping[str, Variant],
    now: datetime,
) -> None:
    """Two trials: one that ended, of all tasks, and one that runs."""
    names = [sketch.name for sketch in chosen]
    for candidate, began, ended in (
        ("gemma-4-12b", now - timedelta(days=2), True),
        ("qwen2.5-14b", now - timedelta(minutes=48), False),
    ):
        plan = {"tasks": names, "rate": 0.1, "licence": "Apache-2.0"}
        with installation.store.write() as connection:
            trial = add_trial(
                connection, Trial(id=0, candidate=candidate, plan=plan, actor="ana", started_at=began, ended_at=None)
            )
        tried = names if ended else names[: len(names) // 3]
        for place, name in enumerate(tried):
            at = began + timedelta(minutes=4 * place)
            row = await _tried(installation, trial, place, incumbents[name], caller, comparing, at)
            with installation.store.write() as connection:
                put_trial_task(connection, row)
        if ended:
            with installation.store.write() as connection:
                end_trial(connection, trial.id, began + timedelta(minutes=4 * len(names)))
        elif len(tried) < len(names):
            incumbent = incumbents[names[len(tried)]]
            candidate_here = _candidate(installation, incumbent, candidate, caller)
            if candidate_here.id != incumbent.id:
                await comparing.leave_under_way(incumbent, candidate_here, now - timedelta(minutes=1), "ana")


async def _tried(
    installation: Installation,
    trial: Trial,
    place: int,
    incumbent: Variant,
    caller: MadeUp,
    comparing: Comparing,
    at: datetime,
) -> TrialTask:
    """How a trial went on one task."""

    def row(outcome: Tried, comparison: str | None = None) -> TrialTask:
        ended = at + timedelta(minutes=3)
        return TrialTask(
            trial=trial.id, task=incumbent.task, position=place, comparison=comparison, outcome=outcome, at=ended
        )

    known = incumbent.deployment
    if known == trial.candidate:
        return row(Tried(kind="incumbent", reason="it answers already", incumbent=known))
    if incumbent.task == "credit-memo":
        return row(Tried(kind="denied", reason="clause 5(c): high-stakes decisions", incumbent=known))
    if place % 17 == 9:
        said = "it takes 8,192 tokens, and samples of this task have 11,480"
        return row(Tried(kind="unfit", reason=said, incumbent=known))
    if place % 23 == 13:
        said = "The engine of `gemma-4-12b` did not become ready in 30 s. Look at `changeover logs gemma-4-12b`."
        return row(Tried(kind="failed", reason=said, incumbent=known, seconds=31.0))
    candidate = _candidate(installation, incumbent, trial.candidate, caller)
    comparison = await comparing.compare(incumbent, candidate, at, trial.actor)
    with installation.store.read() as connection:
        rows = compared_samples(connection, comparison.id)
        answers = answers_by_id(
            connection, (id for each in rows for id in (each.incumbent_answer, each.candidate_answer))
        )
    summary = comparison.summary or {}
    outcome = Tried(
        kind="measured",
        reason=summary.get("stopped"),
        incumbent=known,
        samples_left=samples_left(comparison, rows) if comparison.verdict == "inconclusive" else None,
        calls_new=summary.get("calls_new", 0),
        calls_kept=summary.get("calls_cached", 0),
        seconds=summary.get("seconds", 0.0),
        **ratios_of(rows, answers),
    )
    return row(outcome, comparison.id)


def _candidate(installation: Installation, incumbent: Variant, deployment: str, caller: MadeUp) -> Variant:
    """A deployment with what the task declares now, as good as it happens to be."""
    each = next(each for each in deployments() if each["name"] == deployment)
    engine = _engine(installation, each, each.get("options", {}))
    made = Variant.declared(installation.tasks[incumbent.task], deployment, engine)
    base = caller.skill[incumbent.task, incumbent.id]
    caller.skill.setdefault((incumbent.task, made.id), min(base + 0.35 * chance("tried", made.id) - 0.17, 0.985))
    return made


def add_neighbours(installation: Installation, chosen: Sequence[Sketch], now: datetime) -> None:
    """Rows that hang on no request: alias checks, jobs of tools, what the library observed, texts of licences, states."""
    with installation.store.write() as connection:
        for check in _alias_checks(installation, now):
            add_check(connection, check)
        connection.execute(insert(tool_jobs), _jobs(installation, now))
        for act in _acts(now):
            note(connection, **act)
        add_observations(connection, list(_observations(now)))
        summary = {"read": 118, "new": 12, "confirmed": 101, "changed": 5, "conflicts": 2}
        for place, source in enumerate(("models.dev", "hub", "vllm-recipes")):
            digest = sha256_text(source)
            at = now - timedelta(days=place + 1, hours=3)
            add_sync(connection, Sync(source=source, input_digest=digest, actor="ana", summary=summary, at=at))
        for card, days in (
            ("gemma-3-12b-it", 140),
            ("gpt-oss-20b", 90),
            ("gemma-3-12b-it", 12),
            ("llama-3.3-70b-instruct", 4),
        ):
            text = sha256_text(f"the text of {card}, {days}")
            note_text(connection, card, text, f"{card}@{text[:7]}", now - timedelta(days=days))
            if days > 80:
                accept(
                    connection,
                    card,
                    "ines",
                    "read with legal, nothing that stands in our way",
                    now - timedelta(days=days - 1),
                )
        keep_states(connection, _states(now))


def _acts(now: datetime) -> Iterator[dict[str, Any]]:
    """What people did that no other row tells: keys, teams, deployments by hand, sign-ins, samples that they kept."""
    done = (
        ("sign in", "console", None),
        ("key new", "key nightly-batch", None),
        ("deploy", "deployment glm-4.5-air", None),
        ("keep sample", "sample kept-0001", "summarise"),
        ("team set", "team claims & complaints", None),
        ("undeploy", "deployment llama-3.3-70b", None),
        ("key revoke", "key left in spring", None),
        ("keep sample", "sample <b>kept</b>-0002", "reply-ja"),
    )
    for place in range(240):
        action, subject, task = done[place % len(done)]
        yield {
            "at": now - timedelta(hours=11 * (239 - place), minutes=7 * (place % 8) + 1),
            "actor": ("ana", "key:the admin", "kenji@nordquay.example", "ines")[place % 4],
            "action": action,
            "subject": subject,
            "task": task,
            "reason": "" if place % 3 else "asked for in ticket 4411 <script>alert(1)</script>",
            "detail": {"from": "busy installation"},
        }


def _alias_checks(installation: Installation, now: datetime) -> list[AliasCheck]:
    """Daily looks at the deployment that others run, of the tasks that it answers."""
    with installation.store.read() as connection:
        routes = current_routes(connection)
        known = load_variants(connection, [route.incumbent for route in routes.values()])
    aliases = [each for each in known.values() if each.bundle.engine.is_alias]
    checks: list[AliasCheck] = []
    for place, variant in enumerate(aliases):
        answers = {sha256_text(f"{variant.id} {number}"): sha256_text(f"said {number}") for number in range(12)}
        for day in range(30):
            verdict: Outcome = "baseline" if not day else "failed" if day % 13 == 5 else "same"
            if place == 1 and day == 29:
                verdict = "changed"
            changed = 7 if verdict == "changed" else day % 3 if day else 1
            detail: dict[str, Any] = {
                "pinned": sha256_text(variant.task),
                "samples": 12,
                "changed": [f"{variant.task[:40]}-{number:03d}" for number in range(changed)],
                "answers": answers,
                "cost": {"tokens": 1_840, "usd": 0.0011},
            }
            checks.append(
                AliasCheck(
                    task=variant.task,
                    variant=variant.id,
                    deployment=variant.deployment,
                    asked=24 if not day else 12,
                    changed=0 if verdict == "failed" else changed,
                    evidence=230.0 if verdict == "changed" else 0.4 + 0.1 * (day % 5),
                    verdict=verdict,
                    detail={"error": "the upstream answered with status 503"} if verdict == "failed" else detail,
                    at=now - timedelta(days=29 - day, minutes=20),
                )
            )
    return sorted(checks, key=lambda check: check.at)


def _jobs(installation: Installation, now: datetime) -> list[dict[str, Any]]:
    """Jobs of a tool in every state."""
    states = ("done", "done", "failed", "cancelled", "done", "running", "waiting", "waiting")
    ids = application_keys(installation)
    tool = installation.tools.get("document-note")
    digest = sha256_text("document-note") if tool is None else tool.digest
    rows: list[dict[str, Any]] = []
    for place in range(40):
        state = states[place % len(states)] if place < 32 else "done"
        key, team = ids[place % len(ids)]
        created = now - timedelta(minutes=3 + 29 * (39 - place))
        ended = state in ("done", "failed", "cancelled")
        id = f"job_busy{place:04d}"
        reply = f"The lease ends on {1 + place % 28} March. <script>alert({place})</script> 契約は終了します。"
        outcome = {
            "object": "tool.result",
            "id": id,
            "tool": "document-note",
            "digest": digest,
            "value": {"reply": reply},
            "text": reply,
            "citations": [],
            "problems": ["page 3 could not be read"] if place % 5 == 0 else [],
            "steps": [{"name": "reply", "do": "call", "calls": 1, "seconds": 1.4, "repairs": 0}],
            "answered_by": [],
        }
        error = {
            "message": "The document is encrypted. Send it without a password.",
            "type": "request",
            "code": "encrypted",
        }
        rows.append(
            {
                "id": id,
                "tool": "document-note",
                "tool_digest": digest,
                "key": key,
                "team": team,
                "state": state,
                "inputs": {"values": {"language": "English"}, "files": {}},
                "progress": None
                if state == "waiting"
                else {"step": "reply", "number": 2, "steps": 2, "done": place % 7, "of": 7},
                "outcome": outcome if state == "done" else None,
                "error": error if state == "failed" else None,
                "attempts": 0 if state == "waiting" else 1,
                "owner": "gw_busy-4711" if state == "running" else None,
                "lease_until": now + timedelta(seconds=10) if state == "running" else None,
                "created_at": created,
                "started_at": None if state == "waiting" else created + timedelta(seconds=2),
                "ended_at": created + timedelta(seconds=40) if ended else None,
                "expires_at": created + timedelta(hours=24),
            }
        )
    return rows


def _observations(now: datetime) -> list[Observation]:
    """What sources said of models week by week: signals, and one fact in which two of them differ."""
    found: list[Observation] = []
    models = (
        "gemma-3-12b-it",
        "gemma-4-12b-it",
        "qwen3-coder-30b-a3b-instruct",
        "deepseek-r1-distill-qwen-14b",
        "gpt-oss-20b",
    )

    def seen(card: str, fact: str, value: object, source: str, at: datetime, grade: Grade = "registry") -> None:
        day: date = at.date()
        locator = f"{source}@{day}"
        found.append(
            Observation(
                card=card, fact=fact, value=value, source=source, locator=locator, grade=grade, as_of=day, seen_at=at
            )
        )

    for place, card in enumerate(models):
        for week in range(12):
            at = now - timedelta(days=7 * (11 - week), hours=2)
            base = 40_000 + 9_000 * place
            seen(card, "signals.downloads_30d", base + 1_700 * week * (place + 1), "hub", at)
            seen(card, "signals.likes", 300 + 41 * week + 70 * place, "hub", at)
            seen(card, "signals.first_reply_hours", 3 + (week * 5 + place) % 30, "hub", at)
        seen(
            card,
            "signals.last_commit",
            str((now - timedelta(days=9 * place + 2)).date()),
            "hub",
            now - timedelta(days=1),
        )
        seen(card, "context_tokens", 131_072 - 1_024 * place, "models.dev", now - timedelta(days=1))
    seen("some-model-nobody-has-a-card-of-7b", "signals.likes", 12, "hub", now - timedelta(days=1))
    return found


def _states(now: datetime) -> list[Reached]:
    """How far the models that run have come."""
    found: list[Reached] = []
    for place, each in enumerate(deployments()[:8]):
        for step, state in enumerate(("planned", "loads", "served", "evaluated")):
            at = now - timedelta(days=150 - 9 * place - step)
            evidence = {"deployment": each["name"], "task": "summarise"}
            found.append(Reached(card=each["model"], state=state, at=at, evidence=evidence))
    return found

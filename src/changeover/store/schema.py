"""Every table of the installation, once, for SQLite and PostgreSQL.

Rows of `observations`, `bundles`, `variants`, `routes`, `rollout_events`, `audit`, `answers`, `scores`, `comparison_samples`
and `exchanges` are never edited. Each room's queries stand in its own `queries.py`; nobody else writes SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
)

REVISION = "0009"
"""The migration this code is written for."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in, aware UTC datetimes out, on databases that forget the zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class ModelText(TypeDecorator[str]):
    """Text from models and callers, which may hold the NUL that PostgreSQL has no text for: it becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.storable(value)

    @staticmethod
    def storable(value: str) -> str:
        """The text as every database takes it."""
        return value.replace("\x00", "\ufffd") if "\x00" in value else value


metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(80), nullable=False),
    Column("role", String(20), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("team", String(80), ForeignKey("teams.name")),
    # Names a key may put into `model`. Tasks: null is every task, [] none. Deployments: only those that are listed.
    Column("tasks", JSON),
    Column("deployments", JSON, nullable=False),
    Column("limits", JSON, nullable=False),
    Column("expires_at", UtcDateTime),
)

teams = Table(
    "teams",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("limits", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# What was spent of a limit in a period, and what is promised to gateways that have not said yet what they used of it.
# Amounts are whole numbers: requests, tokens, or millionths of a US dollar.
spending = Table(
    "spending",
    metadata,
    Column("holder", String(60), primary_key=True),  # `key:ID` or `team:NAME`
    Column("unit", String(12), primary_key=True),
    Column("per", String(10), primary_key=True),
    Column("period", UtcDateTime, primary_key=True),  # its start
    Column("spent", BigInteger, nullable=False),
    Column("leased", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("holder", String(60), nullable=False),
    Column("unit", String(12), nullable=False),
    Column("per", String(10), nullable=False),
    Column("period", UtcDateTime, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("writer", String(40), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("leases_by_holder", "holder", "unit", "per", "period"),
)

# Totals of one gateway process, one row per hour and combination. A row is overwritten with larger totals by the
# process that wrote it, so that a flush which is tried twice counts once.
usage = Table(
    "usage",
    metadata,
    Column("writer", String(40), primary_key=True),
    Column("hour", UtcDateTime, primary_key=True),
    Column("team", String(80), primary_key=True),  # empty: none
    Column("key", String(40), primary_key=True),
    Column("task", String(130), primary_key=True),
    Column("deployment", String(120), primary_key=True),  # empty: nobody answered
    Column("internal", Boolean, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("estimated", BigInteger, nullable=False),  # requests whose tokens were estimated here
    Column("cost_microusd", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),  # requests without a known price
    Index("usage_by_hour", "hour"),
)

# Declarations as they were applied; the newest row is what gateways answer by.
applied = Table(
    "applied",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=True),
    Column("document", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("changes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("applied_by_time", "created_at"),
    sqlite_autoincrement=True,
)

deployments = Table(
    "deployments",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("backend", String(20), nullable=False),
    Column("model", String(200), nullable=False),
    Column("options", JSON, nullable=False),
    Column("engine", JSON, nullable=False),
    Column("desired", String(10), nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # What the supervisor last saw. Advice for readers, never read back to decide.
    Column("state", String(20), nullable=False),
    Column("detail", ModelText, nullable=False),
    Column("address", String(200)),
    Column("pid", Integer),
    Column("restarts", Integer, nullable=False),
    Column("memory_bytes", BigInteger),
    Column("updated_at", UtcDateTime, nullable=False),
)

# How a model answers fastest on a machine, as it was measured there. Who deploys it there without a word of threads gets it.
tunings = Table(
    "tunings",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("backend", String(20), primary_key=True),
    Column("machine", String(200), primary_key=True),  # its processor, and cores that may be used
    Column("document", JSON, nullable=False),
    Column("measured_by", String(80), nullable=False),
    Column("measured_at", UtcDateTime, nullable=False),
)

bundles = Table(
    "bundles",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("document", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

variants = Table(
    "variants",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("task", String(80), nullable=False),
    Column("deployment", String(120), nullable=False),
    Column("bundle", String(64), ForeignKey("bundles.digest"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

routes = Table(
    "routes",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=True),
    Column("task", String(80), nullable=False),
    Column("incumbent", String(12), ForeignKey("variants.id"), nullable=False),
    Column("candidate", String(12), ForeignKey("variants.id")),
    Column("former", String(12), ForeignKey("variants.id")),
    Column("candidate_weight", Float, nullable=False),
    Column("shadow_share", Float, nullable=False, server_default="0"),
    Column("salt", String(40), nullable=False),
    Column("action", String(20), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("rollout", Integer),
    Column("comparison", String(40)),
    Column("created_at", UtcDateTime, nullable=False),
    Index("routes_by_task", "task", "revision"),
    Index("routes_by_time", "created_at"),
    sqlite_autoincrement=True,
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("task", String(80), nullable=False),
    Column("incumbent", String(12), ForeignKey("variants.id"), nullable=False),
    Column("candidate", String(12), ForeignKey("variants.id"), nullable=False),
    Column("comparison", String(40)),
    Column("plan", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("step", Integer, nullable=False),
    Column("step_started_at", UtcDateTime, nullable=False),
    # Why it waits for a person, and since when; null while it goes on by itself.
    Column("hold", JSON(none_as_null=True)),
    Column("override", Integer),
    Column("trial", Integer),
    Column("actor", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Index("rollouts_by_state", "state"),
    Index("rollouts_by_task", "task", "id"),
    sqlite_autoincrement=True,
)

rollout_events = Table(
    "rollout_events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("action", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("revision", Integer),
    Index("rollout_events_by_time", "at"),
)

# Who agreed to a rollout's next stage, where the task asks for that.
approvals = Table(
    "approvals",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("actor", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("approvals_by_time", "at"),
)

# Leave to go on without what a gate asks for: who gave it, why, until when. It stays in sight until it ends.
overrides = Table(
    "overrides",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("task", String(80), nullable=False),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("gate", String(20), nullable=False),  # evaluation, approval
    Column("approver", String(80), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_because", Text),
    Index("overrides_by_time", "created_at"),
)

# What people did that leaves no other row: with keys, teams, deployments and samples, and who signed in.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String(120), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("task", String(130)),  # where it is about one
    Column("reason", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Index("audit_by_time", "at"),
    sqlite_autoincrement=True,
)

# What callers said of answers, by the request that each answered. The newest of one caller counts.
feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("exchange", String(40), nullable=False, index=True),
    Column("task", String(130), nullable=False),
    Column("variant", String(12), nullable=False),
    Column("good", Boolean, nullable=False),
    Column("comment", ModelText),
    Column("key", String(40), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("feedback_by_task", "task", "at"),
    sqlite_autoincrement=True,
)

# What scorers and judges made of a shadowed answer, beside the answer that the caller got.
shadow_scores = Table(
    "shadow_scores",
    metadata,
    Column("exchange", String(40), primary_key=True),  # the shadow's own
    Column("scorer", String(64), primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("name", String(80), nullable=False),
    Column("incumbent_score", Float),
    Column("candidate_score", Float),
    Column("error", ModelText),
    Column("at", UtcDateTime, nullable=False),
)

# One candidate on every task it could serve.
trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("candidate", String(120), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    sqlite_autoincrement=True,
)

trial_tasks = Table(
    "trial_tasks",
    metadata,
    Column("trial", Integer, ForeignKey("trials.id"), primary_key=True),
    Column("task", String(80), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("comparison", String(40)),
    Column("outcome", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

# Whether a deployment that others run still answers pinned samples as it did: one row per look.
alias_checks = Table(
    "alias_checks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("task", String(80), nullable=False),
    Column("variant", String(12), ForeignKey("variants.id"), nullable=False),
    Column("deployment", String(120), nullable=False),
    Column("asked", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("evidence", Float, nullable=False),
    Column("verdict", String(20), nullable=False),  # baseline, same, changed, failed
    Column("detail", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("alias_checks_by_variant", "variant", "id"),
    sqlite_autoincrement=True,
)

answers = Table(
    "answers",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("bundle", String(64), nullable=False),
    Column("sample", String(64), nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("text", ModelText),
    Column("tool_calls", JSON),
    Column("error", ModelText),
    Column("finish_reason", String(20)),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("duration_ms", Float, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("answers_by_bundle", "bundle", "sample", "repeat"),
)

scores = Table(
    "scores",
    metadata,
    Column("answer", Integer, ForeignKey("answers.id"), primary_key=True),
    Column("scorer", String(64), primary_key=True),
    Column("value", Float, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("error", ModelText),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("task", String(80), nullable=False),
    Column("incumbent", String(12), ForeignKey("variants.id"), nullable=False),
    Column("candidate", String(12), ForeignKey("variants.id"), nullable=False),
    Column("dataset", String(64), nullable=False),
    Column("scorer", String(64), nullable=False),
    Column("plan", JSON, nullable=False),
    # What covariates were known of the whole pool before the first sample; null where none were used.
    Column("pool", JSON),
    Column("actor", String(80), nullable=False),
    Column("verdict", String(20)),
    Column("summary", JSON),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Index("comparisons_by_task", "task", "started_at"),
    Index("comparisons_by_time", "started_at"),
)

comparison_samples = Table(
    "comparison_samples",
    metadata,
    Column("comparison", String(40), ForeignKey("comparisons.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("sample", String(64), nullable=False),
    Column("sample_id", String(200), nullable=False),
    Column("incumbent_answer", Integer, ForeignKey("answers.id"), nullable=False),
    Column("candidate_answer", Integer, ForeignKey("answers.id"), nullable=False),
    Column("incumbent_score", Float, nullable=False),
    Column("candidate_score", Float, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("cluster", String(200)),
    Column("usable", Boolean, nullable=False),
    # Ids of all answers of each side where a sample has several (repeats, turns), and scores of the measures.
    Column("detail", JSON, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("document", JSON, nullable=False),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("path", String(500), primary_key=True),
    Column("members", JSON, nullable=False),  # [[id, digest of the sample], …] in the file's order
    Column("created_at", UtcDateTime, nullable=False),
)

ARRIVAL: Mapping[str, str] = {"sqlite": "exchanges.rowid", "postgresql": "exchanges.seq"}
"""Where an exchange comes in the order of arrival, by the database's name: SQLite numbers rows by itself, PostgreSQL has
a column for it that nobody writes."""

exchanges = Table(
    "exchanges",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("task", String(130), nullable=False),
    Column("revision", Integer),
    Column("variant", String(12)),
    Column("deployment", String(120)),
    Column("side", String(10)),
    Column("key", String(40)),
    Column("internal", Boolean, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("error", String(40)),
    Column("error_source", String(10)),
    Column("truncated", Boolean, nullable=False),
    Column("abandoned", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("failed_variants", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("first_chunk_ms", Float),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("request", ModelText),
    Column("response", ModelText),
    Column("endpoint", String(20), nullable=False, server_default="chat"),
    Column("team", String(80)),
    Column("usage_estimated", Boolean, nullable=False, server_default=false()),
    Column("cost_microusd", BigInteger),
    Column("content", String(10), nullable=False, server_default="full"),  # full, redacted, none, dropped
    Column("trace", String(32)),
    # What was wrong with the answer by the task's contract checks; null: nothing, or nothing was checked.
    Column("violation", String(40)),
    Column("shadow_of", String(40)),  # the exchange whose request this copies
    Column("begun_by", Text),  # variants whose stream broke off and that another went on with; null: none
    Index("exchanges_by_task", "task", "started_at"),
)

observations = Table(
    "observations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("card", String(200), nullable=False),
    Column("fact", String(120), nullable=False),
    Column("value", JSON, nullable=False),
    Column("source", String(40), nullable=False),
    Column("locator", String(500), nullable=False),
    Column("grade", String(20), nullable=False),
    Column("as_of", String(10)),  # ISO date; null: the source does not say
    Column("seen_at", UtcDateTime, nullable=False),
    # The same again is no new row: the last time that the source said so.
    Column("confirmed_at", UtcDateTime, nullable=False),
    Index("observations_by_card", "card", "fact", "source", "as_of"),
)

library_syncs = Table(
    "library_syncs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source", String(40), nullable=False),
    Column("input_digest", String(64), nullable=False),
    Column("actor", String(80), nullable=False),
    Column("summary", JSON, nullable=False),  # counts: read, new, confirmed, changed, conflicts
    Column("at", UtcDateTime, nullable=False),
)

licence_texts = Table(
    "licence_texts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("card", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("source", String(500), nullable=False),  # repository and revision, or file
    Column("seen_at", UtcDateTime, nullable=False),
    Column("accepted_by", String(80)),  # null: nobody accepted this text yet
    Column("accepted_at", UtcDateTime),
    Column("reason", Text),
    Index("licence_texts_by_card", "card", "seen_at"),
)

card_states = Table(
    "card_states",
    metadata,
    Column("card", String(200), primary_key=True),
    Column("state", String(12), primary_key=True),  # planned, loads, served, evaluated
    Column("evidence", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

# One run of a tool that is worked off beside the request. Its content is deleted once nobody may fetch it any more.
tool_jobs = Table(
    "tool_jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tool", String(40), nullable=False),
    Column("tool_digest", String(64), nullable=False),  # as it was when it was taken
    Column("key", String(40), nullable=False),
    Column("team", String(80)),
    Column("state", String(12), nullable=False),  # waiting, running, done, failed, cancelled
    Column("inputs", JSON, nullable=False),  # files stand in `tool_job_files`
    Column("progress", JSON),
    Column("outcome", JSON),
    Column("error", JSON),
    Column("attempts", Integer, nullable=False),  # how often somebody began, or went on with it
    Column("owner", String(40)),  # the gateway that works on it
    Column("lease_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("tool_jobs_by_state", "state", "created_at"),
    Index("tool_jobs_by_key", "key", "created_at"),
    Index("tool_jobs_by_expiry", "expires_at"),
)

tool_job_files = Table(
    "tool_job_files",
    metadata,
    Column("job", String(40), ForeignKey("tool_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# What steps of a job have given already: who goes on with it asks no model again.
tool_job_parts = Table(
    "tool_job_parts",
    metadata,
    Column("job", String(40), ForeignKey("tool_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("place", String(120), primary_key=True),  # the step, and which of its calls
    Column("value", JSON, nullable=False),
)

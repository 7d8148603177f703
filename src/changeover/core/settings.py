"""The project's settings: `changeover.toml` and the environment, read here, once, and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from changeover.core import toml
from changeover.core.errors import ConfigError
from changeover.core.secrets import register_secret

SETTINGS_FILE = "changeover.toml"
STATE_DIRECTORY = ".changeover"


class GatewaySettings(toml.Declared):
    """Where applications call, and how much the door takes at once."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; anything but loopback opens the door to the network."""
    port: int = Field(default=8100, ge=0, le=65535)
    """0 takes any free port."""
    max_body_mib: float = Field(default=8.0, gt=0, le=1024)
    """Largest request body."""
    max_in_flight: int = Field(default=256, ge=1)
    """Requests answered or waiting at once, in each worker; one more gets a 429."""
    ready_wait_s: float = Field(default=20.0, ge=0)
    """How long a request waits for an engine that is coming up before it gets a 503; while engines are exchanged it waits
    for as long as its task gives it."""
    max_waiting: int = Field(default=128, ge=1)
    """Requests that wait at once for an engine, in each worker; one more gets a 503."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that answer; 1 answers in the process of `changeover up` itself."""
    client: Literal["aiohttp", "wire"] = "wire"
    """What speaks to engines: the aiohttp library, or our own lean client on httptools, which is several times faster."""
    arrival_s: float = Field(default=30.0, gt=0, le=3600)
    """Longest time for a request to arrive whole; a caller that is slower loses its connection."""
    breaker_failures: int = Field(default=5, ge=1)
    """Failures of a deployment in a row after which it is left alone for `breaker_open_s`."""
    breaker_open_s: float = Field(default=5.0, gt=0, le=600)
    """Then one request tries it again."""


class RecordSettings(toml.Declared):
    """How long records are kept."""

    retention_days: float = Field(default=30.0, gt=0)
    """Exchanges older than this are deleted; a task may say otherwise. Usage counters stay."""


class TelemetrySettings(toml.Declared):
    """Where the gateway reports what it does, besides `/metrics`."""

    otlp_endpoint: str | None = None
    """Address of an OTLP/HTTP collector for traces, such as `http://127.0.0.1:4318/v1/traces`; None: no traces."""
    otlp_headers_env: str | None = None
    """Name of the environment variable with headers for the collector, `name=value,…`; they may hold a secret."""
    trace_share: float = Field(default=1.0, ge=0, le=1)
    """Share of requests that are traced, where the caller's `traceparent` does not decide."""
    log: Literal["text", "json"] = "text"
    """One line of text, or one JSON object, for each event."""


class StoreSettings(toml.Declared):
    """Where state is kept."""

    url: str | None = None
    """SQLAlchemy address; None: SQLite in the project's state directory."""


class EngineHome(toml.Declared):
    """Where an engine's software is, if not beside Changeover's own."""

    python: str | None = None
    """Interpreter of the environment that has its package: `/opt/vllm/bin/python`."""
    command: str | None = None
    """The program of an engine that is one: `/usr/local/bin/ollama`."""


class EngineSettings(toml.Declared):
    """Defaults for engines that `deploy` starts, and where they are."""

    threads: int | None = Field(default=None, ge=1)
    """None: the cores this process may use."""
    slots: int = Field(default=4, ge=1, le=64)
    """Requests an engine answers at once."""
    context_tokens: int = Field(default=4096, ge=256)
    """For each slot."""
    memory_gib: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Memory for all engines on this machine together; None: four fifths of what this process may use."""
    ready_s: float = Field(default=30.0, gt=0, le=3600)
    """How long an engine may take to become ready, and 20 s more for each GiB of its weights."""
    idle_unload_s: float | None = Field(default=None, ge=0, le=31_536_000)
    """An engine that was not asked for so long is unloaded, and started at the next request. None or 0: never."""
    memory_limit: float = Field(default=2.0, ge=1.1, le=100)
    """Times what a deployment needs: above it, an engine is taken to leak, and is started again."""
    listen: Literal["loopback", "unix"] = "loopback"
    """Where engines of ours listen: on a port of this machine, or on a socket in a private folder, for those that can."""
    homes: dict[str, EngineHome] = Field(default_factory=dict[str, EngineHome])
    """By engine. One that is not named is looked for among those that `changeover engines install` made, then beside us."""


class EvalSettings(toml.Declared):
    """How evaluations run."""

    at_once: int | None = Field(default=None, ge=1, le=1024)
    """Calls under way at one deployment; None: as many as an embedded engine answers at once (`engines.slots`)."""


class AliasCheckSettings(toml.Declared):
    """How often models that others run are asked whether they still answer as they did."""

    every_s: float = Field(default=86_400.0, ge=0)
    """Between two checks of one of them; 0: never."""
    samples: int = Field(default=12, ge=4, le=200)
    """Of a task's dataset that are asked each time, always the same ones; twice as many for a baseline."""


class JobSettings(toml.Declared):
    """How tools run."""

    at_once: int = Field(default=4, ge=1, le=256)
    """Runs of tools under way at once, in each gateway; a job waits for its turn, any other run gets a 429."""
    most_waiting: int = Field(default=1_000, ge=1)
    """Jobs that wait; one more gets a 429."""
    most_waiting_mib: float = Field(default=4_096.0, gt=0)
    """Of the files of jobs that wait or run, together: the database holds them meanwhile. One more gets a 429."""
    keep_hours: float = Field(default=24.0, gt=0)
    """How long the result of a job can be fetched."""
    max_upload_mib: float = Field(default=64.0, gt=0, le=1024)
    """Largest body of a request to a tool; each input has its own limit beside."""
    all_uploads_mib: float = Field(default=256.0, gt=0)
    """Of all bodies of requests to tools that arrive or are being answered, together, in each gateway; one more gets a 429,
    and so does one more of a key that has half of it, or its share. One body alone is taken whatever its size."""
    readers: int = Field(default=2, ge=1, le=32)
    """Processes that read documents at once, in each gateway."""
    reader_memory_mib: int = Field(default=1_024, ge=128)
    """Of each of them."""


PersonsRole = Literal["application", "viewer", "operator", "approver", "admin"]
"""What an identity provider's people may do: as keys of the same role."""


class ConsoleSettings(toml.Declared):
    """Who signs in to the console without a key: people that an identity provider vouches for, by OpenID Connect."""

    issuer: str | None = Field(default=None, pattern=r"^https?://[^\s@?#]+$")
    """The provider's address, as its own documents name it; None: people sign in with keys only."""
    client_id: str | None = Field(default=None, min_length=1)
    """What the console is called there."""
    client_secret_env: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    """Name of the environment variable with its secret; None: it has none, and is trusted by PKCE alone."""
    address: str | None = Field(default=None, pattern=r"^https?://[^\s@?#/]+$")
    """Where browsers reach the console; the provider sends them back to `/sign-in/return` below it."""
    label: str = Field(default="single sign-on", min_length=1, max_length=60)
    """What the provider is called on the page."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What is asked of the provider."""
    name_claim: str = Field(default="email", min_length=1)
    """Claim that says who somebody is, in histories and in usage; where it is missing, `sub` does."""
    role_claim: str = Field(default="groups", min_length=1)
    """Claim with a text or a list of texts; dots lead into it, as in `realm_access.roles`."""
    roles: dict[str, PersonsRole] = Field(default_factory=dict[str, PersonsRole])
    """By a text of that claim. Of several that somebody has, the one that stands first here counts; who has none is refused."""
    tasks: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    """By a text of the same claim: tasks that whoever has it may see and act on; `"*"` is every task. Where it is here, who has
    none of these texts is refused; where it is not, everybody has every task."""
    contact: str | None = Field(default=None, min_length=1, max_length=200)
    """Whom somebody asks who is known to the provider and has no role or no task here, such as `llm-desk@example.org`."""

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Self:
        needed = {"client_id": self.client_id, "address": self.address, "roles": self.roles}
        if self.issuer is not None and (missing := [name for name, value in needed.items() if not value]):
            raise ValueError(f"with `issuer`, `{missing[0]}` has to be there too")
        of_people = {**needed, "tasks": self.tasks}
        if self.issuer is None and (more := [name for name, value in of_people.items() if value]):
            raise ValueError(f"`{more[0]}` does nothing without `issuer`")
        return self


class Price(toml.Declared):
    """What a deployment's tokens cost."""

    usd_per_million_prompt_tokens: float = Field(ge=0)
    """What a million tokens of prompts cost."""
    usd_per_million_completion_tokens: float = Field(ge=0)
    """What a million tokens of answers cost."""

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for one answer."""
        prompt = prompt_tokens * self.usd_per_million_prompt_tokens
        return (prompt + completion_tokens * self.usd_per_million_completion_tokens) / 1e6


class SourceSettings(toml.Declared):
    """Where facts and weights come from, beside this machine."""

    online: bool = False
    """Whether `library sync` and `pull` may ask the hubs. What was imported from files needs no network."""
    hub_endpoint: str = Field(default="https://huggingface.co", pattern=r"^https?://[^\s@?#]+$")
    """Address of the Hugging Face Hub, of a mirror, or of another installation's library."""
    hub_token_variable: str = Field(default="HF_TOKEN", pattern=r"^[A-Z][A-Z0-9_]*$")
    """Environment variable that holds the token for it."""
    modelscope_endpoint: str = Field(default="https://www.modelscope.cn", pattern=r"^https?://[^\s@?#]+$")
    """Where ModelScope, or a mirror of it, answers."""
    timeout_s: float = Field(default=20.0, gt=0, le=600)
    """How long a hub may be silent."""


class Settings(toml.Declared):
    """Everything `changeover.toml` may say."""

    name: str = Field(min_length=1, max_length=80)
    """The organisation or the project, for people."""
    tasks: str = "tasks"
    """Directory of task declarations, relative to the file."""
    tools: str = "tools"
    """Directory of tools, a folder each; may be absent."""
    library: str = "library"
    """Directory of the organisation's own model cards; may be absent."""
    policy: str = "policy.toml"
    """The organisation's licence policy; may be absent."""
    sources: SourceSettings = SourceSettings()
    gateway: GatewaySettings = GatewaySettings()
    store: StoreSettings = StoreSettings()
    engines: EngineSettings = EngineSettings()
    evals: EvalSettings = EvalSettings()
    alias_checks: AliasCheckSettings = AliasCheckSettings()
    jobs: JobSettings = JobSettings()
    console: ConsoleSettings = ConsoleSettings()
    records: RecordSettings = RecordSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    prices: dict[str, Price] = Field(default_factory=dict[str, Price])
    """By deployment. One without a price has no known cost."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One organisation's installation: where its declarations and its state are."""

    root: Path
    settings: Settings
    cache: Path
    """Weights and compiled parts, shared by all projects of a user."""

    @property
    def state(self) -> Path:
        """Private to this installation: store, logs, local keys."""
        return self.root / STATE_DIRECTORY

    @property
    def tasks(self) -> Path:
        return self.root / self.settings.tasks

    @property
    def tools(self) -> Path:
        return self.root / self.settings.tools

    @property
    def cards(self) -> Path:
        return self.root / self.settings.library

    @property
    def policy(self) -> Path:
        return self.root / self.settings.policy

    @property
    def engines(self) -> Path:
        """Environments of engines that were installed, one for each: shared by all projects of a user, as weights are."""
        return self.cache / "engines"

    @property
    def store_url(self) -> str:
        return self.settings.store.url or f"sqlite:///{self.state / 'changeover.db'}"


def cache_directory() -> Path:
    """`CHANGEOVER_CACHE`, else the user's cache directory."""
    named = os.environ.get("CHANGEOVER_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "changeover"


def open_project(start: Path) -> Project:
    """Read the project that `start` lies in.

    Raises:
        ConfigError: No `changeover.toml` in `start` or above it, or it is wrong.
    """
    project = find_project(start)
    if project is None:
        raise ConfigError(f"No `{SETTINGS_FILE}` in `{start}` or above it. Make a project with `changeover init NAME`.")
    return project


def find_project(start: Path) -> Project | None:
    """Read the project that `start` lies in; None where it lies in none.

    Raises:
        ConfigError: Its `changeover.toml` is wrong.
    """
    for directory in (start.resolve(), *start.resolve().parents):
        file = directory / SETTINGS_FILE
        if file.is_file():
            return Project(root=directory, settings=toml.load(Settings, file), cache=cache_directory())
    return None


def secret_from_environment(name: str) -> str | None:
    """A secret that a declaration names; the value goes nowhere but to who asked."""
    value = os.environ.get(name) or None
    register_secret(value)
    return value

"""Jobs: runs of tools that nobody waits at. Whichever gateway has a free place takes the next one.

A gateway holds a lease of a job for as long as it is heard of. One that ends or dies leaves its jobs to the others, who go
on from what steps have given already; whoever was taken for dead and is not finds that a job is no longer its own, and
stops. Runs in every process that answers, from the start until its gateway closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy import Connection

from changeover.core.clock import Clock
from changeover.core.errors import AuthenticationError, ChangeoverError, RequestError, StoreError, UnknownToolError
from changeover.core.ids import new_id
from changeover.core.settings import JobSettings
from changeover.core.threads import in_thread
from changeover.gateway.envelope import envelope
from changeover.gateway.keys import STEERERS, Key
from changeover.store.engine import Store
from changeover.tools import queries
from changeover.tools.access import Keys, find_usable
from changeover.tools.declarations import Tool, Tools
from changeover.tools.queries import Job, Standing
from changeover.tools.runs import Asked, Runs, result_of
from changeover.tools.values import File, Outcome, Progress

log = logging.getLogger(__name__)

POLL_S = 0.5
"""Between two looks for a job that another process took in."""
BEAT_S = 0.5
"""Between two looks at a job that runs: whether it is ours still, and how far it is."""
RENEW_S = 2.0
LEASE_S = 12.0
"""After so long without a word from its gateway a job goes to another."""
SWEEP_S = 60.0
MOST_ATTEMPTS = 3
STALE = timedelta(minutes=1)
"""A gateway that does not know a tool yet leaves its jobs to others for so long."""

Found = TypeVar("Found")


class UnknownJobError(RequestError):
    """There is no such job of this key."""

    status = 404
    code = "unknown_job"


@dataclass
class _Parts:
    """A journal in the store."""

    jobs: Jobs
    id: str
    known: dict[str, Any]

    def kept(self, place: str) -> Any | None:
        return self.known.get(place)

    async def keep(self, place: str, value: Any) -> None:
        try:
            await self.jobs.write(
                partial(queries.keep_part, id=self.id, owner=self.jobs.owner, place=place, value=value)
            )
        except StoreError as exc:  # it would be asked once more, by whoever goes on
            log.warning("job %s: what `%s` gave is not kept: %s", self.id, place, exc)


@dataclass
class _Latest:
    """What a run said last of how far it is."""

    progress: Progress | None = None

    def hear(self, progress: Progress) -> None:
        self.progress = progress


class Jobs:
    """Takes jobs in, and runs them in turn."""

    def __init__(
        self, *, store: Store, clock: Clock, settings: JobSettings, runs: Runs, tools: Callable[[], Tools], keys: Keys
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._runs = runs
        self._tools = tools
        self._keys = keys
        self.owner = f"{new_id('gw')}-{os.getpid()}"
        """Who has a lease; its process is for people."""
        self._own: dict[str, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()
        self._stopped = False
        self.standing = Standing(waiting=0, running=0, lapsed=0)
        """As it was seen last, over all gateways."""

    @property
    def running(self) -> int:
        """Jobs that run in this process."""
        return len(self._own)

    def holder_now(self, key: Key) -> Key:
        """A key that was let in, as it is now: whoever watches for long may have been shut out, or limited, meanwhile.

        Raises:
            AuthenticationError: It was revoked, or has expired.
        """
        now = self._keys.now(key.id)
        if now is None:
            raise AuthenticationError(
                "This API key was revoked, or has expired. Make another: `changeover key new NAME`."
            )
        return now

    async def submit(self, tool: Tool, given: Mapping[str, Any], key: Key) -> Job:
        """Take a job in.

        Raises:
            CapacityError: Too many wait, or their files are too large together.
            StoreError: The store cannot be used; nothing was taken.
        """
        now = self._clock.now()
        inputs, files = _taken_apart(given)
        job = Job(
            id=new_id("job"),
            tool=tool.name,
            tool_digest=tool.digest,
            key=key.id,
            team=key.team,
            state="waiting",
            progress=None,
            error=None,
            attempts=0,
            owner=None,
            lease_until=None,
            created_at=now,
            started_at=None,
            ended_at=None,
            expires_at=now + self._kept,
        )
        most, most_bytes = self._settings.most_waiting, int(self._settings.most_waiting_mib * (1 << 20))
        add = partial(queries.add_job, job=job, inputs=inputs, files=files, most=most, most_bytes=most_bytes)
        await in_thread(partial(self._serially, add))
        self._wanted.set()
        return job

    async def find(self, id: str, key: Key) -> Job:
        """A job that a key may see.

        Raises:
            UnknownJobError: There is none.
        """
        job = await in_thread(partial(self._read, partial(queries.find_job, id=id, key=_seen_by(key))))
        if job is None:
            raise UnknownJobError(
                f"No job `{id[:80]}` of this key. A result is kept for {self._settings.keep_hours:g} h."
            )
        return job

    async def all_of(self, key: Key) -> list[Job]:
        """Its newest ones; an operator's or admin's key sees everybody's."""
        return await in_thread(partial(self._read, partial(queries.list_jobs, key=_seen_by(key))))

    async def cancel(self, id: str, key: Key) -> Job | None:
        """End a job that waits or runs, wherever that is; one that has ended is deleted, and None is given.

        Raises:
            UnknownJobError: There is none.
        """
        await self.find(id, key)
        now = self._clock.now()
        cancel = partial(queries.cancel_job, id=id, now=now, expires_at=now + self._kept)
        if await self.write(cancel):
            if id in self._own:
                self._own[id].cancel()
            return await self.find(id, key)
        await self.write(partial(queries.delete_ended, id=id))
        return None

    async def run(self) -> None:
        """Run jobs until cancelled; then those under way are left to others."""
        swept = float("-inf")
        failing = False
        try:
            while True:
                try:
                    if self._clock.monotonic() - swept > SWEEP_S:
                        await in_thread(self._sweep)
                        swept = self._clock.monotonic()
                    await self._take()
                    failing = False
                except StoreError as exc:
                    if not failing:
                        log.warning("jobs: none is taken for now: %s", exc)
                    failing = True
                with contextlib.suppress(TimeoutError):
                    # Not `wait_for`: where work comes in the moment in which this is cancelled, it forgets the latter.
                    async with asyncio.timeout(POLL_S):
                        await self._wanted.wait()
                self._wanted.clear()
        finally:
            await self._leave()

    def stop(self) -> None:
        """Take no more."""
        self._stopped = True

    async def _leave(self) -> None:
        own = dict(self._own)
        self._stopped = True
        for task in own.values():
            task.cancel()
        await asyncio.gather(*own.values(), return_exceptions=True)
        for id in own:
            try:
                await self.write(partial(queries.release, id=id, owner=self.owner))
            except StoreError as exc:
                log.warning("job %s: left to others once its lease is over: %s", id, exc)

    # Taking.

    async def _take(self) -> None:
        """Take jobs while there are any, and a place for them: one is left for whoever stands and waits."""
        self.standing = await in_thread(partial(self._read, partial(queries.standing, now=self._clock.now())))
        most = max(self._settings.at_once - 1, 1)
        while not self._stopped and len(self._own) < most and self._runs.under_way < self._settings.at_once:
            if not (self.standing.waiting or self.standing.lapsed):
                return
            job = await in_thread(partial(self._claim, tuple(self._own)))
            if job is None:
                return
            task = self._own[job.id] = asyncio.create_task(self._work(job))
            task.add_done_callback(partial(self._over, job.id))
            await asyncio.sleep(0)  # it takes its place

    def _over(self, id: str, task: asyncio.Task[None]) -> None:
        self._own.pop(id, None)
        self._wanted.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("job %s: it was not brought to an end", id, exc_info=task.exception())

    def _claim(self, at_work: tuple[str, ...]) -> Job | None:
        """Take one. After the store was gone for longer than a lease those that run here would be there to be taken, too."""
        now = self._clock.now()
        with self._store.write() as connection:
            given_up = _said(_given_up())
            queries.fail_given_up(connection, now, MOST_ATTEMPTS, now + self._kept, given_up, at_work=at_work)
            return queries.claim(
                connection,
                self.owner,
                now,
                now + timedelta(seconds=LEASE_S),
                list(self._tools()),
                stale_before=now - STALE,
                at_work=at_work,
            )

    def _sweep(self) -> None:
        now, waited = self._clock.now(), _said(_overdue(self._settings.keep_hours))
        with self._store.append() as connection:
            queries.fail_overdue(connection, now, now + self._kept, waited)
        while self._deleted(now) == queries.MOST_DELETED:
            pass

    def _deleted(self, now: datetime) -> int:
        with self._store.append() as connection:
            return queries.delete_expired(connection, now)

    # Running.

    async def _work(self, job: Job) -> None:
        """Bring one job to its end, or stop where it is not ours any more."""
        latest = _Latest()
        running = asyncio.create_task(self._end_of(job, latest))
        try:
            ours = await self._watch(job.id, running, latest)
        finally:
            running.cancel()
            await asyncio.wait([running])
        if ours:
            seen = {} if latest.progress is None else {"progress": msgspec.to_builtins(latest.progress)}
            await self._finish(job.id, {**running.result(), **seen})

    async def _end_of(self, job: Job, latest: _Latest) -> dict[str, Any]:
        """Run it; gives how it ended."""
        try:
            return {"state": "done", "outcome": result_of(job.id, await self._run(job, latest))}
        except ChangeoverError as error:
            return {"state": "failed", "error": _said(error, job.id)}
        except Exception:  # the edge of one job
            log.exception("job %s", job.id)
            return {"state": "failed", "error": _said(_broke(job.id), job.id)}

    async def _run(self, job: Job, latest: _Latest) -> Outcome:
        key = await self._insisting(job.id, partial(self._keys.find, job.key))
        if key is None:
            raise AuthenticationError(
                "The API key that sent this job was revoked, or has expired. Send it with another."
            )
        tool = find_usable(key, self._tools(), job.tool)
        prepared = partial(in_thread, partial(self._prepared, job, tool))
        files, parts = await self._insisting(job.id, prepared)
        asked = Asked(
            id=job.id,
            tool=tool,
            given=_put_together(job.inputs or {}, files),
            key=job.key,
            on_progress=latest.hear,
            journal=_Parts(self, job.id, parts),
            patient=True,
        )
        return await self._runs.run(asked)

    def _prepared(self, job: Job, tool: Tool) -> tuple[list[File], dict[str, Any]]:
        with self._store.append() as connection:
            if not queries.begin_as(connection, job.id, self.owner, tool.digest):
                raise UnknownToolError("The job is not this gateway's any more.")
            files = [File(name=name, data=data) for name, data in queries.files_of(connection, job.id)]
            return files, queries.parts_of(connection, job.id)

    async def _watch(self, id: str, running: asyncio.Task[Any], latest: _Latest) -> bool:
        """Wait for the end of a run, and renew its lease; False as soon as the job is not ours any more."""
        renewed, shown = self._clock.monotonic(), None
        while not running.done():
            await asyncio.wait([running], timeout=BEAT_S)
            if running.done():
                return True
            now = self._clock.monotonic()
            newest = latest.progress
            due = newest is not shown or now - renewed >= RENEW_S
            try:
                if not await (self._beat(id, newest) if due else self._ours(id)):
                    return False
            except StoreError:
                continue  # while it is gone nobody else can take the job either
            if due:
                renewed, shown = now, newest
        return True

    async def _beat(self, id: str, progress: Progress | None) -> bool:
        until = self._clock.now() + timedelta(seconds=LEASE_S)
        said = None if progress is None else msgspec.to_builtins(progress)
        return await self.write(partial(queries.heartbeat, id=id, owner=self.owner, lease_until=until, progress=said))

    async def _ours(self, id: str) -> bool:
        return await in_thread(partial(self._read, partial(queries.is_owned, id=id, owner=self.owner)))

    async def _finish(self, id: str, end: Mapping[str, Any]) -> None:
        """Write how a job ended."""

        async def over() -> None:
            now = self._clock.now()
            ended = partial(queries.end_job, id=id, owner=self.owner, now=now, expires_at=now + self._kept, **end)
            await self.write(ended)

        await self._insisting(id, over)

    async def _insisting(self, id: str, work: Callable[[], Awaitable[Found]]) -> Found:
        """Do what a job needs of the store; for as long as it takes, where that is gone: the job has not failed."""
        while True:
            try:
                return await work()
            except StoreError as exc:
                log.warning("job %s: waits for the store: %s", id, exc)
            await asyncio.sleep(RENEW_S)

    @property
    def _kept(self) -> timedelta:
        return timedelta(hours=self._settings.keep_hours)

    # The store.

    async def write(self, work: Callable[[Connection], Found]) -> Found:
        """Change something, in a thread."""
        return await in_thread(partial(self._append, work))

    def _append(self, work: Callable[[Connection], Found]) -> Found:
        with self._store.append() as connection:
            return work(connection)

    def _serially(self, work: Callable[[Connection], Found]) -> Found:
        with self._store.write() as connection:
            return work(connection)

    def _read(self, work: Callable[[Connection], Found]) -> Found:
        with self._store.read() as connection:
            return work(connection)


def shown(job: Job) -> dict[str, Any]:
    """A job as the API shows it."""
    said: dict[str, Any] = {
        "object": "tool.job",
        "id": job.id,
        "tool": job.tool,
        "state": job.state,
        "progress": job.progress,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "expires_at": job.expires_at,
    }
    if job.outcome is not None:
        said["result"] = job.outcome
    if job.error is not None:
        said["error"] = job.error
    return said


def _seen_by(key: Key) -> str | None:
    """The key whose jobs alone are seen: jobs of others may be about tasks that a limited one must not see."""
    return None if key.role in STEERERS and key.tasks is None else key.id


def _taken_apart(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Inputs as they are stored: values, and where among the files those are that are files."""
    values: dict[str, Any] = {}
    places: dict[str, int | list[int]] = {}
    files: list[tuple[str, bytes]] = []
    for name, value in given.items():
        several = cast("list[Any]", value) if isinstance(value, list) else [value]
        sent = [each for each in several if isinstance(each, File)]
        if sent and len(sent) == len(several):
            first = len(files)
            files += [(file.name, file.data) for file in sent]
            places[name] = list(range(first, len(files))) if isinstance(value, list) else first
        else:
            values[name] = value
    return {"values": values, "files": places}, files


def _put_together(stored: Mapping[str, Any], files: list[File]) -> dict[str, Any]:
    given: dict[str, Any] = dict(stored.get("values", {}))
    for name, places in stored.get("files", {}).items():
        if isinstance(places, list):
            given[name] = [files[place] for place in cast("list[int]", places)]
        else:
            given[name] = files[places]
    return given


def _said(error: ChangeoverError, id: str = "") -> dict[str, Any]:
    said: dict[str, Any] = envelope(error, id)["error"]
    return said


def _given_up() -> ChangeoverError:
    return ChangeoverError(
        f"It was begun {MOST_ATTEMPTS} times, and each time the gateway that ran it ended. Its log says why."
    )


def _overdue(hours: float) -> ChangeoverError:
    return ChangeoverError(f"It waited for {hours:g} h, and no gateway took it. Send it again.")


def _broke(id: str) -> ChangeoverError:
    return ChangeoverError(f"The gateway itself failed. Its log says why, under `{id}`.")

"""What a worker knows of engines, and what its parent hears of them. No process, no request."""

import asyncio

from changeover.app.worker import Told, Where
from changeover.app.workers import Addresses
from changeover.serving.upstream import make_client
from changeover.serving.upstream.base import Address


def where(port: int = 1, life: int = 1) -> Where:
    return Where(base_url=f"http://127.0.0.1:{port}", secret="engine-secret", model=None, life=life)


def address(told: Told, name: str) -> Address:
    upstream = told.upstream(name)
    assert isinstance(upstream, Address)
    return upstream


async def test_an_engine_that_stays_keeps_its_connections_and_one_that_was_started_again_does_not() -> None:
    client = make_client("wire")
    told = Told(client, lambda name: None)
    told.take({"a": where(), "b": where(2)})
    first = told.upstream("a")
    told.take({"a": where()})
    assert (told.upstream("a"), told.upstream("b")) == (first, None)
    told.take({"a": where(life=2)})
    assert told.upstream("a") not in (None, first)
    await client.close()


async def test_a_worker_has_left_an_engine_when_its_last_request_there_has_ended() -> None:
    client = make_client("wire")
    told = Told(client, lambda name: None)
    told.take({"a": where()})
    old = address(told, "a")
    old.in_flight = 2
    told.take({})
    leaving = asyncio.create_task(told.left("a"))
    for left in (1, 0):
        await asyncio.sleep(0)
        assert not leaving.done(), f"{left + 1} in flight"
        old.landed()
    await leaving
    await told.left("a")
    await told.left("never known")
    await client.close()


async def test_pieces_are_reported_once_and_also_from_an_engine_that_is_being_left() -> None:
    client = make_client("wire")
    told = Told(client, lambda name: None)
    told.take({"a": where(), "b": where(2)})
    old = address(told, "a")
    old.heard, old.in_flight = 5, 1
    assert told.heard() == {"a": 5}
    assert told.heard() == {}
    told.take({"a": where(life=2), "b": where(2)})
    old.heard += 2
    address(told, "a").heard = 1
    assert told.heard() == {"a": 3}
    await client.close()


async def test_an_engine_that_another_process_hears_counts_as_heard_by_its_watchdog() -> None:
    addresses = Addresses("wire")
    old = addresses.upstream("a", "http://127.0.0.1:1", "engine-secret", None)
    new = addresses.upstream("a", "http://127.0.0.1:2", "engine-secret", None)
    addresses.hear("a", 3)
    addresses.hear("unknown", 3)
    assert (old.heard, new.heard) == (3, 3)  # while one takes over from the other, nobody says which it was
    assert addresses.where(old).life != addresses.where(new).life
    await addresses.close()
    await addresses.close()

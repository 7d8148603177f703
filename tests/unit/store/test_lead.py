"""One of several processes leads, and another one when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator

import pytest

from changeover.store.engine import Store
from changeover.store.lead import Lead

HOLDER = """
import sys, time
from changeover.store.engine import Store
from changeover.store.lead import Lead

lead = Lead(Store.connect(sys.argv[1]), "test")
print(lead.held(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def store(store_url: str) -> Generator[Store]:
    made = Store.connect(store_url)
    yield made
    made.close()


def test_one_leads_until_it_lets_go(store: Store, store_url: str) -> None:
    other_store = Store.connect(store_url)
    first, second, another = Lead(store, "test"), Lead(other_store, "test"), Lead(other_store, "other")
    assert first.held()
    assert first.held(), "asking again changes nothing"
    assert not second.held()
    assert another.held(), "claims of other names have nothing to do with it"
    first.release()
    assert second.held()
    assert not first.held()
    second.release()
    another.release()
    other_store.close()


def test_who_is_killed_leads_no_more(store: Store, store_url: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, store_url], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lead = Lead(store, "test")
        assert not lead.held()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        deadline = time.monotonic() + 20
        while not lead.held():
            assert time.monotonic() < deadline, "nobody leads"
            time.sleep(0.05)
        lead.release()
    finally:
        holder.kill()
        holder.communicate()

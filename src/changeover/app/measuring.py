"""Who asks and scores where a comparison or a trial is made: a runner over the gateway that runs here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from changeover.app.installation import Installation
from changeover.app.local import gateway_address, operator_key
from changeover.app.matching import Prepared
from changeover.evals.caller import LateCaller
from changeover.evals.runner import Runner
from changeover.evals.sandbox import Sandbox


@asynccontextmanager
async def runner_of(installation: Installation, prepared: Prepared) -> AsyncGenerator[Runner]:
    """A runner that asks the running gateway.

    Raises:
        ChangeoverError: It does not run.
    """
    address, key = gateway_address(installation.project), operator_key(installation.project.state)
    settings = installation.project.settings
    sandbox = Sandbox(installation.project.cache / "sandbox")
    caller = LateCaller(address, key)
    try:
        yield Runner(
            store=installation.store,
            caller=caller,
            sandbox=sandbox,
            clock=installation.clock,
            at_once=settings.evals.at_once or settings.engines.slots,
            prices=settings.prices,
            judges=prepared.judges,
        )
    finally:
        await caller.close()
        await sandbox.close()

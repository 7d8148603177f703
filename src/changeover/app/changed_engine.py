"""An engine that is not the one any more that was measured: its bundles are new ones, and go through the gate."""

from __future__ import annotations

from changeover.app.applied import applied_tasks
from changeover.app.installation import Installation
from changeover.core.actors import SYSTEM
from changeover.rollouts.actions import By, plan_of
from changeover.rollouts.begin import follow_engine
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import find_variants, note_engine
from changeover.serving.variants import Variant
from changeover.tasks.routes import Route


def note_changed_engine(installation: Installation, deployment: str, engine: EnginePart, reason: str) -> list[Route]:
    """Write down what runs under a deployment now. Routes follow, and each asks to be measured; gives those that did."""
    tasks = {**applied_tasks(installation.store, installation.project.root), **installation.tasks}
    plans = {name: plan_of(task.declared) for name, task in tasks.items()}
    now = installation.clock.now()
    with installation.store.write() as connection:
        note_engine(connection, deployment, engine.document(), now)
        replaced = {old.id: _on_engine(old, engine) for old in find_variants(connection, deployment)}
        return follow_engine(connection, replaced, plans, By(actor=SYSTEM, reason=reason, now=now))


def bare(engine: EnginePart) -> Bundle:
    """An engine without any task's prompt and parameters, to compare it with another."""
    return Bundle(engine=engine, prompt_name="", prompt="", parameters={})


def _on_engine(variant: Variant, engine: EnginePart) -> Variant:
    bundle = variant.bundle
    moved = Bundle(engine=engine, prompt_name=bundle.prompt_name, prompt=bundle.prompt, parameters=bundle.parameters)
    return Variant.of(variant.task, variant.deployment, moved)

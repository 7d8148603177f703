"""Variants: a deployment with a prompt and parameters, for one task."""

from __future__ import annotations

from dataclasses import dataclass

from changeover.core.digest import sha256_text
from changeover.serving.bundles import Bundle, EnginePart
from changeover.tasks.declarations import Task


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to answer one task. Written once, never edited: a changed prompt is another variant."""

    id: str
    task: str
    deployment: str
    bundle: Bundle

    @classmethod
    def of(cls, task: str, deployment: str, bundle: Bundle) -> Variant:
        """Name a variant by what it is made of, so that the same one is never written twice."""
        identity = sha256_text(f"{task}\n{deployment}\n{bundle.digest}")
        return cls(id=identity[:12], task=task, deployment=deployment, bundle=bundle)

    @classmethod
    def declared(cls, task: Task, deployment: str, engine: EnginePart) -> Variant:
        """The variant that a task's files describe today, on a deployment."""
        bundle = Bundle(
            engine=engine, prompt_name=task.prompt_name, prompt=task.prompt, parameters=task.declared.parameters
        )
        return cls.of(task.name, deployment, bundle)

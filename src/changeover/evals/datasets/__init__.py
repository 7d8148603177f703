"""Datasets: JSONL files of samples that people write; read whole, checked, and kept as they were when they decided."""

from __future__ import annotations

from changeover.evals.datasets.dataset import Dataset
from changeover.evals.datasets.samples import UNLABELLED, Message, Role, Sample, Target

__all__ = ["UNLABELLED", "Dataset", "Message", "Role", "Sample", "Target"]
